"""Scripted pushers for simworld/Push-v0, from careful to careless; all but random and idle read the ground truth."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.policy import Observation

from .push_path import Circles, next_waypoint

# Where the env's info["state"] holds what is needed; its spec's state_names say the same.
TIP, GOAL, BLOCK = slice(0, 2), slice(10, 12), slice(4, 6)
TIP_RADIUS_M = 0.022
BLOCK_M = 0.09  # a block's usual width
SPEED_M = 0.02  # how far the tip goes in a step at full command


@dataclass(frozen=True)
class PushStyle:
    """How a pusher behaves.

    margin_m      room that it leaves to vessels; None: it does not see them
    noise         standard deviation of the smooth random velocity added to its command
    speed         share of the full speed that it uses
    target        "goal": pushes the block there; "elsewhere": pushes it to a point of its own; "vessel": runs into one
    """

    name: str
    margin_m: float | None = 0.015
    noise: float = 0.0
    speed: float = 1.0
    target: str = "goal"


STYLES = {
    style.name: style
    for style in (
        PushStyle("expert"),
        PushStyle("slow", speed=0.75, noise=0.1),
        PushStyle("noisy", noise=0.45),
        PushStyle("clumsy", margin_m=None, noise=0.15),
        PushStyle("careless", margin_m=-0.01, noise=0.3),
        PushStyle("astray", noise=0.2, target="elsewhere"),
        PushStyle("vandal", margin_m=None, noise=0.2, target="vessel"),
    )
}


def make_pusher(name: str) -> PushPolicy | RandomPusher | IdlePusher:
    """A pusher by name; ValueError, with the nearest names, on an unknown one."""
    if name in STYLES:
        return PushPolicy(STYLES[name])
    if name == "random":
        return RandomPusher()
    if name == "idle":
        return IdlePusher()
    known = (*STYLES, "random", "idle")
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.0)
    raise ValueError(f"unknown pusher {name!r}; nearest: {', '.join(near)} (of {', '.join(known)})")


class SmoothNoise:
    """Ornstein-Uhlenbeck noise (b, a) of standard deviation 1, remembered over `steps`; one stream per seed."""

    def __init__(self, seeds: NDArray[np.int64], size: int, steps: float, salt: int) -> None:
        self._rngs = [np.random.default_rng([int(seed), salt]) for seed in seeds]
        self._keep = float(np.exp(-1.0 / steps))
        self._value = np.stack([rng.normal(size=size) for rng in self._rngs])

    def next(self) -> NDArray[np.float64]:
        fresh = np.stack([rng.normal(size=self._value.shape[1]) for rng in self._rngs])
        self._value = self._keep * self._value + np.sqrt(1.0 - self._keep**2) * fresh
        return self._value


class PushPolicy:
    """Goes behind the block, as seen from where it should go, and pushes it there."""

    needs_state = True

    def __init__(self, style: PushStyle) -> None:
        self.name = style.name
        self.style = style
        self._noise = SmoothNoise(np.zeros(1, np.int64), 2, 5.0, salt=11)
        self._pushing = np.zeros(1, bool)
        self._elsewhere_m = np.zeros((1, 2))

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._noise = SmoothNoise(seeds, 2, 5.0, salt=11)
        self._pushing = np.zeros(len(seeds), bool)
        places = [np.random.default_rng([int(seed), 13]).uniform((0.33, -0.27), (0.65, 0.27)) for seed in seeds]
        self._elsewhere_m = np.stack(places)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        commands = np.stack([self._command(lane, info) for lane, info in enumerate(infos)])
        commands = self.style.speed * commands + self.style.noise * self._noise.next()
        return np.clip(commands, -1.0, 1.0).astype(np.float32)

    def _command(self, lane: int, info: dict[str, Any]) -> NDArray[np.float64]:
        """Wanted velocity (2,) of the tip over its full speed."""
        state = np.asarray(info["state"], np.float64)
        block, vessels = _apart(np.asarray(info["actors"], np.float64), state[BLOCK])
        if self.style.target == "vessel" and len(vessels):
            nearest = vessels[np.argmin(np.linalg.norm(vessels[:, 1:3] - state[TIP], axis=1)), 1:3]
            return _towards(nearest - state[TIP])
        goal = self._elsewhere_m[lane] if self.style.target == "elsewhere" else state[GOAL]
        scene = _Scene(state[TIP], block[1:3], goal, block[6] / 2, vessels, self.style.margin_m)
        way = scene.push_direction()
        self._pushing[lane] = scene.is_behind(way, slack=2.0 if self._pushing[lane] else 1.0)
        return scene.push(way) if self._pushing[lane] else scene.approach(way)


@dataclass(frozen=True)
class _Scene:
    """What a pusher looks at, in metres in the robot base frame; `vessels` (n, 9) are rows of actors."""

    tip: NDArray[np.float64]
    block: NDArray[np.float64]
    goal: NDArray[np.float64]
    half_m: float
    vessels: NDArray[np.float64]
    margin_m: float | None

    def vessels_around(self, radius_m: float) -> Circles:
        """The vessels, grown for a disc of this radius; none for a pusher that does not see them."""
        if self.margin_m is None:
            return Circles(np.zeros((0, 2)), np.zeros(0))
        return Circles(self.vessels[:, 1:3], self.vessels[:, 6] / 2 + radius_m + self.margin_m)

    def push_direction(self) -> NDArray[np.float64]:
        """Unit vector in which the block should go."""
        # Where the block is close to the edge of the reach there is no room for the tip behind it.
        edge_m = self.half_m + 2 * TIP_RADIUS_M
        circles = self.vessels_around(1.2 * self.half_m)
        way = next_waypoint(self.block, self.goal, circles, edge_m) - self.block
        return way / max(float(np.linalg.norm(way)), 1e-9)

    def is_behind(self, way: NDArray[np.float64], slack: float) -> bool:
        """Whether the tip is close behind the block; `slack` above 1 asks for less, once it pushes."""
        from_tip = self.block - self.tip
        ahead, beside = float(from_tip @ way), abs(float(from_tip @ _left(way)))
        reach = 1.45 * self.half_m + TIP_RADIUS_M
        return 0.0 < ahead < reach + 0.02 * slack and beside < 0.4 * slack * self.half_m

    def push(self, way: NDArray[np.float64]) -> NDArray[np.float64]:
        """Forward, while sliding sideways until the tip is exactly behind the block."""
        beside = float((self.block - self.tip) @ _left(way))
        slide = np.clip(25.0 * beside, -0.8, 0.8)
        left_m = float(np.linalg.norm(self.goal - self.block))
        speed = np.clip(left_m / 0.06, 0.5, 1.0)  # slower at the end, or a light block slides past
        return speed * way + slide * _left(way)

    def approach(self, way: NDArray[np.float64]) -> NDArray[np.float64]:
        """Around the block and the vessels to a point behind the block."""
        circles = self.vessels_around(TIP_RADIUS_M + 0.01)
        target = self.block - (1.35 * self.half_m + TIP_RADIUS_M + 0.012) * way
        keep_off = 1.3 * self.half_m + TIP_RADIUS_M
        around = Circles(np.vstack([circles.centre_m, self.block]), np.append(circles.radius_m, keep_off))
        return _towards(next_waypoint(self.tip, target, around) - self.tip)


def _apart(
    actors: NDArray[np.float64], block_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The block's row (9,) of those of actors (n, 9), which is the one at `block_m` (2,), and all others; a usual one
    stands there where nobody does."""
    there = actors[np.isfinite(actors[:, 1])]
    apart_m = np.linalg.norm(there[:, 1:3] - block_m, axis=1)
    if not len(there) or apart_m.min() > BLOCK_M:
        return np.array([0.0, *block_m, 0.0, 0.0, 0.0, BLOCK_M, BLOCK_M, 0.0]), there
    which = int(apart_m.argmin())
    return there[which], np.delete(there, which, axis=0)


def _towards(offset_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Full speed along an offset, less where it would be overshot within a step."""
    distance = max(float(np.linalg.norm(offset_m)), 1e-9)
    return offset_m / distance * min(1.0, distance / SPEED_M)


def _left(way: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([-way[1], way[0]])


class RandomPusher:
    """Smooth random velocities."""

    name = "random"
    needs_state = False

    def __init__(self) -> None:
        self._noise = SmoothNoise(np.zeros(1, np.int64), 2, 8.0, salt=12)

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._noise = SmoothNoise(seeds, 2, 8.0, salt=12)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        return np.clip(0.8 * self._noise.next(), -1.0, 1.0).astype(np.float32)


class IdlePusher:
    """Holds still."""

    name = "idle"
    needs_state = False

    def reset(self, seeds: NDArray[np.int64]) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        return np.zeros((len(infos), 2), np.float32)
