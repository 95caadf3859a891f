"""Behaviour cloning: trains camera drivers from recorded episodes, one of them or a family from bad to good."""

from __future__ import annotations

import importlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from simworld.data import files
from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec
from simworld.nets.convnet import ConvNet, ConvNetConfig

HELD_OUT_SHARE = 0.1
# The last teacher's labels, which the drivers of a family share: {store: ((teacher, episodes), labels)}.
_TAUGHT: dict[Path, tuple[tuple[str, int], NDArray[np.float32]]] = {}
Progress = Callable[[str], Any]


@dataclass(frozen=True)
class CloneConfig:
    """How one driver is trained; fewer episodes or steps, wrong labels and late labels make it worse.

    episodes      how many of the store's training episodes it sees; None: all
    behaviours    only episodes whose recorded policy's name starts with one of these; empty: all
    patch         pixels on a side of what is read at once: 2 finds small things better, and costs more
    wrong_labels  share of labels replaced by actions drawn uniformly
    late_steps    labels are what the expert did so many steps before: a driver that reacts late
    teacher       a scripted policy, e.g. "driving:cautious", that says what it would do at each recorded frame; its
                  labels replace the recorded actions, so that any driving, crashes included, teaches recovery
    """

    episodes: int | None = None
    behaviours: tuple[str, ...] = ()
    camera: str | None = None  # None: the first one
    frames: int = 3
    width: int = 48
    hidden: int = 64
    patch: Literal[2, 4] = 4
    steps: int = 800
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    wrong_labels: float = 0.0
    late_steps: int = 0
    teacher: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")
        if min(self.steps, self.batch, self.frames) < 1 or self.late_steps < 0 or not 0 <= self.wrong_labels <= 1:
            raise ValueError(f"steps, batch and frames start at 1, late_steps at 0, wrong_labels ends at 1: {self}")
        if self.patch not in (2, 4):
            raise ValueError(f"patch must be 2 or 4 pixels, got {self.patch}")


@dataclass(frozen=True)
class CloneResult:
    """A trained driver in `folder`, judged on episodes that no driver of this store was trained on.

    action_error is the mean absolute error of an action entry as a share of its range, or for discrete actions the
    share of wrong choices; still_error is that of always giving the expert's mean (most frequent) action.
    """

    folder: Path
    name: str
    action_error: float
    still_error: float
    num_episodes: int
    seconds: float


def clone(
    store: EpisodeStore,
    out: str | Path,
    *,
    config: CloneConfig | None = None,
    progress: Progress | None = None,
) -> CloneResult:
    """Train one driver from `store` and save it under the folder `out` (config.json, model.safetensors, clone.json).

    The same store and config give the same weights on the same machine. Raises ValueError where the store has fewer
    than two fitting episodes or not the camera.
    """
    config, started = config or CloneConfig(), time.monotonic()
    lesson = _lesson(store, config)
    driver = _new_driver(store, lesson, config)
    _train(driver.net, lesson, config, progress)
    driver.save(out)
    camera_policies = _camera_policies()
    error, still = _held_out_error(camera_policies.ClonedDriver.load(out).net, lesson)
    result = CloneResult(
        Path(out), Path(out).name, error, still, len(lesson.train_episodes), time.monotonic() - started
    )
    about = {"clone": asdict(config), **{k: v for k, v in asdict(result).items() if k != "folder"}}
    files.write_json(Path(out) / "clone.json", about)
    return result


def clone_family(
    store: EpisodeStore,
    out: str | Path,
    *,
    seed: int = 0,
    config: CloneConfig | None = None,
    progress: Progress | None = None,
) -> list[CloneResult]:
    """Train twelve independent drivers, each from its own start and episodes, from hardly to fully trained.

    They go to out/bc-01, out/bc-02 and so on; `config.steps` is what the best get. A folder that holds a driver of
    the same recipe is kept, so a family cut off half-way goes on where it stopped.
    """
    base = config or CloneConfig()
    results = []
    for i, recipe in enumerate(_family(base, seed)):
        folder = Path(out) / f"bc-{i + 1:02d}"
        kept = _kept(folder, recipe)
        result = kept or clone(store, folder, config=recipe, progress=progress)
        if progress is not None:
            progress(
                f"{result.name}: {result.num_episodes} episodes, {recipe.steps} steps, held-out action error "
                f"{result.action_error:.3f} (mean action {result.still_error:.3f}), {result.seconds:.0f} s"
            )
        results.append(result)
    return results


