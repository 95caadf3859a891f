"""Touch: who comes near is hit, and says with what and how hard; what is no guess may be hit as well."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Adam

from simworld.episode import OutcomeSpec
from simworld.model.factors import Factors
from simworld.model.outcomes import QUANTILES
from simworld.model.touch import CATEGORIES, Touch

EVENTS = tuple(OutcomeSpec(name, "event") for name in ("collision", "off_road"))
PARTNER = OutcomeSpec("partner", "category", categories=("car", "tank"), given="collision")
DELTA_V = OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision", scale=5.0)
LOUD = OutcomeSpec("loudness", "scalar")
SIZES = {"collision": 5, "off_road": 5, "partner": 2, "delta_v": len(QUANTILES), "loudness": len(QUANTILES)}

NEAR = [0.0, 4.6, 0.0, 0.0, 2.0, 0.0, 4.5, 1.8, 1500.0]
FAR = [0.0, 30.0, 5.0, 0.0, 12.0, 0.0, 4.5, 1.8, 1500.0]
TANK = [4.0, *NEAR[1:6], 7.0, 3.5, 50000.0]
NOBODY = [torch.nan] * 9


def made(minds: int = 1) -> Touch:
    torch.manual_seed(0)
    return Touch((*EVENTS, PARTNER, DELTA_V, LOUD), SIZES, num_state=2, minds=minds)


def told(touch: Touch, rows: Tensor, speed_mps: float = 12.0) -> dict[str, Tensor]:
    shape = rows.shape[:-2]
    ego = torch.tensor([speed_mps, 0.0]).expand(*shape, 2)
    return touch(rows, torch.zeros(*shape, 2), ego, torch.full(shape, 0.1))


def test_risks_of_all_candidates_add_up() -> None:
    touch = made()
    rows = torch.tensor([[[NEAR, NOBODY], [NOBODY, NOBODY]], [[NEAR, NEAR], [NOBODY, NEAR]]])
    found = {name: x.detach() for name, x in told(touch, rows).items()}
    assert found.keys() == SIZES.keys() - {"loudness"}, "what no event gives is the belief's"
    assert found["collision"].shape == (2, 2, 5) and found["partner"].shape == (2, 2, 2)
    risk = -torch.log1p(-found["collision"].sigmoid())
    near = risk[0, 0] - risk[0, 1]
    torch.testing.assert_close(risk[1, 0], risk[0, 1] + 2 * near)
    torch.testing.assert_close(found["collision"][1, 1], found["collision"][0, 0])
    assert float(risk.max()) < 0.05, "events are rare until it has learned"
    torch.testing.assert_close(found["partner"].exp().sum(-1), torch.ones(2, 2))


def test_it_counts_once_it_has_learned() -> None:
    touch, factors = made(), Factors((*EVENTS, PARTNER, DELTA_V, LOUD))
    torch.nn.init.normal_(factors.logs["delta_v/partner"])
    raw = {name: torch.full((1, n), 2.0) for name, n in SIZES.items()} | {"state": torch.zeros(1, 2)}
    found = told(touch, torch.tensor([[NEAR, FAR]]))
    before = touch.added(raw, found, factors, touch.tokens.share)
    torch.testing.assert_close(before, raw)
    touch.learned.fill_(1.0)
    both = touch.added(raw, found, factors, touch.tokens.share)
    torch.testing.assert_close(both["collision"], raw["collision"].lerp(found["collision"], touch.tokens.share))
    torch.testing.assert_close(both["partner"], raw["partner"].lerp(found["partner"], CATEGORIES))
    new = factors(DELTA_V, {"partner": both["partner"].softmax(-1)})
    torch.testing.assert_close(both["delta_v"] * new, found["delta_v"])
    assert both["state"] is raw["state"] and both["loudness"] is raw["loudness"]


def test_several_minds_tell_the_mean_of_those_that_have_learned() -> None:
    touch, one, rows = made(minds=2), made(), torch.tensor([[NEAR, FAR]])
    (other,) = touch.others
    first, second = told(one, rows), told(other, rows)  # type: ignore[arg-type]
    assert not torch.equal(first["collision"], second["collision"]), "each begins elsewhere"
    touch.learned.fill_(1.0)
    assert all(torch.equal(x, first[name]) for name, x in told(touch, rows).items())
    other.learned.fill_(1.0)  # type: ignore[union-attr,operator]
    for name, x in told(touch, rows).items():
        torch.testing.assert_close(x, (first[name] + second[name]) / 2)


def test_nobody_far_away_or_absent_leaves_no_nan_in_the_gradient() -> None:
    touch = made()
    found = told(touch, torch.tensor([[NOBODY, NOBODY], [FAR, NOBODY]]))
    sum(x.sum() for x in found.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in touch.parameters() if p.grad is not None)


def test_it_learns_who_is_hit_and_the_order_does_not_matter() -> None:
    touch = made()
    rows = torch.tensor([[NEAR, FAR], [FAR, NOBODY], [FAR, TANK], [[4.0, *FAR[1:]], NEAR]])
    hit, who = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 0])
    optimizer = Adam(touch.parameters(), lr=0.01)
    for _ in range(150):
        found = told(touch, rows)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(found["collision"][:, 0], hit)
        loss = loss + torch.nn.functional.cross_entropy(found["partner"][hit > 0], who[hit > 0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = {name: x.detach() for name, x in told(touch, rows).items()}
    assert (found["collision"][:, 0][hit > 0] > 2).all() and (found["collision"][:, 0][hit == 0] < -2).all()
    assert torch.equal(found["partner"].argmax(-1)[hit > 0], who[hit > 0])
    turned = told(touch, rows.flip(1))
    torch.testing.assert_close(turned["collision"].detach(), found["collision"])
