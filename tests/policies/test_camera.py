"""Camera policies and their registry: batched, seeded, inside the bounds, and the same after a save."""

import numpy as np
import pytest
import torch
from simworld.policies.camera import ClonedConfig, ClonedDriver, from_unit, to_unit
from simworld.policies.registry import make_policy

from simworld.episode import ActionSpec
from simworld.nets.convnet import ConvNetConfig

BOX = ActionSpec("continuous", (-1.0, 0.0), (1.0, 4.0))
CHOICE = ActionSpec("discrete", n=5)


def play(policy, seeds, steps=6, shape=(16, 16)):
    """Actions (steps, b, a) on frames of noise that depend on the seed and step alone."""
    policy.reset(np.array(seeds, np.int64))
    actions = []
    for k in range(steps):
        frames = np.stack([np.random.default_rng([s, k]).integers(0, 256, (*shape, 3), np.uint8) for s in seeds])
        actions.append(policy.act({"front": frames}, [{} for _ in seeds]))
    return np.stack(actions)


def driver(action=BOX, noise=0.0, frames=3):
    outputs = action.n if action.kind == "discrete" else action.size
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClonedDriver(
            ClonedConfig("front", (16, 16), action, ConvNetConfig(frames, outputs, width=32)), noise=noise
        )


@pytest.mark.parametrize("name", ["random", "random-smooth", "weave", "brake", "constant:0.5,2", "weave:0.5,2,1"])
@pytest.mark.parametrize("spec", [BOX, ActionSpec("continuous", (-2.0, -1.0), (2.0, 3.0))])
def test_batched_inside_bounds_and_a_function_of_the_seed(name, spec):
    policy = make_policy(name, spec)
    actions = play(policy, [3, 4, 3])
    assert actions.shape == (6, 3, 2) and actions.dtype == np.float32
    assert (actions >= np.float32(spec.low)).all() and (actions <= np.float32(spec.high)).all()
    assert (actions[:, 0] == actions[:, 2]).all()
    assert (play(policy, [3]) == actions[:, :1]).all()
    assert not policy.needs_state


def test_simple_policies_do_what_they_say():
    assert (play(make_policy("constant:0.5,2", BOX), [0]) == np.float32([0.5, 2])).all()
    assert (play(make_policy("brake", BOX), [0]) == np.float32([0, 0])).all()
    assert (play(make_policy("constant:3", CHOICE), [0]) == 3).all()
    weave = play(make_policy("weave:0.5,0.4,1", BOX, dt_s=0.1), [0], steps=5)[:, 0]
    assert weave[:, 0] == pytest.approx([0, 0.5, 0, -0.5, 0], abs=1e-6) and (weave[:, 1] == 1).all()
    indices = play(make_policy("random", CHOICE), range(20))
    assert set(np.unique(indices)) == {0, 1, 2, 3, 4}
    smooth, rough = (
        np.abs(np.diff(play(make_policy(n, BOX), [0], 50), axis=0)).mean() for n in ("random-smooth", "random")
    )
    assert smooth < 0.7 * rough


def test_unknown_and_malformed_names_are_explained():
    with pytest.raises(ValueError, match="nearest: weave"):
        make_policy("weav", BOX)
    with pytest.raises(ValueError, match="known: random"):
        make_policy("zzz", BOX)
    with pytest.raises(ValueError, match="numbers"):
        make_policy("constant:a,b", BOX)
    with pytest.raises(ValueError, match="2 entries"):
        make_policy("constant:1", BOX)
    with pytest.raises(ValueError, match="bounds"):
        make_policy("constant:9,0", BOX)
    with pytest.raises(ValueError, match="index from 0 to 4"):
        make_policy("constant:7", CHOICE)
    with pytest.raises(ValueError, match="continuous"):
        make_policy("weave", CHOICE)
    with pytest.raises(ValueError, match="no cloned driver"):
        make_policy("cloned:/nowhere", BOX)


def test_scripted_policies_are_found_by_name():
    assert make_policy("driving:expert", BOX).needs_state
    assert make_policy("push:expert", BOX).needs_state
    with pytest.raises(ValueError, match="unknown driver"):
        make_policy("driving:expertt", BOX)


def test_cloned_driver_sees_the_last_frames_only():
    policy = driver(frames=3)
    policy.reset(np.array([0]))
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (6, 1, 16, 16, 3), np.uint8)
    actions = [policy.act({"front": f}, [{}]) for f in film]
    policy.reset(np.array([0]))
    late = [policy.act({"front": f}, [{}]) for f in film[3:]]
    assert (late[2] == actions[5]).all() and not (late[0] == actions[3]).all()
    # The first frame stands for those before it.
    policy.reset(np.array([0]))
    padded = [policy.act({"front": f}, [{}]) for f in film[[3, 3, 3]]][-1]
    assert (padded == late[0]).all()


def test_cloned_driver_survives_saving(tmp_path):
    policy = driver()
    policy.save(tmp_path / "good")
    loaded = make_policy(f"cloned:{tmp_path / 'good'}", BOX)
    assert loaded.name == "good" and loaded.fingerprint
    assert play(loaded, [1, 2]) == pytest.approx(play(policy, [1, 2]), abs=0.02)  # half precision
    assert (play(loaded, [1, 2]) == play(ClonedDriver.load(tmp_path / "good"), [1, 2])).all()
    assert (tmp_path / "good" / "model.safetensors").stat().st_size < 300_000
    noisy = make_policy(f"cloned:{tmp_path / 'good'}@0.3", BOX)
    assert noisy.name == "good@0.3"
    assert (play(noisy, [1]) == play(noisy, [1])).all() and not (play(noisy, [1]) == play(loaded, [1])).all()
    with pytest.raises(ValueError, match="trained for actions"):
        make_policy(f"cloned:{tmp_path / 'good'}", CHOICE)
    (tmp_path / "good" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="can not be read"):
        ClonedDriver.load(tmp_path / "good")


def test_cloned_driver_chooses_an_index():
    actions = play(driver(CHOICE), [0, 1])
    assert actions.shape == (6, 2, 1) and set(np.unique(actions)) <= set(range(5))


def test_wrong_camera_or_size_is_explained():
    policy = driver()
    policy.reset(np.array([0]))
    with pytest.raises(ValueError, match="camera 'front'"):
        policy.act({"rear": np.zeros((1, 16, 16, 3), np.uint8)}, [{}])
    with pytest.raises(ValueError, match=r"frames of \(16, 16\)"):
        policy.act({"front": np.zeros((1, 8, 8, 3), np.uint8)}, [{}])


def test_unit_scale_is_inverted():
    actions = np.array([[-1.0, 0.0], [0.3, 4.0]])
    assert to_unit(actions, BOX) == pytest.approx(np.array([[-1, -1], [0.3, 1]]))
    assert from_unit(to_unit(actions, BOX), BOX) == pytest.approx(actions)
