"""The ego's cameras as CARLA RGB sensors, placed as in simworld/Driving-v0 and read in step with the simulation."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..driving.spec import mounts_of
from .frames import transform_at
from .kinds import Hull
from .session import Session

# What would make two frames differ for reasons other than the scene.
PLAIN = {"motion_blur_intensity": "0.0", "lens_flare_intensity": "0.0", "sensor_tick": "0.0"}


def horizontal_fov_deg(vertical_fov_deg: float, size: tuple[int, int]) -> float:
    """CARLA asks for the horizontal field of view; size (h, w)."""
    half = np.tan(np.deg2rad(vertical_fov_deg) / 2) * size[1] / size[0]
    return float(np.rad2deg(2 * np.arctan(half)))


class CameraRig:
    """RGB sensors on the ego; `read(frame)` returns the pictures of exactly that frame."""

    def __init__(self, session: Session, ego: Any, hull: Hull, sizes: dict[str, tuple[int, int]]) -> None:
        self._config = session.config
        self._sizes = sizes
        self._queues: dict[str, SimpleQueue[Any]] = {}
        for name, mount in mounts_of(hull, tuple(sizes)).items():
            size = sizes[name]
            blueprint = session.world.get_blueprint_library().find("sensor.camera.rgb")
            blueprint.set_attribute("image_size_x", str(size[1]))
            blueprint.set_attribute("image_size_y", str(size[0]))
            blueprint.set_attribute("fov", f"{horizontal_fov_deg(mount.vertical_fov_deg, size):.4f}")
            for key, value in PLAIN.items():
                if blueprint.has_attribute(key):
                    blueprint.set_attribute(key, value)
            pose = np.array([mount.x_m + hull.ahead_m, mount.y_m + hull.left_m, mount.heading_rad])
            transform = transform_at(session.carla, pose, mount.z_m, mount.pitch_rad)
            sensor = session.spawn(blueprint, transform, attach_to=ego)
            if sensor is None:
                raise RuntimeError(f"the CARLA server refused the {name} camera")
            self._queues[name] = SimpleQueue()
            sensor.listen(self._queues[name].put)

    def read(self, frame: int) -> dict[str, NDArray[np.uint8]]:
        """{camera: uint8 (h, w, 3)} of simulation frame `frame`; pictures of earlier frames are dropped."""
        return {name: self._rgb(name, self._await(name, queue, frame)) for name, queue in self._queues.items()}

    def _await(self, name: str, queue: SimpleQueue[Any], frame: int) -> Any:
        while True:
            try:
                image = queue.get(timeout=self._config.timeout_s)
            except Empty:
                raise ConnectionError(
                    f"the {name} camera sent no picture within {self._config.timeout_s:g} s; "
                    "the CARLA server must render (start it with -RenderOffScreen, not in no-rendering mode)"
                ) from None
            if image.frame == frame:
                return image
            if image.frame > frame:
                raise RuntimeError(f"the {name} camera skipped frame {frame}; does another client tick this server?")

    def _rgb(self, name: str, image: Any) -> NDArray[np.uint8]:
        bgra = np.frombuffer(image.raw_data, np.uint8).reshape(*self._sizes[name], 4)
        return np.ascontiguousarray(bgra[..., 2::-1])
