"""Collisions, frames, lanes, steering and classes of simworld/Carla-v0, each against known answers."""

from types import SimpleNamespace

import fake_carla
import fake_carla_actors
import fake_carla_values
import numpy as np
import pytest
from simworld.envs.carla.collisions import CollisionLog, Motion
from simworld.envs.carla.config import CarlaConfig
from simworld.envs.carla.control import Steering, vehicle_control, wanted_curvature_1pm
from simworld.envs.carla.env import CarlaEnv
from simworld.envs.carla.frames import pose_of, to_ego_axes, transform_at
from simworld.envs.carla.kinds import Hull, hull_of, kind_of
from simworld.envs.carla.roads import place_on_road
from simworld.envs.carla.weather import weather_for
from simworld.envs.driving.env import DrivingEnv
from simworld.envs.driving.spec import SIDES

import simworld  # noqa: F401  registers the ids
from simworld.scenario import ACTOR_CLASSES

QUICK = {"timeout_s": 5.0, "settle_ticks": 3}
COAST, FULL, BRAKE = (np.array([0.0, p], np.float32) for p in (0.0, 1.0, -1.0))


def test_same_declarations_as_the_mujoco_env(fake_server):
    twin = DrivingEnv(cameras=("front", "rear"), size=(16, 24))
    env = CarlaEnv(cameras=("front", "rear"), size=(16, 24))
    assert env.observation_space == twin.observation_space and env.action_space == twin.action_space
    ours, theirs = env.episode_spec.to_json(), twin.episode_spec.to_json()
    assert ours.pop("env_id") != theirs.pop("env_id")
    assert ours == theirs
    twin.close()


def test_delta_v_is_impulse_over_mass(fake_server):
    with CarlaEnv(config=CarlaConfig(**QUICK)) as env:
        truck = {"kind": "truck", "ahead_m": 20.0}
        env.reset(seed=2, options={"ego_speed_mps": 12.0, "actors": [truck]})
        terminated = False
        while not terminated:
            *_, terminated, _, info = env.step(COAST)
        outcomes = info["outcomes"]
        assert outcomes["impulse"] == pytest.approx(1500 * outcomes["delta_v"])
        assert outcomes["delta_v"] == pytest.approx(12 * 16000 / 17500, rel=0.02)
        assert ACTOR_CLASSES[int(outcomes["partner"])] == "truck"


def test_a_lasting_contact_is_one_collision(fake_server):
    with CarlaEnv(config=CarlaConfig(**QUICK), aftermath_s=3.0) as env:
        env.reset(seed=2, options={"ego_speed_mps": 12.0, "actors": [{"kind": "truck", "ahead_m": 20.0}]})
        hits, terminated = [], False
        while not terminated:
            *_, terminated, _, info = env.step(FULL)
            hits.append(info["outcomes"]["collision"])
        assert sum(hits) == 1.0 and len(hits) - 1 - int(np.argmax(hits)) == 30


def test_walls_end_an_episode_and_are_static(fake_server):
    with CarlaEnv(config=CarlaConfig(**QUICK)) as env:
        env.reset(seed=2, options={"ego_speed_mps": 10.0, "num_actors": 0})
        seen = []
        for _ in range(80):
            *_, terminated, _, info = env.step(np.array([-0.6, 0.0], np.float32))
            seen.append(info["outcomes"])
            if terminated:
                break
        assert seen[-1]["off_road"] == 1.0 and sum(o["off_road"] for o in seen) == 1.0


def log_of(events):
    """A CollisionLog fed by hand."""
    sensor = SimpleNamespace(listen=lambda callback: [callback(e) for e in events])
    library = SimpleNamespace(find=lambda name: None)
    session = SimpleNamespace(
        config=CarlaConfig(),
        carla=fake_carla.make_module(fake_carla.FakeServer()),
        world=SimpleNamespace(get_blueprint_library=lambda: library),
        spawn=lambda *args, **kwargs: sensor,
    )
    return CollisionLog(session, SimpleNamespace(id=1), Hull("car", 4.5, 1.8, 1.5, 1500.0))


def event(frame, x, y, type_id="vehicle.a", actor_id=2):
    other = SimpleNamespace(id=actor_id, type_id=type_id, attributes={"base_type": "car"})
    return SimpleNamespace(frame=frame, other_actor=other, normal_impulse=SimpleNamespace(x=x, y=y, z=0.0))