def _family(base: CloneConfig, seed: int) -> list[CloneConfig]:
    """Recipes from bad to good: (episodes, share of base.steps, wrong labels, late steps)."""
    ladder: list[tuple[int | None, float, float, int]] = [
        (2, 0.06, 0.0, 0),
        (6, 0.3, 0.7, 0),
        (10, 0.4, 0.0, 8),
        (8, 0.15, 0.0, 0),
        (20, 0.4, 0.4, 0),
        (12, 0.5, 0.0, 4),
        (25, 0.35, 0.0, 0),
        (60, 0.4, 0.25, 0),
        (60, 0.5, 0.0, 2),
        (120, 0.5, 0.0, 0),
        (400, 0.7, 0.0, 1),
        (None, 1.0, 0.0, 0),
    ]
    return [
        replace(
            base,
            episodes=episodes,
            steps=max(1, round(share * base.steps)),
            wrong_labels=wrong,
            late_steps=late,
            seed=seed * 1000 + i,
        )
        for i, (episodes, share, wrong, late) in enumerate(ladder)
    ]


def _kept(folder: Path, recipe: CloneConfig) -> CloneResult | None:
    """The result in `folder`, if it was made by this recipe."""
    if not (folder / "clone.json").is_file():
        return None
    about = files.read_json(folder / "clone.json")
    if about.pop("clone") != json.loads(json.dumps(asdict(recipe))):
        return None
    return CloneResult(folder=folder, **about)


@dataclass(frozen=True)
class _Lesson:
    """What a driver learns from: rows of the cache with their labels, and rows to judge it by."""

    cache: FrameCache
    camera: str
    action: ActionSpec
    train_episodes: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]  # (n, a), continuous ones scaled to [-1, 1]
    held_out_rows: NDArray[np.int64]
    held_out_labels: NDArray[np.float32]
    first_row_of: NDArray[np.int64]  # by row of the cache
    frames: int

    def stacks(self, rows: NDArray[np.int64]) -> Tensor:
        """uint8 (n, k, h, w, 3): the frames up to each row; before an episode's first frame, that frame."""
        back = np.arange(self.frames - 1, -1, -1)
        wanted = np.maximum(rows[:, None] - back, self.first_row_of[rows][:, None])
        return torch.from_numpy(np.ascontiguousarray(self.cache.frames[self.camera][wanted]))


def _lesson(store: EpisodeStore, config: CloneConfig) -> _Lesson:
    cache, spec = store.cache(), store.spec
    camera = config.camera or next(iter(spec.cameras))
    if camera not in spec.cameras:
        raise ValueError(f"the store has no camera {camera!r}; it has {', '.join(spec.cameras)}")
    fitting = np.array([i for i in range(len(store)) if _behaves(store, i, config.behaviours)], np.int64)
    if len(fitting) < 2:
        raise ValueError(f"{len(fitting)} episodes of {store.path} fit; cloning needs at least two, record more")
    # The last episodes are held out whatever the config, so that the drivers of a family are judged alike.
    num_held_out = max(1, round(HELD_OUT_SHARE * len(fitting)))
    train, held_out = fitting[:-num_held_out], fitting[-num_held_out:]
    rng = np.random.default_rng([config.seed, 1])
    train = np.sort(rng.permutation(train)[: config.episodes])
    labels = cache.actions if config.teacher is None else _taught(store, config.teacher)
    if spec.action.kind == "continuous":
        labels = _camera_policies().to_unit(labels, spec.action)
    rows = _rows(cache, train)
    first_row_of = np.repeat(cache.first_row, cache.num_steps + 1)
    late = np.maximum(rows - config.late_steps, first_row_of[rows])
    return _Lesson(
        cache=cache,
        camera=camera,
        action=spec.action,
        train_episodes=train,
        rows=rows,
        labels=_mislabelled(labels[late], spec.action, config.wrong_labels, rng),
        held_out_rows=_rows(cache, held_out),
        held_out_labels=labels[_rows(cache, held_out)],
        first_row_of=first_row_of,
        frames=config.frames,
    )


