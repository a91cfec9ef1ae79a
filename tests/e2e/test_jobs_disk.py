"""The disk below the job store is slow, fails, or loses its power: nothing is acknowledged that is not on it."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_slow
from tests.support.preloaded import Disk, built
from tests.support.process import ServerProcess, running
from tests.support.raw import Raw
from tests.support.submitting import Numbers, Submitted
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

#: Read before each test is given an environment without them.
CUTS = int(os.environ.get("MONORAIL_TEST_CUTS", "4"))
LATER_S = 3_600
#: Of a job whose body and answer are files.
LARGE_ROWS = 200_000
SLOW_S = 0.2


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("disk", tmp_path_factory.mktemp("library"))


def numbers() -> pa.Table:
    return pa.table({"x": np.arange(LARGE_ROWS, dtype=float)})


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    publish_slow(tmp_path / "here", "slow", busy_ms=5)
    return tmp_path / "here"


@pytest.fixture
def disk(library: Path, registry: Path, tmp_path: Path) -> Disk:
    return Disk(library, registry, tmp_path / "disk")


# ---------------------------------------------------------------- slow


def test_no_acknowledgement_comes_before_the_sync(registry, disk):
    with ServerProcess(registry, "echo", environment=disk.environment) as server, mr.Client(server.url) as client:
        disk.switch("delay_ms", int(SLOW_S * 1_000))
        changes = [
            lambda: client.submit("echo", {"x": 1}, id="a", not_before_s=LATER_S),
            lambda: client.submit("echo", {"x": 2}, id="b"),
            lambda: client.job("a").cancel(),
            lambda: client.job("a").retry(),
        ]
        for change in changes:
            began = time.perf_counter()
            change()
            assert time.perf_counter() - began >= SLOW_S
        # Nor is an answer told before it is kept.
        before = disk.synced()
        assert client.submit("echo", {"x": 3}).result(60) == {"y": 3.0}
        assert disk.synced() >= before + 2
        disk.switch("delay_ms", False)


def test_who_waits_for_the_disk_keeps_nobody_waiting(registry, disk):
    with ServerProcess(registry, "echo", environment=disk.environment) as server, mr.Client(server.url) as client:
        done = client.submit("echo", {"x": 1}, id="done")
        assert done.result(60) == {"y": 1.0}
        acknowledged = threading.Event()

        def submit() -> None:
            with mr.Client(server.url) as other:
                other.submit("echo", {"x": 2}, id="held", not_before_s=LATER_S)
            acknowledged.set()

        disk.switch("hold")
        begun = disk.begun()
        with running([threading.Thread(target=submit)]):
            wait_until("a sync is under way", lambda: disk.begun() > begun)
            assert server.predict("echo", {"x": 3}).json()["predictions"] == [{"y": 3.0}]
            assert server.get("/health/ready").status == 200
            assert done.status().state == "succeeded"
            # It may be read of, but nobody has been told.
            assert not acknowledged.is_set()
            disk.switch("hold", False)
        assert acknowledged.is_set()
        assert client.job("held").state == "queued"


def test_callers_share_syncs(registry, disk):
    callers = 64
    with ServerProcess(registry, "echo", environment=disk.environment) as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Raw(server.address)) for _ in range(callers)]
        disk.switch("delay_ms", int(SLOW_S * 1_000))
        begun = disk.begun()
        for number, connection in enumerate(connections):
            connection.request("POST", f"/models/echo/jobs?not_before_s={LATER_S}", b'{"x": %d}' % number)
        assert {connection.answer().status for connection in connections} == {202}
        syncs = disk.begun() - begun
        disk.switch("delay_ms", False)
        with mr.Client(server.url) as client:
            assert len(list(client.jobs())) == callers
    assert syncs <= callers / 8


# ---------------------------------------------------------------- failing


@pytest.mark.parametrize("fault", ["fail", "fail_write"])
def test_what_the_disk_refuses_is_not_acknowledged(registry, disk, fault):
    with ServerProcess(registry, "echo", environment=disk.environment) as server, mr.Client(server.url) as client:
        waiting = client.submit("echo", {"x": 1}, id="waiting", not_before_s=LATER_S)
        assert client.submit("echo", {"x": 2}, id="answered").result(60) == {"y": 2.0}
        disk.switch(fault)
        for change in (lambda: client.submit("echo", {"x": 3}, id="new"), waiting.cancel):
            with pytest.raises(errors.InternalError) as caught:
                change()
            assert (caught.value.code, bool(caught.value.hint)) == ("job_store_failed", True)
        assert server.predict("echo", {"x": 4}).json()["predictions"] == [{"y": 4.0}]
        assert waiting.status().state == "queued"
        assert client.job("answered").result(60) == [{"y": 2.0}]
        disk.switch(fault, False)
        # It goes on by itself, and what was refused may be sent again.
        assert client.submit("echo", {"x": 3}, id="new").result(60) == {"y": 3.0}
        assert waiting.cancel().state == "cancelled"
        server.kill()
    assert "job_store_failed" in server.stderr
    disk.lose_power()
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        assert {job.id: job.known.state for job in client.jobs()} == {
            "waiting": "cancelled",
            "answered": "succeeded",
            "new": "succeeded",
        }
        assert client.job("new").result(60) == [{"y": 3.0}]


def test_answers_wait_until_the_disk_takes_them(registry, disk):
    with ServerProcess(registry, "echo", environment=disk.environment) as server, mr.Client(server.url) as client:
        job = client.submit("echo", {"x": 1}, not_before_s=0.5)
        disk.switch("fail")
        wait_until("its answer cannot be kept", lambda: server.stderr.count("job_store_failed") >= 2)
        assert job.status().state in ("queued", "running")
        disk.switch("fail", False)
        assert job.result(60) == {"y": 1.0}


@pytest.mark.parametrize(
    ("fault", "told"), [("full", "waits for room"), ("fail_write", "job_store_failed"), ("fail", "job_store_failed")]
)
def test_large_answers_wait_until_the_disk_takes_them(registry, disk, fault, told):
    table = numbers()
    with ServerProcess(registry, "slow", environment=disk.environment) as server, mr.Client(server.url) as client:
        job = client.submit("slow", table, id="large")
        wait_until("some of it is scored", lambda: job.status().rows_done > 0)
        disk.switch(fault)
        wait_until("its answer cannot be kept", lambda: told in server.stderr)
        assert job.status().state in ("queued", "running")
        disk.switch(fault, False)
        assert job.result(60).column("y").equals(table.column("x"))
        assert job.known.attempts == 1
        server.kill()
    disk.lose_power()
    with ServerProcess(registry, "slow") as server, mr.Client(server.url) as client:
        assert client.job("large").result(60).column("y").equals(table.column("x"))


# ---------------------------------------------------------------- no power


def test_the_power_fails_while_jobs_come_in(registry, disk):
    """The worst that a disk may do which keeps its word: of what no sync has promised all is lost, or some sectors."""
    numbers, submitted = Numbers(100_000), Submitted()
    for cut in range(CUTS):
        chance = random.Random(cut)
        with ServerProcess(registry, "echo", threads=2, environment=disk.environment) as server:
            threads = submitted.submitters(server.url, numbers, disk_fails=True)
            with running(threads):
                submitted.until(100, threads)
                # A sync that fails tells of what was written before it, not of what comes after.
                disk.switch("fail")
                threading.Event().wait(chance.random() / 10)
                disk.switch("fail", False)
                submitted.until(100, threads)
                threading.Event().wait(chance.random() / 20)
                server.kill()
        assert submitted.wrong == []
        disk.lose_power(chance if cut % 2 else None)
    assert submitted.unsure
    with ServerProcess(registry, "echo", threads=2) as server, mr.Client(server.url) as client:
        submitted.check(client)


def test_the_power_fails_when_the_store_is_new(registry, disk):
    with ServerProcess(registry, "echo", environment=disk.environment) as server, mr.Client(server.url) as client:
        client.submit("echo", {"x": 1}, id="first", not_before_s=LATER_S)
        server.kill()
    disk.lose_power()
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        assert [job.id for job in client.jobs()] == ["first"]


@pytest.mark.parametrize("survives", [None, random.Random(0)])
def test_the_power_fails_beside_large_jobs(registry, disk, survives):
    """What the store refers to is on the disk before it does: a body before its 202, an answer before its job's end."""
    table = numbers()
    with ServerProcess(registry, "echo", "slow", environment=disk.environment) as server:
        with mr.Client(server.url) as client:
            answer = client.submit("echo", table, id="answered").result(60)
            client.submit("slow", table, id="taken")
        server.kill()
    disk.lose_power(survives)
    with ServerProcess(registry, "echo", "slow") as server, mr.Client(server.url) as client:
        assert {job.id for job in client.jobs()} == {"answered", "taken"}
        assert client.job("answered").known.state == "succeeded"
        assert client.job("answered").result(60) == answer
        assert client.job("taken").result(60).column("y").equals(table.column("x"))
