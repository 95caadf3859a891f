"""Fidelity of an imagined world as a function of two lists of episodes: how each policy fares in either.

Episodes are grouped by ``provenance["policy"]`` and paired by ``provenance["seed"]``. The forced steps at the start
(``provenance["prefix_steps"]``) belong to no policy and are left out of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simworld.episode import Episode
from simworld.metrics.statistics import (
    Estimate,
    RankStatistic,
    Rate,
    mean_estimate,
    mmrv,
    pearson,
    rate_difference,
    signed_bias,
    spearman,
    wilson,
)
from simworld.metrics.video import psnr

# What reviewers ask of a policy evaluation before its correlations are believed.
ENOUGH_POLICIES = 12
ENOUGH_EPISODES = 100
SUCCESS = "success"


@dataclass(frozen=True)
class RatePair:
    """One yes/no outcome of one policy in both worlds; `same_outcome` is the share of shared starts that agree."""

    real: Rate
    imagined: Rate
    bias: Estimate
    same_outcome: Rate


@dataclass(frozen=True)
class PolicyComparison:
    """One policy in both worlds. Returns are sums of reward, lengths are in steps."""

    policy: str
    num_real: int
    num_imagined: int
    rates: dict[str, RatePair]
    real_return: Estimate
    imagined_return: Estimate
    real_steps: Estimate
    imagined_steps: Estimate


@dataclass(frozen=True)
class Agreement:
    """How well one number per policy (a rate, or the return) in imagination tells the real one."""

    pearson: RankStatistic
    spearman: RankStatistic
    mmrv: RankStatistic
    bias: Estimate


@dataclass(frozen=True)
class AlignedPsnr:
    """PSNR while both worlds played the same actions: entry k is k + 1 steps ahead, over `num_pairs[k]` films."""

    psnr_db: tuple[float, ...]
    num_pairs: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds; `limits` says in plain sentences what the numbers can not carry."""

    policies: tuple[PolicyComparison, ...]
    agreement: dict[str, Agreement]
    psnr: AlignedPsnr
    limits: tuple[str, ...]


def compare(
    real: Sequence[Episode], imagined: Sequence[Episode], *, events: Sequence[str] | None = None, seed: int = 0
) -> Comparison:
    """Compare the same policies in two worlds.

    `events` names the yes/no outcomes to count; None takes every outcome whose real values are all 0 or 1.
    `seed` feeds the bootstraps. Raises ValueError where no policy has episodes in both worlds.
    """
    real, imagined = [after_prefix(e) for e in real], [after_prefix(e) for e in imagined]
    in_real, in_imagined = _by_policy(real), _by_policy(imagined)
    shared = [p for p in in_real if p in in_imagined]
    if not shared:
        raise ValueError(f"no policy was run in both worlds: {sorted(in_real)} in one, {sorted(in_imagined)} in other")
    pairs = {p: (in_real[p], in_imagined[p]) for p in shared}
    names = _event_names(real) if events is None else [e for e in events if e != SUCCESS]
    judges: dict[str, Callable[[Episode], float]] = {SUCCESS: lambda e: float(succeeded(e))}
    judges |= {name: _happened(name) for name in names}
    policies = tuple(_compare_policy(p, *pairs[p], judges) for p in shared)
    rng = np.random.default_rng(seed)
    agreement = {name: _agreement(pairs.values(), judge, rng) for name, judge in judges.items()}
    agreement["return"] = _agreement(pairs.values(), episode_return, rng)
    one_sided = sorted(set(in_real) ^ set(in_imagined))
    return Comparison(policies, agreement, _aligned_psnr(pairs.values()), _limits(policies, agreement, one_sided))


def after_prefix(episode: Episode) -> Episode:
    """The episode without its forced first steps; empty of steps if it ended inside them."""
    k = int(episode.provenance.get("prefix_steps", 0))
    if k == 0:
        return episode
    return replace(
        episode,
        frames={camera: f[k:] for camera, f in episode.frames.items()},
        actions=episode.actions[k:],
        reward=episode.reward[k:],
        terminated=episode.terminated[k:],
        outcomes={name: v[k:] for name, v in episode.outcomes.items()},
        state=episode.state[k:],
        actors=episode.actors[k:],
        provenance={**episode.provenance, "prefix_steps": 0},
    )


def succeeded(episode: Episode) -> bool:
    """True if the event "success" happened; where an env declares none, if nothing ended the episode early."""
    if SUCCESS in episode.outcomes:
        return bool(_happened(SUCCESS)(episode))
    return not bool(episode.terminated.any())


def happened(episode: Episode, event: str) -> bool:
    """True if the yes/no outcome `event` occurs at any step."""
    return bool(_happened(event)(episode))


def episode_return(episode: Episode) -> float:
    """Sum of the reward over the episode, not discounted."""
    return float(episode.reward.sum(dtype=np.float64))


def _happened(event: str) -> Callable[[Episode], float]:
    return lambda episode: float((np.nan_to_num(episode.outcomes[event]) > 0.5).any())


