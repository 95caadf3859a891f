"""OpenSCENARIO parameters, expressions and catalogs: values, scopes, circles and limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simworld.readers.openscenario import open_storyboard
from simworld.readers.openscenario.expand import Scope
from simworld.readers.openscenario.expressions import evaluate

from .osc_build import BOX, event, lane_position, put, run_to, scenario, speed_action, teleport

VALUES = {"a": "3", "b": "1.5", "word": "hi", "flag": "true"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2+3*4-1", "13"),
        ("-(2+3) * $a", "-15"),
        ("10-3-2", "5"),
        ("$b / 3", "0.5"),
        ("7 % 4", "3"),
        ("pow(2, 3) + sqrt(16)", "12"),
        ("round(2.5) + floor(-0.5) + ceil(0.2)", "3"),
        ("min($a, 2, 5)", "2"),
        ("1 < 2 and not (3 <= 2)", "1"),
        ("$flag and 0 or 1", "1"),
        ("sin(pi / 2)", "1"),
        ("1e3", "1000"),
        ("Brake + _ + $b", "Brake_1.5"),
        ("$word == 'hi'", "1"),
    ],
)
def test_expressions(text: str, value: str) -> None:
    assert evaluate(text, VALUES.__getitem__) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0", "divides by zero"),
        ("__import__('os')", "calls"),
        ("open(1)", "calls"),
        ("1 2", "stops making sense"),
        ("(" * 50 + "1" + ")" * 50, "nested too deeply"),
        ("1" * 2000, "exceeds"),
        ("2 * word", "not a number"),
        ("sqrt(-1)", "can't be computed"),
        ("1e308 * 1e308", "not finite"),
        ("@", "unexpected"),
        ("", "ends too soon"),
    ],
)
def test_bad_expressions(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(text, VALUES.__getitem__)


def test_scopes_hide_circles_and_hints() -> None:
    outer = Scope()
    outer.declare("speed", "${$base * 2}")
    outer.declare("base", "5")
    inner = Scope(outer)
    inner.declare("base", "7")
    assert (outer.resolve("$speed"), inner.resolve("$base"), inner.resolve("${$speed + $base}")) == ("10", "7", "17")
    outer.declare("x", "$y")
    outer.declare("y", "${$x + 1}")
    with pytest.raises(ValueError, match="circle"):
        outer.resolve("$x")
    with pytest.raises(ValueError, match=r"did you mean \$speed"):
        outer.resolve("$sped")
    for i in range(100):
        outer.declare(f"p{i}", f"$p{i + 1}")
    with pytest.raises(ValueError, match="over more than"):
        outer.resolve("$p0")


def catalog(*entries: str, name: str = "cars") -> str:
    return f'<OpenSCENARIO><FileHeader/><Catalog name="{name}">{"".join(entries)}</Catalog></OpenSCENARIO>'


LOCATIONS = '<CatalogLocations><VehicleCatalog><Directory path="cats"/></VehicleCatalog></CatalogLocations>'


def from_catalog(folder: Path, entries: str, reference: str) -> Path:
    (folder / "cats").mkdir(exist_ok=True)
    (folder / "cats/a.xosc").write_text(entries)
    text = scenario(event("go", speed_action(50)), starts={"A": teleport(lane_position(10))}, before=LOCATIONS)
    start = text.index("<Vehicle ")
    end = text.index("</Vehicle>") + len("</Vehicle>")
    return put(folder, text[:start] + reference + text[end:])


def test_catalog_entries_take_assignments(tmp_path: Path) -> None:
    entry = (
        '<Vehicle name="fast" vehicleCategory="bus"><ParameterDeclarations><ParameterDeclaration name="Top" '
        f'parameterType="double" value="10"/></ParameterDeclarations>{BOX}'
        '<Performance maxSpeed="${$Top * 2}"/></Vehicle>'
    )
    plain = '<CatalogReference catalogName="cars" entryName="fast"/>'
    given = (
        '<CatalogReference catalogName="cars" entryName="fast"><ParameterAssignments><ParameterAssignment '
        'parameterRef="Top" value="15"/></ParameterAssignments></CatalogReference>'
    )
    for reference, top in ((plain, 20), (given, 30)):
        runner = run_to(open_storyboard(from_catalog(tmp_path, catalog(entry), reference)), 0.1)
        entity = runner.world.entities["A"]
        assert (entity.spec.kind, entity.speed_mps) == ("bus", top)


def test_catalogs_that_name_themselves_are_refused(tmp_path: Path) -> None:
    inside = '<Trailer><CatalogReference catalogName="cars" entryName="y"/></Trailer>'
    loop = f'<Vehicle name="x" vehicleCategory="car">{inside}</Vehicle>'
    back = loop.replace('name="x"', 'name="y"', 1).replace('entryName="y"', 'entryName="x"')
    path = from_catalog(tmp_path, catalog(loop, back), '<CatalogReference catalogName="cars" entryName="x"/>')
    with pytest.raises(ValueError, match="circle: cars/x -> cars/y -> cars/x"):
        open_storyboard(path)


def test_a_missing_entry_lists_the_nearest(tmp_path: Path) -> None:
    entry = f'<Vehicle name="car_red" vehicleCategory="car">{BOX}</Vehicle>'
    path = from_catalog(tmp_path, catalog(entry), '<CatalogReference catalogName="cars" entryName="car_rad"/>')
    with pytest.raises(ValueError, match="near are car_red"):
        open_storyboard(path)


def test_parameters_from_outside(tmp_path: Path) -> None:
    declaration = '<ParameterDeclaration name="v" parameterType="double" value="5"/>'
    before = f"<ParameterDeclarations>{declaration}</ParameterDeclarations>"
    starts = {"A": teleport(lane_position(10)) + speed_action("${$v * 2}")}
    path = put(tmp_path, scenario(before=before, starts=starts))
    assert open_storyboard(path).world.entities["A"].speed_mps == 10
    assert open_storyboard(path, parameters={"v": "8"}).world.entities["A"].speed_mps == 16
    with pytest.raises(ValueError, match="no parameter 'w'"):
        open_storyboard(path, parameters={"w": "8"})


def test_positions_that_lean_on_each_other_are_refused(tmp_path: Path) -> None:
    starts = {
        "A": teleport('<RelativeWorldPosition entityRef="B" dx="1" dy="0"/>'),
        "B": teleport('<RelativeWorldPosition entityRef="A" dx="1" dy="0"/>'),
    }
    with pytest.raises(ValueError, match="A, B lean on each other"):
        open_storyboard(put(tmp_path, scenario(starts=starts)))
    starts["B"] = teleport('<WorldPosition x="5" y="6"/>')
    assert open_storyboard(put(tmp_path, scenario(starts=starts))).world.entities["A"].pose == (6.0, 6.0, 0.0)
    assert math.isfinite(open_storyboard(tmp_path / "test.xosc").world.t_s)
