"""The command `simworld replay`: reads a scenario, replays it as asked, and writes report.json, a film and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simworld.data import files
from simworld.episode import ActionSpec
from simworld.policy import Policy
from simworld.readers import read_scenario, sniff, to_json
from simworld.readers.carla_log import read_carla_log
from simworld.replay import films, page, whatif
from simworld.replay.carla import replay_in_carla
from simworld.replay.changes import Change, grid, parse_change, parse_sweep
from simworld.replay.drivers import make_action, make_driver
from simworld.replay.generate import generate
from simworld.replay.imagined import Branch, imagine, open_model
from simworld.replay.result import Replay
from simworld.replay.run import LOG, ReplayConfig, Run, duration_of, open_world, replay
from simworld.report.film import png_bytes, write_mp4
from simworld.report.tables import write_json
from simworld.scenario import Scenario
from simworld.world_model import WorldModel

WORLDS = ("mujoco", "imagined", "carla")
BOTH = "mujoco and imagined"
WHEEL = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
DT_S = 0.1
SHIPPED = "driving"
MAX_FILMS = 8  # of a sweep
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
    if not options["scenario_file"]:
        raise ValueError("replay needs to know what: give scenario=FILE")
    path, out = Path(options["scenario_file"]), Path(options["out"])
    scenario = scenario_of(options["scenario_file"], tuple(options["road_dirs"]))
    if options["export"] is not None:
        say(f"log as JSON: {export(path, out, options['export'])}")
    config = ReplayConfig(
        film=options["film"],
        duration_s=options["duration_s"],
        road_dirs=tuple(options["road_dirs"]),
        seed=options["seed"],
    )
    return write(_output(scenario, options, config, say), out, say)


def scenario_of(name: str, road_dirs: tuple[str, ...]) -> Scenario:
    """A scenario by its file, or one of the generated ones as `generated:SEED:INDEX`."""
    if not name.startswith("generated:"):
        return read_scenario(name, road_dirs=road_dirs)
    numbers = name.split(":")[1:]
    if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
        raise ValueError(f"{name!r} is no generated scenario; write it like scenario=generated:0:3 (seed and index)")
    return generate(int(numbers[0]), int(numbers[1]))


def _output(scenario: Scenario, options: dict[str, Any], config: ReplayConfig, say: Say) -> Output:
    driver = driver_of(options["ego"])
    if options["world"] == "carla":
        if options["branch_at"] is not None:
            raise ValueError("CARLA can not go back to a moment; use branch_at with world=mujoco or world=imagined")
        return shown(replay_in_carla(scenario, driver, config))
    model = None
    if options["world"] == "imagined":
        model = open_model(options["checkpoint"] or SHIPPED)
    if options["branch_at"] is not None:
        return what_if(scenario, driver, config, model, options)
    asked = [name for name in ("action", "policy", "changes", "sweep") if options[name]]
    if asked:
        raise ValueError(f"{asked[0]} needs a moment from which on it holds: give branch_at=SECONDS")
    if model is not None:
        return both(scenario, driver, config, model, options["context"])
    return shown(replay(scenario, driver, config))


def driver_of(name: str) -> Policy | None:
    """The ego's driver, None for the log."""
    return None if name == LOG else make_driver(name, WHEEL, DT_S)


def shown(result: Replay) -> Output:
    """One replay in one world."""
    told = page.Page(
        title=f"Replay of {result.scenario}",
        summary=page.summary(result),
        facts=page.facts(result),
        tables=page.tables(result),
    )
    return Output([result], [result.world], {"replay": result.to_json()}, told)


