"""Whatever bytes come, the same process goes on: it answers or closes, and the next client is served."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.bundles import publish_scorer
from tests.support.process import ARROW, ServerProcess, to_stream
from tests.support.raw import Answer, Closed, Raw, request

ROW = {"a": 1.0, "b": 2.0, "c": 3.0, "amount": "4"}
JSON_BODY = json.dumps([ROW, ROW]).encode()
COLUMNS_BODY = json.dumps({"columns": {name: [value] * 3 for name, value in ROW.items()}}).encode()
TABLE = pa.table({name: [value] * 3 for name, value in ROW.items()})
CODED = TABLE.set_column(3, "amount", TABLE.column("amount").dictionary_encode())
PREDICT = "/models/scorer/predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer")
    with ServerProcess(folder, "scorer", threads=1, limit_rows=1_000, limit_body_bytes=100_000) as server:
        pid = server.pid
        yield server
        assert server.process.poll() is None
        assert server.pid == pid
        assert server.metrics().value("monorail_queue_rows", model="scorer") == 0
    # Of what other people's code panics at, nothing is said either: it is their sender's error, answered with 400.
    assert "panick" not in server.stderr


def goes_on(server: ServerProcess) -> None:
    answer = server.predict("scorer", ROW)
    assert answer.status == 200
    assert answer.json()["predictions"][0]["probability"] == pytest.approx([0.8797068755690509, 0.12029312443094915])


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes with some of them changed, removed, doubled, or others put in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "cut", "double", "insert", "number", "end"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 40))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=16))
            case "number":
                number = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000]))
                data[at : at + 4] = number.to_bytes(4, "little")
            case _:
                del data[at:]
    return bytes(data)


def throw(server: ServerProcess, data: bytes) -> None:
    """Send bytes and the end of sending; whatever comes back must be whole answers and then the end."""
    with Raw(server.address) as raw:
        try:
            raw.send(data)
            raw.socket.shutdown(1)
        except OSError:
            return
        for answer in answers(raw):
            assert answer.status in (100, 200, 400, 404, 405, 406, 413, 415, 422, 431, 500, 504), answer
            if answer.status == 500:
                assert answer.error["code"] == "engine_failed", answer


def answers(raw: Raw) -> Iterator[Answer]:
    """Every answer until the server closes; half an answer is none."""
    while True:
        try:
            answer = raw.answer()
        except Closed as closed:
            if closed.received and not closed.reset:
                raise
            return
        yield answer


WHOLE = [
    request("POST", PREDICT, JSON_BODY, "Accept: application/json", "X-Request-Id: a", "Monorail-Timeout-S: 5"),
    request("POST", PREDICT, None, "Transfer-Encoding: chunked") + b"a\r\n" + JSON_BODY[:10] + b"\r\n0\r\n\r\n",
    request("GET", "/models/scorer%401", None, "Connection: keep-alive") * 3,
]


@given(st.one_of(st.binary(max_size=300), *(mutated(whole) for whole in WHOLE)))
@settings(max_examples=300)
def test_hostile_requests(server, data):
    throw(server, data)


def test_after_hostile_requests(server):
    goes_on(server)


TEXT = st.text(max_size=100).map(str.encode)


@given(st.one_of(st.binary(max_size=200), TEXT, mutated(JSON_BODY), mutated(COLUMNS_BODY)))
@settings(max_examples=300)
def test_hostile_json(server, body):
    throw(server, request("POST", PREDICT, body))


KEYS = st.sampled_from(["a", "rows", "columns", "amount", ""])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12))
def test_any_json_value(server, value):
    throw(server, request("POST", PREDICT, json.dumps(value).encode()))


@given(st.one_of(st.binary(max_size=200), mutated(to_stream(TABLE)), mutated(to_stream(CODED))))
@settings(max_examples=500)
def test_hostile_arrow(server, body):
    throw(server, request("POST", PREDICT, body, f"Content-Type: {ARROW}"))


def test_after_hostile_bodies(server):
    goes_on(server)


@given(st.lists(st.integers(1, 40), max_size=20))
def test_any_cut_of_a_request_is_the_same_request(server, cuts):
    """However the bytes are cut into packets, the answer is the same."""
    data = request("POST", PREDICT, JSON_BODY) + WHOLE[1]
    with Raw(server.address) as raw:
        at = 0
        for cut in cuts:
            raw.send(data[at : at + cut])
            at += cut
        raw.send(data[at:])
        assert len(raw.answer().json()["predictions"]) == 2
        assert raw.answer().error["code"] == "malformed_json"
