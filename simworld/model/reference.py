"""The reference every claim is measured against: a pixel U-Net in EDM form, the published DIAMOND configuration.

Alonso et al. 2024, "Diffusion for World Modeling: Visual Details Matter in Atari". The next frame is denoised from
noise, given the last frames in its channels and their actions in the conditioning vector. Published training: AdamW,
learning rate 1e-4 after 100 steps of warm-up, weight decay 1e-2 (none on biases), batches of 32, gradient norm 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.edm import (
    EdmConfig,
    Preconditioning,
    add_noise,
    euler_sample,
    karras_sigmas,
    precondition,
    training_sigmas,
)
from simworld.model.noise import NoiseStream
from simworld.model.pixels import quantize, to_model, to_uint8
from simworld.nets.unet import FourierFeatures, UNet, UNetConfig
from simworld.shapes import expect


@dataclass(frozen=True)
class ReferenceConfig:
    """The defaults are the published ones for Atari: 4.4 M parameters at three image channels."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    edm: EdmConfig = field(default_factory=EdmConfig)
    num_past: int = 4  # frames, and as many actions, that the next frame is conditioned on
    num_autoregressive_steps: int = 1  # training frames in a row whose past holds the model's own output

    def __post_init__(self) -> None:
        if self.num_past < 1 or self.unet.cond_features % self.num_past:
            raise ValueError(f"num_past {self.num_past} must divide cond_features {self.unet.cond_features}")
        if self.num_autoregressive_steps < 0:
            raise ValueError(f"num_autoregressive_steps must be 0 or more, got {self.num_autoregressive_steps}")

    @property
    def window_frames(self) -> int:
        """Frames of the published training window: the past, one frame given it, and the unrolled ones."""
        return self.num_past + 1 + self.num_autoregressive_steps

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ReferenceConfig:
        """Inverse of `to_json`, absent fields at their defaults; raises ValueError on foreign ones."""
        try:
            rest = {name: value for name, value in raw.items() if name not in ("unet", "edm")}
            unet: dict[str, Any] = raw.get("unet", {})
            unet = {name: tuple(v) if isinstance(v, list) else v for name, v in unet.items()}
            return cls(unet=UNetConfig(**unet), edm=EdmConfig(**raw.get("edm", {})), **rest)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a reference config: {error}") from error


