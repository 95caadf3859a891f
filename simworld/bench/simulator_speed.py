"""Processes that step a real simulator as fast as they can, to time it on one core and on all."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import gymnasium

WARM_UP_STEPS = 5


class SimulatorWorkers:
    """`num` spawned processes with one env each, under random actions; they wait while not asked.

    `make` must be picklable. Use it as a context: leaving it ends the processes.
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]] | None, num: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for seed in range(num):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(make, seed, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> SimulatorWorkers:
        for pipe in self._pipes:
            _receive(pipe)  # ready
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()

    def frames_per_s(self, num: int, seconds: float) -> float:
        """Frames per second of the first `num` processes together, each running for `seconds`."""
        chosen = self._pipes[:num]
        for pipe in chosen:
            pipe.send(seconds)
        return sum(_receive(pipe) for pipe in chosen)


def _receive(pipe: Connection) -> float:
    try:
        return float(pipe.recv())
    except EOFError as error:
        raise RuntimeError("a simulator process ended early; its own message is above") from error


def _work(make: Callable[[], gymnasium.Env[Any, Any]], seed: int, pipe: Connection) -> None:
    """Answer each request of some seconds with the frames per second of `step` alone."""
    env = make()
    env.action_space.seed(seed)
    env.reset(seed=seed)
    _run(env, steps=WARM_UP_STEPS, seconds=0.0)
    try:
        pipe.send(0.0)
        while True:
            pipe.send(_run(env, steps=1, seconds=pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        env.close()


def _run(env: gymnasium.Env[Any, Any], *, steps: int, seconds: float) -> float:
    began, stepping, done = time.perf_counter(), 0.0, 0
    while done < steps or time.perf_counter() - began < seconds:
        action = env.action_space.sample()
        started = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        stepping += time.perf_counter() - started
        done += 1
        if terminated or truncated:
            env.reset()
    return done / stepping
