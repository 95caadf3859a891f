"""Trials are a whole grid of pure plans whose twins part at one step; the unseen kind is none of the mix."""

from __future__ import annotations

import numpy as np
from simworld.envs.driving.options import ResetOptions
from simworld.policies import driving_unseen
from simworld.policies.driving_trials import NUM_EPISODES, PRESENT, TRIALS, TWINS, plan

from simworld.bench.foresight import OutcomesConfig


def test_the_bench_plays_the_whole_grid_once():
    assert OutcomesConfig().trial_episodes == NUM_EPISODES == len(TRIALS) * len(TWINS)
    assert {t.family for t in TRIALS} == {
        "standing", "rear_end", "head_on", "crossing", "cut_in", "pedestrian", "passing",
    }  # fmt: skip
    assert OutcomesConfig().context <= PRESENT


def test_plans_are_pure_and_twins_share_everything_but_the_reaction():
    for first in range(0, NUM_EPISODES, len(TWINS)):
        trio = [plan(first + i, 7) for i in range(len(TWINS))]
        assert [p.about["twin"] for p in trio] == list(TWINS)
        assert len({p.about["trial"] for p in trio}) == len({p.reset_seed for p in trio}) == 1
        assert trio[0].options == trio[1].options == trio[2].options
        ResetOptions.parse(trio[0].options)
    one, again = plan(5, 7), plan(5, 7)
    assert (one.reset_seed, one.options, one.about) == (again.reset_seed, again.options, again.about)


def test_the_mass_law_varies_the_partner_alone():
    sets: dict[float, list[int]] = {}
    for i in range(0, NUM_EPISODES, len(TWINS)):
        p = plan(i, 0)
        if "mass_share" in p.about:
            sets.setdefault(p.about["closing_mps"], []).append(i)
    assert len(sets) == 3
    for members in sets.values():
        plans = [plan(i, 0) for i in members]
        assert {p.about["partner"] for p in plans} == {"tank", "truck", "car", "motorcycle", "pedestrian"}
        assert len({p.reset_seed for p in plans}) == 1 and len({p.options["ego_speed_mps"] for p in plans}) == 1
        assert all(0 < p.about["mass_share"] < 1 for p in plans)


def test_unseen_episodes_are_what_the_mix_never_draws():
    plans = [driving_unseen.plan(i, 0) for i in range(6)]
    for i, p in enumerate(plans):
        ResetOptions.parse(p.options)
        assert p.options["light"] == "fog"
        crowd = p.options.get("num_actors", 0) > 12 or len(p.options.get("actors", ())) > 1
        assert crowd, i
    assert np.unique([p.reset_seed for p in plans]).size == 6
