"""Starts: the frames and actions from which every policy sets out, in the real world and in the imagined one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec, Episode, EpisodeSpec
from simworld.metrics.compare import after_prefix, happened
from simworld.real_side import RealSide
from simworld.report.runs import load_run, save_run, without_frames


@dataclass(frozen=True)
class Starts:
    """Where all policies start: seeds (n,), frames {camera: uint8 (n, k+1, h, w, 3)} and forced actions (k, a)."""

    seeds: tuple[int, ...]
    frames: dict[str, NDArray[np.uint8]]
    actions: NDArray[np.float32]
    dropped: tuple[int, ...] = ()

    def options(self, chosen: slice) -> list[dict[str, Any]]:
        """Reset options of an imagined env, one mapping per start."""
        return [
            {"frames": {c: f[i] for c, f in self.frames.items()}, "actions": self.actions}
            for i in range(*chosen.indices(len(self.seeds)))
        ]


def neutral_actions(action: ActionSpec, steps: int) -> NDArray[np.float32]:
    """Actions (steps, a) at rest: zeros, moved into the bounds; for a discrete action its first choice."""
    rest = np.zeros(action.size, np.float32)
    if action.kind == "continuous":
        rest = np.clip(rest, np.array(action.low, np.float32), np.array(action.high, np.float32))
    return np.tile(rest, (steps, 1))


def find_starts(
    real_side: RealSide, spec: EpisodeSpec, seeds: Sequence[int], prefix_steps: int, *, path: Path, key: dict[str, Any]
) -> Starts:
    """Reset the real env to each seed and let it run `prefix_steps` neutral steps.

    Starts that end, or see an event, on the way are dropped; ValueError if that leaves none. They are kept at `path`
    under `key` and not played again.
    """
    prefix = neutral_actions(spec.action, prefix_steps)
    episodes = load_run(path, key)
    if episodes is None:
        still = _Still(neutral_actions(spec.action, 1))
        played = [e for batch in real_side.play(still, seeds, 1, prefix, len(seeds)) for e in batch]
        episodes = [_first_steps(e, prefix_steps) for e in played]
        save_run(path, key, episodes)
    events = [o.name for o in spec.outcomes if o.kind == "event"]
    good = [
        e.num_steps == prefix_steps and not e.terminated.any() and not any(happened(e, name) for name in events)
        for e in episodes
    ]
    if not any(good):
        raise ValueError(f"all {len(seeds)} starts end within {prefix_steps} neutral steps; lower prefix_steps")
    chosen = [e for e, ok in zip(episodes, good, strict=True) if ok]
    return Starts(
        seeds=tuple(s for s, ok in zip(seeds, good, strict=True) if ok),
        frames={camera: np.stack([e.frames[camera] for e in chosen]) for camera in spec.cameras},
        actions=prefix,
        dropped=tuple(s for s, ok in zip(seeds, good, strict=True) if not ok),
    )


def _first_steps(episode: Episode, steps: int) -> Episode:
    """The episode up to its first `steps` actions, without state and actors."""
    cut = without_frames(episode)
    return replace(
        cut,
        frames={camera: f[: steps + 1] for camera, f in episode.frames.items()},
        actions=cut.actions[:steps],
        reward=cut.reward[:steps],
        terminated=cut.terminated[:steps],
        outcomes={name: v[:steps] for name, v in cut.outcomes.items()},
    )


class _Still:
    """Never moves; it only carries the env through a start."""

    name, needs_state = "still", False

    def __init__(self, action: NDArray[np.float32]) -> None:
        self.action, self._num = action, 0

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._num = len(seeds)

    def act(self, observation: Any, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        return np.repeat(self.action, self._num, axis=0)


def strays(starts: Starts, real: Sequence[Episode]) -> bool:
    """Whether a real run began from another frame than the imagined ones were given."""
    last = {seed: {c: f[i, -1] for c, f in starts.frames.items()} for i, seed in enumerate(starts.seeds)}
    return any(
        not np.array_equal(film[0], last[e.provenance["seed"]][camera])
        for e in map(after_prefix, real)
        for camera, film in e.frames.items()
    )
