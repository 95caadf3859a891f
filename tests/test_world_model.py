"""WorldModel: steps are pure, noise is a function of (seed, step), and a stream equals the parallel pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from simworld.checkpoint import build_world_model
from simworld.episode import EpisodeSpec
from simworld.latent_world_model import LatentState, LatentWorldModel
from simworld.model.codec import CodecConfig
from simworld.model.dynamics import Denoised
from simworld.reference_world_model import ReferenceWorldConfig
from simworld.world_model import WorldModel, map_streams, take_streams

from .tiny_world import CHOICE, OUTCOMES, PIXELS, SPEC, WINDOW, film_batch, lively_model

SEEDS = torch.tensor([5, 6, 7])
DISCRETE = EpisodeSpec("tiny", {"left": (8, 8), "right": (16, 8), "top": (8, 24)}, CHOICE, OUTCOMES)


@pytest.fixture(scope="module")
def model() -> LatentWorldModel:
    return lively_model()


@pytest.fixture(scope="module")
def reference() -> WorldModel[Any]:
    config = {"reference": {"unet": {"channels": [8, 8], "depths": [1, 1], "attention": [False, False]}}}
    spec = dataclasses.replace(SPEC, cameras={"front": (16, 16)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_world_model("unet", {**config, "heads": {"horizon": 4, "width": 8}, "classifier_width": 4}, spec)
    assert isinstance(made.config, ReferenceWorldConfig)
    return made.to_dtype(torch.float32).eval()


def actions_of(b: int, n: int, seed: int = 1) -> Tensor:
    return torch.rand(b, n, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def play(model: WorldModel[Any], state: Any, actions: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """Frames {camera: (b, n, h, w, 3)} of n actions (b, n, a)."""
    films: list[dict[str, Tensor]] = []
    for t in range(actions.shape[1]):
        state, prediction = model.step(state, actions[:, t])
        films.append(prediction.frames)
    return state, {c: torch.stack([f[c] for f in films], dim=1) for c in films[0]}


def gap(a: dict[str, Tensor], b: dict[str, Tensor]) -> int:
    """Largest difference in grey levels."""
    return max(int((a[c].int() - b[c].int()).abs().max()) for c in a)


def tensors_of(state: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_streams(state, lambda x: found.append(x.clone()) or x)
    return found


@pytest.mark.parametrize("which", ["model", "reference"])
def test_a_state_is_never_edited_and_branches_agree(which: str, request: pytest.FixtureRequest) -> None:
    world: WorldModel[Any] = request.getfixturevalue(which)
    frames, actions = film_batch(3, 4, world.spec)
    state = world.start(frames, actions, seed=SEEDS)
    before = tensors_of(state)
    _, first = play(world, state, actions_of(3, 3))
    _, second = play(world, state, actions_of(3, 3))
    assert gap(first, second) == 0
    for old, new in zip(before, tensors_of(state), strict=True):
        assert torch.equal(old, new)


def test_branches_that_differ_in_one_action_share_their_noise(
    model: LatentWorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simworld import latent_world_model

    drawn: list[Tensor] = []
    original = latent_world_model.draw_noise

    def spy(like: Any, noise: Any) -> Any:
        out = original(like, noise)
        drawn.append(torch.cat([z.flatten(1) for z in out.values()], dim=1))
        return out

    state = model.start(*film_batch(3, 4), seed=SEEDS)
    monkeypatch.setattr(latent_world_model, "draw_noise", spy)
    straight, turned = actions_of(3, 4), actions_of(3, 4)
    turned[:, 1] = -turned[:, 1]
    _, one = play(model, state, straight)
    _, two = play(model, state, turned)
    for a, b in zip(drawn[:4], drawn[4:], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(drawn[0], drawn[1])
    assert gap({c: f[:, :1] for c, f in one.items()}, {c: f[:, :1] for c, f in two.items()}) == 0
    assert gap(one, two) > 20


@pytest.mark.parametrize("which", ["model", "reference"])
def test_a_film_does_not_depend_on_its_neighbours(which: str, request: pytest.FixtureRequest) -> None:
    world: WorldModel[Any] = request.getfixturevalue(which)
    frames, actions = film_batch(3, 4, world.spec)
    then = actions_of(3, 8)
    _, together = play(world, world.start(frames, actions, seed=SEEDS), then)
    _, again = play(world, world.start(frames, actions, seed=SEEDS), then)
    assert gap(together, again) == 0
    for i in range(3):
        alone = world.start({c: f[i : i + 1] for c, f in frames.items()}, actions[i : i + 1], seed=SEEDS[i : i + 1])
        _, film = play(world, alone, then[i : i + 1])
        assert gap(film, {c: f[i : i + 1] for c, f in together.items()}) <= 1
    _, other = play(world, world.start(frames, actions, seed=SEEDS + 1), then)
    assert gap(together, other) > 1


@pytest.mark.parametrize("num_frames", [3, WINDOW, 2 * WINDOW + 1])
def test_streaming_equals_the_parallel_pass(model: LatentWorldModel, num_frames: int) -> None:
    """Frame by frame with a cache that forgets, against all frames at once under the attention mask."""
    dynamics, b = model.dynamics, 2
    g = torch.Generator().manual_seed(0)
    channels = dynamics.channels
    noisy, past = (
        {c: torch.randn(b, num_frames, n * channels, h, w, generator=g) for c, (h, w) in dynamics.grids.items()}
        for n in (1, dynamics.config.num_past)
    )
    actions, level = torch.randn(b, num_frames, 2, generator=g), torch.rand(b, num_frames, generator=g)
    whole = dynamics(noisy, past, actions, level, 0 * level)
    cache = None
    for t in range(num_frames):
        at = slice(t, t + 1)
        part: Denoised = dynamics(
            {c: z[:, at] for c, z in noisy.items()},
            {c: z[:, at] for c, z in past.items()},
            actions[:, at],
            level[:, at],
            0 * level[:, at],
            cache,
        )
        cache = part.cache
        for c in part.clean:
            torch.testing.assert_close(part.clean[c], whole.clean[c][:, at], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(part.registers, whole.registers[:, at], atol=1e-5, rtol=1e-5)
        assert cache[0][0].shape[3] == min(t + 1, WINDOW - 1)


def test_start_leaves_the_cache_of_the_given_frames(model: LatentWorldModel) -> None:
    """The first imagined frame sees the given ones: another first action or frame shows, out of reach it does not."""
    frames, actions = film_batch(2, WINDOW + 2)
    then = actions_of(2, 1)

    def first_frame(frames: dict[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        return play(model, model.start(frames, actions, seed=SEEDS[:2]), then)[1]

    usual = first_frame(frames, actions)
    near, far = actions.clone(), actions.clone()
    near[:, -2] *= -1
    far[:, 0] *= -1
    assert gap(usual, first_frame(frames, near)) > 0
    assert gap(usual, first_frame(frames, far)) == 0


def test_the_cache_stays_bounded(model: LatentWorldModel) -> None:
    state, film = play(model, model.start(*film_batch(1, 0), seed=SEEDS[:1]), actions_of(1, 3 * WINDOW))
    assert {x.shape[3] for pair in state.cache for x in pair} == {WINDOW - 1}
    assert film["front"].shape == (1, 3 * WINDOW, 16, 24, 3)


@pytest.mark.parametrize("context", [0, 2, WINDOW + 1])
@pytest.mark.parametrize("after", [1, WINDOW + 2])
def test_a_lane_that_begins_anew_shows_the_film_of_a_fresh_stream(
    model: LatentWorldModel, context: int, after: int
) -> None:
    """Caches of different lengths in one batch: neither the new lane nor its neighbours notice."""
    then = actions_of(3, 2 * WINDOW)
    state, _ = play(model, model.start(*film_batch(3, 4), seed=SEEDS), actions_of(3, after, seed=2))
    _, undisturbed = play(model, state, then)
    fresh = model.start(*film_batch(1, context, seed=40), seed=torch.tensor([99]))
    mixed = model.put(state, torch.tensor([1]), fresh)
    end, film = play(model, mixed, then)
    _, alone = play(model, fresh, then[1:2])
    assert gap({c: f[1:2] for c, f in film.items()}, alone) <= 1
    for i in (0, 2):
        assert gap({c: f[i : i + 1] for c, f in film.items()}, {c: f[i : i + 1] for c, f in undisturbed.items()}) <= 1
    assert isinstance(end, LatentState) and end.age is None  # all caches are full again: no mask is needed


def test_streams_can_be_taken_more_than_once(model: LatentWorldModel) -> None:
    state = model.start(*film_batch(3, 4), seed=SEEDS)
    _, film = play(model, take_streams(state, torch.tensor([2, 2, 2])), actions_of(1, 3).expand(3, -1, -1))
    for c in film:
        assert torch.equal(film[c][0], film[c][1]) and torch.equal(film[c][0], film[c][2])


def test_discrete_actions_and_three_cameras() -> None:
    world = lively_model(spec=DISCRETE)
    frames, actions = film_batch(3, 4, DISCRETE)
    state = world.start(frames, actions, seed=SEEDS)
    _, prediction = world.step(state, torch.tensor([[0.0], [1.0], [2.0]]))
    assert {c: tuple(f.shape) for c, f in prediction.frames.items()} == {
        c: (3, h, w, 3) for c, (h, w) in DISCRETE.cameras.items()
    }
    same = [take_streams(state, torch.zeros(3, dtype=torch.int64))]
    _, chosen = world.step(same[0], torch.tensor([[0.0], [1.0], [2.0]]))
    films = chosen.frames["top"].int()
    assert (films[0] - films[1]).abs().max() > 0 and (films[1] - films[2]).abs().max() > 0
    with pytest.raises(ValueError, match="0..2"):
        world.step(state, torch.full((3, 1), 3.0))


@pytest.mark.parametrize("kind", ["pixels", "conv"])
def test_an_untrained_model_repeats_the_last_frame(kind: Any) -> None:
    config = dataclasses.replace(PIXELS, codec=CodecConfig(kind=kind, channels=4, widths=(4, 4, 8)))
    world = build_world_model("latent", config, SPEC).eval()
    assert isinstance(world, LatentWorldModel)
    frames, actions = film_batch(3, 4)
    _, film = play(world, world.start(frames, actions, seed=SEEDS), actions_of(3, 6))
    with torch.no_grad():
        shown = world.decode({c: z[:, -1] for c, z in world.encode(frames).items()})
    assert gap(film, {c: f[:, None].expand(-1, 6, -1, -1, -1) for c, f in shown.items()}) == 0
    if kind == "pixels":
        assert gap(shown, {c: f[:, -1] for c, f in frames.items()}) == 0


@pytest.mark.parametrize("sample_steps", [1, 2, 4])
def test_an_oracle_makes_the_sampler_return_the_truth(sample_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lively_model(dataclasses.replace(PIXELS, sample_steps=sample_steps))
    frames, actions = film_batch(3, 4)
    state = world.start(frames, actions, seed=SEEDS)
    truth, _ = film_batch(3, 0, seed=70)
    clean = world.encode(truth)
    levels: list[float] = []

    def oracle(noisy: Any, past: Any, actions: Tensor, level: Tensor, *rest: Any) -> Denoised:
        levels.append(float(level[0, 0]))
        return Denoised(clean, torch.zeros(3, 1, world.heads.num_features - world.heads.num_known), state.cache)

    monkeypatch.setattr(world.dynamics, "forward", oracle)
    _, prediction = world.step(state, actions_of(3, 1)[:, 0])
    assert gap(prediction.frames, {c: f[:, 0] for c, f in truth.items()}) == 0
    assert levels == [i / sample_steps for i in range(sample_steps)]


def test_bfloat16_stays_near_float32(model: LatentWorldModel) -> None:
    low = lively_model().to_dtype(torch.bfloat16)
    frames, actions = film_batch(3, 4)
    then = actions_of(3, 1)
    _, exact = play(model, model.start(frames, actions, seed=SEEDS), then)
    _, rough = play(low, low.start(frames, actions, seed=SEEDS), then)
    assert gap(exact, rough) <= 12
    assert all(buffer.dtype == torch.float32 for buffer in low.heads.buffers())


def test_what_does_not_fit_is_refused(model: LatentWorldModel) -> None:
    frames, actions = film_batch(3, 4)
    for given, when, said in (
        ({"front": frames["front"]}, actions, "cameras"),
        (frames, actions[:, :3], "frames"),
        (frames, actions[..., :1], "actions"),
        ({c: f.float() for c, f in frames.items()}, actions, "uint8"),
    ):
        with pytest.raises(ValueError, match=said):
            model.start(given, when, seed=SEEDS)
    with pytest.raises(ValueError, match="multiples of 8"):
        lively_model(spec=dataclasses.replace(SPEC, cameras={"front": (12, 16)}))
    with pytest.raises(ValueError, match="sample_steps"):
        dataclasses.replace(PIXELS, sample_steps=0)
