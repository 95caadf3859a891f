"""The real side of an evaluation: one env in this process, or one in each of several workers."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from simworld.episode import Episode
from simworld.policy import Policy
from simworld.report.runs import without_frames
from simworld.rollout import rollout

EPISODES_A_TASK = 4
_env: gymnasium.Env | None = None  # a worker's own


class RealSide:
    """Plays policies in envs made by `make_env`; use it in a `with` statement, which closes them."""

    def __init__(self, make_env: Callable[[], gymnasium.Env], workers: int) -> None:
        self.make_env, self.workers = make_env, workers
        self._here: gymnasium.Env | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> RealSide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._here is not None:
            self._here.close()

    def play(
        self, policy: Policy, seeds: Sequence[int], max_steps: int, prefix: NDArray[np.float32], films: int
    ) -> Iterator[list[Episode]]:
        """Yield the episodes of all seeds, in order, some at a time; only the first `films` keep their frames.

        RuntimeError where a worker process dies.
        """
        tasks = [
            (policy, seeds[i : i + EPISODES_A_TASK], max_steps, prefix, max(0, films - i))
            for i in range(0, len(seeds), EPISODES_A_TASK)
        ]
        if self.workers == 1:
            if self._here is None:
                self._here = self.make_env()
            for task in tasks:
                yield _play(self._here, *task)
            return
        try:
            futures: list[Future[list[Episode]]] = [self._executor().submit(_play_in_worker, *t) for t in tasks]
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that plays the real env died (out of memory?); run again, what is done is kept"
            ) from error

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawn: a fork would share the parent's threads and graphics context.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_open, initargs=(self.make_env,))
        return self._pool


def _play(
    env: gymnasium.Env,
    policy: Policy,
    seeds: Sequence[int],
    max_steps: int,
    prefix: NDArray[np.float32],
    films: int,
) -> list[Episode]:
    episodes = rollout(env, policy, seeds=seeds, max_steps=max_steps, prefix_actions=prefix)
    return [e if i < films else without_frames(e) for i, e in enumerate(episodes)]


def _open(make_env: Callable[[], gymnasium.Env]) -> None:
    """Set up a worker: one thread, its own env, and an end of its own when the parent is gone."""
    global _env
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    _env = make_env()
    # Before the graphics libraries take themselves down at the interpreter's exit.
    multiprocessing.util.Finalize(None, _env.close, exitpriority=10)


def _leave_with(parent: int) -> None:
    # A killed parent closes nothing, and a worker that waits for tasks would wait for ever.
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _play_in_worker(
    policy: Policy, seeds: Sequence[int], max_steps: int, prefix: NDArray[np.float32], films: int
) -> list[Episode]:
    assert _env is not None
    return _play(_env, policy, seeds, max_steps, prefix, films)
