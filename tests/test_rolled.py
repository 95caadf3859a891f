"""Training on a past of one's own: what is imagined takes the place of what was recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.latent_world_model import LatentWorldModel
from simworld.model.noise import NoiseStream

from .tiny_world import film_batch, lively_model

SEEN, FIRST, STEPS = 3, 5, 8  # the last frame seen, the one before those to learn, and all steps


def loss_of(model: LatentWorldModel, latents: dict[str, Tensor], actions: Tensor, seen: Tensor) -> float:
    noise = NoiseStream(torch.arange(2), torch.full((2,), 7))
    return float(model.loss_when_rolled(latents, actions, seen, noise, first=FIRST)["frame"])


def test_only_what_was_seen_and_what_is_to_come_counts() -> None:
    model = lively_model()
    frames, actions = film_batch(2, STEPS)
    latents = model.encode(frames)
    seen = model.belief.see_all({c: f[:, : SEEN + 1] for c, f in frames.items()})
    usual = loss_of(model, latents, actions, seen)
    for frame, matters in ((SEEN, True), (SEEN + 1, False), (FIRST, False), (FIRST + 1, True), (STEPS, True)):
        other = {c: z.clone() for c, z in latents.items()}
        for z in other.values():
            z[:, frame] += 1
        assert (loss_of(model, other, actions, seen) != usual) == matters, frame


def test_the_past_is_the_film_that_the_model_would_show() -> None:
    """Trained on its own film, a model has little to learn; on another from the same start, much."""
    model = lively_model()
    frames, actions = film_batch(2, SEEN)
    more = torch.randn(2, STEPS - SEEN, 2)
    latents = model.encode(frames)
    seen = model.belief.see_all(frames)
    seed = torch.arange(2) * 1_000_003 + 7
    now = model.begin(latents, seen, actions, seed=seed)
    film = {c: [*z.unbind(1)] for c, z in latents.items()}
    for t in range(more.shape[1]):
        now, newest, _ = model.advance(now, more[:, t])
        for c, z in newest.items():
            film[c].append(z)
    own = {c: torch.stack(z, dim=1) for c, z in film.items()}
    every = torch.cat([actions, more], dim=1)
    other = {c: torch.cat([z[:, : SEEN + 1], torch.randn_like(z[:, SEEN + 1 :])], dim=1) for c, z in own.items()}
    assert loss_of(model, own, every, seen) < 0.5 * loss_of(model, other, every, seen)
