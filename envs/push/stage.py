"""Stage: writes a layout into the one compiled model, so that a new seed costs no compilation."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from .layout import GOAL_RADIUS_M, LINK_M, MAX_VESSELS, Block, Layout, Light, Point, Vessel


def load_model() -> mujoco.MjModel:
    """Compile scene.xml, the file beside this one."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).with_name("scene.xml")))


def arm_angles(tip_m: Point) -> tuple[float, float]:
    """Shoulder and elbow angles (rad, elbow positive) that put the tip at a point."""
    reach = np.hypot(*tip_m)
    elbow = np.arccos(np.clip(reach**2 / (2 * LINK_M**2) - 1, -1.0, 1.0))
    return float(np.arctan2(tip_m[1], tip_m[0]) - elbow / 2), float(elbow)


def apply_layout(model: mujoco.MjModel, data: mujoco.MjData, layout: Layout) -> None:
    """Write `layout` into the model and put `data` at its start, at rest."""
    _apply_block(model, layout.block)
    for i in range(MAX_VESSELS):
        _apply_vessel(model, i, layout.vessels[i] if i < len(layout.vessels) else None)
    for name, radius_m, z in (("goal", GOAL_RADIUS_M, 0.001), ("goal_rim", 1.2 * GOAL_RADIUS_M, 0.0005)):
        model.geom(name).pos[:] = (*layout.goal_m, z)
        model.geom(name).size[0] = radius_m
    _apply_light(model, layout.light)
    mujoco.mj_resetData(model, data)
    mujoco.mj_setConst(model, data)
    mujoco.mj_resetData(model, data)
    data.joint("shoulder").qpos[0], data.joint("elbow").qpos[0] = arm_angles(layout.tip_m)
    half = layout.block.heading_rad / 2
    data.joint("block").qpos[:] = (*layout.block.position_m, layout.block.half_m, np.cos(half), 0, 0, np.sin(half))
    for i in range(MAX_VESSELS):
        place = (2.0 + 0.2 * i, 0.0, -3.0)  # under the floor, out of every camera's sight
        if i < len(layout.vessels):
            place = (*layout.vessels[i].position_m, layout.vessels[i].half_height_m)
        address = model.jnt_qposadr[model.body(f"vessel{i}").jntadr[0]]
        data.qpos[address : address + 7] = (*place, 1, 0, 0, 0)
    mujoco.mj_forward(model, data)


def _apply_block(model: mujoco.MjModel, block: Block) -> None:
    h, mass = block.half_m, block.mass_kg
    is_box = block.shape == "block"
    geom, body = model.geom("block"), model.body("block")
    geom.type[0] = mujoco.mjtGeom.mjGEOM_BOX if is_box else mujoco.mjtGeom.mjGEOM_CYLINDER
    _resize(model, geom.id, (h, h, h) if is_box else (h, h, 0.0), (h, h, h))
    geom.rgba[:3] = block.colour
    body.mass[0] = mass
    # solid cube: m (2h)^2 / 6; solid cylinder of radius h and height 2h: m (3h^2 + (2h)^2) / 12 and m h^2 / 2
    body.inertia[:] = (2 * mass * h**2 / 3,) * 3 if is_box else (7 * mass * h**2 / 12,) * 2 + (mass * h**2 / 2,)


def _apply_vessel(model: mujoco.MjModel, i: int, vessel: Vessel | None) -> None:
    body, geom = model.body(f"vessel{i}"), model.geom(f"vessel{i}")
    belly, rim = model.geom(f"belly{i}"), model.geom(f"rim{i}")
    geom.contype[0] = geom.conaffinity[0] = int(vessel is not None)
    # A vessel that waits touches nothing and would fall for ever, so it floats.
    model.body_gravcomp[body.id] = 0.0 if vessel is not None else 1.0
    for part in (geom, belly, rim):
        part.rgba[3] = 0.0
    if vessel is None:
        return
    r, half, mass = vessel.radius_m, vessel.half_height_m, vessel.mass_kg
    _resize(model, geom.id, (r, half, 0.0), (r, r, half))
    body.mass[0] = mass
    body.inertia[:] = (mass * (3 * r**2 + 4 * half**2) / 12,) * 2 + (mass * r**2 / 2,)
    # Both kinds fill the same collision cylinder: a glass shows it with a rim, a vase shows a belly and a neck.
    if vessel.kind == "glass":
        shown = (geom, rim)
        _resize(model, rim.id, (1.12 * r, 0.006, 0.0), (1.12 * r, 1.12 * r, 0.006))
        rim.pos[2] = half - 0.012
    else:
        shown = (belly, rim)
        _resize(model, belly.id, (r, r, 0.65 * half), (r, r, 0.65 * half))
        belly.pos[2] = -0.35 * half
        _resize(model, rim.id, (0.5 * r, 0.45 * half, 0.0), (0.5 * r, 0.5 * r, 0.45 * half))
        rim.pos[2] = 0.55 * half
    geom.rgba[:3] = belly.rgba[:3] = vessel.colour
    rim.rgba[:3] = (0.98, 0.98, 0.98)
    for part in shown:
        part.rgba[3] = 1.0


def _resize(model: mujoco.MjModel, geom: int, size: tuple[float, ...], box: tuple[float, float, float]) -> None:
    """Set a geom's size and what the compiler derives from it: its bounding sphere and its bounding box."""
    model.geom_size[geom] = size
    model.geom_rbound[geom] = np.linalg.norm(box)
    model.geom_aabb[geom] = (0, 0, 0, *box)


def _apply_light(model: mujoco.MjModel, light: Light) -> None:
    model.vis.headlight.ambient[:] = light.ambient
    lamp = model.light("lamp")
    lamp.dir[:] = np.asarray(light.direction) / np.linalg.norm(light.direction)
    lamp.diffuse[:] = np.clip(light.lamp * np.asarray(light.tint), 0, 1)
    model.geom("table_top").rgba[:3] = light.table
    model.geom("floor").rgba[:3] = light.sky
