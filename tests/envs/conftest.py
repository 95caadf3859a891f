"""Where the CARLA tests find their server: a fake one, and with `-m carla` the live one of SIMWORLD_CARLA=host:port."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from simworld.envs.carla.config import CarlaConfig

# Modules beside this file, which pytest does not put on the path.
for _name in ("fake_carla_values", "fake_carla_actors", "fake_carla"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_name])


@pytest.fixture
def fake_server(monkeypatch):
    """A fresh fake server behind `import carla`."""
    fake_carla = sys.modules["fake_carla"]
    server = fake_carla.FakeServer()
    monkeypatch.setitem(sys.modules, "carla", fake_carla.make_module(server))
    return server


@pytest.fixture(params=["fake", pytest.param("live", marks=pytest.mark.carla)])
def carla_config(request):
    """A CarlaConfig that leads to a server; tests that take it run on both kinds."""
    if request.param == "fake":
        request.getfixturevalue("fake_server")
        return CarlaConfig(timeout_s=5.0, settle_ticks=3)
    pytest.importorskip("carla")
    if "SIMWORLD_CARLA" not in os.environ:
        pytest.skip("no live server: set SIMWORLD_CARLA=host:port")
    host, port = os.environ["SIMWORLD_CARLA"].rsplit(":", 1)
    return CarlaConfig(host=host, port=int(port), timeout_s=60.0)
