"""What each command of the command line does, from a plain dict of options."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simworld import bench as benches
from simworld import clone as cloning
from simworld.checkpoint import find_checkpoint
from simworld.collect import collect as record
from simworld.collect import resolve
from simworld.config import from_json
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec
from simworld.evaluate import EvaluateConfig
from simworld.evaluate import evaluate as judge
from simworld.imagine import WorldModelVectorEnv
from simworld.latent_world_model import LatentConfig
from simworld.policy import Policy
from simworld.recipe import TrainConfig
from simworld.replay import command as replays
from simworld.train import train as fit_model

Options = dict[str, Any]


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence about an unknown name."""
    near = difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(known)}"


def say(line: object) -> None:
    """Progress goes to the terminal at once."""
    print(line, flush=True)


def collect(options: Options) -> None:
    env = options["env"]
    if options["policy"] not in env["plans"]:
        known = list(env["plans"])
        raise ValueError(f"unknown policy {options['policy']!r} for collecting; {nearest(options['policy'], known)}")
    record(
        make_env=env["make"],
        plan=env["plans"][options["policy"]],
        out=Path(options["out"] or f"data/{env['name']}"),
        episodes=options["episodes"],
        seed=options["seed"],
        workers=options["workers"],
        env_options=env["options"],
        progress=say,
    )


def train(options: Options) -> None:
    if options["model"] != "latent" and options["size"] != "S":
        raise ValueError(f"size={options['size']} is a size of model=latent; change train.unet for the reference")
    config = from_json(TrainConfig, options["train"] | {"model": options["model"]}, where="train")
    folder = fit_model(
        config,
        data=Path(options["data"]),
        out=Path(options["out"]),
        starts=None if options["starts"] is None else Path(options["starts"]),
        report=say,
        on_metrics=options.get("on_metrics"),
    )
    say(f"the world model is in {folder}")


def clone(options: Options) -> None:
    cloning.clone_family(
        EpisodeStore(options["data"]),
        options["out"],
        seed=options["seed"],
        config=cloning.CloneConfig(**{key: options[key] for key in ("steps", "teacher", "width", "hidden", "patch")}),
        progress=say,
    )


def evaluate(options: Options) -> None:
    env = options["env"]
    checkpoint = find_checkpoint(options["checkpoint"] or env["name"])
    overrides = {} if options["sample_steps"] is None else {"sample_steps": options["sample_steps"]}
    imagined = WorldModelVectorEnv(options["num_envs"], checkpoint=checkpoint, overrides=overrides)
    names = list(options["policies"] or env["policies"])
    drivers = Path(options["drivers"]) if options["drivers"] else checkpoint / "drivers"
    if options["policies"] is None:
        names += [f"cloned:{folder.parent}" for folder in sorted(drivers.glob("*/config.json"))]
    policies = make_policies(names, imagined)
    if options["policies"] is None:
        policies = fitting(policies, imagined.episode_spec)
    first = options["first_seed"]
    result = judge(
        real_env=functools.partial(resolve(env["make"]), **env["options"]),
        imagined=imagined,
        policies=policies,
        starts=range(first, first + options["episodes"]),
        out=options["out"],
        config=EvaluateConfig(horizon=options["horizon"] or env["horizon"], workers=options["workers"]),
        about={"checkpoint": str(checkpoint), "env": env["name"]},
        progress=say,
    )
    say(f"report: {result.page}")


def make_policies(names: Sequence[str], imagined: WorldModelVectorEnv) -> list[Policy]:
    """Policies by name, for the actions of an imagined env."""
    make = resolve("simworld.policies.registry:make_policy")
    return [make(name, imagined.episode_spec.action, dt_s=imagined.episode_spec.dt_s) for name in names]


def fitting(policies: Sequence[Policy], spec: EpisodeSpec) -> list[Policy]:
    """Those that see by no other frames than an env of this spec gives; who is left out is told of."""
    kept = []
    for policy in policies:
        cameras: dict[str, tuple[int, int]] = getattr(policy, "cameras", {})
        if cameras.items() <= spec.cameras.items():
            kept.append(policy)
        else:
            say(f"{policy.name} is left out: it sees by {cameras}, and the env shows {spec.cameras}")
    return kept


def replay(options: Options) -> None:
    replays.run(options, say)


def bench(options: Options) -> None:
    env = options["env"]
    known = ["all", *benches.PARTS]
    if options["part"] not in known:
        raise ValueError(f"unknown bench {options['part']!r}; {nearest(options['part'], known)}")
    settings = benches.Settings(
        checkpoint=options["checkpoint"],
        budget_min=options["budget_min"],
        data=Path(options["data"]),
        heldout=Path(options["heldout"]),
        out=Path(options["out"] or "runs/bench"),
        make_policy=resolve("simworld.policies.registry:make_policy"),
        sizes={name: from_json(LatentConfig, raw, where=name) for name, raw in options["sizes"].items()},
        train_min=options["train_min"],
        simulator=benches.Simulator(env["make"], env["options"], env["plans"]),
        reference=options["reference"],
        report=say,
        num=options["num"],
        compiled=options["compiled"],
    )
    benches.run(options["part"], settings)


def demo(options: Options) -> None:
    """Every env that has shipped weights, with its own policies, through `evaluate`."""
    for env in options["envs"]:
        name = env["name"]
        say(f"{name}: the same policies from the same starts, in MuJoCo and in the world model")
        evaluate(
            {
                "env": env,
                "checkpoint": None,
                "policies": None,
                "drivers": None,
                "episodes": options["episodes"],
                "first_seed": 2_000_000,
                "horizon": None,
                "num_envs": options["episodes"],
                "sample_steps": None,
                "workers": os.cpu_count() or 1,
                "out": str(Path(options["out"]) / name),
            }
        )
