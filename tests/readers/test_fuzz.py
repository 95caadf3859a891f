"""Mutated files of every format: nothing but ValueError comes out, and nothing hangs."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simworld.readers import contacts, read_scenario

from .osc_build import ROAD, event, lane_change, put, scenario, speed_action, trigger, value_condition
from .test_argoverse2 import table
from .test_carla_files import ROUTES, small_log
from .test_commonroad import car, document, state

HANG_S = 60  # of wall time, on a machine that may be busy; a file takes a fraction of a second
STOP = trigger(value_condition('<SimulationTimeCondition value="2" rule="greaterThan"/>'), tag="StopTrigger")
VALUES = ["", "0", "-1", "1e308", "1e7", "nan", "inf", "-inf", "1e-300", "99999999", "abc", "${1/0}", "$x", "true"]
FORMATS = ("xosc", "xodr", "commonroad", "log", "routes", "parquet")


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fail rather than hang."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"a reader took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small sound file of every format."""
    folder = tmp_path_factory.mktemp("samples")
    change = lane_change('<RelativeTargetLane entityRef="B" value="-1"/>')
    go = event("go", speed_action(9, "cubic", "rate", 3), change)
    put(folder, scenario(go, stop=STOP))
    small = table().slice(0, 40)
    pq.write_table(small, folder / "s.parquet")
    return {
        "xosc": (folder / "test.xosc").read_bytes(),
        "xodr": ROAD.encode(),
        "commonroad": document(car(1, *(state("state" if k else "initialState", k, k) for k in range(4)))),
        "log": small_log(),
        "routes": ROUTES.encode(),
        "parquet": (folder / "s.parquet").read_bytes(),
    }


def mutated(data: bytes, kind: str, draw: st.DataObject) -> bytes:
    """One to three changes: XML values swapped for odd ones, elements lost or doubled, bytes of any file changed."""
    for _ in range(draw.draw(st.integers(1, 3))):
        how = draw.draw(st.sampled_from(("value", "element", "bytes") if data[:1] == b"<" else ("bytes",)))
        if how == "value":
            spans = [m.span(1) for m in re.finditer(rb'"([^"]*)"|>([-0-9.e]+)<', data) if m.group(1) is not None]
            if spans:
                start, end = draw.draw(st.sampled_from(spans))
                data = data[:start] + draw.draw(st.sampled_from(VALUES)).encode() + data[end:]
        elif how == "element":
            spans = [m.span() for m in re.finditer(rb"<(\w+)[^<>]*/>|<(\w+)[^<>/]*>[^<]*</\2>", data)]
            if spans:
                start, end = draw.draw(st.sampled_from(spans))
                data = data[:start] + data[start:end] * draw.draw(st.sampled_from((0, 2))) + data[end:]
        else:
            at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
            new = draw.draw(st.binary(max_size=4) | st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\xc0\x7f"]))
            data = data[:at] + new + data[at + draw.draw(st.integers(0, 8)) :]
    return data


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(draw=st.data())
def test_mutated_files(kind: str, draw: st.DataObject, samples: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "road.xodr").write_text(ROAD)
    path = tmp_path / "file.bin"
    path.write_bytes(mutated(samples[kind], kind, draw))
    with limited(HANG_S):
        try:
            contacts(read_scenario(path), step_s=0.1)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    data=st.binary(max_size=200), head=st.sampled_from([b"", b"PAR1", b"\x01\x00\x0e\x00CARLA_RECORDER", b"<OpenDRIVE"])
)
def test_noise(data: bytes, head: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    path.write_bytes(head + data)
    with limited(HANG_S), pytest.raises(ValueError):
        read_scenario(path)