def both(
    scenario: Scenario, driver: Policy | None, config: ReplayConfig, model: WorldModel[Any], context: int
) -> Output:
    """MuJoCo above imagination, which starts from MuJoCo's first frames."""
    duration_s = duration_of(scenario, config)
    config = replace(config, frames=True, cameras=model.spec.cameras)
    world = open_world(scenario, config, live=driver is not None)
    try:
        run = Run(world, scenario, driver, config)
        run.to(duration_s)
        real = run.result("mujoco")
        step = min(context, max(len(run.recording.actions) - 1, 0))
        branches = [Branch("imagined", scenario, driver)]
        (dream,) = imagine(model, run, branches, duration_s, from_step=step, context=step, seed=config.seed)
    finally:
        world.close()
    said = dream.extra["imagined"]
    told = page.Page(
        title=f"Replay of {scenario.name}",
        summary=f"MuJoCo: {page.summary(real)} Imagined: p(collision) {said['p_collision']:.2f}. "
        + page.summary(dream),
        facts=page.facts(real) | {"world": BOTH},
        tables=[page.series_table(said), *page.tables(real)],
    )
    report = {"replay": real.to_json(), "imagined": dream.to_json()}
    return Output([real, dream], ["mujoco", "imagined"], report, told)


def what_if(
    scenario: Scenario,
    driver: Policy | None,
    config: ReplayConfig,
    model: WorldModel[Any] | None,
    options: dict[str, Any],
) -> Output:
    """Futures beside each other, and where a sweep tips."""
    variants = variants_of(options)
    futures = whatif.branch(
        scenario,
        variants,
        options["branch_at"],
        driver=driver,
        config=config,
        model=model,
        context=options["context"],
    )
    tips = whatif.tips(futures)
    first = futures.real[0]
    tables = [whatif.table(futures)]
    if tips:
        rows = [(t["what"], f"{t['from']:g}", f"{t['to']:g}") for t in tips]
        tables.append(page.Table("Where the outcome tips", ("what", "between", "and"), rows))
    told = page.Page(
        title=f"What if, in {scenario.name}",
        summary=whatif.summary(futures),
        facts=page.facts(first) | ({"world": BOTH} if futures.imagined else {}) | {"branch at": f"{futures.at_s:g} s"},
        tables=[*tables, *page.tables(first)],
    )
    report = {"replay": first.to_json(), "what_if": whatif.report(futures) | {"tips": tips}}
    labels = [v.label for v in variants]
    if not futures.imagined:
        return Output(futures.real, labels, report, told, across=True)
    replays = [r for pair in zip(futures.real, futures.imagined, strict=True) for r in pair]
    names = [f"{label}: {world}" for label in labels for world in ("mujoco", "imagined")]
    return Output(replays, names, report, told, across=True)


def variants_of(options: dict[str, Any]) -> list[whatif.Variant]:
    """The futures that the command line asks for, the first of them as it was."""
    if options["action"] and options["policy"]:
        raise ValueError("action and policy both drive the ego after the branch; give one of them")
    driver, name = None, ""
    if options["action"]:
        driver, name = make_action(options["action"], WHEEL, DT_S), options["action"]
    elif options["policy"]:
        driver, name = make_driver(options["policy"], WHEEL, DT_S), options["policy"]
    fixed = tuple(parse_change(text) for text in options["changes"])
    sweeps: list[tuple[Change, ...]] = [()]
    if options["sweep"]:
        sweeps = grid([parse_sweep(text) for text in options["sweep"]])
    if driver is None and not fixed and not options["sweep"]:
        raise ValueError("branch_at needs something to be different: action=brake, policy=NAME or actor.NAME.brake=6")
    variants = [whatif.Variant(whatif.AS_IT_WAS)]
    for combination in sweeps:
        changes = (*fixed, *combination)
        label = ", ".join([*([name] if name else []), *(c.text for c in changes)])
        variants.append(whatif.Variant(label, driver, changes))
    return variants


def write(output: Output, out: Path, say: Say) -> Path:
    """report.json, film.mp4 and replay.html."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", output.report)
    film, strip = b"", b""
    if output.replays and all(r.films for r in output.replays[:MAX_FILMS]):
        pictures = films.film_of(output.replays[:MAX_FILMS], output.labels[:MAX_FILMS], across=output.across)
        write_mp4(out / "film.mp4", pictures, dt_s=output.replays[0].film_dt_s)
        film = (out / "film.mp4").read_bytes()
        if len(output.replays) == 1:
            strip = png_bytes(films.strip_of(output.replays[0]))
    told = output.page
    page.write_page(out / "replay.html", page.Page(told.title, told.summary, told.facts, told.tables, film, strip))
    say(told.summary)
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
