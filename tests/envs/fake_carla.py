"""A stand-in for the carla package and its server: the documented behaviour that the env relies on, without physics.

Getters answer from the last tick, as the client's do; a server that is `down` answers with the client's own
RuntimeError. Walls stand beyond |y| = 12 m.
"""

import itertools
import math
from fnmatch import fnmatch
from types import ModuleType, SimpleNamespace

import numpy as np
from fake_carla_actors import KINDS, Sensor, Vehicle, Walker
from fake_carla_values import (
    BLUEPRINTS,
    ActorBlueprint,
    BlueprintLibrary,
    DestroyActor,
    LaneType,
    Location,
    Map,
    Rotation,
    Transform,
    Vector3D,
    VehicleControl,
    WalkerControl,
    WeatherParameters,
    WorldSettings,
)

from simworld.metrics.boxes import boxes_overlap

WALL_Y_M = 12.0


class ActorList(list):
    def filter(self, pattern):
        return ActorList(a for a in self if fnmatch(a.type_id, pattern))


class TrafficManager:
    def __init__(self, server, port):
        self.server, self.port, self.synchronous, self.seed = server, port, False, None

    def get_port(self):
        return self.port

    def set_synchronous_mode(self, mode_switch=True):
        self.server.call("tm")
        self.synchronous = mode_switch

    def set_random_device_seed(self, value):
        self.server.call("tm")
        self.seed = value

    def vehicle_percentage_speed_difference(self, actor, percentage):
        actor._alive()

    def distance_to_leading_vehicle(self, actor, distance):
        actor._alive()

    def ignore_lights_percentage(self, actor, perc):
        actor._alive()

    def ignore_vehicles_percentage(self, actor, perc):
        actor._alive()


class World:
    def __init__(self, server):
        self.server = server

    def get_settings(self):
        self.server.call("get_settings")
        found = WorldSettings()
        found.__dict__.update(self.server.settings.__dict__)
        return found

    def apply_settings(self, world_settings):
        self.server.call("apply_settings")
        self.server.settings = world_settings
        return self.server.frame

    def get_weather(self):
        self.server.call("get_weather")
        return self.server.weather

    def set_weather(self, weather):
        self.server.call("set_weather")
        self.server.weather = weather

    def get_map(self):
        self.server.call("get_map")
        return Map()

    def get_blueprint_library(self):
        return BlueprintLibrary(ActorBlueprint(name, values) for name, values in BLUEPRINTS.items())

    def get_actors(self):
        return ActorList(self.server.actors)

    def set_pedestrians_seed(self, seed):
        self.server.call("set_pedestrians_seed")
        self.server.walker_rng = np.random.default_rng(seed)

    def set_pedestrians_cross_factor(self, percentage):
        self.server.call("set_pedestrians_cross_factor")

    def get_random_location_from_navigation(self):
        return Location(self.server.walker_rng.uniform(-100, 100), self.server.walker_rng.uniform(8, 10))

    def try_spawn_actor(self, blueprint, transform, attach_to=None):
        self.server.call("spawn")
        return self.server.spawn(blueprint, transform, attach_to)

    def tick(self, seconds=10.0):
        self.server.call("tick")
        assert self.server.settings.synchronous_mode, "a tick outside synchronous mode"
        return self.server.advance()


