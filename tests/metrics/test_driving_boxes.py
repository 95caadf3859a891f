"""Overlap of oriented boxes against cases drawn on paper and against sampled points."""

import numpy as np

from simworld.metrics.boxes import boxes_overlap, to_world_frame

CAR = (4.0, 2.0)


def test_parallel_boxes_touch_at_the_sum_of_half_sizes():
    at = [[x, 0.0, 0.0] for x in (3.9, 4.0, 4.1)]
    assert boxes_overlap(np.zeros(3), CAR, at, CAR).tolist() == [True, True, False]
    beside = [[0.0, y, 0.0] for y in (-1.9, -2.1)]
    assert boxes_overlap(np.zeros(3), CAR, beside, CAR).tolist() == [True, False]


def test_a_turned_box_passes_where_its_bounding_box_would_not():
    # A square on its corner, sqrt(2) reach: the corner of the other box cuts past its slanted side.
    diamond = [2.2, 2.2, np.pi / 4]
    assert not boxes_overlap(np.zeros(3), (2.0, 2.0), diamond, (2.0, 2.0))
    assert boxes_overlap(np.zeros(3), (2.0, 2.0), [1.6, 1.6, np.pi / 4], (2.0, 2.0))


def test_nan_never_overlaps():
    assert not boxes_overlap(np.zeros(3), CAR, [np.nan] * 3, CAR)


def test_against_sampled_points():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-0.5, 0.5, 41)), -1).reshape(-1, 2)
    for _ in range(200):
        a, b = rng.uniform(-2, 2, (2, 3)) * [1.5, 1.5, 2]
        size_a, size_b = rng.uniform(0.5, 4, (2, 2))
        inside = to_world_frame(grid * size_b, b) - a[:2]
        cos, sin = np.cos(a[2]), np.sin(a[2])
        x, y = inside[:, 0] * cos + inside[:, 1] * sin, inside[:, 1] * cos - inside[:, 0] * sin
        if ((np.abs(x) <= size_a[0] / 2) & (np.abs(y) <= size_a[1] / 2)).any():
            assert boxes_overlap(a, size_a, b, size_b)
        elif not boxes_overlap(a, size_a * 0.9, b, size_b * 0.9):
            continue
        else:  # a grid point must fall in an overlap as deep as this one
            raise AssertionError("overlap without a common point")


def test_to_world_frame_turns_then_shifts():
    assert np.allclose(to_world_frame(np.array([2.0, 1.0]), np.array([10.0, 20.0, np.pi / 2])), [9.0, 22.0])
