"""evaluate(): the same policies and starts in both worlds, a report that stands alone, and work that is not lost."""

import csv
import json
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

from simworld.episode import ActionSpec, EpisodeSpec, OutcomeSpec
from simworld.evaluate import EvaluateConfig, evaluate
from simworld.starts import neutral_actions

SIZE = 16
SPEC = EpisodeSpec(
    "test/Line-v0",
    {"front": (SIZE, SIZE)},
    ActionSpec("continuous", (-1.0,), (1.0,)),
    (OutcomeSpec("collision", "event"), OutcomeSpec("impulse", "scalar", given="collision")),
)


def picture(x):
    """A bar whose place says x in [-1, 1] exactly, to 1/128."""
    frame = np.full((SIZE, SIZE, 3), 30, np.uint8)
    frame[4:12, int(np.clip((x + 1) / 2 * SIZE, 0, SIZE - 1))] = 200
    frame[0] = np.round((np.clip(x, -1, 1) + 1) * 127)
    return frame


def advance(x, action, drift=0.0):
    x = float(np.round(((x + 0.1 * action + drift) + 1) * 127) / 127 - 1)
    return x, abs(x) >= 0.98


class Line(gymnasium.Env):
    """Walk on a line; both its ends are walls, and a start may lie close to one."""

    observation_space = gymnasium.spaces.Dict(front=gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8))
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    episode_spec = SPEC

    def __init__(self, die_at=None):
        self.die_at, self.steps = die_at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.99 if seed == 13 else float(self.np_random.uniform(-0.7, 0.7))
        self.x, _ = advance(self.x, 0)
        return {"front": picture(self.x)}, {"state": np.zeros(0, np.float32)}

    def step(self, action):
        self.steps += 1
        if self.die_at is not None and self.steps > self.die_at:
            raise KeyboardInterrupt
        self.x, hit = advance(self.x, float(action[0]))
        outcomes = {"collision": float(hit), "impulse": 100.0 if hit else np.nan}
        return {"front": picture(self.x)}, 1.0 - abs(self.x), hit, False, {"outcomes": outcomes}


