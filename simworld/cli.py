"""The command line: `simworld COMMAND name=value ...`, with Hydra overrides over structured configs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from simworld import commands
from simworld.config import to_json
from simworld.recipe import TrainConfig

SHIPPED = ("driving", "push")  # env groups that have weights in simworld/pretrained
SIZES = ("S", "M", "L", "XL")  # choices of conf/size
_ENV = [{"env": "driving"}, "_self_"]


@dataclass
class CollectOptions:
    """Record episodes with a real env on all cores; run again to resume."""

    defaults: list[Any] = field(default_factory=lambda: list(_ENV))
    episodes: int = 420
    policy: str = "mix"
    seed: int = 0
    workers: int | None = None
    out: str | None = None


@dataclass
class TrainOptions:
    """Train a world model on a store; run again to resume, or under torchrun to share the work."""

    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"size": "S"}])
    data: str = MISSING
    out: str = MISSING
    starts: str | None = None
    model: str = "canvas"
    size: str = "S"
    wandb: bool = False
    train: dict[str, Any] = field(default_factory=lambda: to_json(TrainConfig()))


@dataclass
class CloneOptions:
    """Train camera drivers of different quality by cloning a store; `teacher`, e.g. driving:expert, relabels it."""

    data: str = MISSING
    out: str = MISSING
    seed: int = 0
    steps: int = 800
    teacher: str | None = None
    width: int = 48
    hidden: int = 64
    patch: int = 4


@dataclass
class EvaluateOptions:
    """Play the same policies from the same starts in the real and the imagined env, and compare."""

    defaults: list[Any] = field(default_factory=lambda: list(_ENV))
    checkpoint: str | None = None
    policies: list[str] | None = None
    drivers: str | None = None
    episodes: int = 100
    first_seed: int = 1_000_000
    horizon: int | None = None
    num_envs: int = 32
    sample_steps: int | None = None
    workers: int = 2
    out: str = "runs/evaluate"


@dataclass
class ReplayOptions:
    """Replay a file: scenario=FILE world=mujoco|imagined|carla ego=log|POLICY; what if: branch_at=2 action=brake."""

    scenario_file: str = ""  # given as scenario=FILE; conf/scenario makes `scenario` a group to Hydra
    world: str = "mujoco"
    ego: str = "log"
    out: str = "runs/replay"
    film: bool = True
    duration_s: float | None = None
    road_dirs: list[str] = field(default_factory=list)
    export: str | None = None
    branch_at: float | None = None
    action: str | None = None
    policy: str | None = None
    changes: list[str] = field(default_factory=list)  # actor.NAME.brake=6, as words of their own
    sweep: list[str] = field(default_factory=list)  # sweep.actor.NAME.brake=[2,4,6]
    checkpoint: str | None = None
    context: int = 8
    seed: int = 0


@dataclass
class BenchOptions:
    """Measure: `simworld bench [fidelity|speed|steps|endurance|outcomes|scale|branches]`, or all of them."""

    defaults: list[Any] = field(default_factory=lambda: list(_ENV))
    part: str = "all"
    checkpoint: str | None = None
    budget_min: float | None = None
    train_min: float | None = None
    data: str = "data/driving"
    heldout: str = "data/driving_heldout"
    reference: str | None = None
    num: int = 100
    compiled: bool = False
    out: str | None = None


@dataclass
class DemoOptions:
    """Policies judged in a world model and in real MuJoCo, side by side, on shipped weights, in minutes."""

    out: str = "runs/demo"
    episodes: int = 12


COMMANDS: dict[str, tuple[type, Callable[[dict[str, Any]], None]]] = {
    "collect": (CollectOptions, commands.collect),
    "train": (TrainOptions, commands.train),
    "clone": (CloneOptions, commands.clone),
    "evaluate": (EvaluateOptions, commands.evaluate),
    "replay": (ReplayOptions, commands.replay),
    "bench": (BenchOptions, commands.bench),
    "demo": (DemoOptions, commands.demo),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; what a user got wrong is one sentence on stderr and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    try:
        name, *overrides = words
        if name not in COMMANDS:
            raise ValueError(f"unknown command {name!r}; {commands.nearest(name, list(COMMANDS))}")
        if {"-h", "--help"} & set(overrides):
            print(_help(name))
            return
        options = parse(name, overrides)
        if options.pop("wandb", False):
            options["on_metrics"] = _wandb_logger(options)
        if name == "demo":
            options["envs"] = [parse("evaluate", [f"env={env}"])["env"] for env in SHIPPED]
        if name == "bench":
            options["sizes"] = {s: parse("train", [f"size={s}", "data=_", "out=_"])["train"]["latent"] for s in SIZES}
        COMMANDS[name][1](options)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, HydraException, OmegaConfBaseException, ImportError) as error:
        print(f"simworld: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def parse(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The options of a command as a plain dict, from Hydra overrides such as ``env=push train.seed=1``."""
    store = ConfigStore.instance()
    for command, (options, _) in COMMANDS.items():
        store.store(name=f"{command}_options", node=options)
    words = _replay_words(overrides) if name == "replay" else [w for word in overrides for w in _expanded(name, word)]
    with initialize_config_module("simworld.conf", version_base=None):
        config = compose(f"{name}_options", overrides=words)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _expanded(command: str, word: str) -> list[str]:
    """Short forms: ``env=gym:CarRacing-v3`` and ``bench speed``."""
    if word.startswith("env=gym:"):
        return ["env=gym", f"env.options.env_id={word.removeprefix('env=gym:')}"]
    if command == "bench" and "=" not in word:
        return [f"part={word}"]
    return [word]


