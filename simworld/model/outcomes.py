"""Outcome heads: from a frame's features to what its action causes, built from the env's OutcomeSpec.

Events are discrete-time hazards over the coming steps: bin h holds the probability that the event
happens at step h if it has not before (Singer and Willett 1993). Bin 0 is the present step. Scalars
are quantiles (see simworld.model.factors) and categories are logits, of the next such event within the horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import OutcomeSpec
from simworld.model.carrying import LATERAL, SPEED
from simworld.model.factors import Factors, one_of
from simworld.model.state_error import StateError

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SHOWN = (SPEED, LATERAL, "gap_m", "closing_mps")  # of a state, by which it is judged how wrong a picture is


@dataclass(frozen=True)
class HeadsConfig:
    """`horizon` steps are covered by the hazards (30 steps are 3 s at 10 Hz); `state`: whether the env's state
    is estimated too, where training data has one; `doubt_width`: hidden width of what expects the error."""

    horizon: int = 30
    width: int = 256
    state: bool = True
    doubt_width: int = 64


class OutcomeTargets(NamedTuple):
    """Per step (b, t): what happened, and what the next event of each kind will be (see simworld.data.windows)."""

    reward: Tensor
    terminated: Tensor
    outcomes: dict[str, Tensor]
    steps_to_event: dict[str, Tensor]
    steps_left: Tensor
    value_at_event: dict[str, Tensor]
    state: Tensor  # (b, t, s), after the step

    def map(self, change: Callable[..., Tensor], *others: OutcomeTargets) -> OutcomeTargets:
        """`change` applied to every tensor, and to its twins in `others`."""

        def each(name: str) -> Any:
            value, twins = getattr(self, name), [getattr(o, name) for o in others]
            if isinstance(value, Tensor):
                return change(value, *twins)
            return {k: change(v, *(twin[k] for twin in twins)) for k, v in value.items()}

        return OutcomeTargets(*(each(name) for name in self._fields))


class OutcomePrediction(NamedTuple):
    """reward (...); p_terminated (...); hazard {event: (..., horizon)}; scalars {name: (..., quantiles)}
    in the outcome's unit; categories {name: probabilities (..., n)}; trust (...) in [0, 1]: the share of
    training steps at which the model expected a larger error of its own frame; state (..., s) in the units of the
    spec's state, as estimated from what the model sees (s is 0 where it learned none)."""

    reward: Tensor
    p_terminated: Tensor
    hazard: dict[str, Tensor]
    scalars: dict[str, Tensor]
    categories: dict[str, Tensor]
    trust: Tensor
    state: Tensor

    def p_within(self, event: str, steps: int) -> Tensor:
        """Probability (...) that `event` happens within the next `steps` steps, this one included."""
        return 1 - torch.prod(1 - self.hazard[event][..., :steps], dim=-1)


