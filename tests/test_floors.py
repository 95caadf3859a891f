"""The floors: every module imports downward only, and simulators and the command line's tools stay in their places."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    0: "shapes config memory progress sharding",
    1: "episode scenario policy nets optim",
    2: "data model readers",
    3: "world_model believing canvas_state canvas_beliefs canvas_world_model latent_world_model reference_world_model",
    # An imagined env loads its own checkpoint, so checkpoints lie below training and not beside it.
    4: "imagine beginnings fused chance start_films rollout metrics checkpoint rolls futures closed_loop calibrate",
    5: "fit phases inherit recipe curriculum train report evaluate real_side starts clone collect bench replay",
    6: "cli commands demo",
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
DATA_ONLY = {"pretrained"}  # packages that hold files and no code
ONLY_IN = {
    "mujoco": ("envs/driving", "envs/push", "envs/scenario"),
    "carla": ("envs/carla",),
    "hydra": ("simworld/cli.py",),
    "omegaconf": ("simworld/cli.py",),
    "wandb": ("simworld/cli.py",),
}
# A scripted driver knows the car that it drives: the names of the true state, and what steering can do.
POLICIES_MAY_SEE = {"simworld.envs.driving.spec", "simworld.envs.driving.physics"}

MODULES = sorted(p for top in ("simworld", "envs", "policies") for p in (ROOT / top).rglob("*.py"))


def imports_of(path: Path, text: str | None = None) -> Iterator[str]:
    """Dotted names that a module (or `text` in its place) imports, anywhere in it; `from a import b` gives a.b."""
    package = ("simworld", *path.relative_to(ROOT).parts[:-1])
    package = package[1:] if package[1] == "simworld" else package
    for node in ast.walk(ast.parse(path.read_text() if text is None else text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def floor_of(dotted: str) -> int | None:
    """The floor of simworld.<name>..., None for what lies outside the library or is the package itself."""
    parts = dotted.split(".")
    if parts[0] != "simworld" or len(parts) == 1 or parts[1] in ("envs", "policies", "__version__"):
        return None
    assert parts[1] in FLOOR_OF, f"give {dotted} a floor"
    return FLOOR_OF[parts[1]]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_has_a_floor() -> None:
    tops = {p.relative_to(ROOT / "simworld").parts[0].removesuffix(".py") for p in MODULES if "simworld" in name_of(p)}
    assert tops - DATA_ONLY - {"__init__"} <= FLOOR_OF.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_downward(path: Path) -> None:
    where = name_of(path)
    imported = sorted(set(imports_of(path)))
    if where.startswith("simworld/"):
        own = path.relative_to(ROOT / "simworld").parts[0].removesuffix(".py")
        highest = FLOOR_OF.get(own, 0)
        outside: set[str] = set()
    else:
        highest = 1 if where.startswith("envs/") else 4
        package = "simworld.envs" if where.startswith("envs/") else "simworld.policies"
        outside = {dotted for dotted in imported if dotted.startswith(package)}
    for dotted in imported:
        if dotted.startswith(("simworld.envs", "simworld.policies")):
            allowed = dotted in outside or (
                where.startswith("policies/") and any(dotted.startswith(seen) for seen in POLICIES_MAY_SEE)
            )
            assert allowed, f"{where} imports {dotted}; reach it by name"
        floor = floor_of(dotted)
        assert floor is None or floor <= highest, f"{where} (floor {highest}) imports {dotted} (floor {floor})"


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_tool_has_its_place(library: str) -> None:
    users = [name_of(p) for p in MODULES if any(d.split(".")[0] == library for d in imports_of(p))]
    assert [u for u in users if not u.startswith(ONLY_IN[library])] == []


def test_siblings_are_imported_relatively_in_envs_and_policies() -> None:
    """So that both installs, in which these folders are called otherwise, find them."""
    for path in MODULES:
        top = name_of(path).split("/")[0]
        if top == "simworld":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert not (node.module or "").startswith((f"simworld.{top}", top + ".")), name_of(path)


def test_the_reader_of_imports_knows_every_form() -> None:
    path = ROOT / "envs/driving/example.py"
    for text, want in {
        "import simworld.data.store": "simworld.data.store",
        "from simworld.data import store": "simworld.data.store",
        "from .road import Road": "simworld.envs.driving.road.Road",
        "from ..gym_camera import make": "simworld.envs.gym_camera.make",
        "def f():\n    import mujoco.egl": "mujoco.egl",
    }.items():
        assert list(imports_of(path, text)) == [want]