class ImaginedLine(VectorEnv):
    """The same line, read off the last context frame; `drift` makes it a wrong model."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    single_observation_space, single_action_space = Line.observation_space, Line.action_space
    episode_spec = SPEC

    def __init__(self, num_envs=4, drift=0.0):
        self.num_envs, self.drift, self.started = num_envs, drift, 0

    def reset(self, *, seed=None, options=None):
        if "frames" in options:
            assert options["frames"]["front"].shape[1] == options["actions"].shape[1] + 1
            self.x = options["frames"]["front"][:, -1, 0, 0, 0] / 127.0 - 1.0
            self.started += 1
        return self._seen(), {}

    def step(self, actions):
        moved = [advance(x, float(a[0]), self.drift) for x, a in zip(self.x, actions, strict=True)]
        self.x = np.array([x for x, _ in moved])
        hit = np.array([h for _, h in moved])
        outcomes = {"collision": hit.astype(float), "impulse": np.where(hit, 100.0, np.nan)}
        return self._seen(), 1.0 - np.abs(self.x), hit, np.zeros(self.num_envs, bool), {"outcomes": outcomes}

    def _seen(self):
        return {"front": np.stack([picture(x) for x in self.x])}


class Walk:
    """Goes one way, with noise, or home by what it sees."""

    needs_state = False

    def __init__(self, name, push=0.0, noise=0.0, home=0.0):
        self.name, self.push, self.noise, self.home = name, push, noise, home

    def reset(self, seeds):
        self.rngs = [np.random.default_rng(int(s)) for s in seeds]

    def act(self, observation, infos):
        x = observation["front"][:, 0, 0, 0] / 127.0 - 1.0
        noise = np.array([rng.normal() for rng in self.rngs])
        return np.clip(self.push + self.noise * noise - self.home * x, -1, 1)[:, None].astype(np.float32)


POLICIES = [Walk("left", push=-0.5), Walk("slow", push=0.3), Walk("noisy", noise=2.0), Walk("home", home=1.0)]
CONFIG = EvaluateConfig(horizon=15, prefix_steps=2, films=2)


def run(out, *, real=Line, imagined=None, policies=POLICIES, starts=range(10), config=CONFIG, **kwargs):
    imagined = imagined or ImaginedLine()
    return evaluate(
        real_env=real, imagined=imagined, policies=policies, starts=starts, out=out, config=config, **kwargs
    )


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    said = []
    return run(out, about={"checkpoint": "oracle <b>"}, progress=said.append), said


def test_a_perfect_imagination_agrees(perfect):
    evaluation, _ = perfect
    success = evaluation.comparison.agreement["success"]
    assert success.pearson.value == pytest.approx(1.0) and success.mmrv.value == 0.0 and success.bias.value == 0.0
    rates = {p.policy: p.rates["success"].real.value for p in evaluation.comparison.policies}
    assert rates["home"] == 1.0 and rates["left"] < 1.0
    assert all(p.rates["collision"].same_outcome.value == 1.0 for p in evaluation.comparison.policies)
    assert min(evaluation.comparison.psnr.psnr_db) > 50
    assert [len(e.frames) for e in evaluation.real[:10]] == [1, 1] + [0] * 8


def test_a_wrong_imagination_is_found_out(tmp_path):
    evaluation = run(tmp_path, imagined=ImaginedLine(drift=0.12))
    assert evaluation.comparison.agreement["success"].bias.value < -0.2
    assert evaluation.comparison.agreement["collision"].bias.value > 0.2


def test_what_is_written(perfect):
    evaluation, _ = perfect
    out = evaluation.page.parent

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    report = json.loads((out / "report.json").read_text(), parse_constant=refuse)
    assert report["agreement"]["success"]["pearson"]["value"] == pytest.approx(1.0)
    assert report["about"] == {"checkpoint": "oracle <b>"} and len(report["limits"]) >= 2
    episodes = list(csv.DictReader((out / "episodes.csv").open()))
    assert len(episodes) == 2 * 4 * 10
    crashed = [e for e in episodes if e["policy"] == "left" and e["collision"] == "1"]
    assert crashed and all(float(e["collision_s"]) == pytest.approx(0.1 * int(e["steps"])) for e in crashed)
    policies = list(csv.DictReader((out / "policies.csv").open()))
    assert {(p["policy"], p["outcome"]) for p in policies} == {
        (p.name, o) for p in POLICIES for o in ("success", "collision")
    }
    assert len(list((out / "films").glob("*.mp4"))) == len(list((out / "films").glob("*.png"))) == 4


def test_the_page_stands_alone(perfect):
    evaluation, _ = perfect
    page = evaluation.page.read_text()
    assert page.count("data:image/png;base64,") == 1 + 1 + 4 and page.count("data:video/mp4;base64,") == 4
    assert "http" not in page and "oracle &lt;b&gt;" in page and "oracle <b>" not in page
    assert "Only 4 policies" in page and "as few as 10 episodes" in page
    assert "Pearson r = 1.00" in page


def test_progress_counts_to_the_end(perfect):
    _, said = perfect
    assert (said[-1].done, said[-1].total) == (80, 80) and said[-1].left_s == 0
    assert "episodes" in str(said[0])


def test_cut_off_it_loses_at_most_one_policy(tmp_path, perfect):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, real=partial(Line, die_at=30 + 2 * 17 * 10))
    kept = {p.name.split("-")[0] for p in (tmp_path / "runs").glob("*.npz")}
    assert {"starts.npz", "left"} <= kept and "home" not in kept
    imagined = ImaginedLine()
    evaluation = run(tmp_path, imagined=imagined)
    assert imagined.started < 4 * 3
    whole = json.dumps([p.rates["success"].real.value for p in perfect[0].comparison.policies])
    assert json.dumps([p.rates["success"].real.value for p in evaluation.comparison.policies]) == whole
    done = run(tmp_path, real=partial(Line, die_at=0))  # nothing is left to play
    assert done.comparison == evaluation.comparison
    with pytest.raises(ValueError, match="other horizon"):
        run(tmp_path, config=EvaluateConfig(horizon=9, prefix_steps=2, films=2))


def test_starts_that_end_in_the_prefix_are_dropped(tmp_path):
    evaluation = run(tmp_path, starts=[13, 0, 1])
    assert any("1 starts ended" in limit for limit in evaluation.limits)
    assert {e.provenance["seed"] for e in evaluation.real} == {0, 1}
    with pytest.raises(ValueError, match="lower prefix_steps"):
        run(tmp_path / "none", starts=[13])


def test_bad_requests_are_explained(tmp_path):
    knowing = Walk("knowing")
    knowing.needs_state = True
    for policies, starts, text in (
        ([knowing], [0], "ground truth"),
        ([POLICIES[0], Walk("left")], [0], "two policies are called 'left'"),
        (POLICIES, [0, 0], "start is given twice"),
        ([], [0], "at least one policy"),
    ):
        with pytest.raises(ValueError, match=text):
            run(tmp_path, policies=policies, starts=starts)
    with pytest.raises(ValueError, match="horizon"):
        EvaluateConfig(horizon=0)


def test_neutral_actions_are_inside_the_bounds():
    spec = ActionSpec("continuous", (0.5, -1.0), (2.0, 1.0))
    assert (neutral_actions(spec, 3) == np.float32([[0.5, 0.0]] * 3)).all()
    assert (neutral_actions(ActionSpec("discrete", n=4), 2) == 0).all()