class OutcomeHeads(nn.Module):
    """One hidden layer over features (..., d), then a linear layer whose slices are the outcomes.

    `noted` further features say nothing of outcomes, but how large an error to expect, and so do `marks` more, which
    are read as they are.
    """

    reward_mean: Tensor
    reward_std: Tensor
    usual_error: Tensor
    p_ends_given_event: Tensor
    hazard_scale: Tensor
    hazard_bias: Tensor
    later: Tensor
    state_mean: Tensor
    state_std: Tensor

    def __init__(
        self,
        config: HeadsConfig,
        specs: tuple[OutcomeSpec, ...],
        *,
        features: int,
        noted: int = 0,
        marks: int = 0,
        state_names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.config, self.specs = config, specs
        self.state_names = names = state_names if config.state else ()
        own = {"reward": 1, "terminated": 1}
        taken = [s.name for s in specs if s.name in (*own, "error", "state")]
        if taken:
            raise ValueError(f"an outcome can not be named {taken[0]!r}: every model has a head of that name")
        self.sizes = own | {s.name: self._size(s) for s in specs} | {"state": len(names)}
        self.num_known, self.num_noted, self.num_features = features, noted, features + noted + marks
        self.hidden = nn.Linear(features, config.width)
        self.doubt = nn.Sequential(
            nn.Linear(self.num_features, config.doubt_width), nn.GELU(), nn.Linear(config.doubt_width, 1)
        )
        self.out = nn.Linear(config.width, sum(self.sizes.values()))
        self.factors = Factors(specs)
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_std", torch.ones(()))
        num_events = sum(s.kind == "event" for s in specs)
        self.register_buffer("p_ends_given_event", torch.ones(num_events))
        self.register_buffer("usual_error", torch.linspace(-6, 0, 101))
        # Per event, and last for the episode's end: how logits of the present step and of later ones are bent.
        self.register_buffer("hazard_scale", torch.ones(num_events + 1, 2))
        self.register_buffer("hazard_bias", torch.zeros(num_events + 1, 2))
        self.register_buffer("later", (torch.arange(config.horizon) > 0).float(), persistent=False)
        self.state_error = StateError(names)
        if names:
            self.register_buffer("state_mean", torch.zeros(len(names)))
            self.register_buffer("state_std", torch.ones(len(names)))
        expect_rarely(self.out, self.sizes, ["terminated", *(s.name for s in specs if s.kind == "event")])

    def _size(self, spec: OutcomeSpec) -> int:
        if spec.kind == "event":
            return self.config.horizon
        return len(QUANTILES) if spec.kind == "scalar" else len(spec.categories)

    def raw(self, features: Tensor) -> dict[str, Tensor]:
        """Logits and standardised values, {name: (..., size)} in float32, of features (..., d) or of all."""
        return read_by(self.hidden, self.out, self.sizes, features[..., : self.num_known])

    def expected_error(self, features: Tensor) -> Tensor:
        """Logarithm (...) of the error to expect of the frame, of all features (..., d + noted + marks)."""
        split = [self.num_known, self.num_known + self.num_noted]
        known, noted, marks = features.to(self.hidden.weight.dtype).tensor_split(split, dim=-1)
        return self.doubt(torch.cat([_normed(known), _normed(noted), marks], dim=-1))[..., 0].float()

    def forward(self, features: Tensor, raw: dict[str, Tensor] | None = None) -> OutcomePrediction:
        """What is told by features (..., d + noted + marks); `raw` spares reading them again."""
        raw = self.raw(features) if raw is None else raw
        calibrated = self._calibration()
        kinds = {kind: [s for s in self.specs if s.kind == kind] for kind in ("event", "scalar", "category")}
        categories = {s.name: raw[s.name].softmax(dim=-1) for s in kinds["category"]}
        told = [raw[s.name] for s in kinds["scalar"]]
        quantiles = ascending(torch.stack(told)) if told else ()
        return OutcomePrediction(
            reward=raw["reward"][..., 0] * self.reward_std + self.reward_mean,
            p_terminated=calibrated(raw["terminated"], -1)[..., 0],
            hazard={s.name: calibrated(raw[s.name], i) for i, s in enumerate(kinds["event"])},
            scalars={
                s.name: x * s.scale * self.factors(s, categories)
                for s, x in zip(kinds["scalar"], quantiles, strict=True)
            },
            categories=categories,
            trust=(self.usual_error >= self.expected_error(features)[..., None]).float().mean(-1),
            state=raw["state"] * self.state_std + self.state_mean if self.sizes["state"] else raw["state"],
        )

    def _calibration(self) -> Callable[[Tensor, int], Tensor]:
        """Logits (..., h), the first of which is the present step, and the event's number, to probabilities."""
        scale, bias = (torch.lerp(x[:, :1], x[:, 1:], self.later) for x in (self.hazard_scale, self.hazard_bias))
        return lambda logits, i: torch.addcmul(
            bias[i, : logits.shape[-1]], logits, scale[i, : logits.shape[-1]]
        ).sigmoid_()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights saved without a calibration, or without factors, keep the identity, and those with fewer marks make
        nothing of the others."""
        doubt = prefix + "doubt.0.weight"
        if doubt in state_dict and self.num_known + self.num_noted <= state_dict[doubt].shape[1] < self.num_features:
            state_dict[doubt] = F.pad(state_dict[doubt], (0, self.num_features - state_dict[doubt].shape[1]))
        for name, x in self.state_dict().items():
            if name.startswith(("hazard_", "factors.")):
                state_dict.setdefault(prefix + name, x)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @torch.no_grad()
    def calibrate_trust(self, features: Tensor) -> None:
        """Remember the spread of expected errors over features (..., d) of ordinary steps."""
        expected = self.expected_error(features).flatten()
        self.usual_error.copy_(torch.quantile(expected, torch.linspace(0, 1, 101, device=expected.device)))

    def doubt_loss(self, features: Tensor, log_error: Tensor) -> Tensor:
        """How wrong the expected error is (Yoo and Kweon 2019, "Learning Loss for Active Learning").

        log_error (...): log of how wrong the model's own frame is.
        """
        return F.smooth_l1_loss(self.expected_error(features), log_error)

    def loss(
        self, features: Tensor, targets: OutcomeTargets, raw: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """One mean loss per head, over all steps: those without a target, or beyond the record, count as zero, so
        that the mean over ranks of a shared batch is the mean over the batch. `raw` spares reading features again."""
        raw = self.raw(features) if raw is None else raw
        losses = self.end_losses(raw, targets)
        if self.sizes["state"]:
            losses["state"] = (self.state_loss(raw["state"], targets.state) * (targets.steps_left >= 0)).mean()
        return losses | self.outcome_losses({s.name: raw[s.name] for s in self.specs}, targets)

    def end_losses(self, raw: dict[str, Tensor], targets: OutcomeTargets) -> dict[str, Tensor]:
        """The same of the reward and of the episode's end."""
        recorded = targets.steps_left >= 0
        reward = F.smooth_l1_loss(
            raw["reward"][..., 0], (targets.reward - self.reward_mean) / self.reward_std, reduction="none"
        )
        ends = F.binary_cross_entropy_with_logits(
            raw["terminated"][..., 0], targets.terminated.float(), reduction="none"
        )
        return {"reward": (reward * recorded).mean(), "terminated": (ends * recorded).mean()}

    def outcome_losses(self, raw: dict[str, Tensor], targets: OutcomeTargets) -> dict[str, Tensor]:
        """The same of the outcomes that are told of only; an event may be told of over fewer steps than the horizon."""
        losses = {}
        specs = [s for s in self.specs if s.name in raw]
        known = {s.name: one_of(self._value(s, targets), raw[s.name].detach()) for s in specs if s.kind == "category"}
        for spec in specs:
            if spec.kind == "event":
                losses[spec.name] = self._hazard_loss(
                    raw[spec.name], targets.steps_to_event[spec.name], targets.steps_left
                )
            elif spec.kind == "scalar":
                told = raw[spec.name] * self.factors(spec, known)
                losses[spec.name] = self._quantile_loss(told, self._value(spec, targets) / spec.scale)
            else:
                losses[spec.name] = self._category_loss(raw[spec.name], self._value(spec, targets))
        return losses

    def shown_error(self, read: Tensor, state: Tensor) -> Tensor:
        """How far (...) the standardised numbers (..., s) that a frame shows are off the env's state (..., s): the mean
        over those of SHOWN, each in units of its spread, or over all where a spec has none of them."""
        off = (read - self.standard_state(state)).abs()[..., shown_at(self.state_names)]
        known = off.isfinite()
        return torch.where(known, off, 0.0).sum(-1) / known.sum(-1).clamp(min=1)

    def state_loss(self, told: Tensor, state: Tensor) -> Tensor:
        """How far (...) the standardised state (..., s) that is told is off the env's state (..., s)."""
        return self.state_error(told, self.standard_state(state))

    def standard_state(self, state: Tensor) -> Tensor:
        """The env's state (..., s) in units of its spread in the training data."""
        return (state - self.state_mean) / self.state_std

    def _value(self, spec: OutcomeSpec, targets: OutcomeTargets) -> Tensor:
        """The outcome's value (b, t), NaN where it has none within the horizon."""
        if spec.given is None:
            return targets.outcomes[spec.name]
        soon = (targets.steps_to_event[spec.given] < self.config.horizon) & (targets.steps_left >= 0)
        return torch.where(soon, targets.value_at_event[spec.name], torch.nan)

    def _hazard_loss(self, logits: Tensor, steps_to_event: Tensor, steps_left: Tensor) -> Tensor:
        """Log likelihood of survival up to the event, or up to the end of the record (censoring)."""
        bins = torch.arange(logits.shape[-1], device=logits.device)
        happens = bins == steps_to_event[..., None]
        at_risk = (bins <= steps_to_event[..., None]) & (bins <= steps_left[..., None])
        each = F.binary_cross_entropy_with_logits(logits, happens.float(), reduction="none")
        return (each * at_risk).sum(-1).mean()

    @staticmethod
    def _quantile_loss(raw: Tensor, value: Tensor) -> Tensor:
        known = torch.isfinite(value)
        return (quantile_error(raw, torch.where(known, value, 0.0)) * known).mean()

    @staticmethod
    def _category_loss(logits: Tensor, value: Tensor) -> Tensor:
        known = torch.isfinite(value)
        target = torch.where(known, value, 0.0).long()
        each = F.cross_entropy(logits.movedim(-1, 1), target, reduction="none")
        return (each * known).mean()


def read_by(hidden: nn.Linear, out: nn.Linear, sizes: dict[str, int], known: Tensor) -> dict[str, Tensor]:
    """{name: (..., n)} in float32 that two layers make of what is known (..., d), n as `sizes` says."""
    told = out(F.gelu(hidden(_normed(known.to(hidden.weight.dtype))), approximate="tanh")).float()
    return by_name(told, sizes)


@torch.no_grad()
def expect_rarely(out: nn.Linear, sizes: dict[str, int], rare: list[str]) -> None:
    """Let a layer begin with little to say, and near a hazard of 0.7 % a step for those named `rare`."""
    out.weight.mul_(0.1)
    parts = by_name(out.bias, sizes)
    for name in rare:
        parts[name].fill_(-5.0)


def by_name(told: Tensor, sizes: dict[str, int]) -> dict[str, Tensor]:
    """{name: (..., n)} of numbers told in a row (..., sum of n), n as `sizes` says."""
    return dict(zip(sizes, told.split(list(sizes.values()), dim=-1), strict=True))


def quantile_error(told: Tensor, value: Tensor) -> Tensor:
    """How far (...) quantiles (..., q) are off a value (...): the pinball loss (Koenker and Bassett 1978)."""
    levels = torch.tensor(QUANTILES, device=told.device)
    error = value[..., None] - told
    return torch.maximum(levels * error, (levels - 1) * error).mean(-1)


def ascending(told: Tensor) -> Tensor:
    """The same numbers (..., q), the smallest first, by exchanges of neighbours: they are few, and a compiler leaves
    sorting to an operation of its own."""
    parts = list(told.unbind(-1))
    for turn in range(len(parts)):
        for i in range(turn % 2, len(parts) - 1, 2):
            low, high = parts[i : i + 2]
            parts[i : i + 2] = torch.minimum(low, high), torch.maximum(low, high)
    return torch.stack(parts, dim=-1)


def shown_at(names: tuple[str, ...]) -> list[int]:
    """Which of the numbers of a state of these names a picture is judged by."""
    return [i for i, name in enumerate(names) if name in SHOWN] or list(range(len(names)))


def _normed(x: Tensor) -> Tensor:
    """Each vector (..., d) at unit size."""
    return F.rms_norm(x, x.shape[-1:]) if x.shape[-1] else x
