"""Collect: records episodes on all cores, resumes where it stopped, and writes the same bytes for the same seed."""

from __future__ import annotations

import difflib
import importlib
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from simworld.data.files import locked, sweep
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec
from simworld.policy import Policy
from simworld.rollout import env_spec, rollout

MAX_TRIES = 2  # an episode that kills its worker this often is left out, and reported at the end
REPORT_EVERY_S = 5.0


class Plan(Protocol):
    """What ``plan(index, seed)`` returns: the recipe of one episode, a pure function of both."""

    @property
    def reset_seed(self) -> int: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def max_steps(self) -> int: ...


@dataclass(frozen=True)
class Collected:
    """What a store holds after collecting; p_event is the share of episodes in which an event happens."""

    path: Path
    num_episodes: int
    num_new: int
    num_steps: int
    p_event: dict[str, float]

    def __str__(self) -> str:
        events = "".join(f", {name} in {100 * p:.0f} %" for name, p in self.p_event.items())
        return f"{self.path}: {self.num_episodes} episodes ({self.num_new} new), {self.num_steps:,} steps{events}"


@dataclass(frozen=True)
class _Job:
    """All that a worker process needs to know."""

    make_env: str
    plan: str
    seed: int
    env_options: dict[str, Any]
    out: Path


def collect(
    *,
    make_env: str = "gymnasium:make",
    plan: str,
    out: Path,
    episodes: int,
    seed: int,
    workers: int | None = None,
    env_options: Mapping[str, Any],
    progress: Callable[[str], Any] = print,
) -> Collected:
    """Record episodes 0 to `episodes` - 1 into the store at `out`; those that it already holds are kept.

    `make_env` and `plan` are "module:function" names, resolved in each of `workers` processes (all cores by
    default): ``make_env(**env_options)`` returns an env, ``plan(index, seed)`` a `Plan`. Every episode starts
    from its own seed, so the files do not depend on how many workers ran or how often recording was stopped.

    Raises ValueError where the store was recorded with another recipe, or where an episode can not be recorded
    as asked; RuntimeError where an episode killed its worker. All other finished episodes are kept.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    job = _Job(make_env, plan, seed, _plain(env_options), Path(out))
    num_workers = workers or os.cpu_count() or 1
    with locked(
        job.out / ".lock", f"{job.out} is being recorded by another process; wait for it or choose another folder"
    ):
        sweep(job.out)
        store = _existing(job)
        num_before = len(store) if store else 0
        store = _Crew(job, store, progress).record(episodes, num_workers)
    result = summary(store, num_new=len(store) - num_before)
    progress(str(result))
    return result


def summary(store: EpisodeStore, num_new: int = 0) -> Collected:
    """Counts of a store's episodes, steps and events."""
    num = len(store)
    events = [o.name for o in store.spec.outcomes if o.kind == "event"]
    return Collected(
        path=store.path,
        num_episodes=num,
        num_new=num_new,
        num_steps=sum(store.num_steps(i) for i in range(num)),
        p_event={e: sum(store.has_event(i, e) for i in range(num)) / max(num, 1) for e in events},
    )


def resolve(name: str) -> Callable[..., Any]:
    """The function that "module:function" names; ValueError, with the nearest names, where there is none."""
    module_name, _, function = name.partition(":")
    if not function:
        raise ValueError(f"{name!r} is not of the form module:function")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name!r} can not be imported: {error}") from error
    if not callable(getattr(module, function, None)):
        near = difflib.get_close_matches(function, dir(module), n=3)
        raise ValueError(f"{module_name} has no function {function!r}; nearest: {', '.join(near) or 'none'}")
    return getattr(module, function)


