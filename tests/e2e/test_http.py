"""HTTP by hand: framing, keep-alive and limits, as a strict peer sees them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ServerProcess
from tests.support.raw import Answer, Closed, Raw, Stopwatch, is_right, request

ROW = b'{"a": 1, "b": 2, "c": 3, "amount": "4"}'
PREDICT = "/models/scorer/predict"
LIMIT_BODY = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer", golden=True)
    with ServerProcess(folder, "scorer", limit_body_bytes=LIMIT_BODY, threads=2, read_timeout_s=60) as server:
        yield server
        assert server.get("/health/ready").status == 200


def refused(raw: Raw, answer: Answer, status: int, code: str) -> None:
    """A refusal after which the connection is closed."""
    assert (answer.status, answer.error["code"]) == (status, code), answer
    assert answer.headers["connection"] == "close"
    assert raw.ends() == b""


# ---------------------------------------------------------------- framing


def test_a_connection_is_kept(raw):
    for _ in range(20):
        answer = raw.ask("POST", PREDICT, ROW)
        is_right(answer)
        assert "connection" not in answer.headers
        assert raw.ask("GET", "/health/live").json() == {"live": True}


def test_every_answer_has_what_an_answer_must_have(raw):
    for answer in (raw.ask("POST", PREDICT, ROW), raw.ask("GET", "/metrics"), raw.ask("GET", "/none")):
        assert answer.version == "HTTP/1.1"
        assert re.fullmatch(
            r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"]
        )
        assert answer.headers["content-type"]
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert answer.headers["x-request-id"]


def test_pipelined_requests_are_answered_in_order(raw):
    ids = [f"id-{number}" for number in range(50)]
    paths = [("POST", PREDICT, ROW), ("GET", "/health/live", None), ("POST", PREDICT, b"bad"), ("GET", "/x", None)]
    raw.send(b"".join(request(*paths[i % 4], f"X-Request-Id: {name}") for i, name in enumerate(ids)))
    for i, name in enumerate(ids):
        answer = raw.answer()
        assert answer.headers["x-request-id"] == name
        assert answer.status == [200, 200, 400, 404][i % 4]


def test_a_request_may_come_byte_by_byte(raw):
    for piece in request("POST", PREDICT, ROW, "X-Request-Id: slow"):
        raw.send(bytes([piece]))
    is_right(raw.answer())
    whole = request("POST", PREDICT, None, "Transfer-Encoding: chunked", "Content-Type: application/json")
    for piece in whole + chunked(ROW, 7):
        raw.send(bytes([piece]))
    is_right(raw.answer())


def chunked(body: bytes, size: int, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 16, 1_000])
def test_chunked_bodies_in_odd_pieces(raw, size):
    head = request("POST", PREDICT, None, "Transfer-Encoding: chunked")
    body = chunked(ROW, size, b";name=value", b"Trailer: x\r\n")
    for step in (1, 5, len(head) + len(body)):
        sent = head + body
        for start in range(0, len(sent), step):
            raw.send(sent[start : start + step])
        is_right(raw.answer())
    raw.send((head + body) * 3)
    for _ in range(3):
        is_right(raw.answer())


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1\r\na0\r\n\r\n", b"0x1\r\na\r\n0\r\n\r\n", b"\r\n", b"1" * 2_000]
)
def test_malformed_chunks(raw, body):
    raw.send(request("POST", PREDICT, None, "Transfer-Encoding: chunked") + body + b"0\r\n\r\n")
    refused(raw, raw.answer(), 400, "malformed_request")


def test_a_chunk_of_unbelievable_size(raw):
    raw.send(request("POST", PREDICT, None, "Transfer-Encoding: chunked") + b"7fffffffffffffff\r\n")
    refused(raw, raw.answer(), 413, "body_too_large")


@pytest.mark.timed
def test_very_many_tiny_chunks_hold_nobody_up(server):
    """A large chunk, so that there is room, then tiny ones; everybody else is answered meanwhile."""
    size = LIMIT_BODY // 2
    many = b"%x\r\n%b\r\n" % (size, b" " * size) + b"1\r\n \r\n" * (LIMIT_BODY // 4)
    over = threading.Event()

    def send() -> None:
        with Raw(server.address) as raw:
            raw.send(request("POST", PREDICT, None, "Transfer-Encoding: chunked") + many + chunked(ROW, 5))
            is_right(raw.answer())
        over.set()

    thread = threading.Thread(target=send)
    thread.start()
    while not over.is_set():
        # As many connections as there are event loops, so that one is on the same.
        for _ in range(2):
            watch = Stopwatch()
            assert server.get("/health/live").status == 200
            assert watch.seconds < 1
        over.wait(0.05)
    thread.join()


def test_expect_100_continue(raw):
    raw.send(request("POST", PREDICT, None, f"Content-Length: {len(ROW)}", "Expect: 100-continue"))
    assert raw.answer().status == 100
    raw.send(ROW)
    is_right(raw.answer())
    raw.send(request("POST", PREDICT, None, "Transfer-Encoding: chunked", "Expect: 100-Continue"))
    assert raw.answer().status == 100
    raw.send(chunked(ROW, 9))
    is_right(raw.answer())
    # A body that will not be taken is not asked for.
    raw.send(request("POST", PREDICT, None, f"Content-Length: {LIMIT_BODY + 1}", "Expect: 100-continue"))
    refused(raw, raw.answer(), 413, "body_too_large")


def test_head_has_the_head_and_no_body(raw):
    for path in ("/health/live", "/health/ready", "/models", "/models/scorer", "/metrics", "/none"):
        head, get = raw.ask("HEAD", path), raw.ask("GET", path)
        assert head.status == get.status
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.body == b""
        assert int(head.headers["content-length"]) > 0
    answer = raw.ask("HEAD", PREDICT)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_http_1_0(server):
    with Raw(server.address) as raw:
        raw.request("POST", PREDICT, ROW, version="HTTP/1.0")
        is_right(raw.answer())
        assert raw.ends() == b""
    with Raw(server.address) as raw:
        raw.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert raw.answer().status == 200
        assert raw.ends() == b""
    with Raw(server.address) as raw:
        for _ in range(3):
            raw.request("POST", PREDICT, ROW, "Connection: keep-alive", version="HTTP/1.0")
            is_right(raw.answer())


@pytest.mark.parametrize("word", ["close", "Close", "keep-alive, close", "x, close"])
def test_connection_close(raw, word):
    answer = raw.ask("POST", PREDICT, ROW, f"Connection: {word}")
    is_right(answer)
    assert answer.headers["connection"] == "close"
    assert raw.ends() == b""


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -5",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
        "X: a\r\n b",
        "Host: second",
        "No colon",
        ": empty",
        "X\x00: a",
        "X: a\x00b",
        "Monorail-Timeout-S: 0",
        "Monorail-Timeout-S: -1",
        "Monorail-Timeout-S: NaN",
        "Monorail-Timeout-S: inf",
        "Monorail-Timeout-S: soon",
        "Monorail-Timeout-S: 1e400",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw, head):
    raw.send(f"POST {PREDICT} HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n".encode("latin-1"))
    refused(raw, raw.answer(), 400, "malformed_request")


@pytest.mark.parametrize(
    "line",
    [
        "GET", "GET /", "GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.1 x", "GE T / HTTP/1.1",
        "\x16\x03\x01\x02\x00",
        "PRI * HTTP/2.0", "GET  / HTTP/1.1", "nonsense", "GET /\x00 HTTP/1.1",
    ],
)  # fmt: skip
def test_request_lines_that_are_none(raw, line):
    raw.send(f"{line}\r\nHost: test\r\n\r\n".encode("latin-1"))
    refused(raw, raw.answer(), 400, "malformed_request")


def test_a_request_without_a_host(raw):
    raw.send(b"GET /health/live HTTP/1.1\r\n\r\n")
    refused(raw, raw.answer(), 400, "malformed_request")


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("head", ["X: " + "a" * 40_000, "\r\n".join(f"X{i}: 1" for i in range(200))])
def test_huge_heads(server, head):
    with Raw(server.address) as raw:
        raw.send(f"GET /health/live HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n")
        refused(raw, raw.answer(), 431, "headers_too_large")
    # Also one that never ends.
    with Raw(server.address) as raw:
        raw.send("GET /" + "a" * 40_000)
        refused(raw, raw.answer(), 431, "headers_too_large")


def test_a_body_over_the_limit_is_refused_unread(server):
    with Raw(server.address) as raw:
        raw.send(request("POST", PREDICT, None, "Content-Length: 1000000000000"))
        watch = Stopwatch()
        refused(raw, raw.answer(), 413, "body_too_large")
        assert watch.seconds < 30, "nothing of it was waited for"


def test_a_client_that_sends_too_much_sees_the_answer(server):
    """It is in the middle of sending: a connection closed over unread bytes would lose the answer."""
    body = b'{"a": ' + b"1" * (3 * LIMIT_BODY) + b"}"
    for head in ([], ["Transfer-Encoding: chunked"]):
        with Raw(server.address) as raw:
            raw.send(request("POST", PREDICT, chunked(body, 100_000) if head else body, *head))
            refused(raw, raw.answer(), 413, "body_too_large")


def test_a_body_at_the_limit_is_read(raw):
    body = ROW + b" " * (LIMIT_BODY - len(ROW))
    is_right(raw.ask("POST", PREDICT, body))
    is_right(raw.ask("POST", PREDICT, ROW))


def memory_kib(server: ServerProcess) -> int:
    """Resident memory of the server."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_a_claimed_length_allocates_nothing(server):
    before = memory_kib(server)
    with Raw(server.address) as one:
        one.send(request("POST", PREDICT, None, f"Content-Length: {LIMIT_BODY}"))
        others = [Raw(server.address) for _ in range(200)]
        for other in others:
            other.send(request("POST", PREDICT, None, f"Content-Length: {LIMIT_BODY}") + b"{")
        assert server.get("/health/live").status == 200
        assert memory_kib(server) - before < 30_000
        for other in others:
            other.close()


