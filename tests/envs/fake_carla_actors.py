"""Actors of the fake carla package; getters answer from the last tick, as the client's do."""

import math
from types import SimpleNamespace

import numpy as np
from fake_carla_values import SIZES, Location, Rotation, Transform, Vector3D, VehicleControl, WalkerControl


class Actor:
    def __init__(self, server, blueprint, transform, parent):
        self.id, self.type_id, self.attributes = next(server.ids), blueprint.id, dict(blueprint.values)
        self.server, self.parent, self.is_alive = server, parent, True
        length, width, self.mass = SIZES.get(self.attributes.get("base_type"), (0.5, 0.6, 75.0))
        box = SimpleNamespace(x=length / 2, y=width / 2, z=0.75)
        self.bounding_box = SimpleNamespace(extent=box, location=Location())
        self.xy = np.array([transform.location.x, transform.location.y])
        self.yaw = transform.rotation.yaw
        self.speed, self.velocity, self.yaw_rate = 0.0, np.zeros(2), 0.0
        self.seen = (np.zeros(2), 0.0, np.zeros(2), 0.0)  # an actor has no place before its first tick

    def _alive(self):
        self.server.call("actor")
        if not self.is_alive:
            raise RuntimeError("trying to operate on a destroyed actor")

    def get_transform(self):
        return Transform(Location(*self.seen[0]), Rotation(yaw=self.seen[1]))

    def get_location(self):
        return self.get_transform().location

    def get_velocity(self):
        return Vector3D(*self.seen[2])

    def get_angular_velocity(self):
        return Vector3D(z=self.seen[3])

    def forward(self):
        return np.array([math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))])

    def see(self):
        self.seen = (self.xy.copy(), self.yaw, self.velocity.copy(), self.yaw_rate)


class Vehicle(Actor):
    control, autopilot, constant = VehicleControl(), False, None

    def apply_control(self, control):
        self._alive()
        self.control = control

    def set_autopilot(self, enabled=True, port=8000):
        self._alive()
        self.autopilot = enabled

    def enable_constant_velocity(self, velocity):
        self._alive()
        self.constant = velocity.x

    def set_target_velocity(self, velocity):
        self._alive()
        self.speed = math.hypot(velocity.x, velocity.y)

    def get_speed_limit(self):
        return 50.0

    def get_physics_control(self):
        self._alive()
        wheel = SimpleNamespace(max_steer_angle=70.0, position=Vector3D(140.0, 0.0))
        rear = SimpleNamespace(max_steer_angle=0.0, position=Vector3D(-140.0, 0.0))
        curve = [SimpleNamespace(x=0.0, y=1.0), SimpleNamespace(x=120.0, y=0.5)]
        return SimpleNamespace(mass=self.mass, wheels=[wheel, wheel, rear, rear], steering_curve=curve)

    def drive(self, dt):
        if self.autopilot:
            self.speed = 8.0
        elif self.constant is not None:
            self.speed = self.constant
        else:
            self.speed = max(self.speed + dt * (4.0 * self.control.throttle - 8.0 * self.control.brake), 0.0)
        share = float(np.interp(self.speed * 3.6, (0, 120), (1.0, 0.5)))
        angle = math.radians(70.0) * share * self.control.steer
        self.yaw_rate = math.degrees(self.speed * math.tan(angle) / 2.8)
        self.yaw += dt * self.yaw_rate
        self.velocity = self.speed * self.forward()
        self.xy = self.xy + dt * self.velocity


class Walker(Actor):
    control = WalkerControl(speed=0.0)

    def apply_control(self, control):
        self._alive()
        self.control = control

    def drive(self, dt):
        self.velocity = self.control.speed * np.array([self.control.direction.x, self.control.direction.y])
        self.xy = self.xy + dt * self.velocity


class Sensor(Actor):
    callback = None

    def listen(self, callback):
        self._alive()
        self.callback = callback

    def stop(self):
        self._alive()
        self.callback = None


class WalkerAIController(Actor):
    def start(self):
        self._alive()

    def stop(self):
        self._alive()

    def go_to_location(self, destination):
        self._alive()

    def set_max_speed(self, speed=1.4):
        self._alive()


KINDS = {"vehicle": Vehicle, "walker": Walker, "sensor": Sensor, "controller": WalkerAIController}
