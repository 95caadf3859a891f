"""The painter: its convolutions are convolutions, and untrained it takes the first carried picture nearly as it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.nets.painter import MatrixConv, Painter, PainterConfig

CAMERAS = {"front": (16, 24), "rear": (8, 16)}


def painter(**config: object) -> Painter:
    torch.manual_seed(0)
    return Painter(PainterConfig(condition=8, **config), carried=3, extra=2, cameras=CAMERAS)  # type: ignore[arg-type]


def read(net: Painter, camera: str) -> tuple[Tensor, ...]:
    h, w = CAMERAS[camera]
    p = net.config.patch
    carried, before = torch.rand(2, 3, 3, h, w) * 2 - 1, torch.rand(2, 3, h, w) * 2 - 1
    return carried, before, torch.zeros(2, 1, h, w), torch.randn(2, 2, h // p, w // p), torch.randn(2, 8)


def test_a_matrix_convolves() -> None:
    conv, x = MatrixConv(4), torch.randn(2, 4, 6, 5)
    kernel = conv.weight.view(4, 3, 3, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(conv(x), F.conv2d(x, kernel, conv.bias, padding=1))


@pytest.mark.parametrize(
    ("patch", "widths", "depths"), [(4, (8, 12), (1, 2)), (2, (8, 8, 8), (1, 2, 1)), (8, (8,), (2,))]
)
def test_any_number_of_levels(patch: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
    net = painter(patch=patch, widths=widths, depths=depths)
    assert len(net.blocks) == sum(depths) + sum(depths[:-1]) and net.config.multiple == patch * 2 ** (len(widths) - 1)
    for camera, (h, w) in CAMERAS.items():
        given = read(net, camera)
        out = net(camera, *given)
        assert out.picture.shape == out.fresh.shape == (2, 3, h, w) and out.noted.shape == (2, net.num_noted)
        assert (out.picture - given[0][:, 0]).abs().mean() < 0.15 * (given[0][:, 2] - given[0][:, 0]).abs().mean()


def test_every_weight_learns() -> None:
    net = painter(widths=(8, 12), depths=(1, 1))
    for block in net.blocks:
        torch.nn.init.normal_(block.second.weight.detach(), std=0.1)
    for camera in CAMERAS:
        out = net(camera, *read(net, camera))
        (out.picture.square().sum() + out.fresh.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(ValueError, match="even number"):
        PainterConfig(patch=3)
    with pytest.raises(ValueError, match="as many depths as widths"):
        PainterConfig(widths=(8,), depths=(1, 1))
