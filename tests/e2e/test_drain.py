"""Stopping loses nothing that was accepted: SIGTERM under load, during an engine call, when idle, and twice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.support.bundles import publish_scorer, publish_slow
from tests.support.process import ServerProcess, running
from tests.support.raw import Closed, Raw, Stopwatch, is_gone, request
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timed

ROW = b'{"a": 1, "b": 2, "c": 3, "amount": "4"}'
PREDICT = request("POST", "/models/scorer/predict", ROW)
#: What may pass beyond the limit a test sets: a busy machine, the last call of open connections.
GRACE_S = 9.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer", golden=True)
    publish_slow(folder, "slow", busy_ms=900)
    publish_slow(folder, "short", busy_ms=400)
    return folder


@dataclasses.dataclass
class Lost:
    """A request that was sent whole and not answered."""

    after: int
    """Answers that its connection had brought before."""
    at: float
    received: bytes


class Hammer:
    """Sends one prediction after the other over keep-alive connections, and connects again where one was closed."""

    def __init__(self, server: ServerProcess, until: threading.Event) -> None:
        self.server, self.until = server, until
        self.answered = 0
        self.closing = 0
        self.wrong: list[object] = []
        self.lost: list[Lost] = []

    def run(self) -> None:
        while not self.until.is_set():
            try:
                connection = Raw(self.server.address)
            except OSError:
                return  # nobody listens any more
            with connection:
                self._use(connection)

    def _use(self, connection: Raw) -> None:
        count = 0
        while not self.until.is_set():
            try:
                connection.send(PREDICT)
            except OSError:
                return  # not sent
            try:
                answer = connection.answer()
            except Closed as closed:
                self.lost.append(Lost(count, time.monotonic(), closed.received))
                return
            count += 1
            self.answered += 1
            if answer.status != 200 or len(answer.json()["predictions"]) != 1:
                self.wrong.append(answer)
            if answer.headers.get("connection") == "close":
                self.closing += 1
                return


@contextlib.contextmanager
def hammered(server: ServerProcess, until: threading.Event, count: int = 24):
    hammers = [Hammer(server, until) for _ in range(count)]
    with running(threading.Thread(target=hammer.run) for hammer in hammers):
        try:
            wait_until("the load is on", lambda: all(hammer.answered > 3 for hammer in hammers))
            yield hammers
        finally:
            until.set()


@pytest.mark.parametrize("threads", [1, 2])
def test_sigterm_under_load_loses_nothing(registry, threads):
    """The load goes on for a while after the signal, as it does until a load balancer has noticed."""
    until = threading.Event()
    with ServerProcess(registry, "scorer", threads=threads, drain_s=20) as server:
        with hammered(server, until) as hammers:
            assert server.get("/health/ready").status == 200
            server.signal()
            wait_until("readiness is off", lambda: server.get("/health/ready").status == 503)
            ready = server.get("/health/ready")
            assert ready.error["code"] == "draining"
            assert ready.headers["retry-after"]
            assert ready.headers["connection"] == "close"
            live = server.get("/health/live")
            assert live.status == 200
            answer = server.predict("scorer", ROW)
            assert answer.status == 200
            assert answer.headers["connection"] == "close"
            assert "monorail_ready 0" in server.get("/metrics").text
            before = sum(hammer.answered for hammer in hammers)
            wait_until("new connections are served", lambda: sum(h.answered for h in hammers) > before + 200)
            assert all(hammer.closing for hammer in hammers)
        watch = Stopwatch()
        assert server.wait() == 0, server.stderr
        assert watch.seconds < GRACE_S, "it is idle"
    assert [hammer.wrong for hammer in hammers if hammer.wrong] == []
    assert [lost for hammer in hammers for lost in hammer.lost] == []


def test_a_load_that_never_stops_does_not_keep_it(registry):
    until, drain_s = threading.Event(), 1.0
    with ServerProcess(registry, "scorer", drain_s=drain_s) as server, hammered(server, until) as hammers:
        watch, began = Stopwatch(), time.monotonic()
        server.signal()
        assert server.wait() == 0, server.stderr
        assert drain_s <= watch.seconds < drain_s + GRACE_S
        assert is_gone(server.address)
    assert [hammer.wrong for hammer in hammers if hammer.wrong] == []
    # A connection that the server had told to stay is never cut; a new one, once the time is over, may be.
    for lost in (lost for hammer in hammers for lost in hammer.lost):
        assert lost.after == 0
        assert lost.received == b""
        assert lost.at > began + drain_s


def test_idle_it_ends_at_once(registry):
    with ServerProcess(registry, "scorer", drain_s=60) as server:
        # Connections that lie idle keep nothing: one never used, one that has had an answer.
        with Raw(server.address) as silent, Raw(server.address) as used:
            assert used.ask("POST", "/models/scorer/predict", ROW).status == 200
            watch = Stopwatch()
            assert server.stop() == 0
            assert watch.seconds < GRACE_S
            assert silent.ends() == b""
            assert used.ends() == b""
        assert len(server.out) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_engine_call_under_way_is_answered(registry, number):
    """Also what waits behind it in the queue."""
    with ServerProcess(registry, "slow", threads=1, drain_s=30) as server:
        with Raw(server.address) as first, Raw(server.address) as second:
            first.request("POST", "/models/slow/predict", b'{"x": 1}')
            wait_until(
                "the engine works", lambda: server.metrics().value("monorail_queue_seconds_count", model="slow") == 1
            )
            second.request("POST", "/models/slow/predict", b'{"x": 2}')
            wait_until("one waits", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 1)
            server.signal(number)
            assert first.answer().json()["predictions"] == [{"y": 1.0}]
            assert second.answer().json()["predictions"] == [{"y": 2.0}]
        assert server.wait() == 0, server.stderr


def test_a_call_that_outlives_the_drain_a_little_is_answered(registry):
    """It was accepted before; only what takes much longer than ``drain_s`` is given up."""
    with ServerProcess(registry, "short", threads=1, drain_s=0.1) as server, Raw(server.address) as raw:
        raw.request("POST", "/models/short/predict", b'{"x": 1}')
        wait_until(
            "the engine works", lambda: server.metrics().value("monorail_queue_seconds_count", model="short") == 1
        )
        server.signal()
        assert raw.answer().json()["predictions"] == [{"y": 1.0}]
        assert server.wait() == 0, server.stderr


def test_a_request_that_is_half_sent_is_answered(registry):
    with ServerProcess(registry, "scorer", drain_s=30) as server, Raw(server.address) as raw:
        raw.send(PREDICT[:-5])
        wait_until("it is read", lambda: server.get("/health/live").status == 200)
        server.signal()
        wait_until("it drains", lambda: server.get("/health/ready").status == 503)
        raw.send(PREDICT[-5:])
        answer = raw.answer()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert server.wait() == 0


def test_requests_sent_ahead_are_answered_up_to_the_close(registry):
    """Of pipelined requests those before ``Connection: close`` are answered; a client may send the others again."""
    with ServerProcess(registry, "scorer", drain_s=30) as server, Raw(server.address) as raw:
        server.signal()
        wait_until("it drains", lambda: server.get("/health/ready").status == 503)
        raw.send(PREDICT * 3)
        answer = raw.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert raw.ends() == b""
        assert server.wait() == 0


def test_a_second_signal_ends_it_at_once(registry):
    """Without waiting for ``drain_s``, whatever is under way."""
    with ServerProcess(registry, "scorer", drain_s=300) as server, Raw(server.address) as raw:
        raw.send(PREDICT[:-5])
        server.signal(signal.SIGINT)
        wait_until("it drains", lambda: server.get("/health/ready").status == 503)
        watch = Stopwatch()
        server.signal(signal.SIGINT)
        server.wait()
        assert watch.seconds < GRACE_S


def test_drain_s_of_zero(registry):
    with ServerProcess(registry, "scorer", drain_s=0) as server:
        assert json.loads(server.predict("scorer", ROW).body)["predictions"]
        watch = Stopwatch()
        assert server.stop() == 0
        assert watch.seconds < GRACE_S