class _Crew:
    """The parent's side: hands out episode numbers, commits what comes back in order, replaces the dead."""

    def __init__(self, job: _Job, store: EpisodeStore | None, progress: Callable[[str], Any]) -> None:
        self.job, self.store, self.progress = job, store, progress
        self.tries: dict[int, int] = {}
        self.todo: list[int] = []
        self.lost: list[int] = []
        self.processes: dict[Connection, SpawnProcess] = {}
        self.busy: dict[Connection, int] = {}

    def record(self, episodes: int, num_workers: int) -> EpisodeStore:
        start_s, steps, done, reported_s = time.monotonic(), 0, 0, time.monotonic()
        if self.store is not None:
            self._set_todo(self.store, episodes)
        try:
            for _ in range(min(num_workers, episodes if self.store is None else len(self.todo))):
                self._hire()
            while self.processes:
                for connection in wait(list(self.processes)):
                    message = self._receive(connection)  # type: ignore[arg-type]
                    if isinstance(message, EpisodeSpec):
                        self._accept(message, episodes)
                    elif isinstance(message, int):
                        steps, done = steps + message, done + 1
                    self._send_next(connection)  # type: ignore[arg-type]
                    if self.store is not None:
                        self.store.commit()
                if time.monotonic() - reported_s > REPORT_EVERY_S:
                    reported_s = time.monotonic()
                    self.progress(_line(done, len(self.todo) + len(self.busy), steps, reported_s - start_s))
        finally:
            self._dismiss()
            if self.store is not None:
                self.store.commit()
                self.store.flush()
        if self.lost:
            raise RuntimeError(
                f"episode {self.lost[0]} killed its worker {MAX_TRIES} times ({len(self.lost)} such in all); "
                "the others are kept: mend the cause and run the same command again"
            )
        return self._store()

    def _store(self) -> EpisodeStore:
        assert self.store is not None
        return self.store

    def _set_todo(self, store: EpisodeStore, episodes: int) -> None:
        store.commit()
        self.todo = [i for i in range(len(store), episodes) if not store.is_staged(i)]

    def _accept(self, spec: EpisodeSpec, episodes: int) -> None:
        """A worker is ready; the first one's spec begins the store."""
        if self.store is None:
            job = self.job
            self.store = EpisodeStore.create(job.out, spec, _recipe(job))
            self._set_todo(self.store, episodes)
        elif self.store.spec != spec:
            raise ValueError(
                f"the env now declares another spec than {self.store.path} was recorded with; choose another folder"
            )

    def _hire(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.job), daemon=True)
        with _one_thread_each():
            process.start()
        theirs.close()
        self.processes[ours] = process

    def _receive(self, connection: Connection) -> EpisodeSpec | int | None:
        """A spec (ready), a number of steps (an episode is staged), or None (the worker died and is replaced)."""
        try:
            message = connection.recv()
        except (EOFError, ConnectionError):
            self._bury(connection)
            return None
        self.busy.pop(connection, None)
        if isinstance(message, Exception):
            raise message
        return message

    def _bury(self, connection: Connection) -> None:
        process, index = self.processes.pop(connection), self.busy.pop(connection, None)
        connection.close()
        process.join()
        if index is None:
            raise RuntimeError(f"a worker died before its first episode (exit code {process.exitcode})")
        self.tries[index] = self.tries.get(index, 0) + 1
        if self.tries[index] < MAX_TRIES:
            self.todo.insert(0, index)
        else:
            self.lost.append(index)
        self.progress(f"the worker of episode {index} died (exit code {process.exitcode})")
        if self.todo:
            self._hire()

    def _send_next(self, connection: Connection) -> None:
        process = self.processes.get(connection)
        if process is None or connection in self.busy:
            return
        if self.todo:
            index = self.todo.pop(0)
            self.busy[connection] = index
            try:
                connection.send(index)
            except ConnectionError:
                self._bury(connection)
        else:
            del self.processes[connection]
            connection.close()  # the worker takes this for the end of its work
            process.join()

    def _dismiss(self) -> None:
        for connection, process in self.processes.items():
            connection.close()
            process.terminate()
        for process in self.processes.values():
            process.join()


def _work(connection: Connection, job: _Job) -> None:
    """A worker: one env, one episode after another, each staged in the store as soon as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and dismisses its workers
    index = None
    try:
        env, plan = resolve(job.make_env)(**job.env_options), resolve(job.plan)
        connection.send(env_spec(env))
        store = None
        while True:
            index = connection.recv()
            store = store or EpisodeStore(job.out)
            chosen: Plan = plan(index, job.seed)
            options = dict(chosen.options) or None
            episode = rollout(
                env, chosen.policy, seeds=[chosen.reset_seed], max_steps=chosen.max_steps, options=options
            )[0]
            store.stage(index, episode)
            connection.send(episode.num_steps)
    except (EOFError, ConnectionError):
        return  # the parent has no more work, or is gone
    except Exception as error:
        connection.send(_portable(error, index))


def _portable(error: Exception, index: int | None) -> Exception:
    """An error that survives the way to the parent: the sentence of one that has it, else the whole traceback."""
    where = "the env or plan can not be made" if index is None else f"episode {index} can not be recorded"
    if isinstance(error, ValueError | ImportError):
        return ValueError(f"{where}: {error}")
    if isinstance(error, OSError):
        return OSError(str(error))
    return RuntimeError(f"{where}:\n{''.join(traceback.format_exception(error))}")


def _existing(job: _Job) -> EpisodeStore | None:
    """The store at `out`, or None; ValueError where it was recorded with another recipe."""
    if not (job.out / "meta").exists():
        return None
    store = EpisodeStore(job.out)
    for key, value in _recipe(job).items():
        if store.recipe.get(key) != value:
            raise ValueError(
                f"{job.out} was recorded with {key} = {store.recipe.get(key)!r}, not {value!r}; "
                "choose another folder, or delete it to record anew"
            )
    return store


def _recipe(job: _Job) -> dict[str, Any]:
    return {"make_env": job.make_env, "plan": job.plan, "seed": job.seed, "env_options": job.env_options}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON holds it, so that it can be stored and compared."""
    try:
        return json.loads(json.dumps(dict(options)))
    except TypeError as error:
        raise ValueError(f"env_options must be numbers, words, lists and mappings: {error}") from error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """A worker per core leaves no core for numeric threads; a value the user has set stays."""
    name = "OMP_NUM_THREADS"
    was_set = name in os.environ
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if not was_set:
            del os.environ[name]


def _line(done: int, left: int, steps: int, elapsed_s: float) -> str:
    left_s = elapsed_s / max(done, 1) * left
    finish = f"{left_s / 60:.0f} min left" if left_s > 90 else f"{left_s:.0f} s left"
    return f"{done} of {done + left} episodes, {steps / elapsed_s:.0f} steps/s, {finish if done else 'starting'}"
