"""Who drives the ego: the log, a policy by name, or one action held for good."""

from __future__ import annotations

import difflib

from simworld.collect import resolve
from simworld.episode import ActionSpec
from simworld.policy import Policy

REGISTRY = "simworld.policies.registry:make_policy"
ACTIONS = {
    "brake": "constant:0,-1",
    "coast": "constant:0,0",
    "accelerate": "constant:0,1",
    "brake_left": "constant:0.4,-0.7",
    "brake_right": "constant:-0.4,-0.7",
    "left": "constant:0.4,0",
    "right": "constant:-0.4,0",
}


def make_driver(name: str, action: ActionSpec, dt_s: float) -> Policy:
    """The policy called `name`; ValueError, in one sentence, where there is none or it needs the true state."""
    policy: Policy = resolve(REGISTRY)(name, action, dt_s=dt_s)
    if policy.needs_state:
        raise ValueError(f"policy {name!r} needs the simulator's own state; choose one that drives by camera")
    return policy


def make_action(text: str, action: ActionSpec, dt_s: float) -> Policy:
    """One action held for good: a name, or steer and pedal as two numbers apart by a comma."""
    if text in ACTIONS:
        return make_driver(ACTIONS[text], action, dt_s)
    try:
        numbers = [float(v) for v in text.split(",")]
    except ValueError:
        near = difflib.get_close_matches(text, ACTIONS, n=3) or list(ACTIONS)
        raise ValueError(
            f"unknown action {text!r}; use {', '.join(near)} or two numbers, e.g. action=0.2,-0.5"
        ) from None
    return make_driver("constant:" + ",".join(f"{v:g}" for v in numbers), action, dt_s)
