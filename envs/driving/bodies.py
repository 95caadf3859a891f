"""The MuJoCo model: one planar body per actor of a fixed pool, barrier pieces, scenery meshes and the camera rig."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from simworld.scenario import BODIES, Body

from .spec import mounts_of

# How many actors of each class can be on the road at the same time.
POOL = {"car": 6, "van": 2, "bus": 1, "truck": 2, "tank": 2, "motorcycle": 2, "cyclist": 2, "pedestrian": 3}
# Scenery meshes and the most triangles each may hold.
MESHES = {
    "asphalt": 200,
    "marks": 1000,
    "divider": 300,
    "kerb": 840,
    "barrier": 840,
    "foliage": 900,
    "trunk": 700,
    "building": 300,
}
NUM_BARRIER_PIECES = 24
BARRIER_PIECE_M = 6.0
DRAWN_GROUP, HIDDEN_GROUP = 1, 5  # geoms of groups above 2 are not drawn

DARK = "0.08 0.08 0.1 1"
GLASS = "0.16 0.2 0.26 1"


@dataclass(frozen=True)
class Part:
    """One drawn shape of an actor; `paint` parts take the seed's colour, `brake` parts light up."""

    shape: str
    pos: tuple[float, float, float]
    size: tuple[float, ...]
    role: str = "paint"  # paint, brake, head, or an rgba string


def _wheels(x: float, y: float, r: float) -> list[Part]:
    return [Part("box", (sx * x, 0.0, r), (r, y, r), DARK) for sx in (1, -1)]


def _lights(length: float, width: float, z: float, half_w: float, half_h: float) -> list[Part]:
    x, y = length / 2 + 0.01, width / 2 - half_w - 0.04
    tail = [Part("box", (-x, s * y, z), (0.05, half_w, half_h), "brake") for s in (1, -1)]
    return tail + [Part("box", (x, s * y, z - 0.05), (0.05, half_w * 0.8, half_h * 0.7), "head") for s in (1, -1)]


def _rider(z: float, torso: str) -> list[Part]:
    return [
        Part("box", (-0.1, 0, z + 0.3), (0.2, 0.25, 0.35), torso),
        Part("ellipsoid", (0.0, 0, z + 0.82), (0.17, 0.16, 0.18), "0.9 0.75 0.6 1"),
    ]


# Visible shapes of typical bodies; an actor of another size has them stretched to its box.
PARTS: dict[str, list[Part]] = {
    "car": [
        Part("box", (0, 0, 0.62), (2.25, 0.9, 0.34)),
        Part("box", (-0.25, 0, 1.2), (1.2, 0.78, 0.28), GLASS),
        Part("box", (-0.3, 0, 1.46), (0.95, 0.74, 0.05)),
        *_wheels(1.4, 0.92, 0.32),
        *_lights(4.5, 1.8, 0.72, 0.27, 0.16),
    ],
    "van": [
        Part("box", (-0.3, 0, 1.35), (2.45, 1.0, 0.95)),
        Part("box", (2.4, 0, 0.85), (0.35, 0.96, 0.45)),
        Part("box", (2.1, 0, 1.75), (0.2, 0.9, 0.35), GLASS),
        *_wheels(1.8, 1.02, 0.36),
        *_lights(5.5, 2.0, 0.95, 0.2, 0.3),
    ],
    "bus": [
        Part("box", (0, 0, 1.75), (6.0, 1.27, 1.35)),
        Part("box", (0, 0, 2.2), (5.6, 1.3, 0.45), GLASS),
        Part("box", (5.9, 0, 2.0), (0.15, 1.15, 0.75), GLASS),
        Part("box", (-5.9, 0, 2.3), (0.15, 1.1, 0.4), GLASS),
        *_wheels(3.8, 1.29, 0.48),
        *_lights(12.0, 2.55, 0.9, 0.3, 0.25),
    ],
    "truck": [
        Part("box", (-1.0, 0, 2.05), (3.5, 1.25, 1.35), "0.86 0.86 0.84 1"),
        Part("box", (3.5, 0, 1.6), (0.95, 1.2, 1.2)),
        Part("box", (4.3, 0, 2.1), (0.2, 1.05, 0.45), GLASS),
        Part("box", (0, 0, 0.55), (4.2, 1.0, 0.2), DARK),
        *_wheels(3.0, 1.25, 0.5),
        *_lights(9.0, 2.5, 0.95, 0.3, 0.25),
    ],
    "tank": [
        Part("box", (0, 0, 1.15), (3.75, 1.2, 0.5)),
        Part("box", (0, 1.5, 0.65), (3.85, 0.35, 0.6), "0.13 0.14 0.1 1"),
        Part("box", (0, -1.5, 0.65), (3.85, 0.35, 0.6), "0.13 0.14 0.1 1"),
        Part("cylinder", (-0.3, 0, 2.1), (1.35, 0.45)),
        Part("box", (2.9, 0, 2.1), (2.2, 0.12, 0.12), "0.2 0.22 0.12 1"),
        *_lights(7.5, 2.4, 1.2, 0.2, 0.18),
    ],
    "motorcycle": [
        Part("box", (0, 0, 0.65), (0.75, 0.17, 0.22)),
        Part("box", (0.8, 0, 0.35), (0.3, 0.08, 0.35), DARK),
        Part("box", (-0.8, 0, 0.35), (0.3, 0.08, 0.35), DARK),
        *_rider(0.75, "0.12 0.12 0.16 1"),
        Part("box", (-1.05, 0, 0.8), (0.05, 0.2, 0.12), "brake"),
        Part("box", (1.0, 0, 0.9), (0.05, 0.14, 0.1), "head"),
    ],
    "cyclist": [
        Part("box", (0, 0, 0.6), (0.55, 0.05, 0.08)),
        Part("cylinder", (0.6, 0, 0.34), (0.34, 0.05), DARK),
        Part("cylinder", (-0.6, 0, 0.34), (0.34, 0.05), DARK),
        *_rider(0.75, "0.95 0.9 0.1 1"),
    ],
    "pedestrian": [
        Part("box", (0, 0, 0.42), (0.16, 0.22, 0.42), "0.12 0.14 0.3 1"),
        Part("box", (0, 0, 1.15), (0.2, 0.32, 0.34)),
        Part("ellipsoid", (0, 0, 1.63), (0.17, 0.16, 0.17), "0.9 0.75 0.6 1"),
    ],
    "static": [Part("box", (0, 0, 0.5), (0.5, 0.5, 0.5))],
}


