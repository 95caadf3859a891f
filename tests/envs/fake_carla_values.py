"""Value types, map and blueprints of the fake carla package: one straight road along CARLA's x, two lanes each way."""

import math
from enum import IntFlag
from fnmatch import fnmatch

LANE_M = 3.5
LANES = {-1: 1.75, -2: 5.25, 1: -1.75, 2: -5.25}  # id -> y; negative ones lead along +x
ROAD_END_M = 2000.0
LEFT = {-2: -1, 2: 1, -1: 1, 1: -1}  # beyond the inner lanes lie the oncoming ones
RIGHT = {-1: -2, 1: 2}


class Vector3D:
    def __init__(self, x=0.0, y=0.0, z=0.0):
        self.x, self.y, self.z = float(x), float(y), float(z)


class Location(Vector3D):
    pass


class Rotation:
    def __init__(self, pitch=0.0, yaw=0.0, roll=0.0):
        self.pitch, self.yaw, self.roll = pitch, yaw, roll


class Transform:
    def __init__(self, location=None, rotation=None):
        self.location, self.rotation = location or Location(), rotation or Rotation()

    def get_forward_vector(self):
        yaw, pitch = math.radians(self.rotation.yaw), math.radians(self.rotation.pitch)
        return Vector3D(math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch))


class VehicleControl:
    def __init__(self, throttle=0.0, steer=0.0, brake=0.0):
        self.throttle, self.steer, self.brake = throttle, steer, brake


class WalkerControl:
    def __init__(self, direction=None, speed=0.0, jump=False):
        self.direction, self.speed, self.jump = direction or Vector3D(1.0), speed, jump


class WorldSettings:
    def __init__(self):
        self.synchronous_mode, self.fixed_delta_seconds, self.deterministic_ragdolls = False, None, False


class WeatherParameters:
    def __init__(self, **values):
        self.__dict__.update(values)


for _name, _sun in (("ClearNoon", 45.0), ("ClearSunset", 15.0), ("CloudyNoon", 45.0)):
    _fields = (
        "cloudiness precipitation precipitation_deposits wind_intensity sun_azimuth_angle fog_density "
        "fog_distance fog_falloff wetness scattering_intensity mie_scattering_scale rayleigh_scattering_scale"
    )
    setattr(WeatherParameters, _name, WeatherParameters(sun_altitude_angle=_sun, **dict.fromkeys(_fields.split(), 0.0)))


class LaneType(IntFlag):
    Driving = 2
    Shoulder = 4


class DestroyActor:
    def __init__(self, actor):
        self.actor = actor


class Waypoint:
    is_junction = False

    def __init__(self, x, lane_id):
        self.lane_id, self.lane_width, self.lane_type = lane_id, LANE_M, LaneType.Driving
        self.transform = Transform(Location(x, LANES[lane_id]), Rotation(yaw=0.0 if lane_id < 0 else 180.0))

    def _shifted(self, distance):
        x = self.transform.location.x + (distance if self.lane_id < 0 else -distance)
        return [Waypoint(x, self.lane_id)] if -ROAD_END_M < x < ROAD_END_M else []

    def next(self, distance):
        return self._shifted(distance)

    def previous(self, distance):
        return self._shifted(-distance)

    def get_left_lane(self):
        return Waypoint(self.transform.location.x, LEFT[self.lane_id])

    def get_right_lane(self):
        beyond = RIGHT.get(self.lane_id)
        return None if beyond is None else Waypoint(self.transform.location.x, beyond)


class Map:
    name = "Carla/Maps/Town01"

    def get_spawn_points(self):
        return [
            Transform(Location(x, LANES[lane], 0.3), Rotation(yaw=0.0 if lane < 0 else 180.0))
            for x in range(-100, 140, 20)
            for lane in LANES
        ]

    def get_waypoint(self, location, project_to_road=True, lane_type=LaneType.Driving):
        lane = min(LANES, key=lambda k: abs(LANES[k] - location.y))
        return Waypoint(location.x, lane)


class ActorAttribute:
    recommended_values = ["255,0,0", "0,0,255"]


class ActorBlueprint:
    def __init__(self, type_id, attributes=()):
        self.id, self.values = type_id, dict(attributes)

    def has_attribute(self, name):
        return name in self.values

    def set_attribute(self, name, value):
        if name not in self.values:
            raise IndexError(f"attribute '{name}' not found")
        assert isinstance(value, str)
        self.values[name] = value

    def get_attribute(self, name):
        assert name in self.values
        return ActorAttribute()


CAMERA = dict.fromkeys(("image_size_x", "image_size_y", "fov", "sensor_tick", "motion_blur_intensity"), "0")
SIZES = {"car": (4.5, 1.8, 1500.0), "truck": (9.0, 2.5, 16000.0), "bicycle": (1.8, 0.0, 90.0)}
BLUEPRINTS = {
    "vehicle.tesla.model3": {"base_type": "car", "number_of_wheels": "4", "role_name": "autopilot", "color": ""},
    "vehicle.carlamotors.carlacola": {"base_type": "truck", "number_of_wheels": "4", "role_name": "autopilot"},
    "vehicle.bh.crossbike": {"base_type": "bicycle", "number_of_wheels": "2", "role_name": "autopilot"},
    "walker.pedestrian.0001": {"is_invincible": "true"},
    "sensor.camera.rgb": CAMERA,
    "sensor.other.collision": {},
    "controller.ai.walker": {},
}


class BlueprintLibrary(list):
    def filter(self, pattern):
        return BlueprintLibrary(b for b in self if fnmatch(b.id, pattern))

    def find(self, type_id):
        return next(b for b in self if b.id == type_id)