@pytest.mark.parametrize(
    "sent", [b"GET /health", request("POST", PREDICT, None, "Content-Length: 50") + b"{", b"POST / HTTP/1.1\r\nX: "]
)
def test_a_client_that_stops_sending_is_cut(tmp_path_factory, sent):
    with (
        ServerProcess(_registry(tmp_path_factory), "scorer", read_timeout_s=0.3, idle_timeout_s=120) as quick,
        Raw(quick.address) as idle,
        Raw(quick.address) as raw,
    ):
        is_right(idle.ask("POST", PREDICT, ROW))
        raw.send(sent)
        watch = Stopwatch()
        raw.ends()
        assert watch.seconds < 30
        is_right(idle.ask("POST", PREDICT, ROW))  # idle is not slow


def test_a_client_that_dribbles_its_head_is_cut(tmp_path_factory):
    """Each byte comes in time; the head as a whole does not."""
    with ServerProcess(_registry(tmp_path_factory), "scorer", read_timeout_s=0.5) as quick, Raw(quick.address) as raw:
        raw.send(b"GET /health/live HTTP/1.1\r\nHost: test\r\nX: ")
        watch = Stopwatch()
        with contextlib.suppress(Closed, OSError):
            while watch.seconds < 40:
                raw.send(b"a")
                assert raw.is_quiet(0.05), "an answer to half a request"
        assert watch.seconds < 30


def test_an_idle_connection_is_closed(tmp_path_factory):
    with ServerProcess(_registry(tmp_path_factory), "scorer", idle_timeout_s=0.3) as quick, Raw(quick.address) as raw:
        is_right(raw.ask("POST", PREDICT, ROW))
        watch = Stopwatch()
        assert raw.ends() == b""
        assert watch.seconds < 25


def _registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "plain" / "here"
    if not folder.exists():
        publish_scorer(folder, "scorer")
    return folder


def test_more_connections_than_allowed_wait(tmp_path_factory):
    with (
        ServerProcess(_registry(tmp_path_factory), "scorer", max_connections=2) as server,
        Raw(server.address) as first,
        Raw(server.address) as second,
    ):
        is_right(first.ask("POST", PREDICT, ROW))
        is_right(second.ask("POST", PREDICT, ROW))
        with Raw(server.address) as third:
            third.request("POST", PREDICT, ROW)
            assert third.is_quiet(0.3)
            second.close()
            is_right(third.answer())
