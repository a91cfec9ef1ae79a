"""One thread and an engine call of about a second: everything else goes on, and nobody waits for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.bundles import publish_scorer, publish_slow
from tests.support.process import ServerProcess
from tests.support.raw import Raw, Stopwatch, connections
from tests.support.waiting import wait_until

from monorail import Registry, _core
from monorail.engine import runtime_library

pytestmark = pytest.mark.timed

SLOW = "/models/slow/predict"
#: How long an answer that needs no engine may take.
AT_ONCE_S = 0.2
OTHER = {"a": 1, "b": 2, "c": 3, "amount": "4"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "slow", busy_ms=1_000)
    publish_slow(folder, "slow_start", busy_ms=1_000, golden_rows=3)
    publish_scorer(folder, "other")
    return folder


@pytest.fixture
def server(registry):
    with ServerProcess(registry, "slow", "other", threads=1, max_queue_rows=10) as server:
        yield server


def start(server: ServerProcess, raw: Raw, x: float = 1) -> None:
    """Send a row to the slow model and wait until the engine has it."""
    before = taken(server)
    raw.request("POST", SLOW, json.dumps({"x": x}).encode())
    wait_until("the engine works", lambda: taken(server) == before + 1)


def taken(server: ServerProcess) -> float:
    return server.metrics().value("monorail_queue_seconds_count", model="slow")


def engine_calls(server: ServerProcess) -> float:
    return server.metrics().value("monorail_engine_seconds_count", model="slow")


def test_everything_else_goes_on(server):
    with Raw(server.address) as raw, Raw(server.address) as other:
        start(server, raw)
        for method, path, body in [
            ("GET", "/health/live", None),
            ("GET", "/health/ready", None),
            ("GET", "/metrics", None),
            ("GET", "/models", None),
            ("GET", "/models/slow", None),
            ("POST", "/models/other/predict", json.dumps(OTHER).encode()),
            ("POST", "/models/slow/predict", b'{"x": "text"}'),
        ]:
            # The best of three: the machine may be busy, the event loop must not be.
            times = []
            for _ in range(3):
                watch = Stopwatch()
                answer = other.ask(method, path, body)
                times.append(watch.seconds)
                assert answer.status in (200, 422)
            assert min(times) < AT_ONCE_S, path
        assert engine_calls(server) == 0, "the call must still be under way, or the test shows nothing"
        assert raw.answer().json()["predictions"] == [{"y": 1.0}]
    assert server.metrics().value("monorail_engine_seconds_sum", model="slow") > 0.3


def test_a_full_queue_is_refused(server):
    with Raw(server.address) as raw, connections(server.address, 2) as waiting, Raw(server.address) as late:
        start(server, raw)
        for caller in waiting:
            caller.request("POST", SLOW, json.dumps([{"x": 2}] * 5).encode())
        wait_until("they wait", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 10)
        answer = late.ask("POST", SLOW, b'{"x": 3}')
        assert engine_calls(server) == 0, "it is told at once"
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert server.predict("other", OTHER).status == 200, "another model's queue is another"
        assert raw.answer().status == 200
        for caller in waiting:
            assert len(caller.answer().json()["predictions"]) == 5
        # The refused client's connection goes on, and there is room again.
        assert late.ask("POST", SLOW, b'{"x": 3}').json()["predictions"] == [{"y": 3.0}]
        metrics = server.metrics()
    assert metrics.value("monorail_requests_total", model="slow", status="503") == 1
    assert metrics.value("monorail_queue_rows", model="slow") == 0


def test_an_empty_queue_takes_a_large_request(server):
    """How large one request may be is ``limit_rows``, not the queue's bound."""
    answer = server.predict("slow", {"columns": {"x": list(range(100))}})
    assert answer.json()["predictions"]["y"] == [float(x) for x in range(100)]


