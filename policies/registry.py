"""Policies by name: ``random``, ``constant:0,0.3``, ``weave``, ``brake``, ``cloned:FOLDER``, ``driving:expert``,
``seen:push:expert``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches

from simworld.episode import ActionSpec
from simworld.policy import Policy

from .camera import ClonedDriver, Constant, Random, Weave, brake
from .seeing import SeeingExpert

# Where scripted policies live, imported only when one is asked for: module beside this one, and its maker.
SCRIPTED = {"driving": ("driving_scripted", "make_driver"), "push": ("push_scripted", "make_pusher")}
KNOWN = (
    "random",
    "random-smooth",
    "constant:A,B",
    "weave",
    "weave:AMPLITUDE,PERIOD_S",
    "brake",
    "cloned:FOLDER",
    "seen:ENV:STYLE",
)


def make_policy(name: str, action: ActionSpec, *, dt_s: float = 0.1) -> Policy:
    """The policy called `name`, for actions as `action` says.

    random, random-smooth; constant:V,V (one number per action entry); weave or weave:AMPLITUDE,PERIOD_S[,REST...];
    brake; cloned:FOLDER or cloned:FOLDER@NOISE; driving:STYLE and push:STYLE for the scripted ones, which need ground
    truth and collect data only; seen:ENV:STYLE or seen:ENV:STYLE@CHECKPOINT for the same told what a world model sees,
    by default the shipped one of that env. Raises ValueError, with the nearest names, on any other.
    """
    kind, _, rest = name.partition(":")
    makers: dict[str, Callable[[], Policy]] = {
        "random": lambda: Random(action),
        "random-smooth": lambda: Random(action, smooth=True, dt_s=dt_s),
        "brake": lambda: brake(action),
        "constant": lambda: Constant(action, _numbers(name, rest)),
        "weave": lambda: _weave(name, rest, action, dt_s),
        "cloned": lambda: _cloned(name, rest, action),
        "seen": lambda: _seen(name, rest, action),
        **dict.fromkeys(SCRIPTED, lambda: _scripted(kind, rest)),
    }
    if kind not in makers or (rest and kind in ("random", "random-smooth", "brake")):
        raise ValueError(f"unknown policy {name!r}; {_nearest(name)}")
    return makers[kind]()


def _nearest(name: str) -> str:
    known = (*KNOWN, *(f"{env}:STYLE" for env in SCRIPTED))
    close = get_close_matches(name.partition(":")[0], [k.partition(":")[0] for k in known], n=3, cutoff=0.4)
    near = [k for k in known if k.partition(":")[0] in close]
    return (f"nearest: {', '.join(near)}; " if near else "") + f"known: {', '.join(known)}"


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(v) for v in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"policy {name!r} needs numbers apart by commas after the colon, e.g. constant:0,0.3"
        ) from error


def _weave(name: str, text: str, action: ActionSpec, dt_s: float) -> Weave:
    if not text:
        return Weave(action, dt_s=dt_s)
    numbers = _numbers(name, text)
    if len(numbers) < 2:
        raise ValueError(f"policy {name!r} needs an amplitude and a period in s, e.g. weave:0.3,3")
    return Weave(action, amplitude=numbers[0], period_s=numbers[1], rest=numbers[2:] or None, dt_s=dt_s)


def _cloned(name: str, text: str, action: ActionSpec) -> ClonedDriver:
    folder, at, noise = text.rpartition("@")
    try:
        driver = ClonedDriver.load(folder, noise=float(noise)) if at else ClonedDriver.load(text)
    except ValueError as error:
        raise ValueError(f"policy {name!r}: {error}") from error
    if driver.config.action != action:
        raise ValueError(f"policy {name!r} was trained for actions {driver.config.action}, the env takes {action}")
    return driver


def _seen(name: str, text: str, action: ActionSpec) -> Policy:
    told, _, checkpoint = text.partition("@")
    env, _, style = told.partition(":")
    if env not in SCRIPTED:
        raise ValueError(f"policy {name!r} needs a scripted one after the colon, e.g. seen:push:expert")
    try:
        policy = SeeingExpert(_scripted(env, style), checkpoint or env, name=name)
    except ValueError as error:
        raise ValueError(f"policy {name!r}: {error}") from error
    if policy.spec.action != action:
        raise ValueError(f"policy {name!r} sees by a world model of {policy.spec.action}, the env takes {action}")
    return policy


def _scripted(env: str, style: str) -> Policy:
    module, maker = SCRIPTED[env]
    return getattr(importlib.import_module(f"simworld.policies.{module}"), maker)(style)
