"""Evaluate: the same policies from the same starts in a real env and in an imagined one, and a report on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from simworld.data import files
from simworld.episode import Episode, EpisodeSpec
from simworld.metrics.compare import Comparison, after_prefix, compare
from simworld.policy import Policy
from simworld.real_side import RealSide
from simworld.report import film
from simworld.report.page import FilmPair, Page, write_html
from simworld.report.runs import file_stem, load_run, run_path, save_run, without_frames
from simworld.report.tables import event_step, write_episodes_csv, write_json, write_policies_csv
from simworld.rollout import env_spec, rollout
from simworld.starts import Starts, find_starts, strays

REAL, IMAGINED = "real", "imagined"
STRIP_COLUMNS = 7


@dataclass(frozen=True)
class EvaluateConfig:
    """How long and how much.

    horizon       steps that a policy plays from each start
    prefix_steps  neutral actions after the real env's reset; their frames are what imagination starts from
    films         starts, from the first on, whose frames are kept for strips, films and PSNR
    workers       processes for the real env
    seed          of the bootstrap intervals
    """

    horizon: int = 100
    prefix_steps: int = 8
    films: int = 4
    workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.prefix_steps < 0 or self.films < 1 or self.workers < 1:
            raise ValueError(f"horizon, films and workers start at 1, prefix_steps at 0: {self}")


@dataclass(frozen=True)
class Progress:
    """What has been played, in episodes of both worlds, and the time to finish."""

    done: int
    total: int
    policy: str
    world: str
    left_s: float | None

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        return f"{self.done} of {self.total} episodes ({self.policy}, {self.world}){left}"


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` leaves: the comparison, all episodes (frames of the first starts only) and the files."""

    comparison: Comparison
    real: list[Episode] = field(repr=False)
    imagined: list[Episode] = field(repr=False)
    limits: tuple[str, ...]
    report: Path  # report.json
    page: Path  # report.html


def evaluate(
    *,
    real_env: Callable[[], gymnasium.Env],
    imagined: gymnasium.Env | VectorEnv,
    policies: Sequence[Policy],
    starts: Sequence[int],
    out: str | Path,
    config: EvaluateConfig | None = None,
    about: Mapping[str, str] | None = None,
    progress: Callable[[Progress], Any] | None = None,
) -> Evaluation:
    """Play every policy from every start in both worlds and write report.json, CSVs, films and report.html to `out`.

    `real_env` makes the real env; with several workers it must be picklable, e.g. functools.partial(gymnasium.make,
    id). A start is reset(seed) and `prefix_steps` neutral actions; `starts` are seeds that no training saw. `about`
    goes into the report, and, being part of what a run is, should name the checkpoint. Each policy's runs are kept
    under out/runs as soon as they are done and not played again.

    Raises ValueError where `out` holds another evaluation, where a policy needs ground truth, where two policies
    share a name, or where no start is left.
    """
    config, about, out = config or EvaluateConfig(), dict(about or {}), Path(out)
    spec = env_spec(imagined)
    _check(policies, starts, imagined)
    recipe: dict[str, Any] = {
        "env_id": spec.env_id,
        "starts": [int(s) for s in starts],
        "horizon": config.horizon,
        "prefix_steps": config.prefix_steps,
        "films": config.films,
        "about": about,
    }
    _claim(out, recipe)
    with RealSide(real_env, config.workers) as real_side:
        found = find_starts(
            real_side, spec, recipe["starts"], config.prefix_steps, path=out / "runs" / "starts.npz", key=recipe
        )
        clock = _Clock(2 * len(policies) * len(found.seeds), progress)
        session = _Session(real_side, imagined, found, out, recipe, config, clock)
        worlds: dict[str, list[Episode]] = {REAL: [], IMAGINED: []}
        for policy in policies:
            for world, episodes in worlds.items():
                episodes += session.run(policy, world)
    events = [o.name for o in spec.outcomes if o.kind == "event"]
    comparison = compare(worlds[REAL], worlds[IMAGINED], events=events, seed=config.seed)
    return _write(session, spec, comparison, worlds, events)


