"""How many workers there are, when they are killed and replaced, and what callers notice of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import workers
from tests.support.bundles import publish_scorer
from tests.support.process import Reply, ServerProcess, running
from tests.support.waiting import wait_until
from tests.support.workers import ask, is_alive, pid_of, proven, publish_worker, restarts, wait_gone, wait_log

import monorail as mr

pytestmark = [
    pytest.mark.timed,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

MODEL, AGAIN = "obedient", "again"
SCORER = {"a": 0.5, "b": -1.0, "c": 2.0, "amount": "3"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    registry = tmp_path_factory.mktemp("registry")
    publish_worker(registry, MODEL, "Obedient")
    publish_worker(registry, AGAIN, "Obedient", idempotent=True)
    publish_worker(registry, "nothing", "Nothing")
    publish_worker(registry, "alone", "Nothing", row_wise=False)
    publish_worker(registry, "doomed", "Doomed")
    publish_scorer(registry, "scorer")
    return registry


@pytest.fixture(scope="module")
def server(registry):
    with workers.serve(registry, MODEL, AGAIN, "alone", "scorer", max_workers=1, worker_timeout_s=1.0) as server:
        yield server


def _request(word: str) -> bytes:
    """A request as bytes, for a client that does not stay for the answer."""
    body = f'[{{"x": 1, "do": "{word}"}}]'.encode()
    return f"POST /models/{MODEL}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# ---------------------------------------------------------------- stuck


@pytest.mark.parametrize("word", ["spin", "hold"])
def test_a_stuck_worker_is_killed_and_nobody_else_waits(server, tmp_path, word):
    pid, before = proven(server, MODEL), restarts(server, MODEL, reason="stuck")
    place = tmp_path / "began"
    replies = []
    stuck = threading.Thread(target=lambda: replies.append(ask(server, MODEL, f"{word} {place}")))
    with running([stuck]):
        wait_until("it is stuck", place.exists)
        began = time.monotonic()
        assert server.predict("scorer", SCORER).status == 200
        assert server.get("/health/ready").status == 200
        assert time.monotonic() - began < 1.0
    assert (replies[0].status, replies[0].error["code"]) == (500, "worker_lost")
    assert "was stuck: it took over 1 s for one batch" in replies[0].error["message"]
    wait_gone(pid)
    wait_log(server, f"worker {pid}", f"in do_{word}")
    assert pid_of(server, MODEL) != pid
    assert restarts(server, MODEL, reason="stuck") == before + 1


def test_who_shared_a_batch_with_it_is_answered_before_it_is_tried_again(server, tmp_path):
    place = tmp_path / "began"
    done: dict[str, float] = {}

    def one(word: str, **headers: str) -> None:
        status = ask(server, AGAIN, word, headers=headers).status
        done[f"{word} {status}"] = time.monotonic()

    def waiting(rows: int) -> bool:
        return server.metrics().value("monorail_queue_rows", model=AGAIN) == rows

    proven(server, AGAIN)
    busy = threading.Thread(target=one, args=(f"spin {place}",), kwargs={"Monorail-Timeout-S": "0.7"})
    with running([busy]):
        wait_until("it is busy", place.exists)
        with running([threading.Thread(target=one, args=("",))]):
            wait_until("another one waits", lambda: waiting(1))
            with running([threading.Thread(target=one, args=("spin",))]):
                wait_until("both wait", lambda: waiting(2))
    assert done["spin 500"] - done[" 200"] > 0.5


# ---------------------------------------------------------------- deadline and cancellation


def test_a_deadline_reaches_the_worker_and_leaves_it_alive(server):
    pid, before = pid_of(server, MODEL), restarts(server, MODEL)
    began = time.monotonic()
    reply = ask(server, MODEL, "spin", headers={"Monorail-Timeout-S": "0.2"})
    assert (reply.status, reply.error["code"]) == (504, "deadline_exceeded")
    assert pid_of(server, MODEL) == pid
    assert time.monotonic() - began < 0.9, "it was given up, not killed after worker_timeout_s"
    assert restarts(server, MODEL) == before


def test_code_that_does_not_stop_is_killed(registry):
    with workers.serve(registry, MODEL, max_workers=1, worker_timeout_s=60) as server:
        pid = pid_of(server, MODEL)
        reply = ask(server, MODEL, "stubborn", headers={"Monorail-Timeout-S": "0.2"})
        assert (reply.status, reply.error["code"]) == (504, "deadline_exceeded")
        wait_gone(pid)
        assert pid_of(server, MODEL) != pid
        assert restarts(server, MODEL, reason="abandoned") == 1


def test_a_client_that_leaves_stops_the_work(server, tmp_path):
    pid, before = pid_of(server, MODEL), restarts(server, MODEL)
    place = tmp_path / "began"
    with contextlib.closing(socket.create_connection(server.address)) as client:
        client.sendall(_request(f"spin {place}"))
        wait_until("the batch is under way", place.exists)
    began = time.monotonic()
    assert pid_of(server, MODEL) == pid
    assert time.monotonic() - began < 0.6
    assert restarts(server, MODEL) == before


def test_the_interruption_of_one_batch_never_hits_the_next(server):
    pid, before = pid_of(server, MODEL), restarts(server, MODEL)
    for step in range(30):
        # Deadlines on both sides of the moment at which the work is done.
        timeout = 0.035 + 0.001 * (step % 11)
        reply = ask(server, MODEL, "sleep 0.04", headers={"Monorail-Timeout-S": str(timeout)})
        assert reply.status in (200, 504), reply.text
        assert pid_of(server, MODEL) == pid
    assert restarts(server, MODEL) == before


# ---------------------------------------------------------------- killed from outside


@contextlib.contextmanager
def _load(server: ServerProcess, name: str) -> Iterator[list[Reply]]:
    """Requests from several clients at once, for as long as the block goes on, and their replies."""
    replies: list[Reply] = []
    over = threading.Event()

    def one() -> None:
        while not over.is_set():
            replies.append(ask(server, name, "", "sleep 0.005"))

    with running(threading.Thread(target=one) for _ in range(4)):
        try:
            yield replies
        finally:
            over.set()


def _kill_some(server, name: str, times: int) -> None:
    for _ in range(times):
        os.kill(proven(server, name), signal.SIGKILL)


def test_killed_under_load_an_idempotent_model_drops_nothing(server):
    with _load(server, AGAIN) as replies:
        _kill_some(server, AGAIN, 3)
        assert server.predict("scorer", SCORER).status == 200
        answered = len(replies)
        wait_until("the load has gone on", lambda: len(replies) > answered + 20)
    assert {reply.status for reply in replies} == {200}, [reply.text for reply in replies if reply.status != 200]
    assert all([row["y"] for row in reply.json()["predictions"]] == [0.0, 1.0] for reply in replies)
    wait_until("all three were counted", lambda: restarts(server, AGAIN, reason="died") == 3)


def test_killed_under_load_another_model_says_so_and_goes_on(server):
    before = restarts(server, MODEL, reason="died")
    lost = []
    for _ in range(5):
        pid = proven(server, MODEL)
        asking = threading.Thread(target=lambda: lost.append(ask(server, MODEL, "sleep 0.6")))
        with running([asking]):
            wait_until("it is busy", lambda: server.metrics().value("monorail_queue_rows", model=MODEL) == 0)
            os.kill(pid, signal.SIGKILL)
        assert ask(server, MODEL, "").status == 200
    codes = {(reply.status, reply.status != 200 and reply.error["code"]) for reply in lost}
    # A worker that dies before it has the rows costs nobody anything.
    assert codes <= {(500, "worker_lost"), (200, False)}
    assert (500, "worker_lost") in codes
    assert restarts(server, MODEL, reason="died") == before + 5


def test_an_idle_worker_that_dies_is_replaced_unasked(server):
    pid = proven(server, AGAIN)
    os.kill(pid, signal.SIGKILL)
    wait_until("another one is ready", lambda: server.metrics().value("monorail_workers", model=AGAIN) == 1)
    wait_log(server, f"worker {pid} was killed by signal 9")
    assert ask(server, AGAIN, "").status == 200


def test_a_batch_is_not_shared_where_rows_depend_on_each_other(server):
    assert [row["rows"] for row in ask(server, "alone", "", "").json()["predictions"]] == [2, 2]
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(ask(server, "alone", "", "", ""))) for _ in range(8)]
    with running(threads):
        pass
    assert all(row["rows"] == 3 for reply in replies for row in reply.json()["predictions"])


# ---------------------------------------------------------------- how many


def test_rows_gather_while_the_worker_is_busy(registry):
    with workers.serve(registry, MODEL, max_workers=1, max_batch_rows=64) as server:
        replies = []
        busy = threading.Thread(target=lambda: ask(server, MODEL, "sleep 0.5"))
        others = [threading.Thread(target=lambda: replies.append(ask(server, MODEL, ""))) for _ in range(20)]
        with running([busy]):
            wait_until("it is busy", lambda: server.metrics().value("monorail_batch_rows_count", model=MODEL) == 0)
            with running(others):
                pass
        assert max(reply.json()["predictions"][0]["rows"] for reply in replies) >= 10


def test_workers_follow_the_queue(registry):
    with workers.serve(registry, MODEL, max_workers=3, max_batch_rows=1, worker_idle_s=0.3) as server:
        count = lambda: server.metrics().value("monorail_workers", model=MODEL)  # noqa: E731
        assert count() == 1
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(ask(server, MODEL, "sleep 0.4"))) for _ in range(12)]
        with running(threads):
            wait_until("there are three", lambda: count() == 3)
        assert all(reply.status == 200 for reply in replies)
        pids = {reply.json()["predictions"][0]["pid"] for reply in replies}
        assert len(pids) == 3
        wait_until("there is one again", lambda: count() == 1)
        wait_until("the others are gone", lambda: sum(map(is_alive, pids)) == 1)
        assert restarts(server, MODEL) == 0
        assert ask(server, MODEL, "").status == 200


@pytest.fixture(scope="module")
def replaced(registry) -> Iterator[tuple[ServerProcess, list[Reply]]]:
    """A server that replaces its worker after 20 batches, and the replies to a load that had it do so thrice."""
    with workers.serve(registry, "nothing", max_workers=1, worker_max_batches=20) as server:
        with _load(server, "nothing") as replies:
            wait_until("three were replaced", lambda: restarts(server, "nothing", reason="batches") >= 3)
        yield server, replies


def test_replacing_workers_after_some_batches_drops_nothing(replaced):
    server, replies = replaced
    assert {reply.status for reply in replies} == {200}
    pids = {reply.json()["predictions"][0]["pid"] for reply in replies}
    assert len(pids) >= 2
    assert restarts(server, "nothing", reason="died") == 0
    wait_until("the old ones are gone", lambda: sum(map(is_alive, pids)) <= 1)


def test_a_worker_that_is_to_be_replaced_goes_as_soon_as_it_can_under_load(replaced):
    server, _ = replaced
    ready, lags = None, []
    for line in server.err:
        at = datetime.datetime.fromisoformat(line.split()[0]) if " worker " in line else None
        if at and " is ready " in line:
            ready = at
        elif at and ready and "it has run worker_max_batches" in line:
            lags.append((at - ready).total_seconds())
    assert len(lags) >= 2
    assert max(lags) < 1


def test_a_crash_loop_backs_off(registry):
    with workers.serve(registry, "doomed", "scorer", max_workers=1) as server:
        until = time.monotonic() + 5.0
        replies = []
        while time.monotonic() < until:
            replies.append(ask(server, "doomed", ""))
            assert server.predict("scorer", SCORER).status == 200
        codes = {(reply.status, reply.error["code"]) for reply in replies}
        assert codes == {(500, "worker_lost"), (503, "not_ready")}
        down = next(reply for reply in replies if reply.status == 503)
        assert "retry-after" in down.headers
        assert 5 <= restarts(server, "doomed") <= 8
        assert server.get("/health/live").status == 200


# ---------------------------------------------------------------- the server's own end


def test_a_server_that_is_told_to_stop_while_workers_start_does_not_wait_for_them(tmp_path):
    publish_worker(tmp_path, "slow", "Slow")
    server = workers.serve(tmp_path, "slow", wait=False)
    try:
        wait_log(server, "it begins to load")
        server.signal()
        assert server.wait() == 0
    finally:
        server.kill()


def test_a_server_stopped_in_the_middle_of_a_large_request_ends(registry):
    with mr.serve(MODEL, registry=registry, trust=True, port=0, max_workers=2, max_batch_rows=1) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        body = json.dumps([{"x": 1.0, "do": "sleep 0.015"}] * 2_000).encode()
        head = f"POST /models/{MODEL}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.closing(socket.create_connection((host, int(port)))) as client:
            client.sendall(head.encode() + body)
            wait_until("it is under way", lambda: 'monorail_batch_rows_count{model="obedient"' in server.metrics())
            server._core.stop()
            if not server.wait(10):
                os._exit(1)  # nothing ends it any more


def test_nothing_outlives_a_killed_server(registry, tmp_path):
    place = tmp_path / "child"
    with workers.serve(registry, MODEL, min_workers=2, max_workers=2) as server:
        pid = pid_of(server, MODEL)
        assert ask(server, MODEL, f"child {place}").status == 200
        child = int(place.read_text())
        stuck = tmp_path / "stuck"
        with contextlib.closing(socket.create_connection(server.address)) as client:
            body = f'[{{"x": 1, "do": "hold {stuck}"}}]'.encode()
            client.sendall(
                f"POST /models/{MODEL}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            wait_until("one is stuck", stuck.exists)
            server.kill()
        for one in (pid, child, int(stuck.read_text())):
            wait_gone(one)


def test_a_stopping_server_answers_what_is_under_way_and_ends_its_workers(registry):
    with workers.serve(registry, MODEL, max_workers=1) as server:
        pid = pid_of(server, MODEL)
        assert ask(server, MODEL, "thread").status == 200
        replies = []
        asking = threading.Thread(target=lambda: replies.append(ask(server, MODEL, "sleep 0.5")))
        with running([asking]):
            wait_until("it is busy", lambda: server.metrics().value("monorail_batch_rows_count", model=MODEL) == 2)
            server.signal()
        assert server.wait() == 0
        assert replies[0].status == 200
        assert not is_alive(pid)
