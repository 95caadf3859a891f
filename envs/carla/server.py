"""The connection to a CARLA server: found, or one sentence that says how to get there."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .config import CarlaConfig

SUPPORTED = ("0.9.15", "0.9.16")


def load_carla() -> Any:
    """The carla package; ImportError with the command that installs it."""
    try:
        return importlib.import_module("carla")
    except ImportError as error:
        raise ImportError(
            "simworld/Carla-v0 needs the carla package (Python 3.10 to 3.12): pip install simworld[carla]"
        ) from error


def is_timeout(error: RuntimeError) -> bool:
    """Whether the client gave up waiting; it has no exception type of its own for that."""
    return "time-out" in str(error)


@contextmanager
def server_errors(config: CarlaConfig) -> Iterator[None]:
    """Turn a timeout of the client, a plain RuntimeError, into ConnectionError with one sentence."""
    try:
        yield
    except RuntimeError as error:
        if not is_timeout(error):
            raise
        raise ConnectionError(
            f"no CARLA server answered at {config.host}:{config.port} within {config.timeout_s:g} s; start one with "
            f"`./CarlaUE4.sh -RenderOffScreen -nosound -carla-rpc-port={config.port}` "
            "or raise timeout_s if it is still loading"
        ) from error


def connect(carla: Any, config: CarlaConfig) -> Any:
    """A carla.Client that has spoken to its server; warns when their versions differ."""
    client = carla.Client(config.host, config.port)
    client.set_timeout(config.timeout_s)
    theirs, ours = client.get_server_version(), client.get_client_version()
    if theirs != ours or not ours.startswith(SUPPORTED):
        warnings.warn(
            f"CARLA client {ours} talks to server {theirs}; use the same version on both sides, "
            f"{' or '.join(SUPPORTED)}",
            stacklevel=2,
        )
    return client
