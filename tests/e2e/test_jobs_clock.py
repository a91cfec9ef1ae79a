"""The clock of a job server is stepped: times come earlier or later, and nothing is lost, stuck or done twice."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from tests.support.bundles import publish_slow
from tests.support.preloaded import Clock, built
from tests.support.process import ServerProcess, running
from tests.support.raw import Stopwatch
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

DAY_S = 86_400


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("clock", tmp_path_factory.mktemp("library"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> Clock:
    return Clock(library, tmp_path)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    publish_slow(tmp_path / "here", "slow", busy_ms=100)
    return tmp_path / "here"


def test_a_day_forward(registry, clock):
    with (
        ServerProcess(registry, "echo", "slow", max_batch_rows=1, environment=clock.environment) as server,
        mr.Client(server.url) as client,
    ):
        kept = client.submit("echo", {"x": 1}, ttl_s=10 * DAY_S)
        old = client.submit("echo", {"x": 2}, ttl_s=DAY_S)
        assert (kept.result(60), old.result(60)) == ({"y": 1.0}, {"y": 2.0})
        finished = kept.known.finished
        tonight = client.submit("echo", {"x": 3}, not_before_s=DAY_S / 2)
        late = client.submit("echo", {"x": 4}, not_before_s=DAY_S / 2, deadline_s=DAY_S / 4)
        in_time = client.submit("echo", {"x": 5}, not_before_s=DAY_S / 2, deadline_s=2 * DAY_S)
        next_week = client.submit("echo", {"x": 6}, not_before_s=7 * DAY_S)
        long = client.submit("slow", {"x": [float(i) for i in range(10)]})
        wait_until("it runs", lambda: long.state == "running")
        with running([threading.Thread(target=_wait, args=(server.url, next_week.id, 1.0))]):
            clock.step(DAY_S)
            assert long.result(60) == {"y": [float(i) for i in range(10)]}
            # Nothing wakes the server but its own look at the clock.
            assert tonight.result(20) == {"y": 3.0}
            assert in_time.result(20) == {"y": 5.0}
            with pytest.raises(errors.DeadlineError):
                late.result(20)
        wait_until("its time is over", lambda: _status(server.url, old.id) == 404)
        assert client.job(kept.id).result(20) == [{"y": 1.0}]
        assert client.job(kept.id).known.finished == finished
        assert next_week.status().state == "queued"
        assert {job.known.attempts for job in (long, tonight, in_time)} == {1}


def _wait(url: str, id: str, seconds: float) -> None:
    """A wait takes as long as it says, whatever the clock does."""
    watch = Stopwatch()
    with httpx.Client(base_url=url, timeout=60) as http:
        assert http.get(f"/jobs/{id}", params={"wait_s": seconds}).json()["state"] == "queued"
    assert seconds <= watch.seconds < 20


def _status(url: str, id: str) -> int:
    return httpx.get(f"{url}/jobs/{id}").status_code


def test_a_day_back(registry, clock):
    clock.step(DAY_S)
    with (
        ServerProcess(
            registry, "echo", "slow", max_batch_rows=1, max_queue_rows=4, threads=1, environment=clock.environment
        ) as server,
        mr.Client(server.url) as client,
    ):
        put_off = client.submit("echo", {"x": 1}, not_before_s=1)
        # More than fit the model's queue: the server puts them off itself, and that is no matter of the time of day.
        many = [client.submit("slow", {"x": i}) for i in range(15)]
        wait_until("they are under way", lambda: many[0].state != "queued")
        clock.step(0)
        assert client.submit("echo", {"x": 2}, deadline_s=20).result(20) == {"y": 2.0}
        assert [job.result(30) for job in many] == [{"y": float(i)} for i in range(15)]
        assert {job.known.attempts for job in many} == {1}
        assert put_off.status().state == "queued"
        clock.step(DAY_S)
        assert put_off.result(20) == {"y": 1.0}


def test_a_day_back_between_two_servers(registry, clock):
    clock.step(DAY_S)
    server = ServerProcess(registry, "echo", "slow", max_batch_rows=1, environment=clock.environment)
    with server, mr.Client(server.url) as client:
        assert client.submit("echo", {"x": 1}, id="done").result(60) == {"y": 1.0}
        long = client.submit("slow", {"x": [float(i) for i in range(20)]}, id="long")
        client.submit("echo", {"x": 3}, id="later", not_before_s=DAY_S)
        wait_until("it runs", lambda: long.state == "running")
        server.kill()
    clock.step(0)
    server = ServerProcess(registry, "echo", "slow", environment=clock.environment)
    with server, mr.Client(server.url) as client:
        assert client.job("long").result(60) == {"y": [float(i) for i in range(20)]}
        assert client.job("long").known.attempts == 2
        assert client.job("done").result(20) == [{"y": 1.0}]
        assert client.job("later").state == "queued"
        assert sorted(job.id for job in client.jobs()) == ["done", "later", "long"]
        # As if nothing had been: the same id is the same job.
        assert client.submit("echo", {"x": 1}, id="done").known.attempts == 1
