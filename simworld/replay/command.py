"""The command `simworld replay`: reads a scenario, replays it as asked, and writes report.json, a film and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simworld.data import files
from simworld.episode import ActionSpec
from simworld.policy import Policy
from simworld.readers import read_scenario, sniff, to_json
from simworld.readers.carla_log import read_carla_log
from simworld.replay import films, page
from simworld.replay.drivers import make_driver
from simworld.replay.result import Replay
from simworld.replay.run import LOG, ReplayConfig, replay
from simworld.report.film import png_bytes, write_mp4
from simworld.report.tables import write_json
from simworld.scenario import Scenario

WORLDS = ("mujoco", "imagined", "carla")
WHEEL = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
DT_S = 0.1
Say = Callable[[object], None]


@dataclass(frozen=True)
class Output:
    """What a command leaves in its folder."""

    replays: Sequence[Replay]
    labels: Sequence[str]
    report: dict[str, Any]
    page: page.Page
    across: bool = False


def run(options: dict[str, Any], say: Say) -> Path:
    """Do what the options of the command line ask; returns the path of the page."""
    if options["world"] not in WORLDS:
        raise ValueError(f"unknown world {options['world']!r}; use one of {', '.join(WORLDS)}")
    path, out = Path(options["scenario_file"]), Path(options["out"])
    scenario = read_scenario(path, road_dirs=tuple(options["road_dirs"]))
    if options["export"] is not None:
        say(f"log as JSON: {export(path, out, options['export'])}")
    config = ReplayConfig(
        film=options["film"],
        duration_s=options["duration_s"],
        road_dirs=tuple(options["road_dirs"]),
        seed=options["seed"],
    )
    output = plain(scenario, driver_of(options["ego"]), config)
    return write(output, out, say)


def driver_of(name: str) -> Policy | None:
    """The ego's driver, None for the log."""
    return None if name == LOG else make_driver(name, WHEEL, DT_S)


def plain(scenario: Scenario, driver: Policy | None, config: ReplayConfig) -> Output:
    """One replay in MuJoCo."""
    result = replay(scenario, driver, config)
    shown = page.Page(
        title=f"Replay of {scenario.name}",
        summary=page.summary(result),
        facts=page.facts(result),
        tables=page.tables(result),
    )
    return Output([result], ["mujoco"], {"replay": result.to_json()}, shown)


def write(output: Output, out: Path, say: Say) -> Path:
    """report.json, film.mp4 and replay.html."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", output.report)
    film, strip = b"", b""
    if all(r.films for r in output.replays):
        pictures = films.film_of(output.replays, output.labels, across=output.across)
        write_mp4(out / "film.mp4", pictures, dt_s=output.replays[0].dt_s)
        film = (out / "film.mp4").read_bytes()
        if len(output.replays) == 1:
            strip = png_bytes(films.strip_of(output.replays[0]))
    shown = output.page
    page.write_page(out / "replay.html", page.Page(shown.title, shown.summary, shown.facts, shown.tables, film, strip))
    say(shown.summary)
    say(f"report: {out / 'replay.html'}")
    return out / "replay.html"


def export(path: Path, out: Path, kind: str) -> Path:
    """A CARLA recorder log as JSON; ValueError for other files, or other kinds of export."""
    if kind != "json":
        raise ValueError(f"unknown export {kind!r}; use export=json")
    if not path.is_file() or sniff(path) != "carla-log":
        raise ValueError(f"export=json writes CARLA recorder logs as JSON, and {path.name} is none")
    target = out / f"{path.stem}.json"
    files.write_bytes(target, json.dumps(to_json(read_carla_log(path)), allow_nan=False).encode())
    return target
