"""Generated scenarios: seeded, of every kind, and with both answers among them."""

from __future__ import annotations

import numpy as np
from replay_fakes import FakeModel

from simworld.readers import contacts, first_contact
from simworld.replay.agreement import AgreementConfig, agreement
from simworld.replay.drivers import make_action
from simworld.replay.generate import generate


def test_equal_seeds_give_equal_scenarios() -> None:
    a, b, c = generate(1, 4), generate(1, 4), generate(2, 4)
    for x, y in zip(a.actors, b.actors, strict=True):
        assert x.kind == y.kind and x.track is not None and y.track is not None
        assert (x.track.pose == y.track.pose).all()
    assert any((x.track.pose != y.track.pose).any() for x, y in zip(a.actors, c.actors, strict=True))  # type: ignore[union-attr]


def test_some_crash_and_some_do_not_and_nobody_does_before_the_branch() -> None:
    found = [first_contact(generate(0, i), 0.05) for i in range(60)]
    share = np.mean([c is not None for c in found])
    assert 0.4 < share < 0.9
    assert all(c is None or c.t_s > 2.0 for c in found)
    assert not any(c.tracking_overlap for i in range(10) for c in contacts(generate(0, i), 0.05))


def test_a_model_that_knows_agrees_more_than_one_that_does_not() -> None:
    config = AgreementConfig(num=3, batch=4)
    brake = make_action("brake", FakeModel().spec.action, 0.1)
    knows = agreement(FakeModel(), brake, config)
    blind = agreement(FakeModel(actors=0), brake, config)
    assert knows["num_scenarios"] == 3 and len(knows["rows"]) == 6
    assert knows["collision"]["share"] >= blind["collision"]["share"]
    assert blind["futures"]["go on"]["imagined_collides"] == 0.0