def _taught(store: EpisodeStore, teacher: str) -> NDArray[np.float32]:
    """What a scripted policy would do at every row of the store's cache, (F, a)."""
    key = (teacher, len(store))
    if store.path not in _TAUGHT or _TAUGHT[store.path][0] != key:
        cache, spec = store.cache(), store.spec
        if not spec.state_names:
            raise ValueError(f"{store.path} holds no state, which the teacher {teacher!r} reads; leave teacher away")
        make_policy = importlib.import_module("simworld.policies.registry").make_policy
        policy = make_policy(teacher, spec.action, dt_s=spec.dt_s)
        # Each frame is shown to a driver of its own, fresh from reset: what it says depends on the frame alone.
        policy.reset(np.arange(len(cache.state), dtype=np.int64))
        infos = [{"state": s, "actors": a} for s, a in zip(cache.state, cache.actors, strict=True)]
        _TAUGHT.clear()
        _TAUGHT[store.path] = key, policy.act({}, infos)
    return _TAUGHT[store.path][1]


def _behaves(store: EpisodeStore, index: int, behaviours: tuple[str, ...]) -> bool:
    if not behaviours:
        return True
    return str(store.provenance(index).get("policy", "")).startswith(behaviours)


def _rows(cache: FrameCache, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows at which an action was taken."""
    return np.concatenate([cache.first_row[e] + np.arange(cache.num_steps[e]) for e in episodes])


def _mislabelled(
    labels: NDArray[np.float32], action: ActionSpec, share: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """`labels` (n, a) with a share of them drawn at random."""
    wrong = rng.random(len(labels)) < share
    if action.kind == "discrete":
        drawn = rng.integers(action.n, size=labels.shape).astype(np.float32)
    else:
        drawn = rng.uniform(-1, 1, labels.shape).astype(np.float32)
    return np.where(wrong[:, None], drawn, labels)


def _new_driver(store: EpisodeStore, lesson: _Lesson, config: CloneConfig) -> Any:
    policies = _camera_policies()
    outputs = lesson.action.n if lesson.action.kind == "discrete" else lesson.action.size
    net = ConvNetConfig(config.frames, outputs, config.width, config.hidden, patch=config.patch)
    size = store.spec.cameras[lesson.camera]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return policies.ClonedDriver(policies.ClonedConfig(lesson.camera, size, lesson.action, net))


def _train(net: ConvNet, lesson: _Lesson, config: CloneConfig, progress: Progress | None) -> None:
    rng = np.random.default_rng([config.seed, 2])
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    net.train()
    started, said = time.monotonic(), time.monotonic()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            # Half a cosine after a short warm-up.
            warm, rest = min(1.0, (step + 1) / 20), 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
            group["lr"] = config.learning_rate * warm * rest
        pick = rng.integers(0, len(lesson.rows), config.batch)
        loss = _loss(net, lesson.stacks(lesson.rows[pick]), torch.from_numpy(lesson.labels[pick]), lesson.action)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None and time.monotonic() - said > 10:
            said = time.monotonic()
            left_s = (said - started) / (step + 1) * (config.steps - step - 1)
            progress(f"step {step + 1} of {config.steps}, loss {float(loss.detach()):.3f}, {left_s:.0f} s left")


def _loss(net: ConvNet, stacks: Tensor, labels: Tensor, action: ActionSpec) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net(stacks).float()
    if action.kind == "discrete":
        return F.cross_entropy(outputs, labels[:, 0].long())
    return F.smooth_l1_loss(outputs, labels, beta=0.1)


@torch.inference_mode()
def _held_out_error(net: ConvNet, lesson: _Lesson) -> tuple[float, float]:
    """(of the driver, of standing still at the mean action); at most 4096 rows are judged."""
    chosen = np.unique(np.linspace(0, len(lesson.held_out_rows) - 1, 4096).astype(int))
    rows, labels = lesson.held_out_rows[chosen], lesson.held_out_labels[chosen]
    net.eval()
    outputs = np.concatenate([net(lesson.stacks(rows[i : i + 256])).numpy() for i in range(0, len(rows), 256)])
    if lesson.action.kind == "discrete":
        most = np.bincount(lesson.labels[:, 0].astype(int)).argmax()
        return float((outputs.argmax(1) != labels[:, 0]).mean()), float((most != labels[:, 0]).mean())
    mean = lesson.labels.mean(0, keepdims=True)
    # Labels span [-1, 1], so half the difference is a share of the range.
    return float(np.abs(np.clip(outputs, -1, 1) - labels).mean() / 2), float(np.abs(mean - labels).mean() / 2)


def _camera_policies() -> Any:
    return importlib.import_module("simworld.policies.camera")
