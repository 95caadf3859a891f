"""Episodes as scenarios: the ego's way from its state, and actors told apart across frames."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec
from simworld.readers import read_scenario, scenario_from_episode
from simworld.readers.episode_reader import integrate

STEPS, DT = 40, 0.1


def spec(*names: str) -> EpisodeSpec:
    action = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
    return EpisodeSpec("x", {}, action, (OutcomeSpec("collision", "event"),), DT, names, ("",) * len(names))


def episode(state: np.ndarray, actors: np.ndarray) -> Episode:
    collision = np.zeros(STEPS, np.float32)
    collision[-1] = 1
    return Episode(
        frames={},
        actions=np.zeros((STEPS, 2), np.float32),
        reward=np.zeros(STEPS, np.float32),
        terminated=np.zeros(STEPS, bool),
        outcomes={"collision": collision},
        state=state.astype(np.float32),
        actors=actors.astype(np.float32),
    )


def circling() -> tuple[np.ndarray, np.ndarray]:
    """The ego on a circle of radius 20 m at 10 m/s, past a parked van and behind a car; rows swap half way."""
    t = np.arange(STEPS + 1) * DT
    heading = 0.5 * t
    pose = np.column_stack([20 * np.sin(heading), 20 * (1 - np.cos(heading)), heading])
    lead = np.column_stack([20 * np.sin(heading + 0.6), 20 * (1 - np.cos(heading + 0.6)), heading + 0.6])
    actors = np.full((STEPS + 1, 3, 9), np.nan)
    for k in range(STEPS + 1):
        rows = [(1, 30.0, 5.0, 1.0, 0.0, 5.5, 2.0, 2500.0), (0, *lead[k], 10.0, 4.5, 1.8, 1500.0)]
        for slot, (kind, x, y, h, v, length, width, mass) in zip(((0, 1) if k < 20 else (1, 0)), rows, strict=True):
            dx, dy, turn = x - pose[k, 0], y - pose[k, 1], pose[k, 2]
            cos, sin = math.cos(turn), math.sin(turn)
            actors[k, slot] = (
                *(kind, dx * cos + dy * sin, dy * cos - dx * sin, h - turn),
                *(v * math.cos(h - turn), v * math.sin(h - turn), length, width, mass),
            )
    return pose, actors


def test_poses_are_integrated_from_speed_and_yaw_rate() -> None:
    pose, actors = circling()
    state = np.tile([10.0, 0.5], (STEPS + 1, 1))
    scenario = scenario_from_episode(episode(state, actors), spec("speed_mps", "yaw_rate_radps"))
    track = scenario.actor("ego").track
    assert track is not None
    np.testing.assert_allclose(track.pose, pose, atol=1e-4)
    assert any(u.element == "ego pose" for u in scenario.unsupported)
    assert scenario.events[0].name == "collision" and scenario.events[0].t_s == pytest.approx(STEPS * DT)


def test_actors_keep_their_identity_through_a_swap_of_rows() -> None:
    pose, actors = circling()
    state = np.column_stack([pose, np.full(STEPS + 1, 10.0)])
    scenario = scenario_from_episode(episode(state, actors), spec("x_m", "y_m", "heading_rad", "speed_mps"))
    assert [a.kind for a in scenario.actors] == ["car", "van", "car"]
    van, lead = scenario.actors[1:]
    assert van.track is not None and lead.track is not None
    np.testing.assert_allclose(van.track.pose[:, :2], [[30, 5]] * (STEPS + 1), atol=1e-4)
    np.testing.assert_allclose(lead.track.speed_mps, 10, atol=1e-3)
    np.testing.assert_allclose(lead.track.pose[:, 0], 20 * np.sin(pose[:, 2] + 0.6), atol=1e-4)
    assert van.body.mass_kg == 2500


def test_an_actor_that_leaves_and_another_that_comes_are_two() -> None:
    pose, actors = circling()
    actors[10:14, :] = np.nan
    state = np.column_stack([pose, np.full(STEPS + 1, 10.0)])
    scenario = scenario_from_episode(episode(state, actors), spec("x_m", "y_m", "heading_rad", "speed_mps"))
    assert len(scenario.actors) == 5 and not scenario.actors[1].present(1.2)


def test_an_episode_of_a_store_by_its_number(tmp_path: Path) -> None:
    pose, actors = circling()
    described = spec("x_m", "y_m", "heading_rad", "speed_mps")
    one = episode(np.column_stack([pose, np.full(STEPS + 1, 10.0)]), actors)
    one = replace(one, frames={"front": np.zeros((STEPS + 1, 8, 8, 3), np.uint8)})
    store = EpisodeStore.create(tmp_path / "store", replace(described, cameras={"front": (8, 8)}))
    store.append(one)
    store.flush()
    scenario = read_scenario(f"{tmp_path / 'store'}#0")
    assert scenario.name == "store#0" and len(scenario.actors) == 3
    assert len(read_scenario(tmp_path / "store").actors) == 3
    with pytest.raises(ValueError, match="1 episodes, none with number 7"):
        read_scenario(f"{tmp_path / 'store'}#7")


def test_a_straight_line_integrates_exactly() -> None:
    np.testing.assert_allclose(integrate(np.full(11, 5.0), np.zeros(11), 0.2)[-1], [10, 0, 0])


def test_a_state_without_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="neither x_m"):
        scenario_from_episode(episode(np.zeros((STEPS + 1, 1)), circling()[1]), spec("gap_m"))