class FakeServer:
    """The simulation behind the client. `calls` counts requests; the `fail_at`-th of them raises `failure`."""

    def __init__(self):
        self.ids, self.frame, self.actors = itertools.count(10), 100, []
        self.settings, self.weather = WorldSettings(), WeatherParameters.ClearNoon
        self.managers, self.recordings, self.recording = {}, [], None
        self.walker_rng = np.random.default_rng()
        self.down, self.calls, self.fail_at, self.failure = False, 0, None, RuntimeError("boom")
        self.deliver = lambda callback, data: callback(data)

    def call(self, name):
        self.calls += 1
        if self.down:
            raise RuntimeError(
                "time-out of 20000ms while waiting for the simulator, "
                "make sure the simulator is ready and connected to localhost:2000"
            )
        if self.calls == self.fail_at:
            raise self.failure

    def spawn(self, blueprint, transform, parent):
        actor = KINDS[blueprint.id.split(".")[0]](self, blueprint, transform, parent)
        if isinstance(actor, Vehicle | Walker):
            for other in self.actors:
                if isinstance(other, Vehicle | Walker) and np.hypot(*(other.xy - actor.xy)) < 3.0:
                    return None
        self.actors.append(actor)
        return actor

    def destroy(self, actor):
        if actor in self.actors:
            self.actors.remove(actor)
        actor.is_alive = False

    def advance(self):
        self.frame += 1
        for actor in self.actors:
            if isinstance(actor, Vehicle | Walker):
                actor.drive(self.settings.fixed_delta_seconds)
                actor.see()
        for sensor in list(self.actors):
            if isinstance(sensor, Sensor) and sensor.callback:
                for data in self.sense(sensor):
                    self.deliver(sensor.callback, data)
        return self.frame

    def sense(self, sensor):
        ego = sensor.parent
        if sensor.type_id == "sensor.camera.rgb":
            h, w = int(sensor.attributes["image_size_y"]), int(sensor.attributes["image_size_x"])
            pixel = np.array([int(ego.xy[0] * 10) % 256, int(ego.xy[1] * 10) % 256, 200, 255], np.uint8)  # BGRA
            yield SimpleNamespace(frame=self.frame, width=w, height=h, raw_data=np.tile(pixel, h * w).tobytes())
            return
        if abs(ego.xy[1]) + 0.9 > WALL_Y_M:
            impulse = Vector3D(0.0, -ego.mass * abs(ego.velocity[1]) * np.sign(ego.xy[1]))
            wall = SimpleNamespace(id=0, type_id="static.wall", attributes={})
            yield SimpleNamespace(frame=self.frame, other_actor=wall, normal_impulse=impulse)
        for other in self.actors:
            if not isinstance(other, Vehicle | Walker) or other is ego:
                continue
            pose_a, pose_b = [*ego.xy, math.radians(ego.yaw)], [*other.xy, math.radians(other.yaw)]
            size_b = (other.bounding_box.extent.x * 2, max(other.bounding_box.extent.y * 2, 0.5))
            if boxes_overlap(pose_a, (4.5, 1.8), pose_b, size_b):
                yield SimpleNamespace(frame=self.frame, other_actor=other, normal_impulse=self.bump(ego, other))

    def bump(self, ego, other):
        """A plastic impact along the line of relative motion; later frames of the same contact merely press on."""
        closing = other.velocity - ego.velocity
        impulse = ego.mass * other.mass / (ego.mass + other.mass) * closing
        ego.speed = max(float((ego.velocity + impulse / ego.mass) @ ego.forward()), 0.0)
        if isinstance(other, Vehicle):
            other.constant = float((other.velocity - impulse / other.mass) @ other.forward())
        return Vector3D(*impulse)


def make_module(server):
    """A module that can stand in sys.modules["carla"]."""
    module = ModuleType("carla")
    for value in (Vector3D, Location, Rotation, Transform, VehicleControl, WalkerControl, WeatherParameters, LaneType):
        setattr(module, value.__name__, value)
    module.command = SimpleNamespace(DestroyActor=DestroyActor)

    class Client:
        def __init__(self, host, port):
            self.address = (host, port)

        def set_timeout(self, second):
            self.timeout_s = second

        def get_client_version(self):
            return "0.9.16"

        def get_server_version(self):
            server.call("get_server_version")
            return "0.9.16"

        def get_world(self):
            server.call("get_world")
            return World(server)

        def reload_world(self, reset_settings=True):
            server.call("reload_world")
            for actor in list(server.actors):
                server.destroy(actor)
            if reset_settings:
                server.settings = WorldSettings()
            return World(server)

        def load_world(self, map_name, reset_settings=True):
            server.loaded = map_name
            return self.reload_world(reset_settings)

        def get_trafficmanager(self, client_connection=8000):
            server.call("get_trafficmanager")
            return server.managers.setdefault(client_connection, TrafficManager(server, client_connection))

        def start_recorder(self, filename, additional_data=False):
            server.call("start_recorder")
            server.recording = filename

        def stop_recorder(self):
            server.call("stop_recorder")
            server.recordings.append(server.recording)
            server.recording = None

        def apply_batch_sync(self, commands, do_tick=False):
            server.call("apply_batch_sync")
            for command in commands:
                server.destroy(command.actor)

    module.Client = Client
    return module
