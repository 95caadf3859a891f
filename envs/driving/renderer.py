"""Camera pictures of the MuJoCo model: one off-screen context, any number of cameras, smooth edges by supersampling."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from .bodies import CAMERAS, MESHES
from .scenery import Look


class Renderer:
    """Draws named cameras of one model at one size (h, w)."""

    def __init__(self, model: mujoco.MjModel, size: tuple[int, int], supersample: int) -> None:
        self._model, self._size, self._scale = model, size, supersample
        h, w = size[0] * supersample, size[1] * supersample
        model.vis.global_.offwidth, model.vis.global_.offheight = w, h
        self._gl = mujoco.GLContext(w, h)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZERONEAR
        self._scene = mujoco.MjvScene(model, maxgeom=600)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, w, h)
        self._pixels = np.zeros((h, w, 3), np.uint8)
        self._depth = np.zeros((h, w), np.float32)
        near, far = (model.stat.extent * v for v in (model.vis.map.znear, model.vis.map.zfar))
        self._near_m, self._far_m = float(near), float(far)
        self._fog_rgb = np.zeros(3, np.float32)
        self._fog_from_to_m = (0.0, 1.0)
        self._sky_rows: dict[str, NDArray[np.float32]] = {}

    def set_look(self, look: Look) -> None:
        """Take over an episode's sky, fog and lights."""
        self._gl.make_current()
        model = self._model
        self._fog_rgb = 255 * np.array(look.sky_low, np.float32)
        self._fog_from_to_m = (look.fog_start_m, look.fog_end_m)
        model.vis.headlight.ambient[:] = look.ambient
        model.light_diffuse[0] = look.sun
        for name, rgb in look.colours.items():
            model.geom(name).rgba[:] = (*rgb, 1.0)
        model.geom("ground").rgba[:] = (*look.ground, 1.0)
        self._sky_rows = {c: self._grade_sky(c, look) for c in CAMERAS}

    def upload_scenery(self) -> None:
        """Send the scenery meshes to the graphics context after they changed."""
        self._gl.make_current()
        for name in MESHES:
            mujoco.mjr_uploadMesh(self._model, self._context, self._model.mesh(name).id)

    def draw(self, data: mujoco.MjData, cameras: tuple[str, ...]) -> dict[str, NDArray[np.uint8]]:
        """Pictures {camera: (h, w, 3)} of the present state."""
        self._gl.make_current()
        frames = {}
        for k, name in enumerate(cameras):
            self._camera.fixedcamid = self._model.camera(name).id
            if k == 0:
                mujoco.mjv_updateScene(
                    self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
                )
            else:
                mujoco.mjv_updateCamera(self._model, data, self._camera, self._scene)
            mujoco.mjr_render(self._rect, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, self._depth, self._rect, self._context)
            frames[name] = self._shrink(self._add_air(self._sky_rows[name]))
        return frames

    def _add_air(self, sky_rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The last picture, top row first, faded into the fog by depth, with the sky behind it.

        MuJoCo's own fog can't change between scenes, and its sky box costs more than this.
        """
        depth = self._depth[::-1]
        depth_m = self._near_m * self._far_m / (self._far_m - depth * (self._far_m - self._near_m))
        start, end = self._fog_from_to_m
        share = np.minimum(np.maximum((depth_m - start) * np.float32(1.0 / (end - start)), 0.0), 1.0)
        pixels = self._pixels[::-1].astype(np.float32)
        pixels += share[..., None] * (self._fog_rgb - pixels)
        np.copyto(pixels, sky_rows[:, None], where=(depth >= 1.0)[..., None])
        return pixels

    def _grade_sky(self, camera: str, look: Look) -> NDArray[np.float32]:
        """Sky colour (h, 3) of every picture row, from horizon to zenith; cameras never roll and keep their pitch."""
        model, rows = self._model, self._pixels.shape[0]
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
        self._context.free()
        self._gl.free()
