"""Odometry: how fast the ego goes, by what went by."""

from __future__ import annotations

import torch
from simworld.envs.driving.spec import mounts_of
from torch import Tensor

from simworld.model.carrying import Motion
from simworld.model.odometry import UNITS, Odometry
from simworld.scenario import BODIES

CAMERAS = {"front": (32, 32), "rear": (16, 32)}
MOUNTS = mounts_of(BODIES["car"], tuple(CAMERAS))
DT_S = 0.1


def odometry(width: int = 16) -> Odometry:
    torch.manual_seed(0)
    return Odometry(width, cameras=CAMERAS, mounts=MOUNTS, dt_s=DT_S)


def film(made: Odometry, ego: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """What cameras show of a ground of gentle waves by which the ego (b, 2) goes, the newest frame last."""
    waves = 0.3 * torch.randn(4, 2, generator=torch.Generator().manual_seed(seed))
    frames = {}
    for camera, (h, w) in CAMERAS.items():
        ground = made.carriers[camera].points[:2, : h * w].unflatten(1, (h, w))
        shown = []
        for ago in made.sees:
            motion = Motion.of(-ego[:, 0], -ego[:, 1], ago * DT_S)  # from where the ego was to where it is
            x, y = motion.before(ground[0].expand(len(ego), -1, -1), ground[1].expand(len(ego), -1, -1))
            light = sum(torch.sin(a * x + b * y) for a, b in waves)
            shown.append(torch.as_tensor(light)[..., None].expand(-1, -1, -1, 3))
        frames[camera] = (torch.stack(shown, dim=1) * 25 + 127).clamp(0, 255).to(torch.uint8)
    return frames


EGO = torch.tensor([[12.0, 0.1], [4.0, -0.2]])


def test_until_it_learns_all_is_as_it_was_thought() -> None:
    made = odometry()
    torch.testing.assert_close(made(film(made, EGO), EGO + 1.0), EGO + 1.0)


def test_nothing_on_the_ground_changes_where_the_motion_is_right() -> None:
    made = odometry()
    frames = film(made, EGO)
    near = (..., slice(18, 32), slice(8, 24))
    right, wrong = (made._changes("front", frames["front"], ego)[near].abs().mean() for ego in (EGO, EGO * 0.8))
    assert float(right) < 0.35 * float(wrong)


def test_it_learns_how_far_thought_is_off() -> None:
    made = odometry()
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)

    def drawn(seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        ego = torch.stack([3 + 10 * torch.rand(8, generator=generator), 0.1 * torch.randn(8, generator=generator)], -1)
        off = torch.tensor(UNITS) * torch.randn(8, 2, generator=generator)
        return film(made, ego, seed % 2), ego + off, ego

    for seed in range(120):
        optimiser.zero_grad()
        made.loss(*drawn(seed)).backward()
        optimiser.step()
    frames, thought, ego = drawn(1000)
    with torch.no_grad():
        before, after = ((x - ego)[:, 0].abs().mean() for x in (thought, made(frames, thought)))
    assert float(after) < 0.7 * float(before)


def test_one_camera_alone_tells_as_well() -> None:
    made = odometry()
    torch.nn.init.normal_(made.out.weight, std=0.1)
    frames = film(made, EGO)
    alone = made({"front": frames["front"]}, EGO)
    assert alone.shape == (2, 2) and not torch.allclose(alone, made(frames, EGO))