@dataclass(frozen=True)
class Rig:
    """The compiled model and its pieces; body i has joints (x, y, yaw) at qpos[3 i : 3 i + 3], body 0 is the ego."""

    model: mujoco.MjModel
    kinds: tuple[str, ...]
    bodies: tuple[Body, ...]
    meshes: Mapping[str, int]  # scenery meshes and the triangles each may hold
    hull_geom: np.ndarray  # (n,) collision box of every actor
    drawn_geom: np.ndarray  # all drawn geoms of actors, and whose they are
    drawn_owner: np.ndarray
    paint_geom: np.ndarray
    paint_owner: np.ndarray
    brake_geom: np.ndarray
    brake_owner: np.ndarray
    barrier_geom: np.ndarray  # (number of barrier pieces,)


def _number(*values: float) -> str:
    return " ".join(f"{v:.5g}" for v in values)


def _stretched(part: Part, kind: str, body: Body) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Position and size of a part on a body that need not be the typical one of its class."""
    typical = BODIES[kind]
    x, y, z = (getattr(body, side) / getattr(typical, side) for side in ("length_m", "width_m", "height_m"))
    pos = (part.pos[0] * x, part.pos[1] * y, part.pos[2] * z)
    if part.shape != "cylinder":
        return pos, tuple(s * k for s, k in zip(part.size, (x, y, z), strict=True))
    round_m, half_m = part.size  # a wheel of a cyclist lies across, a turret stands up
    return pos, (round_m * min(x, z), half_m * y) if kind == "cyclist" else (round_m * min(x, y), half_m * z)


def _actor_xml(index: int, kind: str, b: Body, cameras: str) -> str:
    izz = b.mass_kg * (b.length_m**2 + b.width_m**2) / 12.0
    rows = [
        f'<body name="actor{index}"><inertial pos="0 0 0" mass="{b.mass_kg}" diaginertia="{_number(izz, izz, izz)}"/>',
        '<joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/><joint type="hinge" axis="0 0 1"/>',
        # The hull is much taller than any overlap in the plane, so contact normals always lie in the plane.
        f'<geom name="hull{index}" class="hull" size="{_number(b.length_m / 2, b.width_m / 2, 20.0)}"/>',
    ]
    for k, part in enumerate(PARTS[kind]):
        euler = ' euler="90 0 0"' if part.shape == "cylinder" and kind == "cyclist" else ""
        role = part.role if part.role in ("paint", "brake", "head") else "fixed"
        rgba = part.role if role == "fixed" else "0.5 0.5 0.52 1"
        material = {"brake": "lamp", "head": "plain"}.get(role, "plain")
        pos, size = _stretched(part, kind, b)
        rows.append(
            f'<geom name="{role}{index}_{k}" class="drawn" type="{part.shape}" pos="{_number(*pos)}"'
            f' size="{_number(*size)}" rgba="{rgba}" material="{material}"{euler}/>'
        )
    return "\n".join(rows) + cameras + "</body>"


def _camera_xml(b: Body) -> str:
    """Cameras ride on the ego as `mounts_of` says; MuJoCo wants each one's right and up."""
    rows = []
    for name, m in mounts_of(b).items():
        cos, sin = np.cos(m.heading_rad), np.sin(m.heading_rad)
        right, up = (sin, -cos, 0), (-np.sin(m.pitch_rad) * cos, -np.sin(m.pitch_rad) * sin, np.cos(m.pitch_rad))
        pos, axes = _number(m.x_m, m.y_m, m.z_m), _number(*np.round((*right, *up), 9))
        rows.append(f'<camera name="{name}" pos="{pos}" xyaxes="{axes}" fovy="{m.vertical_fov_deg:g}"/>')
    return "".join(rows)


