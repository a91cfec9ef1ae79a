"""What crosses between server and worker: every value as it is, no pickle, no JSON; and nothing of it is believed."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import pickle
import pickletools
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import workers
from tests.support.bundles import column, output
from tests.support.workers import launch, publish_worker, wait_gone

import monorail as mr
from monorail import _core
from monorail.bundle.registry import Registry
from monorail.engine import runtime_library

HERE = Path(workers.__file__).parent

COLUMNS = [
    *(
        column(f"{kind}{suffix}", kind, nullable=bool(suffix))
        for kind in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
        for suffix in ("", "_n")
    ),
    *(
        column(f"{kind}{suffix}", kind, nullable=bool(suffix))
        for kind in ("float32", "float64")
        for suffix in ("", "_n")
    ),
    *(column(f"{kind}{suffix}", kind, nullable=bool(suffix)) for kind in ("string", "date32") for suffix in ("", "_n")),
    column("when", "timestamp"),
    column("when_n", "timestamp", nullable=True, zone="Europe/Berlin"),
    column("grid", "tensor", dtype="int16", shape=[2, 3]),
    column("flags", "tensor", dtype="bool", shape=[3]),
    column("vector", "tensor", dtype="float32", shape=[4]),
]
_SIMPLE = {
    "bool": pa.bool_(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date32": pa.date32(),
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def _type(one: dict[str, Any]) -> pa.DataType:
    if one["type"] == "timestamp":
        return pa.timestamp("us", one.get("zone"))
    if one["type"] == "tensor":
        kind = _SIMPLE[one["dtype"]]
        for size in reversed(one["shape"]):
            kind = pa.list_(pa.field("item", kind, nullable=False), size)
        return kind
    return _SIMPLE[one["type"]]


def _values(one: dict[str, Any]) -> st.SearchStrategy[Any]:
    kind = one["dtype"] if one["type"] == "tensor" else one["type"]
    if "int" in kind:
        bits, signed = int(kind.rpartition("t")[2]), not kind.startswith("u")
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        # A nullable integer enters as a double.
        values = st.integers(max(low, -(2**53)), min(high, 2**53)) if one["nullable"] else st.integers(low, high)
    else:
        values = {
            "bool": st.booleans(),
            "float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
            "float64": st.floats(allow_nan=False, allow_infinity=False),
            "string": st.text(st.characters(codec="utf-8"), max_size=12),
            "date32": st.dates(),
            "timestamp": st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),
        }[kind]
    if kind == "timestamp" and one.get("zone"):
        values = values.map(lambda time: time.replace(tzinfo=dt.UTC))
    for size in reversed(one.get("shape", [])):
        values = st.lists(values, min_size=size, max_size=size)
    return st.none() | values if one["nullable"] else values


SCHEMA = pa.schema([pa.field(one["name"], _type(one), nullable=one["nullable"]) for one in COLUMNS])
ROWS = st.lists(st.fixed_dictionaries({one["name"]: _values(one) for one in COLUMNS}), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    registry = tmp_path_factory.mktemp("registry")
    publish_worker(registry, "seen", "Seen", COLUMNS, [output("seen", "string"), output("schema", "string")])
    kinds = ("bool", "int32", "int64", "float32", "float64", "string")
    echoed = [column(kind, kind) for kind in kinds]
    publish_worker(registry, "echo", "Echo", echoed, [output(kind, kind) for kind in kinds])
    wide = [column("v", "tensor", dtype="float64", shape=[3])]
    publish_worker(registry, "wide", "Echo", wide, [output("v", "float64", 3)])
    publish_worker(registry, "nothing", "Nothing")
    publish_worker(registry, "sleeps", "Obedient")
    publish_worker(registry, "slow", "Slow")
    return registry


@pytest.fixture(scope="module")
def seen(registry):
    return mr.load("seen", registry=registry, trust=True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rows=ROWS, cut=st.integers(0, 8))
def test_a_model_sees_every_value_as_it_was_sent(seen, rows, cut):
    table = pa.Table.from_pylist(rows, schema=SCHEMA).slice(cut % len(rows))
    answer = seen.predict(table)
    assert answer["seen"].to_pylist() == [repr(row) for row in table.to_pylist()]
    assert set(answer["schema"].to_pylist()) == {str(SCHEMA)}


@pytest.fixture(scope="module")
def echo(registry):
    return mr.load("echo", registry=registry, trust=True)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "bool": st.booleans(),
                "int32": st.integers(-(2**31), 2**31 - 1),
                "int64": st.integers(-(2**63), 2**63 - 1),
                "float32": st.floats(allow_nan=False, allow_infinity=False, width=32),
                "float64": st.floats(allow_nan=False, allow_infinity=False),
                "string": st.text(st.characters(codec="utf-8"), max_size=20),
            }
        ),
        max_size=20,
    )
)
def test_every_answer_comes_back_as_it_was_given(echo, rows):
    schema = pa.schema([(kind, _SIMPLE[kind]) for kind in ("bool", "int32", "int64", "float32", "float64", "string")])
    table = pa.Table.from_pylist(rows, schema=schema)
    answer = echo.predict(table)
    assert answer.to_pylist() == table.to_pylist()


def test_lists_and_large_batches_come_back(registry):
    model = mr.load("wide", registry=registry, trust=True)
    values = np.random.default_rng(0).normal(size=(50_000, 3))
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(values.reshape(-1), 3)})
    for _ in range(2):
        answer = model.predict(table)
        assert np.array_equal(answer["v"].combine_chunks().flatten().to_numpy().reshape(-1, 3), values)


def _engine(registry: Path, name: str, worker: dict[str, Any]) -> _core.Engine:
    path = Registry(registry).version(name).path
    return _core.Engine(str(path), runtime=str(runtime_library()), trusted=True, worker=json.dumps(worker), threads=1)


def test_neither_pickle_nor_json_crosses(registry, tmp_path):
    place = tmp_path / "wire"
    worker = launch(registry, "echo")
    *options, program = worker["arguments"]
    worker["arguments"] = [*options, str(HERE / "recorded_worker.py"), program, str(place)]
    engine = _engine(registry, "echo", worker)
    number, text = 1234.5678, "written as it is: grün"
    table = pa.table(
        {
            "bool": [True, False],
            "int32": pa.array([7, 8], pa.int32()),
            "int64": [1 << 40, 3],
            "float32": pa.array([0.5, 1.5], pa.float32()),
            "float64": [number, -number],
            "string": [text, ""],
        }
    )
    for _ in range(3):
        engine.predict(table)
    del engine
    wire = place.read_bytes()
    # What was recorded is what crossed: the values are there, in Arrow's own form, both ways.
    assert wire.count(np.float64(number).tobytes()) >= 2
    assert text.encode() in wire
    assert not list(_pickles(wire))
    assert not list(_json(wire))
    # Both are found where they are.
    for protocol in range(2, 6):
        assert list(_pickles(wire[:5_000] + pickle.dumps([number, text], protocol) + wire[:5_000]))
    assert list(_json(wire[:5_000] + json.dumps({"rows": [number]}).encode() + wire[:5_000]))
    for name in (b"pyarrow", b"numpy", b"__main__", b"builtins", b"copyreg"):
        assert name not in wire


def _pickles(wire: bytes) -> Iterator[int]:
    """Where a pickle begins: a protocol's mark, and from there on opcodes to the last."""
    for found in re.finditer(rb"\x80[\x02-\x05]", wire):
        with contextlib.suppress(ValueError, IndexError, UnicodeDecodeError):
            if sum(1 for _ in pickletools.genops(wire[found.start() : found.start() + 10_000])) > 3:
                yield found.start()


