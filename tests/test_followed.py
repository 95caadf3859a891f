"""Who was spotted is followed through the record, whose rows are those nearest at each step, until he is lost."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from simworld.model.outcomes import OutcomeTargets
from simworld.phases.forecast import followed
from simworld.phases.rolled import Rolled

STEPS = 4
NOBODY = [torch.nan] * 9
MODEL = SimpleNamespace(canvas=SimpleNamespace(motion_at=[0, 1]), spec=SimpleNamespace(dt_s=0.1))


def car(x_m: float, speed_mps: float, kind: float = 0.0) -> list[float]:
    return [kind, x_m, 3.5, 0.0, speed_mps, 0.0, 4.5, 1.8, 1500.0]


def window(actors: list[list[list[float]]], left: int = 10) -> Rolled:
    """A car 12 m ahead that drives at 20 m/s, as an ego at 10 m/s meets it, one m ahead of where it really is."""
    every = torch.tensor([actors])
    none = torch.zeros(1, STEPS, 0)
    targets = OutcomeTargets(
        reward=none,
        terminated=none,
        outcomes={},
        steps_to_event={},
        steps_left=left - torch.arange(STEPS)[None],
        value_at_event={},
        state=torch.tensor([10.0, 0.0]).expand(1, STEPS, 2),
    )
    return Rolled(
        belief=torch.zeros(1, 0),
        spotted=torch.tensor([[car(13.0, 17.0), NOBODY]]),
        guesses=none,
        state=none,
        told=none,
        actions=none,
        began=torch.tensor([[10.0, 0.0]]),
        met=torch.tensor([[car(12.0, 20.0), car(40.0, 20.0)]]),
        actors=every,
        targets=targets,
        weight=torch.ones(1),
    )


def places(seen: Rolled) -> tuple[Tensor, Tensor]:
    went, known = followed(seen, MODEL)  # type: ignore[arg-type]
    return went[0, :, 0, 1], known[0]


def test_whoever_changes_his_row_is_the_same() -> None:
    other = car(5.0, 10.0)
    rows = [[car(13.0, 20.0), other], [other, car(14.0, 20.0)], [other, car(15.0, 20.0)], [car(16.0, 20.0), other]]
    where, known = places(window(rows))
    torch.testing.assert_close(where, torch.tensor([13.0, 14.0, 15.0, 16.0]))
    assert known[:, 0].all() and not known[:, 1].any(), "the second row spotted nobody"


def test_a_jump_or_another_class_is_somebody_else_and_the_last_step_is_not_asked_for() -> None:
    rows = [[car(13.0, 20.0)], [car(14.0, 20.0)], [car(18.0, 20.0)], [car(19.0, 20.0)]]
    assert places(window(rows))[1][:, 0].tolist() == [True, True, False, False]
    rows = [[car(13.0, 20.0)], [car(14.0, 20.0, kind=4.0)], [car(15.0, 20.0)], [car(16.0, 20.0)]]
    assert places(window(rows))[1][:, 0].tolist() == [True, False, False, False]
    rows = [[car(13.0 + i, 20.0)] for i in range(STEPS)]
    assert places(window(rows, left=2))[1][:, 0].tolist() == [True, True, False, False]