_REPLAY_TEXTS = ("scenario_file", "world", "ego", "out", "export", "action", "policy", "checkpoint")


def _replay_words(overrides: Sequence[str]) -> list[str]:
    """Paths and policies quoted, since commas and brackets mean something to Hydra; changes and sweeps gathered."""
    words: list[str] = []
    lists: dict[str, list[str]] = {"changes": [], "sweep": []}
    for word in overrides:
        key, equals, value = word.partition("=")
        key = "scenario_file" if key == "scenario" else key
        if equals and key.startswith("actor."):
            lists["changes"].append(word)
        elif equals and key.startswith("sweep."):
            lists["sweep"].append(word.removeprefix("sweep."))
        elif equals and key in _REPLAY_TEXTS and value != "null" and value[:1] not in ("'", '"'):
            words.append(f"{key}={_quoted(value)}")
        else:
            words.append(f"{key}={value}" if equals else word)
    return words + [f"{key}=[{','.join(map(_quoted, texts))}]" for key, texts in lists.items() if texts]


def _quoted(text: str) -> str:
    """Backslashes mean themselves but before a quote."""
    return "'" + text.replace("'", "\\'") + "'"


def _overview() -> str:
    rows = "\n".join(f"  {name:<9} {options.__doc__}" for name, (options, _) in COMMANDS.items())
    return f"simworld COMMAND [name=value ...]\n\n{rows}\n\n`simworld COMMAND --help` lists a command's options."


def _help(name: str) -> str:
    """What the command does and all its options with their defaults, as YAML."""
    options = COMMANDS[name][0]
    with initialize_config_module("simworld.conf", version_base=None):
        ConfigStore.instance().store(name=f"{name}_options", node=options)
        config = compose(f"{name}_options")
    return (
        f"simworld {name} [name=value ...]\n\n{options.__doc__}\n\nOptions and defaults (??? must be given; "
        f"groups are changed by group=choice, fields by group.field=value):\n\n{OmegaConf.to_yaml(config)}"
    )


def _sentence(error: Exception) -> str:
    """The first paragraph of an error on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if isinstance(error, HydraException | OmegaConfBaseException) else " ".join(lines)


def _wandb_logger(options: dict[str, Any]) -> Callable[[dict[str, float]], None]:
    """Start a run, offline unless WANDB_MODE says otherwise, and return what logs to it."""
    os.environ.setdefault("WANDB_MODE", "offline")
    try:
        import wandb
    except ImportError as error:
        raise ValueError("wandb=true needs the wandb package: pip install 'simworld[wandb]'") from error
    folder = Path(options["out"])
    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(project="simworld", config=options, dir=str(folder))
    return functools.partial(run.log)


if __name__ == "__main__":
    main()
