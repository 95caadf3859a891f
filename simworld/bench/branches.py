"""Bench: whether imagination and MuJoCo agree on what braking changes, over generated scenarios."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simworld.data.files import write_json
from simworld.episode import ActionSpec
from simworld.replay.agreement import AgreementConfig, agreement
from simworld.replay.drivers import make_action
from simworld.replay.imagined import open_model


def bench_branches(
    *, checkpoint: str, out: Path, num: int = 100, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Branch `num` generated scenarios at 2 s into going on and braking, in both worlds; writes out/branches.json."""
    model = open_model(checkpoint)
    action = model.spec.action
    if action != ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)):
        raise ValueError(f"{checkpoint} does not drive: its actions are {action}; give a driving checkpoint")
    brake = make_action("brake", action, model.spec.dt_s)
    found = agreement(model, brake, AgreementConfig(num=num), say=lambda line: report(str(line)))
    write_json(out / "branches.json", {"replay": {"agreement": found}})
    report(sentence(found))
    return {"replay": {"agreement": {name: value for name, value in found.items() if name != "rows"}}}


def sentence(found: dict[str, Any]) -> str:
    """The agreement on one line."""
    both, effect, usual = found["collision"], found["effect"], found["always_the_commoner_answer"]
    ranked = "" if found["auroc"] is None else f", AUROC {found['auroc']:.2f}"
    return (
        f"imagination agrees with MuJoCo on collision in {100 * both['share']:.0f} % of {both['num']} futures "
        f"({100 * both['low']:.0f} to {100 * both['high']:.0f}; always giving the commoner answer: {100 * usual:.0f} %)"
        f"{ranked}, and on what braking changes in {100 * effect['share']:.0f} % of {effect['num']} scenarios"
    )
