"""Packaging: the list of packages is the tree, and a wheel works from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
TOPS = {"simworld": "simworld", "envs": "simworld.envs", "policies": "simworld.policies", "conf": "simworld.conf"}
DATA = {".yaml", ".xml", ".html", ".json", ".safetensors", ".xosc", ".xodr", ".typed"}


def installed_name(path: Path) -> str:
    """Where a file of the tree lies in an installation."""
    top, *rest = path.relative_to(ROOT).parts
    return "/".join([*TOPS[top].split("."), *rest])


def tree() -> list[Path]:
    """All files that belong into the package."""
    files = (p for top in TOPS for p in (ROOT / top).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(p for p in files if p.suffix == ".py" or p.suffix in DATA)


def test_the_list_of_packages_is_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {installed_name(p.parent).replace("/", ".") for p in tree() if p.name == "__init__.py"}
    assert len(listed) == len(set(listed)) and set(listed) == found
    bare = {p.parent for p in tree() if p.suffix == ".py" and not (p.parent / "__init__.py").exists()}
    assert not bare, "code in folders that are no packages"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed; built from a copy, so that the tree stays clean."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    for path in [*tree(), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(work / "dist"), str(source)], work)
    (wheel,) = (work / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # what `pip install --target` does with a pure wheel
        archive.extractall(work / "site")
    return work / "site"


def run(command: list[str], folder: Path, **env: str) -> str:
    """Run in another folder; the output, or what went wrong."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=clean | env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_code_and_data(site: Path) -> None:
    missing = [installed_name(p) for p in tree() if not (site / installed_name(p)).exists()]
    assert missing == []
    entry_points = next(site.glob("simworld-*.dist-info")) / "entry_points.txt"
    assert "simworld = simworld.cli:main" in entry_points.read_text()


def test_the_wheel_works_from_another_folder(site: Path, tmp_path: Path) -> None:
    """The editable install's finder is taken away, so that nothing but the wheel can answer."""
    script = f"""
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "") + repr(f)]
import gymnasium, simworld
assert simworld.__file__.startswith({str(site)!r}), simworld.__file__
import simworld.envs.driving, simworld.policies, simworld.conf, simworld.cli
assert simworld.envs.driving.__file__.startswith({str(site)!r})
assert simworld.policies.__file__.startswith({str(site)!r})
for env_id in ("simworld/Driving-v0", "simworld/Push-v0"):
    env = gymnasium.make(env_id, size=(32, 32))
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space and observation["front"].std() > 1
print("ok")
"""
    out = run([sys.executable, "-c", script], tmp_path, PYTHONPATH=str(site), MUJOCO_GL="egl", OMP_NUM_THREADS="1")
    assert out.strip().endswith("ok")
