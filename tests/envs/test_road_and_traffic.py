"""A road's coordinates and curvature, and the car that follows another."""

import numpy as np
import pytest
from simworld.envs.driving.road import Polyline, make_line
from simworld.envs.driving.traffic import Idm


def test_road_coordinates_invert():
    line = make_line(np.random.default_rng(2), 1 / 90, 1500.0)
    s, d = np.linspace(30, 1400, 50), np.linspace(-9, 9, 50)
    found = line.project(line.point(s, d), s + 4.0)
    np.testing.assert_allclose(found.s_m, s, atol=0.05)
    np.testing.assert_allclose(found.d_m, d, atol=0.02)


def test_a_circle_has_its_curvature():
    angle = np.linspace(0.0, 2.0, 400)
    line = Polyline.from_points(np.stack([50 * np.cos(angle), 50 * np.sin(angle)], axis=1))
    np.testing.assert_allclose(line.curvature(np.arange(10.0, 90.0)), 1 / 50, rtol=0.02)


def test_idm_rests_at_its_equilibrium_gap():
    idm, speed, wanted = Idm(), 15.0, 25.0
    star = idm.min_gap_m + speed * idm.headway_s
    gap = star / np.sqrt(1.0 - (speed / wanted) ** 4)
    assert idm.accel(speed, wanted, gap, 0.0) == pytest.approx(0.0, abs=1e-9)
    assert idm.accel(speed, wanted, gap - 5.0, 0.0) < 0.0 < idm.accel(speed, wanted, gap + 5.0, 0.0)