def _json(wire: bytes) -> Iterator[int]:
    """Where an object, or a list of more than one number, begins."""
    for found in re.finditer(rb'\{\s*"|"\s*:|\[\s*-?[0-9][0-9.eE+-]*\s*,', wire):
        yield found.start()


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
@pytest.mark.parametrize(
    "how",
    [
        "garbage",
        "half",
        "unknown",
        "sequence",
        "no memory",
        "greedy",
        "too long",
        "empty",
        "zeros",
        "random",
        "question",
        "endless text",
    ],
)
def test_a_hostile_worker_costs_its_callers_an_error_and_nobody_anything_else(registry, how):
    engine = _engine(registry, "nothing", _hostile(how))
    table = pa.table({"x": [1.0, 2.0], "do": ["", ""]})
    for _ in range(3):
        with pytest.raises(mr.errors.EngineError) as error:
            engine.predict(table)
        assert error.value.code in ("worker_lost", "worker_failed"), error.value


@pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")
def test_a_hostile_worker_cannot_take_memory_back_nor_write_to_questions(registry):
    engine = _engine(registry, "nothing", _hostile("shrink"))
    with pytest.raises(mr.errors.EngineError, match="3 attempts failed"):
        engine.predict(pa.table({"x": [1.0], "do": [""]}))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_floods_the_channel_while_it_is_idle_is_killed(registry):
    engine = _engine(registry, "nothing", _hostile("idle flood"))
    with pytest.raises(mr.errors.EngineError) as error:
        engine.predict(pa.table({"x": [1.0], "do": [""]}))
    wait_gone(int(str(error.value).split("failed: ")[1].split()[0]))