def judged(log, ego=(10.0, 0.0), other=(0.0, 0.0)):
    return log.judge(Motion(0.0, {1: np.array(ego), 2: np.array(other)}))


def test_events_of_one_step_add_up_and_refire_only_after_a_second_apart():
    assert judged(log_of([event(10, -3000, 0), event(11, -1500, 0)]))["impulse"] == pytest.approx(4500)
    log = log_of([event(10, -3000, 0)])
    assert judged(log)["collision"] == 1.0
    log._events.put(event(30, -3000, 0))  # 20 frames of 0.05 s later: still the same
    assert judged(log)["collision"] == 0.0
    log._events.put(event(51, -3000, 0))
    assert judged(log)["collision"] == 1.0
    log._events.put(event(52, -1, 0, actor_id=3))
    assert judged(log)["collision"] == 1.0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("axis", "ego", "other", "side"),
    [
        ((1, 0), (10, 0), (5, 0), "front"),
        ((1, 0), (5, 0), (15, 0), "rear"),
        ((0, 1), (10, 0), (10, -3), "left"),
        ((0, 1), (10, 0), (10, 3), "right"),
        ((0.2, 1), (10, 2), (10, 0), "left"),
    ],
)
def test_the_side_does_not_hang_on_the_sign_of_the_impulse(axis, ego, other, side, sign):
    hit = event(1, sign * 1000 * axis[0], -sign * 1000 * axis[1])  # CARLA's y points right
    assert SIDES[int(judged(log_of([hit]), ego, other)["side"])] == side


def test_partner_classes():
    def actor(type_id, **attributes):
        return SimpleNamespace(type_id=type_id, attributes=attributes)

    assert kind_of(actor("vehicle.x", base_type="bicycle")) == "cyclist"
    assert kind_of(actor("vehicle.x", base_type="truck")) == "truck"
    assert kind_of(actor("vehicle.x", number_of_wheels="2")) == "motorcycle"
    assert kind_of(actor("vehicle.x")) == "car"
    assert kind_of(actor("walker.pedestrian.0001")) == "pedestrian"
    assert kind_of(actor("static.prop.bin")) == kind_of(actor("traffic.stop")) == kind_of(None) == "static"


def test_a_box_without_width_gets_a_typical_one(fake_server):
    blueprint = fake_carla_values.ActorBlueprint(
        "vehicle.bh.crossbike", fake_carla_values.BLUEPRINTS["vehicle.bh.crossbike"]
    )
    hull = hull_of(fake_server.spawn(blueprint, fake_carla_values.Transform(), None))
    assert (hull.kind, hull.length_m, hull.width_m, hull.mass_kg) == ("cyclist", 1.8, 0.6, 90.0)


def test_frames_are_mirrored_and_back():
    carla = fake_carla.make_module(fake_carla.FakeServer())
    pose = np.array([3.0, 4.0, 0.5])
    transform = transform_at(carla, pose, 1.0)
    assert (transform.location.y, transform.rotation.yaw) == (-4.0, pytest.approx(-np.rad2deg(0.5)))
    assert np.allclose(pose_of(transform), pose)
    assert np.allclose(to_ego_axes(np.array([0.0, 1.0]), np.pi / 2), [1.0, 0.0])


def place(y, yaw, carla=None):
    carla = carla or fake_carla.make_module(fake_carla.FakeServer())
    transform = fake_carla_values.Transform(fake_carla_values.Location(0.0, y), fake_carla_values.Rotation(yaw=yaw))
    return place_on_road(carla, fake_carla_values.Map(), transform, 10.0)


def test_place_on_the_fakes_road():
    outer = place(5.25 + 0.5, 10.0)  # in the right lane, half a metre to the right, nose to the right
    assert outer.lateral_m == pytest.approx(-0.5) and outer.heading_error_rad == pytest.approx(-np.deg2rad(10))
    assert (outer.lane_index, outer.num_lanes, outer.num_oncoming) == (0, 2, 2)
    assert (outer.to_right_edge_m, outer.to_left_edge_m) == (pytest.approx(1.25), pytest.approx(12.75))
    assert not outer.off_road and not outer.oncoming
    inner = place(1.75, 0.0)
    assert inner.lane_index == 1
    wrong = place(-1.75, 0.0)  # heading along the own lanes, but in the oncoming one
    assert wrong.oncoming and wrong.lateral_m == pytest.approx(3.5) and wrong.lane_index == 1
    assert abs(wrong.heading_error_rad) < 1e-9
    assert place(7.5, 0.0).off_road and place(-7.5, 180.0).off_road
    assert place(-5.25, 180.0).lane_index == 0