def _mesh_xml(name: str, triangles: int) -> str:
    """A stand-in of the right capacity; the scenery module overwrites its vertices."""
    i = np.arange(3 * triangles, dtype=np.float64)
    vertex = np.stack([np.sin(i), np.cos(1.7 * i), i * 1e-3], axis=1)
    flat = " ".join(f"{v:.4f}" for v in vertex.ravel())
    normal = " ".join(["0 0 1"] * (3 * triangles))
    face = " ".join(str(k) for k in range(3 * triangles))
    return f'<mesh name="{name}" vertex="{flat}" normal="{normal}" face="{face}" inertia="shell"/>'


def build_rig(ego_kind: str = "car") -> Rig:
    """The rig of an episode: the ego (body 0), the pool of traffic, barrier pieces and the scenery along one road."""
    kinds = (ego_kind, *(kind for kind, n in POOL.items() for _ in range(n)))
    return compile_rig([(kind, BODIES[kind]) for kind in kinds], MESHES, NUM_BARRIER_PIECES)


def compile_rig(cast: Sequence[tuple[str, Body]], capacity: Mapping[str, int], num_barriers: int = 0) -> Rig:
    """Compile the model of a cast of (class, body), the ego first, with scenery meshes of these capacities."""
    ego = _camera_xml(cast[0][1])
    actors = "\n".join(_actor_xml(i, kind, body, "" if i else ego) for i, (kind, body) in enumerate(cast))
    meshes = "\n".join(_mesh_xml(name, n) for name, n in capacity.items())
    mesh_geoms = "\n".join(
        f'<geom name="{name}" class="drawn" type="mesh" mesh="{name}" material="plain"/>' for name in capacity
    )
    pieces = "\n".join(
        f'<body name="barrier{i}" mocap="true"><geom name="piece{i}" class="hull"'
        f' size="{_number(BARRIER_PIECE_M / 2, 0.2, 20.0)}"/></body>'
        for i in range(num_barriers)
    )
    xml = f"""
<mujoco model="driving">
  <option timestep="0.01" gravity="0 0 0" cone="elliptic"><flag eulerdamp="disable"/></option>
  <size memory="{max(8, len(cast))}M"/>
  <statistic extent="100" center="0 0 0"/>
  <visual>
    <global offwidth="64" offheight="64"/>
    <quality shadowsize="0" offsamples="0"/>
    <map znear="0.001" zfar="6"/>
    <headlight ambient="0.4 0.4 0.4" diffuse="0 0 0" specular="0 0 0"/>
  </visual>
  <default>
    <!-- A stiff damper against a soft spring: bodies share one velocity within some 10 ms and hardly bounce. -->
    <default class="hull"><geom type="box" group="4" condim="3" friction="0.3 0 0" solref="-150 -250"
      solimp="0.98 0.98 0.001"/></default>
    <default class="drawn"><geom contype="0" conaffinity="0" group="1"/></default>
  </default>
  <asset>
    <material name="plain" specular="0" shininess="0"/>
    <material name="lamp" specular="0" shininess="0" emission="0.9"/>
    {meshes}
  </asset>
  <worldbody>
    <light name="sun" directional="true" dir="0.4 0.3 -0.85" diffuse="0.6 0.6 0.6" ambient="0 0 0" specular="0 0 0"
      castshadow="false"/>
    <geom name="ground" class="drawn" type="box" size="900 900 0.5" pos="0 0 -0.55" material="plain"/>
    {mesh_geoms}
    {pieces}
    {actors}
  </worldbody>
</mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    _free_meshes(model, capacity)
    names = [model.geom(g).name for g in range(model.ngeom)]

    # Drawn geoms are named role, owner, "_", number.
    parts = [(g, re.fullmatch(r"([a-z]+)(\d+)_\d+", name)) for g, name in enumerate(names)]
    drawn = [(g, m[1], int(m[2])) for g, m in parts if m]

    def of(*roles: str) -> np.ndarray:
        return np.array([(g, owner) for g, role, owner in drawn if role in roles]).T

    everything, paint, brake = of("paint", "brake", "head", "fixed"), of("paint"), of("brake")
    return Rig(
        model=model,
        kinds=tuple(kind for kind, _ in cast),
        bodies=tuple(body for _, body in cast),
        meshes=dict(capacity),
        hull_geom=np.array([names.index(f"hull{i}") for i in range(len(cast))]),
        drawn_geom=everything[0],
        drawn_owner=everything[1],
        paint_geom=paint[0],
        paint_owner=paint[1],
        brake_geom=brake[0],
        brake_owner=brake[1],
        barrier_geom=np.array([names.index(f"piece{i}") for i in range(num_barriers)], np.int64),
    )


def _free_meshes(model: mujoco.MjModel, names: Mapping[str, int]) -> None:
    """Undo the compiler's recentring, so that mesh vertices are world coordinates."""
    for name in names:
        g = model.geom(name).id
        model.geom_pos[g] = 0.0
        model.geom_quat[g] = (1.0, 0.0, 0.0, 0.0)
        model.geom_sameframe[g] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    model.mesh_vert[:] = 0.0
