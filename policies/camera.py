"""Policies that see only what both worlds offer, the camera frames: simple ones, and a cloned driver."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from simworld.data import files
from simworld.episode import ActionSpec
from simworld.nets.convnet import ConvNet, ConvNetConfig
from simworld.policy import Observation

from .film import Film


class Constant:
    """The same action at every step; it must fit the spec."""

    needs_state = False

    def __init__(self, spec: ActionSpec, action: Sequence[float], name: str = "") -> None:
        self.action = _checked(spec, action)
        self.name = name or "constant:" + ",".join(f"{v:g}" for v in self.action)
        self._num = 0

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._num = len(seeds)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        return np.tile(self.action, (self._num, 1))


def brake(spec: ActionSpec) -> Constant:
    """Steers straight and brakes for good: the last action entry at its lower bound, the others at rest."""
    if spec.kind != "continuous":
        raise ValueError("the policy 'brake' needs a continuous action; choose 'constant:N' for a discrete one")
    return Constant(spec, [*_neutral(spec)[:-1], spec.low[-1]], "brake")


class Random:
    """Actions uniform between the bounds, anew at each step, or `smooth`: remembered over about `memory_s`."""

    needs_state = False

    def __init__(self, spec: ActionSpec, *, smooth: bool = False, memory_s: float = 0.5, dt_s: float = 0.1) -> None:
        self.spec, self.name = spec, "random-smooth" if smooth else "random"
        self._keep = float(np.exp(-dt_s / memory_s)) if smooth else 0.0
        self._rngs: list[np.random.Generator] = []
        self._drift = np.zeros((0, spec.size))

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._rngs = [np.random.default_rng([int(s), 0]) for s in seeds]
        self._drift = np.stack([rng.normal(size=self.spec.size) for rng in self._rngs])

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        if self.spec.kind == "discrete":
            return np.array([[rng.integers(self.spec.n)] for rng in self._rngs], np.float32)
        low, high = np.array(self.spec.low), np.array(self.spec.high)
        if self._keep == 0.0:
            return np.stack([rng.uniform(low, high) for rng in self._rngs]).astype(np.float32)
        fresh = np.stack([rng.normal(size=self.spec.size) for rng in self._rngs])
        self._drift = self._keep * self._drift + np.sqrt(1 - self._keep**2) * fresh
        # tanh spreads a normal variable about evenly between the bounds.
        return (low + (high - low) * (0.5 + 0.5 * np.tanh(self._drift))).astype(np.float32)


class Weave:
    """The first action entry swings as a sine, the others rest; `amplitude` is a share of its bound.

    `rest` sets the other entries, e.g. a little throttle.
    """

    needs_state = False

    def __init__(
        self,
        spec: ActionSpec,
        *,
        amplitude: float = 0.3,
        period_s: float = 3.0,
        rest: Sequence[float] | None = None,
        dt_s: float = 0.1,
    ) -> None:
        if spec.kind != "continuous":
            raise ValueError("the policy 'weave' needs a continuous action; choose 'random' for a discrete one")
        if not 0 < amplitude <= 1 or period_s <= 0:
            raise ValueError(f"weave needs 0 < amplitude <= 1 and a period above 0 s, got {amplitude} and {period_s}")
        self._base = _checked(spec, [_neutral(spec)[0], *(_neutral(spec)[1:] if rest is None else rest)])
        self._swing = amplitude * min(spec.high[0] - self._base[0], self._base[0] - spec.low[0])
        self._turn_rad = 2 * np.pi * dt_s / period_s
        self.name = f"weave:{amplitude:g},{period_s:g}"
        self._step, self._num = 0, 0

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._step, self._num = 0, len(seeds)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        actions = np.tile(self._base, (self._num, 1))
        actions[:, 0] += self._swing * np.sin(self._turn_rad * self._step)
        self._step += 1
        return actions


@dataclass(frozen=True)
class ClonedConfig:
    """What a cloned driver reads and says: the last `net.frames` frames of `camera`, each (h, w)."""

    camera: str
    size: tuple[int, int]
    action: ActionSpec
    net: ConvNetConfig


class ClonedDriver:
    """A small convnet over the last frames; what came before the first frame is taken to look like it.

    Continuous actions are the net's outputs scaled to the bounds, discrete ones its best choice. `noise` is the
    standard deviation of Gaussian noise, as a share of half the range, that makes a driver worse on purpose.
    """

    needs_state = False

    def __init__(self, config: ClonedConfig, net: ConvNet | None = None, *, name: str = "cloned", noise: float = 0.0):
        if noise < 0:
            raise ValueError(f"noise must be at least 0, got {noise}")
        self.config, self.net, self.name, self.noise = config, net or ConvNet(config.net), name, noise
        self.fingerprint = ""
        self._film = Film(self.cameras, config.net.frames, name)
        self._rngs: list[np.random.Generator] = []

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """The frames (h, w) that it drives by."""
        return {self.config.camera: self.config.size}

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self.net.eval()
        self._film.clear()
        self._rngs = [np.random.default_rng([int(s), 1]) for s in seeds]

    @torch.inference_mode()
    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        frames = self._film.add(observation)[self.config.camera]
        outputs = self.net(torch.from_numpy(frames)).double().numpy()
        spec = self.config.action
        if spec.kind == "discrete":
            return outputs.argmax(1)[:, None].astype(np.float32)
        if self.noise:
            outputs = outputs + self.noise * np.stack([rng.normal(size=spec.size) for rng in self._rngs])
        return from_unit(np.clip(outputs, -1.0, 1.0), spec)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors (half precision) to a folder."""
        folder = Path(folder)
        halves = {k: v.half() if v.is_floating_point() else v for k, v in self.net.state_dict().items()}
        files.write_bytes(folder / "model.safetensors", save_tensors({k: v.contiguous() for k, v in halves.items()}))
        files.write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: str | Path, *, noise: float = 0.0) -> ClonedDriver:
        """Read a saved driver; ValueError where there is none or it is damaged. Its name is the folder's."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} holds no cloned driver (config.json is missing); train one with simworld.clone")
        try:
            raw = json.loads((folder / "config.json").read_text())
            weights = (folder / "model.safetensors").read_bytes()
            low, high = (tuple(float(v) for v in raw["action"][bound]) for bound in ("low", "high"))
            action = ActionSpec(raw["action"]["kind"], low, high, int(raw["action"]["n"]))
            size = (int(raw["size"][0]), int(raw["size"][1]))
            config = ClonedConfig(raw["camera"], size, action, ConvNetConfig(**raw["net"]))
            driver = cls(config, name=folder.name + (f"@{noise:g}" if noise else ""), noise=noise)
            driver.net.load_state_dict({k: _single(v) for k, v in load_tensors(weights).items()})
        except (OSError, KeyError, TypeError, RuntimeError, json.JSONDecodeError, SafetensorError) as error:
            raise ValueError(f"the cloned driver in {folder} can not be read: {str(error).splitlines()[0]}") from error
        driver.fingerprint = hashlib.sha256(weights).hexdigest()[:16]
        return driver


def to_unit(actions: NDArray[np.floating], spec: ActionSpec) -> NDArray[np.float32]:
    """Continuous actions (n, a) between the spec's bounds -> [-1, 1]."""
    low, high = np.array(spec.low), np.array(spec.high)
    return (2.0 * (actions - low) / (high - low) - 1.0).astype(np.float32)


def from_unit(unit: NDArray[np.floating], spec: ActionSpec) -> NDArray[np.float32]:
    """Inverse of `to_unit`."""
    low, high = np.array(spec.low), np.array(spec.high)
    return (low + (high - low) * (0.5 * unit + 0.5)).astype(np.float32)


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _neutral(spec: ActionSpec) -> list[float]:
    """Zeros, moved into the bounds."""
    return [float(np.clip(0.0, a, b)) for a, b in zip(spec.low, spec.high, strict=True)]


def _checked(spec: ActionSpec, action: Sequence[float]) -> NDArray[np.float32]:
    if len(action) != spec.size:
        raise ValueError(f"an action here has {spec.size} entries, got {len(action)}: {list(action)}")
    values = np.array(action, np.float32)
    if spec.kind == "discrete":
        if not (0 <= values[0] < spec.n and values[0] == round(float(values[0]))):
            raise ValueError(f"a discrete action is an index from 0 to {spec.n - 1}, got {action[0]}")
    elif not ((values >= np.array(spec.low, np.float32)) & (values <= np.array(spec.high, np.float32))).all():
        raise ValueError(f"the action {list(action)} leaves its bounds {list(spec.low)} to {list(spec.high)}")
    return values
