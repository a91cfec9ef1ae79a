"""One line on stdout, all talk on stderr, an access log only where asked for, and no request that waits for either."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ARROW, ServerProcess, to_stream
from tests.support.raw import Raw, Stopwatch, request
from tests.support.waiting import wait_until

ROW = b'{"a": 1, "b": 2, "c": 3, "amount": "4"}'
FAILS = ROW.replace(b'"4"', b'"abc"')
PATH = "/models/scorer/predict"
LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (access|debug|info|warning|error) .+$")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer", golden=True)
    return folder


def test_stdout_has_one_line_and_stderr_no_request(registry):
    with ServerProcess(registry, "scorer") as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", server.out[0])
        with Raw(server.address) as raw:
            for body in (ROW, FAILS, b"nonsense"):
                raw.ask("POST", PATH, body)
            raw.ask("GET", "/no/such/path")
        assert server.stop() == 0
    assert len(server.out) == 1
    assert server.err, "it says what it loaded"
    for line in server.err:
        assert LINE.match(line), line
    assert "access" not in server.stderr
    assert "scorer@1 loaded" in server.stderr


def test_the_access_log_has_a_line_per_request(registry):
    with ServerProcess(registry, "scorer", access_log=True) as server, Raw(server.address) as raw:
        raw.ask("POST", PATH, ROW, "X-Request-Id: mine-1")
        raw.ask("POST", PATH, b"nonsense", "X-Request-Id: mine-2")
        raw.ask("GET", "/no/such%0apath?secret=1", None, "X-Request-Id: mine-3")
        raw.ask("POST", "/models/none/predict", ROW, "X-Request-Id: mine-4")
        lines = wait_until("the lines", lambda: (found := [x for x in server.err if " access " in x])[3:] and found)
    assert all(LINE.match(line) for line in lines)
    first = re.search(
        r"POST /models/scorer/predict 200 rows=1 body_bytes=(\d+) elapsed_ms=\d+\.\d{3} request_id=mine-1$", lines[0]
    )
    assert first
    assert int(first[1]) == len(ROW)
    assert re.search(r"POST /models/scorer/predict 400 .*request_id=mine-2$", lines[1])
    assert re.search(r"GET /no/such%0apath 404 .*request_id=mine-3$", lines[2])
    assert re.search(r"POST /models/none/predict 404 .*request_id=mine-4$", lines[3])


def test_a_client_cannot_forge_a_line(registry):
    with ServerProcess(registry, "scorer", access_log=True) as server, Raw(server.address) as raw:
        raw.send(b"GET /a\xc2\x85b\xe2\x80\xa8c HTTP/1.1\r\nHost: test\r\nX-Request-Id: x\x0by\r\n\r\n")
        raw.ends()
        assert server.predict("scorer", ROW, headers={"x-request-id": "end"}).status == 200
        wait_until("the line", lambda: "request_id=end" in server.stderr)
    assert all(LINE.match(line) for line in server.err)


def test_a_stderr_nobody_reads_holds_nothing_up(registry):
    """The pipe is full, the log's own queue is full: lines are dropped and counted, requests are answered."""
    with ServerProcess(registry, "scorer", read_stderr=False, access_log=True, threads=1) as server:
        assert server.process.stderr is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(server.process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4_096)
        batch = request("GET", "/health/live", None, "X-Request-Id: " + "i" * 100) * 500
        with Raw(server.address) as raw:
            for _ in range(60):
                raw.send(batch)
                for _ in range(500):
                    assert raw.answer().status == 200
                if server.metrics().value("monorail_log_lines_dropped_total"):
                    break
            assert server.metrics().value("monorail_log_lines_dropped_total") > 0
            # Also a failing engine call, of which ONNX Runtime would say something by itself.
            for _ in range(30):
                assert raw.ask("POST", PATH, FAILS).error["code"] == "engine_failed"
                assert raw.ask("POST", PATH, ROW).status == 200
            # And Arrow whose numbers contradict each other, of which Rust's own decoder would.
            whole = to_stream(pa.table({"a": [1.0], "b": [2.0], "c": [3.0], "amount": ["4"]}))
            for at in range(0, len(whole) - 8, 8):
                body = whole[:at] + b"\xff" * 7 + b"\x7f" + whole[at + 8 :]
                answer = raw.ask("POST", PATH, body, f"Content-Type: {ARROW}")
                assert answer.status in (200, 400, 413, 422), answer
        watch = Stopwatch()
        assert server.stop() == 0
        assert watch.seconds < 9, "it does not wait for drain_s"
    assert len(server.out) == 1
