"""What was acknowledged is answered, once and rightly, whatever happens to the server; and stores nobody can have."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_scorer, publish_slow
from tests.support.process import ServerProcess, running
from tests.support.raw import Stopwatch
from tests.support.submitting import Numbers, Submitted
from tests.support.waiting import wait_until
from tests.support.workers import publish_worker

import monorail as mr
from monorail import errors

#: Read before each test is given an environment without them.
KILLS = int(os.environ.get("MONORAIL_TEST_KILLS", "5"))
SUBMISSIONS = int(os.environ.get("MONORAIL_TEST_SUBMISSIONS", "2000"))
LATER_S = 3_600


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    publish_slow(tmp_path / "here", "slow", busy_ms=100)
    return tmp_path / "here"


# ---------------------------------------------------------------- killed


def one_life(registry: Path, numbers: Numbers, submitted: Submitted, wanted: int, seed: int) -> None:
    """Start the server, submit, and kill it once about ``wanted`` more jobs are acknowledged."""
    pause = random.Random(seed).random() / 20
    with ServerProcess(registry, "echo", threads=2) as server:
        threads = submitted.submitters(server.url, numbers)
        with running(threads):
            submitted.until(wanted, threads)
            # At any instant of whatever the store does, not just after an answer.
            threading.Event().wait(pause)
            server.kill()
    assert submitted.wrong == []


def test_killed_while_jobs_come_in(registry):
    """Every acknowledged job has exactly one answer, the right one; none is missing, and none came from nowhere."""
    numbers, submitted = Numbers(SUBMISSIONS * 2), Submitted()
    for life in range(KILLS):
        one_life(registry, numbers, submitted, SUBMISSIONS // KILLS, seed=life)
    with ServerProcess(registry, "echo", threads=2) as server, mr.Client(server.url) as client:
        submitted.check(client)
    assert len(submitted.acknowledged) >= SUBMISSIONS


def test_killed_while_a_job_runs(registry):
    with ServerProcess(registry, "slow", threads=1, max_batch_rows=1) as server, mr.Client(server.url) as client:
        job = client.submit("slow", {"x": [float(i) for i in range(20)]}, id="long")
        wait_until("it runs", lambda: job.state == "running")
        server.kill()
    with ServerProcess(registry, "slow", threads=2) as server, mr.Client(server.url) as client:
        job = client.job("long")
        assert job.result(60) == {"y": [float(i) for i in range(20)]}
        assert job.known.attempts == 2


def test_what_was_answered_before_a_kill_is_there_after_it(registry):
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        done = client.submit("echo", [{"x": 1}], id="done")
        assert done.result(60) == [{"y": 1.0}]
        client.submit("echo", {"x": 2}, id="cancelled", not_before_s=LATER_S).cancel()
        client.submit("echo", {"x": 3}, id="later", not_before_s=LATER_S, priority=7)
        before = {job.id: job.known for job in client.jobs()}
        server.kill()
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        assert {job.id: job.known for job in client.jobs()} == before
        assert client.job("done").result(60) == [{"y": 1.0}]


def test_a_deadline_that_passes_while_no_server_runs(registry):
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        job = client.submit("echo", {"x": 1}, id="late", not_before_s=0.3, deadline_s=0.3)
        server.kill()
    wait_until("its time is over", lambda: time.time() > (job.known.deadline or 0))
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        with pytest.raises(errors.DeadlineError):
            client.job("late").result(60)
        assert client.job("late").known.state == "expired"


def test_a_model_that_the_next_server_does_not_have(registry):
    with ServerProcess(registry, "echo", "slow") as server, mr.Client(server.url) as client:
        client.submit("slow", {"x": 1}, id="orphan", not_before_s=0.5)
        server.kill()
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        job = client.job("orphan")
        with pytest.raises(errors.NotFoundError) as caught:
            job.result(60)
        assert (caught.value.code, job.known.state) == ("unknown_model", "failed")
    with ServerProcess(registry, "slow") as server, mr.Client(server.url) as client:
        job = client.job("orphan")
        job.retry()
        assert job.result(60) == [{"y": 1.0}]


def test_rows_that_the_next_version_does_not_take(registry):
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        client.submit("echo", {"x": 1}, id="newest", not_before_s=0.5)
        client.submit("echo@1", {"x": 1}, id="first", not_before_s=0.5)
        server.kill()
    publish_scorer(registry, "echo")
    with ServerProcess(registry, "echo@1", "echo@2") as server, mr.Client(server.url) as client:
        assert client.job("first").result(60) == [{"y": 1.0}]
        job = client.job("newest")
        with pytest.raises(errors.InputError) as caught:
            job.result(60)
        # With the places that a prediction would tell.
        assert caught.value.code in ("missing_column", "unknown_column")
        assert {detail["column"] for detail in caught.value.details} >= {"a", "b", "c", "amount"}
        assert (job.known.state, job.known.attempts) == ("failed", 1)


def test_a_lost_worker_is_tried_again(tmp_path):
    """Also where nothing else happens that a server could wake up for."""
    publish_worker(tmp_path / "here", "worker", "Obedient")
    with ServerProcess(tmp_path / "here", "worker", trust=True, threads=1) as server, mr.Client(server.url) as client:
        job = client.submit("worker", {"x": 1.0, "do": f"die_once {tmp_path / 'died'}"})
        assert job.result(60)["y"] == 1.0
        assert job.known.attempts == 2


def test_a_large_job_whose_worker_is_lost_goes_on(tmp_path):
    """Only the part is tried again that the worker had: that is no other try of the job."""
    publish_worker(tmp_path / "here", "worker", "Obedient")
    rows = 150_000
    orders = [""] * rows
    orders[rows // 2] = f"die_once {tmp_path / 'died'}"
    table = pa.table({"x": np.arange(rows, dtype=float), "do": orders})
    with ServerProcess(tmp_path / "here", "worker", trust=True, threads=1) as server, mr.Client(server.url) as client:
        job = client.submit("worker", table)
        assert list((tmp_path / "here" / "jobs" / "files").iterdir())
        assert job.result(60).column("y").equals(table.column("x"))
        assert (tmp_path / "died").exists()
        assert job.known.attempts == 1


def test_a_job_for_a_busy_model_waits_for_its_turn(tmp_path):
    publish_slow(tmp_path / "here", "slow", busy_ms=400)
    limits: dict[str, Any] = {"max_batch_rows": 1, "max_queue_rows": 1, "threads": 1}
    with ServerProcess(tmp_path / "here", "slow", **limits) as server, mr.Client(server.url) as client:
        jobs = [client.submit("slow", {"x": i}) for i in range(4)]
        assert [job.result(60) for job in jobs] == [{"y": float(i)} for i in range(4)]
        assert {job.known.attempts for job in jobs} == {1}


# ---------------------------------------------------------------- stopped


def test_stopping_does_not_wait_for_jobs_that_wait(registry):
    with ServerProcess(registry, "echo", drain_s=60) as server, mr.Client(server.url) as client:
        client.submit("echo", {"x": 1}, id="later", not_before_s=LATER_S)
        # Nor for those who wait for them.
        waiting = threading.Thread(target=lambda: _try_result(server.url, "later"))
        with running([waiting]):
            wait_until("somebody waits", waiting.is_alive)
            watch = Stopwatch()
            assert server.stop() == 0
            assert watch.seconds < 20
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        assert client.job("later").state == "queued"


def _try_result(url: str, id: str) -> None:
    with mr.Client(url) as client, pytest.raises(errors.RetryableError):
        client.job(id).result()


def test_stopped_in_the_middle_nothing_is_lost(registry):
    """SIGTERM under load: what was acknowledged and not yet done waits for the next server."""
    with ServerProcess(registry, "slow", threads=1, max_batch_rows=1, drain_s=0.5) as server:
        with mr.Client(server.url) as client:
            for i in range(30):
                client.submit("slow", {"x": i}, id=f"job-{i}")
        assert server.stop() == 0, server.stderr
    with ServerProcess(registry, "slow", threads=2) as server, mr.Client(server.url) as client:
        for i in range(30):
            assert client.job(f"job-{i}").result(60) == [{"y": float(i)}]
        assert len(list(client.jobs())) == 30


def test_greater_priorities_come_first(registry):
    priorities = [0, -5, 1000, 3, 0, 3, -1000, 7]
    with ServerProcess(registry, "slow", threads=1) as server, mr.Client(server.url) as client:
        jobs = [
            client.submit("slow", {"x": i}, id=f"job-{i}", priority=priority, not_before_s=1)
            for i, priority in enumerate(priorities)
        ]
        server.kill()
    # So that all of them may begin when the next server starts; equal ones begin in the order they came in.
    wait_until("their time has come", lambda: time.time() > max(job.known.not_before or 0 for job in jobs))
    with ServerProcess(registry, "slow", threads=1, max_batch_rows=1) as server, mr.Client(server.url) as client:
        for job in jobs:
            client.job(job.id).result(60)
        ended = sorted(client.jobs(), key=lambda job: job.known.finished or 0)
    assert [job.known.priority for job in ended] == sorted(priorities, reverse=True)


# ---------------------------------------------------------------- stores that cannot be had


def refusal(url: str, method: str = "POST", path: str = "/models/echo/jobs") -> tuple[int, dict[str, Any]]:
    """The status and the error of a request."""
    with httpx.Client(base_url=url) as http:
        answer = http.request(method, path, json={"x": 1} if method == "POST" else None)
        return answer.status_code, answer.json()["error"]


def test_a_second_server_of_a_registry(registry, tmp_path):
    with ServerProcess(registry, "echo") as first, ServerProcess(registry, "echo") as second:
        assert (registry / "jobs").is_dir()
        wait_until("the second server says that it keeps no jobs", lambda: "jobs" in second.stderr)
        for method, path in (
            ("POST", "/models/echo/jobs"),
            ("GET", "/jobs"),
            ("GET", "/jobs/a"),
            ("DELETE", "/jobs/a"),
        ):
            status, error = refusal(second.url, method, path)
            assert (status, error["code"]) == (503, "jobs_unavailable")
            assert "--jobs" in error["hint"]
        assert second.predict("echo", {"x": 1}).json()["predictions"] == [{"y": 1.0}]
        with mr.Client(first.url) as client:
            assert client.submit("echo", {"x": 1}).result(60) == {"y": 1.0}
        with mr.Client(second.url) as client, pytest.raises(errors.OverloadedError):
            client.submit("echo", {"x": 1})
        named = started_in_vain(registry, "--jobs", str(registry / "jobs"))
        assert named.returncode == 1
        assert "jobs" in named.stderr
        with ServerProcess(registry, "echo", jobs=tmp_path / "own") as third, mr.Client(third.url) as client:
            assert client.submit("echo", {"x": 3}).result(60) == {"y": 3.0}
            assert len(list(client.jobs())) == 1
    # The lock is gone with its owner.
    with ServerProcess(registry, "echo") as again, mr.Client(again.url) as client:
        assert len(list(client.jobs())) == 1


def started_in_vain(registry: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A server that cannot start, ended."""
    command = [
        sys.executable,
        "-m",
        "monorail.cli",
        "serve",
        "echo",
        "--registry",
        str(registry),
        "--port",
        "0",
        *flags,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_store_that_cannot_be_made(registry, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "under"):
        ended = started_in_vain(registry, "--jobs", str(path))
        assert ended.returncode in (1, 2)
        assert str(path) in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_registry_that_cannot_hold_a_store_is_served(registry):
    (registry / "jobs").write_text("")
    with ServerProcess(registry, "echo") as server:
        status, error = refusal(server.url)
        assert (status, error["code"]) == (503, "jobs_unavailable")
        assert str(registry / "jobs") in server.stderr
        assert server.predict("echo", {"x": 1}).status == 200


def test_a_damaged_store_is_not_begun_anew(registry):
    with ServerProcess(registry, "echo") as server, mr.Client(server.url) as client:
        client.submit("echo", {"x": 1}).result(60)
    for path in (registry / "jobs").rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(b"x" * path.stat().st_size)
    ended = started_in_vain(registry, "--jobs", str(registry / "jobs"))
    assert ended.returncode in (1, 2)
    assert str(registry / "jobs") in ended.stderr


def test_no_jobs(registry):
    with ServerProcess(registry, "echo", jobs="off") as server:
        assert not (registry / "jobs").exists()
        for method, path in (("POST", "/models/echo/jobs"), ("GET", "/jobs"), ("POST", "/jobs/a/retry")):
            status, error = refusal(server.url, method, path)
            assert (status, error["code"]) == (503, "jobs_unavailable")
            assert "--jobs" in error["hint"]
        assert server.predict("echo", {"x": 1}).status == 200


def test_a_full_store_refuses_and_goes_on_when_there_is_room(registry):
    limit = 4 << 20
    columns = {"x": [float(i) for i in range(20_000)]}
    with ServerProcess(registry, "echo", limit_jobs_bytes=limit) as server, mr.Client(server.url) as client:
        jobs = []
        full = None
        while full is None:
            try:
                jobs.append(client.submit("echo", columns, not_before_s=LATER_S, ttl_s=0))
            except errors.OverloadedError as error:
                full = error
            assert len(jobs) < 1_000
        assert (full.code, bool(full.hint)) == ("job_store_full", True)
        assert jobs
        assert refusal(server.url)[0] == 429
        held = sum(path.stat().st_size for path in (registry / "jobs").rglob("*") if path.is_file())
        assert held < 3 * limit
        assert server.predict("echo", {"x": 1}).status == 200
        assert all(job.state == "queued" for job in client.jobs())
        for job in jobs:
            job.cancel()

        def has_room() -> bool:
            try:
                return client.submit("echo", {"x": 1}).result(60) == {"y": 1.0}
            except errors.OverloadedError:
                return False

        wait_until("there is room again", has_room)


def test_a_store_of_one_server_in_this_process(registry):
    """``mr.serve`` keeps jobs as the command does, and gives the store back."""
    for _ in range(2):
        with mr.serve("echo", registry=registry, port=0) as server, mr.Client(server.url) as client:
            assert client.submit("echo", {"x": 1}).result(60) == {"y": 1.0}
    with (
        mr.serve("echo", registry=registry, port=0, jobs="off") as server,
        mr.Client(server.url) as client,
        pytest.raises(errors.OverloadedError) as caught,
    ):
        client.submit("echo", {"x": 1})
    assert caught.value.code == "jobs_unavailable"


def test_no_registry_is_made_by_serving(registry, tmp_path):
    os.rename(registry / "echo", tmp_path / "bundle")
    with ServerProcess(tmp_path / "none", str(tmp_path / "bundle" / "1")) as server:
        assert refusal(server.url)[1]["code"] == "jobs_unavailable"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not (tmp_path / "none").exists()