def how_it_ended(episode: Episode, events: Sequence[str], dt_s: float) -> str:
    """E.g. "collision at 2.3 s", "ended at 4.0 s" or "ran 10.0 s"."""
    steps = {e: event_step(episode, e) for e in events}
    said = [f"{e.replace('_', ' ')} at {(k + 1) * dt_s:.1f} s" for e, k in steps.items() if k is not None]
    if said:
        return ", ".join(said)
    return f"{'ended at' if episode.terminated.any() else 'ran'} {episode.num_steps * dt_s:.1f} s"


class _Clock:
    """Counts episodes and foretells the end from the pace of each world."""

    def __init__(self, total: int, progress: Callable[[Progress], Any] | None) -> None:
        self.total, self.progress = total, progress
        self.done = {REAL: 0, IMAGINED: 0}
        self.played = {REAL: 0, IMAGINED: 0}
        self.spent_s = {REAL: 0.0, IMAGINED: 0.0}

    def tick(self, policy: str, world: str, num: int, spent_s: float | None) -> None:
        """`num` more episodes are there; `spent_s` is None for those that were read from disk."""
        self.done[world] += num
        if spent_s is not None:
            self.played[world] += num
            self.spent_s[world] += spent_s
        if self.progress is not None:
            self.progress(Progress(sum(self.done.values()), self.total, policy, world, self._left_s()))

    def _left_s(self) -> float | None:
        paces = {w: self.spent_s[w] / n for w, n in self.played.items() if n}
        if not paces:
            return None
        slowest = max(paces.values())  # stands in for a world that has not been played yet
        return sum((self.total // 2 - n) * paces.get(w, slowest) for w, n in self.done.items())


@dataclass(frozen=True)
class _Session:
    """What all runs of one evaluation share."""

    real_side: RealSide
    imagined: gymnasium.Env | VectorEnv
    starts: Starts
    out: Path
    recipe: dict[str, Any]
    config: EvaluateConfig
    clock: _Clock

    def run(self, policy: Policy, world: str) -> list[Episode]:
        """The episodes of one policy in one world, read from disk or played and kept."""
        path = run_path(self.out, policy.name, world)
        key = {**self.recipe, "policy": policy.name, "fingerprint": getattr(policy, "fingerprint", ""), "world": world}
        kept = load_run(path, key)
        if kept is not None:
            self.clock.tick(policy.name, world, len(kept), None)
            return kept
        episodes: list[Episode] = []
        began = time.monotonic()
        for batch in self._batches(policy, world):
            episodes += batch
            self.clock.tick(policy.name, world, len(batch), time.monotonic() - began)
            began = time.monotonic()
        save_run(path, key, episodes)
        return episodes

    def _batches(self, policy: Policy, world: str) -> Iterator[list[Episode]]:
        starts, config = self.starts, self.config
        if world == REAL:
            yield from self.real_side.play(policy, starts.seeds, config.horizon, starts.actions, config.films)
            return
        num = self.imagined.num_envs if isinstance(self.imagined, VectorEnv) else 1
        for first in range(0, len(starts.seeds), num):
            chosen = slice(first, first + num)
            batch = rollout(
                self.imagined,
                policy,
                seeds=starts.seeds[chosen],
                max_steps=config.horizon,
                options=starts.options(chosen),
            )
            yield [e if first + i < config.films else without_frames(e) for i, e in enumerate(batch)]


def _check(policies: Sequence[Policy], starts: Sequence[int], imagined: gymnasium.Env | VectorEnv) -> None:
    if not policies or not starts:
        raise ValueError("an evaluation needs at least one policy and one start")
    names = [p.name for p in policies]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two policies are called {twice[0]!r}; give them names of their own")
    if len(set(starts)) < len(starts):
        raise ValueError("a start is given twice; all policies play each seed once")
    for policy in policies:
        if policy.needs_state:
            raise ValueError(
                f"policy {policy.name!r} needs ground truth, which imagination does not have; "
                "evaluate one that drives by camera"
            )


def _claim(out: Path, recipe: dict[str, Any]) -> None:
    """Mark the folder as this evaluation's; refuse one that belongs to another."""
    path = out / "runs" / "recipe.json"
    if path.exists():
        there = files.read_json(path)
        differ = sorted(k for k in recipe if there.get(k) != recipe[k])
        if differ:
            raise ValueError(f"{out} holds an evaluation with other {', '.join(differ)}; choose another folder")
    files.write_json(path, recipe)


def _limits(starts: Starts, real: Sequence[Episode], horizon: int) -> list[str]:
    limits = []
    if starts.dropped:
        limits.append(f"{len(starts.dropped)} starts ended before a policy took over and were left out.")
    if strays(starts, real):
        limits.append("The real env did not show the same frames again from the same seed, so starts only resemble.")
    short = sum(e.num_steps < horizon and not e.terminated.any() for e in map(after_prefix, real))
    if short:
        limits.append(
            f"{short} real runs were cut before the horizon of {horizon} steps by the env's own limit and count as "
            "survived; lower the horizon."
        )
    return limits


def _write(
    session: _Session, spec: EpisodeSpec, comparison: Comparison, worlds: dict[str, list[Episode]], events: list[str]
) -> Evaluation:
    """Leave report.json, the CSVs, strips and films as files, and the page."""
    out, recipe = session.out, session.recipe
    limits = (*_limits(session.starts, worlds[REAL], recipe["horizon"]), *comparison.limits)
    write_episodes_csv(out / "episodes.csv", worlds, events, spec.dt_s)
    write_policies_csv(out / "policies.csv", comparison)
    films = [
        _film(pair, f"{i:02d}", out, spec, events) for i, pair in enumerate(_first_pairs(session.starts, worlds), 1)
    ]
    num, seconds = len(session.starts.seeds), recipe["horizon"] * spec.dt_s
    facts = {
        "environment": spec.env_id,
        **recipe["about"],
        "runs": f"{len(comparison.policies)} policies from the same {num} starts in both worlds",
        "horizon": f"{recipe['horizon']} steps, {seconds:.1f} s",
    }
    page = Page(f"{spec.env_id}, imagined", facts, comparison, limits, films, spec.dt_s)
    write_html(out / "report.html", page)
    report = {
        "env_id": spec.env_id,
        "dt_s": spec.dt_s,
        **recipe,
        "dropped_starts": session.starts.dropped,
        "num_policies": len(comparison.policies),
        "limits": limits,
        "agreement": comparison.agreement,
        "policies": comparison.policies,
        "psnr": comparison.psnr,
    }
    write_json(out / "report.json", report)  # last: its presence says that all is there
    return Evaluation(
        comparison, worlds[REAL], worlds[IMAGINED], limits, report=out / "report.json", page=out / "report.html"
    )


def _first_pairs(starts: Starts, worlds: dict[str, list[Episode]]) -> list[tuple[Episode, Episode]]:
    """Each policy's real and imagined episode from the first start."""
    first = starts.seeds[0]
    real, imagined = (
        {e.provenance["policy"]: after_prefix(e) for e in worlds[w] if e.provenance["seed"] == first}
        for w in (REAL, IMAGINED)
    )
    return [(real[name], imagined[name]) for name in real]


def _film(pair: tuple[Episode, Episode], number: str, out: Path, spec: EpisodeSpec, events: Sequence[str]) -> FilmPair:
    """Strip and film of one start, written to out/films and returned for the page."""
    camera = next(iter(spec.cameras))
    real, imagined = (e.frames[camera] for e in pair)
    notes = tuple(how_it_ended(e, events, spec.dt_s) for e in pair)
    last = max(e.num_steps for e in pair)
    steps = sorted({round(last * i / (STRIP_COLUMNS - 1)) for i in range(STRIP_COLUMNS)})
    scale = max(1, 192 // real.shape[1])
    policy = pair[0].provenance["policy"]
    strip = film.png_bytes(film.strip(real, imagined, steps, dt_s=spec.dt_s, notes=(notes[0], notes[1]), scale=scale))
    stem = out / "films" / f"{number}-{file_stem(policy)}"
    files.write_bytes(stem.with_name(f"{stem.name}.png"), strip)
    mp4 = stem.with_name(f"{stem.name}.mp4")
    film.write_mp4(mp4, film.side_by_side(real, imagined, dt_s=spec.dt_s, scale=scale), dt_s=spec.dt_s)
    caption = f"real: {notes[0]}; imagined: {notes[1]}"
    return FilmPair(policy, caption, strip, mp4.read_bytes())