def test_steering_inverts_carlas_scaling():
    steering = Steering(2.8, np.deg2rad(70.0), ((0.0, 1.0), (120.0, 0.5)))
    for speed_mps, curvature in ((5.0, 0.1), (20.0, 0.01), (20.0, -0.01)):
        steer = steering.steer_for(curvature, speed_mps)
        angle = -steer * np.deg2rad(70.0) * np.interp(speed_mps * 3.6, (0, 120), (1.0, 0.5))
        assert np.tan(angle) / 2.8 == pytest.approx(curvature)
    assert steering.steer_for(9.0, 5.0) == -1.0
    assert wanted_curvature_1pm(1.0, 20.0) == pytest.approx(7 / 400)


def test_place_on_a_real_opendrive_map():
    """The carla package's own map engine needs no server: a left bend of radius 100 m, two lanes, one each way."""
    carla = pytest.importorskip("carla")
    lane = '<lane id="{}" type="driving" level="false"><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane>'
    xodr = f"""<?xml version="1.0"?><OpenDRIVE><header revMajor="1" revMinor="4" name="bend" version="1"/>
    <road name="r" length="150" id="0" junction="-1"><link/><planView>
    <geometry s="0" x="0" y="0" hdg="0" length="150"><arc curvature="0.01"/></geometry></planView>
    <lanes><laneSection s="0"><left>{lane.format(1)}</left><center><lane id="0" type="none" level="false"/></center>
    <right>{lane.format(-1)}</right></laneSection></lanes></road></OpenDRIVE>"""
    road_map = carla.Map("bend", xodr)
    # Right lane, on the circle of radius 101.75 m round (0, 100), after half a radian.
    pose = np.array([101.75 * np.sin(0.5), 100 - 101.75 * np.cos(0.5), 0.5])
    found = place_on_road(carla, road_map, transform_at(carla, pose, 0.0), 10.0)
    assert abs(found.lateral_m) < 0.05 and abs(found.heading_error_rad) < 0.02
    assert found.curvature_1pm == pytest.approx(1 / 101.75, rel=0.1)
    assert (found.num_lanes, found.num_oncoming) == (1, 1)
    assert found.to_left_edge_m == pytest.approx(5.25, abs=0.1) and found.to_right_edge_m == pytest.approx(
        1.75, abs=0.1
    )
    left = pose + np.array([-0.5 * np.sin(0.5), 0.5 * np.cos(0.5), 0.0])
    assert place_on_road(carla, road_map, transform_at(carla, left, 0.0), 10.0).lateral_m == pytest.approx(
        0.5, abs=0.05
    )


def test_the_real_package_has_all_that_the_fake_offers():
    carla = pytest.importorskip("carla")
    own = {"server", "forward", "see", "drive", "control", "autopilot", "constant", "callback"}
    offered = {
        fake_carla: ("TrafficManager", "World", "ActorList"),
        fake_carla_actors: ("Vehicle", "Walker", "Sensor", "WalkerAIController"),
        fake_carla_values: ("Map", "Waypoint", "Transform", "ActorBlueprint", "BlueprintLibrary"),
    }
    for module, names in offered.items():
        for name in names:
            members = {m for m in vars(getattr(module, name)) if not m.startswith("_")} - own
            assert members <= set(dir(getattr(carla, name))), name
    assert -1 <= vehicle_control(carla, Steering(2.8, 1.2, ((0.0, 1.0),)), 0.3, 0.5, 10.0).steer < 0
    assert weather_for(carla, "fog").fog_density == 60.0 and weather_for(carla, "daylight").fog_density < 5.0
    client = fake_carla.make_module(fake_carla.FakeServer()).Client
    assert {m for m in vars(client) if not m.startswith("_")} <= set(dir(carla.Client))