_FORKS = """
import os, sys
import monorail as mr, pyarrow as pa
model = mr.load("nothing", registry=sys.argv[1], trust=True)
table = pa.table({"x": [1.0], "do": [""]})
model.predict(table)
child = os.fork()
if child == 0:
    try:
        model.predict(pa.table({"x": [2.0], "do": [""]}))
    except mr.errors.EngineError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert model.predict(table)["y"][0].as_py() == 1.0
child = os.fork()
if child == 0:
    del model  # ends none of its parent's workers, and does not wait for a thread that it does not have
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert model.predict(table)["y"][0].as_py() == 1.0
sys.exit(status)
"""


def test_a_forked_process_is_refused_its_parents_workers(registry):
    # Two processes on one channel and in one memory would get each other's answers.
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKS, str(registry)], timeout=60)
    assert done.returncode == 7


_LOADS = """
import sys
import monorail as mr
try:
    mr.load("slow", registry=sys.argv[1], trust=True)
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_loading_a_model_that_does_not_come_up_can_be_interrupted(registry):
    command = [sys.executable, "-c", _LOADS, str(registry)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as loading:
        try:
            assert loading.stderr is not None
            assert any("it begins to load" in line for line in loading.stderr)
            loading.send_signal(signal.SIGINT)
            assert loading.wait(20) == 7
        finally:
            loading.kill()


def test_a_relative_folder_for_temporary_files_will_do(registry, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", "own")
    model = mr.load("nothing", registry=registry, trust=True)
    assert model.predict(pa.table({"x": [1.0], "do": [""]}))["y"].to_pylist() == [1.0]


def test_more_workers_are_started_for_a_table_of_many_short_batches(registry):
    model = mr.load("sleeps", registry=registry, trust=True, threads=2)
    table = pa.table({"x": [0.0] * 100, "do": ["sleep 0.015"] * 100})
    assert len(set(model.predict(table, max_batch_rows=1)["pid"].to_pylist())) == 2


def _hostile(how: str) -> dict[str, Any]:
    arguments = ["-I", str(HERE / "hostile_worker.py"), how]
    return {"program": sys.executable, "arguments": arguments, "environment": {"PATH": os.environ["PATH"]}}


def test_two_models_in_one_process_do_not_meet(registry):
    models = [mr.load("nothing", registry=registry, trust=True) for _ in range(2)]
    answers: dict[int, set[int]] = {0: set(), 1: set()}

    def one(place: int) -> None:
        for _ in range(10):
            answer = models[place].predict(pa.table({"x": [1.0], "do": [""]}))
            answers[place].add(answer["pid"][0].as_py())
            assert math.isclose(answer["y"][0].as_py(), 1.0)

    threads = [threading.Thread(target=one, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers[0]) == len(answers[1]) == 1
    assert not answers[0] & answers[1]