class ReferenceModel(nn.Module):
    """All cameras of a spec, stacked on the channel axis: c = 3 * cameras, in the order of `spec.cameras`.

    Frames inside are float32 in [-1, 1]. Works under bfloat16 autocast (what leaves the network is float32 again)
    and after `.to(memory_format=torch.channels_last)`.
    """

    def __init__(self, config: ReferenceConfig, spec: EpisodeSpec, device: torch.device | str | None = None) -> None:
        super().__init__()
        if len(set(spec.cameras.values())) != 1:
            raise ValueError(f"the reference model needs cameras of one size, got {spec.cameras}")
        self.config = config
        self.spec = spec
        cond_features = config.unet.cond_features
        channels = 3 * len(spec.cameras)
        self.embed_noise = FourierFeatures(cond_features)
        # Without a bias and at unit variance this is an embedding table for one-hot actions, as published.
        self.embed_action = nn.Linear(encoded_size(spec.action), cond_features // config.num_past, bias=False)
        nn.init.normal_(self.embed_action.weight)
        self.mix_cond = nn.Sequential(
            nn.Linear(cond_features, cond_features), nn.SiLU(), nn.Linear(cond_features, cond_features)
        )
        self.unet = UNet((config.num_past + 1) * channels, channels, config.unet)
        self.to(device)

    def stack_cameras(self, frames: dict[str, Tensor]) -> Tensor:
        """{camera: uint8 (b, t, h, w, 3)} -> float32 (b, t, c, h, w) in [-1, 1]."""
        if set(frames) != set(self.spec.cameras):
            raise ValueError(f"cameras {sorted(frames)} do not match the spec's {sorted(self.spec.cameras)}")
        sizes: dict[str, int] = {}
        for name, (h, w) in self.spec.cameras.items():
            sizes |= expect(frames[name], "b t h w 3", name=f"frames[{name!r}]", **sizes | {"h": h, "w": w})
        return torch.cat([to_model(frames[name]) for name in self.spec.cameras], dim=2)

    def split_cameras(self, frames: Tensor) -> dict[str, Tensor]:
        """float (b, ..., c, h, w) in [-1, 1] -> {camera: uint8 (b, ..., h, w, 3)}; inverse of `stack_cameras`."""
        parts = frames.split(3, dim=-3)
        return {name: to_uint8(part) for name, part in zip(self.spec.cameras, parts, strict=True)}

    def loss(self, frames: dict[str, Tensor], actions: Tensor, noise: NoiseStream) -> Tensor:
        """Mean squared error of the network's target over every frame after the first `num_past`.

        frames {camera: uint8 (b, t, h, w, 3)}, actions (b, t-1, a) as episodes store them, t > num_past; noise of b
        streams, one for each window.
        The window falls into groups of 1 + num_autoregressive_steps frames. The first of a group is predicted from
        true frames, the others from a past that holds the quantised, one-step output for those before them in the
        group: with t = config.window_frames that is the published objective, with 0 steps teacher forcing.
        """
        video = self.stack_cameras(frames)
        b, t = video.shape[:2]
        expect(actions, "b t a", name="actions", b=b, t=t - 1)
        n, group = self.config.num_past, self.config.num_autoregressive_steps + 1
        if t <= n:
            raise ValueError(f"a training window needs more than {n} frames, got {t}")
        encoded = encode_actions(actions, self.spec.action)
        total = video.new_zeros(())
        past = torch.stack([video[:, i : i + n] for i in range(0, t - n, group)], dim=1)
        for step in range(min(group, t - n)):
            # Groups are independent given the true frames, so one pass of the network takes them all;
            # only the last group can end early.
            starts = range(step, t - n, group)
            past = rearrange(past[:, : len(starts)], "b g t c h w -> (b g) t c h w")
            target = rearrange(torch.stack([video[:, i + n] for i in starts], dim=1), "b g c h w -> (b g) c h w")
            act = rearrange(torch.stack([encoded[:, i : i + n] for i in starts], dim=1), "b g t d -> (b g) t d")
            loss, denoised = self._denoising_loss(target, past, act, noise)
            total = total + loss * len(starts)
            past = torch.cat((past[:, 1:], denoised[:, None]), dim=1).unflatten(0, (b, len(starts)))
        return total / (t - n)

    def _denoising_loss(
        self, clean: Tensor, past: Tensor, actions: Tensor, noise: NoiseStream
    ) -> tuple[Tensor, Tensor]:
        """The loss on `clean` (b, c, h, w), and the frame that the model made of it, without gradient."""
        edm = self.config.edm
        sigma = training_sigmas(clean, edm, noise)
        noisy = add_noise(clean, sigma, edm, noise)
        scales = precondition(sigma, edm)
        output = self._network(noisy, scales, past, actions)
        target = (clean - scales.c_skip * noisy) / scales.c_out
        denoised = quantize(scales.c_skip * noisy + scales.c_out * output.detach())
        return (output - target).square().mean(), denoised

    def _network(self, noisy: Tensor, scales: Preconditioning, past: Tensor, actions: Tensor) -> Tensor:
        """Raw output (b, c, h, w) for a noisy frame, the past (b, n, c, h, w) and encoded actions (b, n, d)."""
        embedded = self.embed_action(actions).flatten(1)
        cond = self.mix_cond(self.embed_noise(scales.c_noise) + embedded)
        history = past.flatten(1, 2) / self.config.edm.sigma_data
        return self.unet(torch.cat((history, noisy * scales.c_in), dim=1), cond).float()

    @torch.no_grad()
    def predict_next(self, past: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
        """The frame after `past`, (b, c, h, w), on the 256 levels of stored frames.

        past (b, n, c, h, w) in [-1, 1], n = num_past; actions (b, n, d) encoded, the last one carries the last
        past frame to the predicted one; noise (b, c, h, w) standard normal.
        """
        b, n, c, h, w = past.shape
        expect(past, "b n c h w", name="past", n=self.config.num_past, c=3 * len(self.spec.cameras))
        expect(actions, "b n d", name="actions", b=b, n=n, d=self.embed_action.in_features)
        expect(noise, "b c h w", name="noise", b=b, c=c, h=h, w=w)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            scales = precondition(sigma, self.config.edm)
            # Quantised at every step, as published: the past then only ever holds what a store could hold.
            return quantize(scales.c_skip * x + scales.c_out * self._network(x, scales, past, actions))

        return euler_sample(denoise, noise * self.config.edm.sample_start_std, karras_sigmas(self.config.edm))
