"""The reference model: the published size, an objective taken apart by hand, and that it learns."""

import dataclasses
import json

import pytest
import torch

from simworld.episode import ActionSpec, EpisodeSpec
from simworld.model.actions import encode_actions
from simworld.model.edm import EdmConfig, add_noise, precondition, training_sigmas
from simworld.model.noise import NoiseStream
from simworld.model.pixels import quantize, to_uint8
from simworld.model.reference import ReferenceConfig, ReferenceModel
from simworld.nets.unet import UNetConfig

STEER = ActionSpec("continuous", low=(-1.0, -1.0), high=(1.0, 1.0))
SMALL = ReferenceConfig(unet=UNetConfig(channels=(16, 16), depths=(1, 1), attention=(False, False), cond_features=32))


def spec_of(action: ActionSpec = STEER, **cameras: tuple[int, int]) -> EpisodeSpec:
    return EpisodeSpec("toy", cameras or {"front": (8, 8)}, action)


def small_model(config: ReferenceConfig = SMALL, spec: EpisodeSpec | None = None, seed: int = 0) -> ReferenceModel:
    """Random everywhere, the zero-initialised layers too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ReferenceModel(config, spec or spec_of())
        for parameter in model.unet.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def stream(b: int, seed: int = 0) -> NoiseStream:
    return NoiseStream(torch.arange(b) + 1000 * seed, torch.zeros(b, dtype=torch.int64))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def window(b: int, t: int, seed: int = 0, **cameras: tuple[int, int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    g = generator(seed)
    frames = {
        name: torch.randint(0, 256, (b, t, h, w, 3), generator=g, dtype=torch.uint8)
        for name, (h, w) in (cameras or {"front": (8, 8)}).items()
    }
    return frames, torch.rand(b, t - 1, 2, generator=g) * 2 - 1


@pytest.mark.parametrize("action", [STEER, ActionSpec("discrete", n=18)])
def test_published_size_is_4_4_million(action):
    model = ReferenceModel(ReferenceConfig(), spec_of(action, front=(64, 64)))
    assert 4.2e6 < sum(p.numel() for p in model.parameters()) < 4.6e6


def test_defaults_are_the_published_ones():
    config = ReferenceConfig()
    assert config.unet == UNetConfig((64,) * 4, (2,) * 4, (False,) * 4, 256)
    assert config.edm == EdmConfig(0.5, 0.3, -0.4, 1.2, 2e-3, 20.0, 2e-3, 5.0, 7.0, 1.0, 3)
    assert (config.num_past, config.num_autoregressive_steps, config.window_frames) == (4, 1, 6)


def test_config_survives_json():
    config = dataclasses.replace(SMALL, num_autoregressive_steps=3)
    assert ReferenceConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="nonsense"):
        ReferenceConfig.from_json({"nonsense": 1})


@pytest.mark.parametrize("num_autoregressive_steps", [0, 1, 3])
def test_loss_is_the_published_objective(num_autoregressive_steps):
    """Written out frame by frame: own quantised output replaces the truth in the past of the next frame."""
    config = dataclasses.replace(SMALL, num_autoregressive_steps=num_autoregressive_steps)
    model, (frames, actions) = small_model(config), window(3, config.window_frames)
    truth, encoded = model.stack_cameras(frames), encode_actions(actions, STEER)
    film, noise, losses = truth.clone(), stream(3, 7), []
    for i in range(4, config.window_frames):
        clean = truth[:, i]
        sigma = training_sigmas(clean, config.edm, noise)
        noisy = add_noise(clean, sigma, config.edm, noise)
        scales = precondition(sigma, config.edm)
        output = model._network(noisy, scales, film[:, i - 4 : i], encoded[:, i - 4 : i])
        losses.append((output - (clean - scales.c_skip * noisy) / scales.c_out).square().mean())
        film[:, i] = quantize(scales.c_skip * noisy + scales.c_out * output.detach())
    torch.testing.assert_close(model.loss(frames, actions, stream(3, 7)), torch.stack(losses).mean())


TRUE, OWN = [True] * 4, [True] * 3 + [False]


@pytest.mark.parametrize(
    ("num_autoregressive_steps", "expected"),
    [(0, {4: TRUE, 5: TRUE, 6: TRUE, 7: TRUE, 8: TRUE}), (1, {4: TRUE, 5: OWN, 6: TRUE, 7: OWN, 8: TRUE})],
)
def test_long_windows_return_to_the_truth_after_each_group(monkeypatch, num_autoregressive_steps, expected):
    model = small_model(dataclasses.replace(SMALL, num_autoregressive_steps=num_autoregressive_steps))
    frames, actions = window(1, 9)
    video, past_is_true = model.stack_cameras(frames), {}
    original = model._denoising_loss

    def spy(clean, past, acts, g):
        for row in range(len(clean)):
            i = next(k for k in range(9) if torch.equal(clean[row], video[0, k]))
            past_is_true[i] = [torch.equal(past[row, j], video[0, i - 4 + j]) for j in range(4)]
            assert torch.equal(acts[row], actions[0, i - 4 : i])
        return original(clean, past, acts, g)

    monkeypatch.setattr(model, "_denoising_loss", spy)
    model.loss(frames, actions, stream(1))
    assert past_is_true == expected


def test_loss_leaves_its_inputs_alone_and_repeats():
    model, (frames, actions) = small_model(), window(2, 6)
    before = {name: x.clone() for name, x in frames.items()}, actions.clone()
    first = model.loss(frames, actions, stream(2, 3))
    assert torch.equal(first, model.loss(frames, actions, stream(2, 3)))
    assert first != model.loss(frames, actions, stream(2, 4))
    assert torch.equal(frames["front"], before[0]["front"]) and torch.equal(actions, before[1])


def test_untrained_loss_is_one_on_data_of_the_assumed_spread():
    # The network starts at (almost) zero and its target has unit variance.
    model = ReferenceModel(SMALL, spec_of(front=(16, 16)))
    frames = to_uint8(0.5 * torch.randn(256, 6, 3, 16, 16, generator=generator()).sign())  # a spread of 0.5 exactly
    loss = model.loss({"front": frames}, torch.zeros(256, 5, 2), stream(256))
    assert loss.item() == pytest.approx(1, abs=0.03)


def test_prediction_is_a_pure_function_on_the_levels_of_stored_frames():
    model = small_model().eval()
    past = quantize(torch.rand(2, 4, 3, 8, 8, generator=generator(1)) * 2 - 1)
    actions, noise = torch.zeros(2, 4, 2), torch.randn(2, 3, 8, 8, generator=generator(2))
    before = past.clone(), actions.clone(), noise.clone()
    frame = model.predict_next(past, actions, noise)
    assert frame.shape == (2, 3, 8, 8) and frame.dtype == torch.float32
    assert frame.min() >= -1 and frame.max() <= 1 and torch.equal(quantize(frame), frame)
    assert torch.equal(model.predict_next(past, actions, noise), frame)
    assert all(torch.equal(a, b) for a, b in zip((past, actions, noise), before, strict=True))
    for changed in ((-past, actions, noise), (past, actions + 1, noise), (past, actions, -noise)):
        assert not torch.equal(model.predict_next(*changed), frame)


def test_an_oracle_network_makes_the_prediction_the_truth(monkeypatch):
    model = small_model()
    truth = quantize(torch.rand(2, 3, 8, 8, generator=generator(1)) * 2 - 1)
    monkeypatch.setattr(model, "_network", lambda x, scales, past, actions: (truth - scales.c_skip * x) / scales.c_out)
    noise = torch.randn(2, 3, 8, 8, generator=generator(2))
    assert torch.equal(model.predict_next(torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 4, 2), noise), truth)


def test_bfloat16_and_channels_last_stay_close():
    model = small_model().eval()
    past = quantize(torch.rand(2, 4, 3, 8, 8, generator=generator(1)) * 2 - 1)
    actions, noise = torch.zeros(2, 4, 2), torch.randn(2, 3, 8, 8, generator=generator(2))
    expected = model.predict_next(past, actions, noise)
    frames, steer = window(2, 6)
    exact_loss = model.loss(frames, steer, stream(2))
    model.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        actual = model.predict_next(past, actions, noise)
        loss = model.loss(frames, steer, stream(2))
    assert actual.dtype == loss.dtype == torch.float32
    assert (actual - expected).abs().mean() < 0.02
    assert loss.item() == pytest.approx(exact_loss.item(), rel=0.05)
    loss.backward()


def test_cameras_are_stacked_and_split_again():
    cameras = {"front": (8, 12), "rear": (8, 12)}
    model, (frames, actions) = small_model(spec=spec_of(**cameras)), window(2, 6, **cameras)
    video = model.stack_cameras(frames)
    assert video.shape == (2, 6, 6, 8, 12)
    assert all(torch.equal(x, frames[name]) for name, x in model.split_cameras(video).items())
    assert model.loss(frames, actions, stream(2)).isfinite()
    assert model.predict_next(video[:, :4], actions[:, :4], torch.randn(2, 6, 8, 12)).shape == (2, 6, 8, 12)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one size"):
        ReferenceModel(SMALL, spec_of(front=(8, 8), rear=(8, 16)))
    model, (frames, actions) = small_model(), window(2, 4)
    with pytest.raises(ValueError, match="more than 4 frames"):
        model.loss(frames, actions, stream(2))
    with pytest.raises(ValueError, match="cameras"):
        model.loss({"left": frames["front"]}, actions, stream(2))
    with pytest.raises(ValueError, match="actions"):
        model.loss(frames, actions[:, :-1], stream(2))
    with pytest.raises(ValueError, match="past"):
        model.predict_next(torch.zeros(1, 3, 3, 8, 8), torch.zeros(1, 3, 2), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="num_past"):
        ReferenceConfig(num_past=3)


def moving_squares(b: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (b, 6, 8, 8, 3) of a bright 3 x 3 square that each action (b, 5, 2) moves by up to two pixels."""
    g = generator(seed)
    actions = torch.randint(-1, 2, (b, 5, 2), generator=g).float()
    moves = torch.cat((torch.randint(0, 6, (b, 1, 2), generator=g), 2 * actions.long()), dim=1)
    frames = torch.full((b, 6, 8, 8, 3), 40, dtype=torch.uint8)
    for i in range(b):
        corner = torch.zeros(2, dtype=torch.long)
        for k in range(6):
            corner = (corner + moves[i, k]).clamp(0, 5)
            y, x = corner.tolist()
            frames[i, k, y : y + 3, x : x + 3] = 220
    return frames, actions


def test_it_learns_how_actions_move_a_square():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ReferenceModel(dataclasses.replace(SMALL, num_autoregressive_steps=0), spec_of())
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses, g = [], generator(1)
    for step in range(80):
        frames, actions = moving_squares(24, seed=step)
        loss = model.loss({"front": frames}, actions, stream(len(actions), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    frames, actions = moving_squares(24, seed=999)
    video, steer = model.stack_cameras({"front": frames}), encode_actions(actions, STEER)
    noise = torch.randn(24, 3, 8, 8, generator=g)

    def error(act: torch.Tensor) -> float:
        return (model.predict_next(video[:, 1:5], act[:, 1:5], noise) - video[:, 5]).square().mean().item()

    copy_last = (video[:, 4] - video[:, 5]).square().mean().item()
    assert error(steer) < 0.5 * copy_last
    assert error(steer) < 0.5 * error(-steer)