def _by_policy(episodes: Iterable[Episode]) -> dict[str, dict[int, Episode]]:
    """{policy: {start: episode}}, in order of first appearance."""
    found: dict[str, dict[int, Episode]] = {}
    for episode in episodes:
        runs = found.setdefault(str(episode.provenance.get("policy", "policy")), {})
        start = int(episode.provenance.get("seed", len(runs)))
        if start in runs:
            raise ValueError(f"policy {episode.provenance.get('policy')!r} has two episodes of seed {start}")
        runs[start] = episode
    return found


def _event_names(episodes: Iterable[Episode]) -> list[str]:
    values: dict[str, list[NDArray[np.float32]]] = {}
    for episode in episodes:
        for name, v in episode.outcomes.items():
            values.setdefault(name, []).append(v)
    yes_no = [n for n, v in values.items() if np.isin(np.concatenate(v), (0.0, 1.0)).all()]
    return [name for name in yes_no if name != SUCCESS]


def _compare_policy(
    name: str,
    real: dict[int, Episode],
    imagined: dict[int, Episode],
    judges: dict[str, Callable[[Episode], float]],
) -> PolicyComparison:
    shared = [s for s in real if s in imagined]
    rates = {}
    for outcome, judge in judges.items():
        a = wilson(sum(int(judge(e)) for e in real.values()), len(real))
        b = wilson(sum(int(judge(e)) for e in imagined.values()), len(imagined))
        same = wilson(sum(judge(real[s]) == judge(imagined[s]) for s in shared), len(shared))
        rates[outcome] = RatePair(a, b, rate_difference(a, b), same)
    return PolicyComparison(
        name,
        len(real),
        len(imagined),
        rates,
        mean_estimate([episode_return(e) for e in real.values()]),
        mean_estimate([episode_return(e) for e in imagined.values()]),
        mean_estimate([e.num_steps for e in real.values()]),
        mean_estimate([e.num_steps for e in imagined.values()]),
    )


def _agreement(
    pairs: Iterable[tuple[dict[int, Episode], dict[int, Episode]]],
    measure: Callable[[Episode], float],
    rng: np.random.Generator,
) -> Agreement:
    pairs = list(pairs)
    starts = {s: i for i, s in enumerate(sorted({s for pair in pairs for world in pair for s in world}))}
    tables = np.full((2, len(pairs), len(starts)), np.nan)
    for row, pair in enumerate(pairs):
        for world, runs in enumerate(pair):
            for start, episode in runs.items():
                tables[world, row, starts[start]] = measure(episode)
    real, imagined = np.nanmean(tables[0], axis=1), np.nanmean(tables[1], axis=1)
    return Agreement(
        pearson(real, imagined, rng=rng),
        spearman(real, imagined, rng=rng),
        mmrv(real, imagined, rng=rng),
        signed_bias(tables[0], tables[1], rng=rng),
    )


def _aligned_psnr(pairs: Iterable[tuple[dict[int, Episode], dict[int, Episode]]]) -> AlignedPsnr:
    """Mean over films and cameras of the PSNR of each step, as long as the two films had the same actions."""
    by_step: list[list[float]] = []
    for real, imagined in pairs:
        for start in real.keys() & imagined.keys():
            a, b = real[start], imagined[start]
            cameras = [c for c in a.frames if c in b.frames]
            steps = _steps_in_common(a.actions, b.actions)
            if not cameras or not steps:
                continue
            db = np.mean([psnr(a.frames[c][1 : steps + 1], b.frames[c][1 : steps + 1]) for c in cameras], axis=0)
            by_step += [[] for _ in range(steps - len(by_step))]
            for k in range(steps):
                by_step[k].append(float(db[k]))
    return AlignedPsnr(tuple(float(np.mean(v)) for v in by_step), tuple(len(v) for v in by_step))


def _steps_in_common(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    steps = min(len(a), len(b))
    differ = np.flatnonzero((np.abs(a[:steps] - b[:steps]) > 1e-6).any(axis=1))
    return int(differ[0]) if differ.size else steps


def _limits(
    policies: tuple[PolicyComparison, ...], agreement: dict[str, Agreement], one_sided: list[str]
) -> tuple[str, ...]:
    limits = []
    if len(policies) < ENOUGH_POLICIES:
        limits.append(
            f"Only {len(policies)} policies were compared; with fewer than {ENOUGH_POLICIES} independent ones a "
            "correlation can be luck, so read its interval, not its value."
        )
    fewest = min(min(p.num_real, p.num_imagined) for p in policies)
    if fewest < ENOUGH_EPISODES:
        half = wilson(fewest // 2, fewest)
        width = "" if half.high is None or half.low is None else f" (up to ±{50 * (half.high - half.low):.0f} points)"
        limits.append(
            f"A policy has as few as {fewest} episodes in a world; below {ENOUGH_EPISODES} the rates themselves "
            f"are uncertain{width}."
        )
    if one_sided:
        limits.append(f"Run in one world only, so left out: {', '.join(one_sided)}.")
    for name, found in agreement.items():
        if found.pearson.value is None:
            limits.append(f"No correlation of {name}: {found.pearson.reason}.")
    return tuple(limits)
