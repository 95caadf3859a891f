"""Layout: everything about a tabletop scene that a seed decides, and the sentence that describes it."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Point = tuple[float, float]

MAX_VESSELS = 4
LINK_M = 0.45  # both links of the arm, as in scene.xml
TIP_RADIUS_M = 0.022
GOAL_RADIUS_M = 0.055
# Where the tip may go, in the robot base frame: all of it is within the arm's reach.
REACH_LOW_M = np.array([0.24, -0.36])
REACH_HIGH_M = np.array([0.74, 0.36])


@dataclass(frozen=True)
class Material:
    """What a block is made of; its mass follows from its volume. half_m is half of a typical edge."""

    name: str
    density_kgpm3: float
    half_m: float
    colour: Colour


# Densities of packing foam, oak and steel: at these sizes about 0.1, 0.6 and 2.9 kg.
MATERIALS = {
    "foam": Material("foam", 60.0, 0.058, (0.98, 0.88, 0.25)),
    "wood": Material("wood", 700.0, 0.047, (0.55, 0.32, 0.12)),
    "steel": Material("steel", 7850.0, 0.036, (0.2, 0.26, 0.36)),
}


@dataclass(frozen=True)
class Block:
    """The thing to push: `half_m` is half of its edge (or its radius) and half of its height."""

    material: str
    shape: str  # block or puck
    half_m: float
    position_m: Point
    heading_rad: float
    colour: Colour

    @property
    def mass_kg(self) -> float:
        area = 4.0 if self.shape == "block" else np.pi
        return float(MATERIALS[self.material].density_kgpm3 * 2 * area * self.half_m**3)


@dataclass(frozen=True)
class Vessel:
    """A fragile thing that stands in the way and must not be touched: a glass or a vase."""

    kind: str  # glass or vase
    radius_m: float
    half_height_m: float
    mass_kg: float
    position_m: Point
    colour: Colour


@dataclass(frozen=True)
class Light:
    """Ambient and lamp brightness from 0 to 1, the lamp's direction, its warmth and the table's colour."""

    ambient: float
    lamp: float
    direction: tuple[float, float, float]
    tint: Colour
    table: Colour
    sky: Colour


@dataclass(frozen=True)
class Layout:
    """One scene, positions in metres in the robot base frame."""

    block: Block
    vessels: tuple[Vessel, ...]
    goal_m: Point
    tip_m: Point
    light: Light


@dataclass(frozen=True)
class LayoutOptions:
    """What `reset(options=...)` may pin; None leaves it to the seed."""

    material: str | None = None
    shape: str | None = None
    num_vessels: int | None = None

    @classmethod
    def parse(cls, options: dict[str, Any] | None) -> LayoutOptions:
        """Raises ValueError, with one sentence, on unknown names or values."""
        options = dict(options or {})
        known = tuple(cls.__dataclass_fields__)
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown reset option {name!r}; did you mean {near!r} (of {', '.join(known)})")
        parsed = cls(**options)
        _expect_choice("material", parsed.material, tuple(MATERIALS))
        _expect_choice("shape", parsed.shape, ("block", "puck"))
        if parsed.num_vessels is not None and parsed.num_vessels not in range(MAX_VESSELS + 1):
            raise ValueError(f"num_vessels {parsed.num_vessels!r} is not a whole number from 0 to {MAX_VESSELS}")
        return parsed


def _expect_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown {name} {value!r}; did you mean {near!r} (of {', '.join(choices)})")


def sample_layout(rng: np.random.Generator, options: LayoutOptions) -> Layout:
    """Draw a scene: a block, a goal 0.18 to 0.4 m away, vessels mostly beside or on the straight way there."""
    material = MATERIALS[options.material or rng.choice(list(MATERIALS))]
    shape = options.shape or str(rng.choice(["block", "puck"]))
    half_m = material.half_m * rng.uniform(0.95, 1.05)
    start, goal = _sample_start_and_goal(rng, half_m)
    heading_rad = float(rng.uniform(-np.pi / 4, np.pi / 4))
    block = Block(material.name, shape, half_m, _point(start), heading_rad, _jitter(rng, material.colour, 0.06))
    tip = _sample_tip(rng, start, goal, half_m)
    count = options.num_vessels
    if count is None:
        count = int(rng.integers(1, MAX_VESSELS + 1))
    vessels = _sample_vessels(rng, count, start, goal, tip, half_m)
    return Layout(block, vessels, _point(goal), _point(tip), _sample_light(rng))


def _sample_start_and_goal(rng: np.random.Generator, half_m: float) -> tuple[NDArray[Any], NDArray[Any]]:
    # The tip must fit behind the block, so blocks keep away from the edge of the reach.
    margin = half_m + 2 * TIP_RADIUS_M + 0.01
    low, high = REACH_LOW_M + margin, REACH_HIGH_M - margin
    while True:
        start, goal = rng.uniform(low, high), rng.uniform(low, high)
        if 0.18 < np.linalg.norm(goal - start) < 0.4:
            return start, goal


def _sample_tip(rng: np.random.Generator, start: NDArray[Any], goal: NDArray[Any], half_m: float) -> NDArray[Any]:
    while True:
        tip = rng.uniform(REACH_LOW_M + 0.03, REACH_HIGH_M - 0.03)
        if 1.5 * half_m + 0.06 < np.linalg.norm(tip - start) < 0.35 and np.linalg.norm(tip - goal) > 0.08:
            return tip


def _sample_vessels(
    rng: np.random.Generator,
    count: int,
    start: NDArray[Any],
    goal: NDArray[Any],
    tip: NDArray[Any],
    half_m: float,
) -> tuple[Vessel, ...]:
    along = (goal - start) / np.linalg.norm(goal - start)
    across = np.array([-along[1], along[0]])
    vessels: list[Vessel] = []
    for _ in range(200 * count):
        if len(vessels) == count:
            break
        radius_m = rng.uniform(0.025, 0.031)
        if rng.random() < 0.65:
            where = start + rng.uniform(0.25, 0.8) * (goal - start) + rng.normal(0.0, 0.06) * across
        else:
            where = rng.uniform(REACH_LOW_M, REACH_HIGH_M)
        gaps = [
            np.linalg.norm(where - start) - 1.45 * half_m - 0.03,
            np.linalg.norm(where - goal) - 1.45 * half_m - 0.015,
            np.linalg.norm(where - tip) - TIP_RADIUS_M - 0.03,
            *(np.linalg.norm(where - v.position_m) - v.radius_m - 0.02 for v in vessels),
        ]
        if min(gaps) < radius_m:
            continue
        half_height_m = rng.uniform(0.05, 0.07)
        colour = _jitter(rng, [(0.85, 0.1, 0.25), (0.75, 0.15, 0.7), (0.1, 0.6, 0.85)][rng.integers(3)], 0.08)
        kind = str(rng.choice(["glass", "vase"]))
        vessels.append(Vessel(kind, radius_m, half_height_m, rng.uniform(0.12, 0.3), _point(where), colour))
    return tuple(vessels)


def _sample_light(rng: np.random.Generator) -> Light:
    slant, around = rng.uniform(0.1, 0.6), rng.uniform(0, 2 * np.pi)
    warmth = rng.uniform(-0.08, 0.08)
    table = [(0.78, 0.77, 0.74), (0.6, 0.64, 0.68), (0.74, 0.66, 0.54), (0.68, 0.72, 0.62)][rng.integers(4)]
    grey = rng.uniform(0.3, 0.65)
    return Light(
        ambient=rng.uniform(0.3, 0.45),
        lamp=rng.uniform(0.3, 0.6),
        direction=(float(slant * np.cos(around)), float(slant * np.sin(around)), -1.0),
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
        table=_jitter(rng, table, 0.05),
        sky=_jitter(rng, (grey, grey, grey * 1.05), 0.04),
    )


def _jitter(rng: np.random.Generator, colour: Colour, by: float) -> Colour:
    red, green, blue = np.clip(np.asarray(colour) + rng.uniform(-by, by, 3), 0.0, 1.0)
    return float(red), float(green), float(blue)


def _point(xy: NDArray[Any]) -> Point:
    return float(xy[0]), float(xy[1])


def describe(layout: Layout) -> str:
    """One sentence that is true of the scene, e.g. for a dataset's task column."""
    numbers = ("no", "one", "two", "three", "four")
    kinds = Counter(v.kind for v in layout.vessels)
    plural = {"glass": "glasses", "vase": "vases"}
    parts = [f"{numbers[n]} {kind if n == 1 else plural[kind]}" for kind, n in sorted(kinds.items())]
    past = f" past {' and '.join(parts)}" if parts else ""
    block = layout.block
    distance_cm = 100 * np.hypot(*np.subtract(layout.goal_m, block.position_m))
    return (
        f"A robot arm pushes a {block.mass_kg:.2g} kg {block.material} {block.shape} "
        f"to a green disc {distance_cm:.0f} cm away{past}."
    )
