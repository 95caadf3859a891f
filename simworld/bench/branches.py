"""Bench: imagination beside MuJoCo on what braking changes, and the others beside where the model was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simworld.bench.placement import placement
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec
from simworld.replay.agreement import AgreementConfig, agreement
from simworld.replay.drivers import make_action
from simworld.replay.imagined import open_model


def bench_branches(
    *,
    checkpoint: str,
    out: Path,
    num: int = 100,
    data: Path | None = None,
    heldout: Path | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Branch `num` generated scenarios at 2 s into going on and braking, in both worlds; writes out/branches.json.

    With the stores `data`, to fit a probe on, and `heldout` the placement of the vehicle ahead is measured as well.
    """
    model = open_model(checkpoint)
    action = model.spec.action
    if action != ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)):
        raise ValueError(f"{checkpoint} does not drive: its actions are {action}; give a driving checkpoint")
    brake = make_action("brake", action, model.spec.dt_s)
    found = agreement(model, brake, AgreementConfig(num=num), say=lambda line: report(str(line)))
    report(sentence(found))
    placed = None
    if data is not None and heldout is not None:
        report("placing the vehicle ahead, told and untold")
        cameras = model.spec.cameras
        placed = placement(model, EpisodeStore(data).cache(cameras), EpisodeStore(heldout).cache(cameras))
    write_json(out / "branches.json", {"replay": {"agreement": found, "placement": placed}})
    agreed = {name: value for name, value in found.items() if name != "rows"}
    return {"replay": {"agreement": agreed, "placement": placed}}


def sentence(found: dict[str, Any]) -> str:
    """The agreement on one line."""
    both, effect, usual = found["collision"], found["effect"], found["always_the_commoner_answer"]
    ranked = "" if found["auroc"] is None else f", AUROC {found['auroc']:.2f}"
    return (
        f"imagination agrees with MuJoCo on collision in {100 * both['share']:.0f} % of {both['num']} futures "
        f"({100 * both['low']:.0f} to {100 * both['high']:.0f}; always giving the commoner answer: {100 * usual:.0f} %)"
        f"{ranked}, and on what braking changes in {100 * effect['share']:.0f} % of {effect['num']} scenarios"
    )