def test_a_deadline_that_passes_in_the_queue(server):
    with Raw(server.address) as raw, Raw(server.address) as hurried, Raw(server.address) as patient:
        start(server, raw)
        watch = Stopwatch()
        hurried.request("POST", SLOW, b'[{"x": 2}, {"x": 3}]', "Monorail-Timeout-S: 0.2")
        patient.request("POST", SLOW, b'{"x": 4}', "monorail-timeout-s: 30")
        answer = hurried.answer()
        assert watch.seconds > 0.19
        assert engine_calls(server) == 0, "the engine's call must still be under way"
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        wait_until("its rows are gone", lambda: server.metrics().value("monorail_queue_rows", model="slow") <= 1)
        assert raw.answer().status == 200
        assert patient.answer().json()["predictions"] == [{"y": 4.0}]
        # The connection goes on.
        assert hurried.ask("GET", "/health/live").status == 200
        metrics = server.metrics()
    assert metrics.value("monorail_engine_seconds_count", model="slow") == 2
    assert metrics.value("monorail_batch_rows_sum", model="slow") == 2, "expired rows are not scored"
    assert metrics.value("monorail_requests_total", model="slow", status="504") == 1


def test_a_deadline_that_passes_in_the_engine(server):
    with Raw(server.address) as raw:
        watch = Stopwatch()
        raw.request("POST", SLOW, b'{"x": 1}', "Monorail-Timeout-S: 0.15")
        answer = raw.answer()
        assert watch.seconds > 0.14
        assert engine_calls(server) == 0, "the engine's call must still be under way"
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("ahead", [b"", b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n"])
def test_a_client_that_left_takes_its_rows_along(server, ahead):
    """Also one that has sent another request ahead, so that the end is not the first thing to be read."""
    with Raw(server.address) as raw, Raw(server.address) as waiting:
        start(server, raw)
        waiting.request("POST", SLOW, b'[{"x": 2}, {"x": 3}, {"x": 4}]')
        wait_until("they wait", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 3)
        if ahead:
            waiting.send(ahead)
            assert waiting.is_quiet(0.1), "its turn has not come"
        waiting.close()
        wait_until("they left", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 0)
        assert engine_calls(server) == 0, "the engine must not have taken them"
        assert raw.answer().status == 200
        metrics = server.metrics()
        assert metrics.value("monorail_batch_rows_sum", model="slow") == 1
        assert metrics.value("monorail_requests_total", model="slow", status="499") == 1


def test_a_request_ahead_of_a_slow_answer_is_answered_after_it(server):
    with Raw(server.address) as raw:
        start(server, raw)
        raw.send(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        assert raw.answer().json()["predictions"] == [{"y": 1.0}]
        assert raw.answer().json() == {"live": True}


def test_while_models_are_loaded_it_is_alive_and_not_ready(registry):
    """The address is bound before the golden rows are scored; nothing is ready until they match."""
    name, version, path = Registry(registry).resolve("slow_start")
    specification = json.dumps([{"name": name, "version": version, "path": str(path), "aliases": []}])
    server = _core.Server(specification, '{"port": 0, "threads": 1}', runtime=runtime_library())
    host, port = server.address.removeprefix("http://").split(":")
    try:
        with Raw((host, int(port))) as raw:
            assert raw.ask("GET", "/health/live").status == 200
            for method, path, body in [
                ("GET", "/health/ready", None),
                ("GET", "/v2/health/ready", None),
                ("GET", "/models", None),
                ("POST", "/models/slow_start/predict", b'{"x": 1}'),
            ]:
                answer = raw.ask(method, path, body)
                assert (answer.status, answer.error["code"]) == (503, "not_ready"), path
                assert answer.headers["retry-after"]
            assert b"monorail_ready 0" in raw.ask("GET", "/metrics").body
            server.wait_ready()
            assert raw.ask("GET", "/health/ready").json() == {"ready": True}
            assert raw.ask("POST", "/models/slow_start/predict", b'{"x": 1}').status == 200
    finally:
        server.stop()
        assert server.join(30)
