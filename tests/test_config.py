"""Configs: to JSON and back, and sentences about what does not fit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from simworld.config import from_json, to_json
from simworld.latent_world_model import LatentConfig
from simworld.recipe import TrainConfig
from simworld.reference_world_model import ReferenceWorldConfig


@pytest.mark.parametrize("config", [TrainConfig(), LatentConfig(), ReferenceWorldConfig()])
def test_configs_survive_json(config: Any) -> None:
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


def test_what_is_absent_keeps_its_default() -> None:
    config = from_json(TrainConfig, {"seed": 3, "latent": {"dynamics": {"transformer": {"width": 32}}}})
    assert config.seed == 3 and config.latent.dynamics.transformer.width == 32
    assert dataclasses.replace(config, seed=0, latent=LatentConfig()) == TrainConfig()


def test_whole_numbers_serve_as_floats_and_none_where_allowed() -> None:
    config = from_json(TrainConfig, {"budget_min": 2, "init": None, "codec_share": 1})
    assert (config.budget_min, config.init) == (2.0, None) and isinstance(config.codec_share, float)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"sead": 1}, "did you mean seed"),
        ({"latent": {"dynamics": {"registrs": 1}}}, "latent.dynamics has no field 'registrs'; did you mean registers"),
        ({"seed": "one"}, "seed must be int"),
        ({"seed": True}, "seed must be int"),
        ({"seed": 1.5}, "seed must be int"),
        ({"model": "gan"}, "model must be one of 'canvas', 'latent', 'unet'"),
        ({"latent": 3}, "latent must be a mapping"),
        ({"latent": {"codec": {"widths": "abc"}}}, "widths must be a list"),
        ({"latent": {"codec": {"widths": [1, "b"]}}}, "widths must be int"),
        (["seed"], "TrainConfig must be a mapping"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(raw: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        from_json(TrainConfig, raw)
    assert said in str(error.value) and "\n" not in str(error.value)
