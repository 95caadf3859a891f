"""Camera pictures of the MuJoCo model: one off-screen context, any number of cameras, smooth edges by supersampling."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .bodies import DRAWN_GROUP, HIDDEN_GROUP, Rig
from .scene import Scene
from .scenery import WINDOW_STEP_M, Look, build_window, write_window

Array = NDArray[np.float64]

BRAKE_ON, BRAKE_OFF = (1.0, 0.08, 0.05), (0.3, 0.03, 0.03)
# Where actors may show, x ahead and y to the left of the ego in m; wide enough for the longest body.
_HALF_PLANES: dict[str, Callable[[Array, Array], NDArray[np.bool_]]] = {
    "front": lambda x, y: x > -6.0,
    "rear": lambda x, y: x < 6.0,
    "left": lambda x, y: y > -6.0,
    "right": lambda x, y: y < 6.0,
    "chase": lambda x, y: x > -16.0,
    "overhead": lambda x, y: (np.abs(x - 8.0) < 60.0) & (np.abs(y) < 60.0),
}


class Renderer:
    """Draws the named cameras of a rig, each at its size (h, w)."""

    def __init__(self, rig: Rig, sizes: dict[str, tuple[int, int]], supersample: int) -> None:
        model = rig.model
        self._rig, self._model, self._cameras, self._scale = rig, model, tuple(sizes), supersample
        self._scene: Scene | None = None
        self._look: Look | None = None
        self._window_s_m: float | None = None
        self._pixels = {c: np.zeros((h * supersample, w * supersample, 3), np.uint8) for c, (h, w) in sizes.items()}
        self._depth = {c: np.zeros(pixels.shape[:2], np.float32) for c, pixels in self._pixels.items()}
        h, w = (max(pixels.shape[i] for pixels in self._pixels.values()) for i in (0, 1))
        model.vis.global_.offwidth, model.vis.global_.offheight = w, h
        self._gl = _make_gl(w, h)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZERONEAR
        self._view = mujoco.MjvScene(model, maxgeom=max(600, model.ngeom + 16))
        self._view.flags[mujoco.mjtRndFlag.mjRND_FOG] = 0
        self._view.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        self._view.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._view.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        self._view.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        # Also at exit, before the graphics library is unloaded.
        self._free = weakref.finalize(self, _free, self._context, self._gl)
        near, far = (model.stat.extent * v for v in (model.vis.map.znear, model.vis.map.zfar))
        self._near_m, self._far_m = float(near), float(far)
        self._fog_rgb = np.zeros(3, np.float32)
        self._sky_rows: dict[str, NDArray[np.float32]] = {}

    def set_scene(self, scene: Scene) -> None:
        """Take over an episode's sky, fog, lights and colours."""
        self._scene, self._window_s_m = scene, None
        self.dress(scene.look, scene.paint)

    def dress(self, look: Look, paint: Array) -> None:
        """Set sky, fog, lights and the colours of things and actors; paint (n, 3)."""
        model = self._model
        self._look = look
        self._fog_rgb = 255 * np.array(look.sky_low, np.float32)
        model.vis.headlight.ambient[:] = look.ambient
        model.light_diffuse[0] = look.sun
        for name, rgb in look.colours.items():
            model.geom(name).rgba[:] = (*rgb, 1.0)
        model.geom("ground").rgba[:] = (*look.ground, 1.0)
        model.geom_rgba[self._rig.paint_geom, :3] = paint[self._rig.paint_owner]
        self._sky_rows = {c: self._grade_sky(c, look) for c in self._cameras}

    def show(self, pose: Array, active: NDArray[np.bool_], braking: NDArray[np.bool_], s_m: float) -> None:
        """Bring the model's looks up to date: scenery around road position `s_m`, actors in view, brake lights.

        pose (n, 3) is x, y, heading of every actor, the ego first.
        """
        assert self._scene is not None
        window = float(np.floor(s_m / WINDOW_STEP_M) * WINDOW_STEP_M)
        if window != self._window_s_m:
            self._window_s_m = window
            self.lay_scenery(build_window(self._scene.layout, self._scene.slots, window))
        self.show_actors(pose, active, braking)

    def lay_scenery(self, triangles: dict[str, Array]) -> None:
        """Take over the triangles (n, 3, 3) of every scenery mesh."""
        write_window(self._model, triangles, self._rig.meshes)
        self._gl.make_current()
        for name in self._rig.meshes:
            mujoco.mjr_uploadMesh(self._model, self._context, self._model.mesh(name).id)

    def show_actors(self, pose: Array, active: NDArray[np.bool_], braking: NDArray[np.bool_]) -> None:
        """Show the actors in view, with their brake lights; arguments as `show`."""
        model, rig = self._model, self._rig
        model.geom("ground").pos[:2] = np.round(pose[0, :2])
        group = np.where(active & self._in_view(pose), DRAWN_GROUP, HIDDEN_GROUP)
        model.geom_group[rig.drawn_geom] = group[rig.drawn_owner]
        model.geom_rgba[rig.brake_geom, :3] = np.where(braking[rig.brake_owner, None], BRAKE_ON, BRAKE_OFF)

    def _in_view(self, pose: Array) -> NDArray[np.bool_]:
        """Which actors any camera could see; the others cost time and show nothing."""
        away = pose[:, :2] - pose[0, :2]
        cos, sin = np.cos(pose[0, 2]), np.sin(pose[0, 2])
        x, y = cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0]
        seen = np.zeros(len(pose), bool)
        for name in self._cameras:
            seen |= _HALF_PLANES[name](x, y)
        seen &= np.hypot(x, y) < self._look.fog_end_m if self._look else True
        seen[0] = "chase" in self._cameras or "overhead" in self._cameras
        return seen

    def draw(self, data: mujoco.MjData) -> dict[str, NDArray[np.uint8]]:
        """Pictures {camera: (h, w, 3)} of the present state, after `show`."""
        self._gl.make_current()
        frames = {}
        for k, name in enumerate(self._cameras):
            self._camera.fixedcamid = self._model.camera(name).id
            if k == 0:
                mujoco.mjv_updateScene(
                    self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._view
                )
            else:
                mujoco.mjv_updateCamera(self._model, data, self._camera, self._view)
            pixels, depth = self._pixels[name], self._depth[name]
            rect = mujoco.MjrRect(0, 0, pixels.shape[1], pixels.shape[0])
            mujoco.mjr_render(rect, self._view, self._context)
            mujoco.mjr_readPixels(pixels, depth, rect, self._context)
            frames[name] = self._shrink(self._add_air(name))
        return frames

    def _add_air(self, camera: str) -> NDArray[np.float32]:
        """The last picture of a camera, top row first, faded into the fog by depth, with the sky behind it.

        MuJoCo's own fog can't change between scenes, and its sky box costs more than this.
        """
        depth = self._depth[camera][::-1]
        depth_m = self._near_m * self._far_m / (self._far_m - depth * (self._far_m - self._near_m))
        look = self._look
        assert look is not None
        # From above one looks down through the fog, not along it.
        start = look.fog_start_m + (60.0 if camera == "overhead" else 0.0)
        end = start + look.fog_end_m - look.fog_start_m
        share = np.minimum(np.maximum((depth_m - start) * np.float32(1.0 / (end - start)), 0.0), 1.0)
        pixels = self._pixels[camera][::-1].astype(np.float32)
        pixels += share[..., None] * (self._fog_rgb - pixels)
        np.copyto(pixels, self._sky_rows[camera][:, None], where=(depth >= 1.0)[..., None])
        return pixels

    def _grade_sky(self, camera: str, look: Look) -> NDArray[np.float32]:
        """Sky colour (h, 3) of every picture row, from horizon to zenith; cameras never roll and keep their pitch."""
        model, rows = self._model, len(self._pixels[camera])
        cam = model.camera(camera)
        view = np.zeros(9)
        mujoco.mju_quat2Mat(view, cam.quat)
        half = np.tan(np.radians(float(cam.fovy[0]) / 2))
        up = np.arctan(half * (1.0 - (2.0 * np.arange(rows) + 1.0) / rows)) - np.arcsin(view[8])
        grade = np.clip(up / np.radians(40.0), 0.0, 1.0)[:, None] ** 0.7
        low, top = np.array(look.sky_low), np.array(look.sky_top)
        return (255 * (low + (top - low) * grade)).astype(np.float32)

    def _shrink(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        q = self._scale
        total = pixels[::q, ::q].copy()
        for k in range(1, q * q):
            total += pixels[k // q :: q, k % q :: q]
        return (total * np.float32(1.0 / q**2) + np.float32(0.5)).astype(np.uint8)

    def close(self) -> None:
        """Free the graphics context; drawing afterwards is an error."""
        self._free()


def _make_gl(width: int, height: int) -> Any:
    """An off-screen context; EGL where there is no display, even if mujoco was imported before it could be told so."""
    if os.environ.get("MUJOCO_GL", "egl") == "egl" and sys.platform == "linux":
        from mujoco.egl import GLContext

        return GLContext(width, height)
    return mujoco.GLContext(width, height)


def _free(context: mujoco.MjrContext, gl: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()
