"""Episode: what one run of an environment, real or imagined, leaves behind."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simworld.shapes import expect

ACTOR_FIELDS = ("class", "x_m", "y_m", "heading_rad", "vx_mps", "vy_mps", "length_m", "width_m", "mass_kg")


class NotApplicable(float):
    """A NaN that equals itself, so that two equal infos compare equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotApplicable)

    def __hash__(self) -> int:
        return 0


NOT_APPLICABLE = NotApplicable("nan")  # what info["outcomes"] says of an outcome at a step where it means nothing


@dataclass(frozen=True)
class OutcomeSpec:
    """Something that an env declares it can cause at a step.

    kind ``event``: 0 or 1; ``scalar``: a number in `unit`; ``category``: an index into `categories`.
    A scalar or category with `given` describes that event and means nothing at steps without it
    (stored as NaN). `scale` is the size of a typical value, in `unit`, and only conditions training.
    """

    name: str
    kind: Literal["event", "scalar", "category"]
    unit: str = ""
    categories: tuple[str, ...] = ()
    given: str | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("event", "scalar", "category"):
            raise ValueError(f"outcome {self.name!r} has kind {self.kind!r}; use event, scalar or category")
        if self.kind == "category" and len(self.categories) < 2:
            raise ValueError(f"category outcome {self.name!r} needs at least two categories")


@dataclass(frozen=True)
class ActionSpec:
    """What an action is: ``continuous`` with bounds (a numbers), or ``discrete`` with n choices (1 index)."""

    kind: Literal["continuous", "discrete"]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    n: int = 0

    @property
    def size(self) -> int:
        """Entries of one action as episodes store it: len(low), or 1 for an index."""
        return len(self.low) if self.kind == "continuous" else 1


@dataclass(frozen=True)
class Mount:
    """Where a camera sits in the frame that actors are given in, and its vertical view.

    x ahead, y left, z up from the ground; heading counter-clockwise from ahead, pitch upwards.
    """

    x_m: float
    y_m: float
    z_m: float
    heading_rad: float
    pitch_rad: float
    vertical_fov_deg: float

    @property
    def half_height(self) -> float:
        """How high the upper half of the picture reaches, per unit of depth."""
        return math.tan(math.radians(self.vertical_fov_deg) / 2)


@dataclass(frozen=True)
class EpisodeSpec:
    """What all episodes of one store, and the world model trained on them, have in common.

    `mounts` of cameras that ride with the ego, where they are known.
    """

    env_id: str
    cameras: dict[str, tuple[int, int]]  # name -> (h, w) in pixels
    action: ActionSpec
    outcomes: tuple[OutcomeSpec, ...] = ()
    dt_s: float = 0.1
    state_names: tuple[str, ...] = ()
    state_units: tuple[str, ...] = ()
    mounts: dict[str, Mount] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> EpisodeSpec:
        """Inverse of `to_json`; raises ValueError on missing or foreign fields."""
        try:
            outcomes = tuple(OutcomeSpec(**_with_tuples(o)) for o in raw["outcomes"])
            return cls(
                env_id=raw["env_id"],
                cameras={name: (int(hw[0]), int(hw[1])) for name, hw in raw["cameras"].items()},
                action=ActionSpec(**_with_tuples(raw["action"])),
                outcomes=outcomes,
                dt_s=float(raw["dt_s"]),
                state_names=tuple(raw["state_names"]),
                state_units=tuple(raw["state_units"]),
                mounts={name: Mount(**mount) for name, mount in raw.get("mounts", {}).items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an episode spec: {error!r}") from error


def _with_tuples(raw: dict[str, Any]) -> dict[str, Any]:
    """Lists, which are all that JSON knows, as the tuples of a frozen dataclass."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}


@dataclass
class Episode:
    """t actions between t + 1 frames: action k carries frame k to frame k + 1.

    frames      {camera: uint8 (t+1, h, w, 3)}
    actions     float32 (t, a); a discrete action is its index, a = 1
    reward      float32 (t,)
    terminated  bool (t,); True at most once, at the last step (an episode that merely ran out has none)
    outcomes    {name: float32 (t,)}; NaN where the outcome does not apply
    state       float32 (t+1, s), ground truth for probes, never an input of the camera model
    actors      float32 (t+1, n, 9), ACTOR_FIELDS in the ego frame (x ahead, y left), NaN where absent
    """

    frames: dict[str, NDArray[np.uint8]]
    actions: NDArray[np.float32]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]
    state: NDArray[np.float32]
    actors: NDArray[np.float32]
    caption: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        return len(self.actions)

    def validate(self, spec: EpisodeSpec) -> None:
        """Raise ValueError, with one sentence, where this episode does not fit `spec`."""
        t = expect(self.actions, "t a", name="actions", a=spec.action.size)["t"]
        if t < 1:
            raise ValueError("an episode needs at least one step")
        if not np.isfinite(self.actions).all():
            raise ValueError("actions hold NaN or infinity")
        if not np.isfinite(self.reward).all():
            raise ValueError("reward holds NaN or infinity")
        if set(self.frames) != set(spec.cameras):
            raise ValueError(f"cameras {sorted(self.frames)} do not match the spec's {sorted(spec.cameras)}")
        for camera, (h, w) in spec.cameras.items():
            expect(self.frames[camera], "t h w 3", name=f"frames[{camera!r}]", t=t + 1, h=h, w=w)
            if self.frames[camera].dtype != np.uint8:
                raise ValueError(f"frames[{camera!r}] must be uint8, got {self.frames[camera].dtype}")
        expect(self.reward, "t", name="reward", t=t)
        expect(self.terminated, "t", name="terminated", t=t)
        if self.terminated[:-1].any():
            raise ValueError("terminated is set before the last step")
        if set(self.outcomes) != {o.name for o in spec.outcomes}:
            raise ValueError(f"outcomes {sorted(self.outcomes)} do not match the spec")
        for name, values in self.outcomes.items():
            expect(values, "t", name=f"outcomes[{name!r}]", t=t)
        expect(self.state, "t s", name="state", t=t + 1, s=len(spec.state_names))
        expect(self.actors, "t n 9", name="actors", t=t + 1)
