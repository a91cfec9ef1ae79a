"""A job store on a disk that fills up or may not be written, and stores that are damaged or are none."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_slow
from tests.support.mounts import SmallDisk, fill
from tests.support.process import ServerProcess
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

LATER_S = 3_600
MIB = 1 << 20
#: What a store leaves free on its disk.
SPARE_BYTES = 64 * MIB


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "echo", busy_ms=0)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", SPARE_BYTES + 16 * MIB) as disk:
        yield disk


def submit_until_full(client: mr.Client, columns: dict[str, list[float]]) -> list[mr.Job]:
    """Jobs that were acknowledged before one was refused because there is no room."""
    jobs: list[mr.Job] = []
    while (job := submitted(client, columns)) is not None:
        jobs.append(job)
        assert len(jobs) < 10_000
    return jobs


def submitted(client: mr.Client, columns: dict[str, list[float]]) -> mr.Job | None:
    """A job that waits, unless there is no room for it."""
    try:
        return client.submit("echo", columns, not_before_s=LATER_S)
    except errors.OverloadedError as error:
        if error.code != "job_store_full" or not error.hint:
            raise
        return None


def test_a_disk_that_fills_up(registry, disk):
    """First the store stops before the end of the disk, then something else takes what is left."""
    columns = {"x": [float(i) for i in range(40_000)]}
    with (
        ServerProcess(registry, "echo", jobs=disk.path / "jobs", prefix=disk.prefix) as server,
        mr.Client(server.url) as client,
    ):
        done = client.submit("echo", {"x": 1}, id="done")
        assert done.result(60) == {"y": 1.0}
        kept = submit_until_full(client, columns)
        assert kept
        free = os.statvfs(disk.seen)
        # The log may still be folded into the file.
        assert free.f_bavail * free.f_frsize >= SPARE_BYTES / 2
        fill(disk.seen / "ballast", leave_bytes=0)
        with pytest.raises(errors.OverloadedError):
            client.submit("echo", {"x": 2}, id="refused")
        # Whoever asks online does not notice, nor who reads.
        assert server.predict("echo", {"x": 3}).json()["predictions"] == [{"y": 3.0}]
        assert client.job("done").result(60) == [{"y": 1.0}]
        assert {job.state for job in kept} == {"queued"}
        (disk.seen / "ballast").unlink()
        for job in kept[1:]:
            job.cancel()
        assert kept[0].status().state == "queued"
    # What was acknowledged outlives the server, on a disk that has no room again.
    fill(disk.seen / "ballast", leave_bytes=0)
    with (
        ServerProcess(registry, "echo", jobs=disk.path / "jobs", prefix=disk.prefix) as server,
        mr.Client(server.url) as client,
    ):
        listed = {job.id: job.known.state for job in client.jobs()}
        assert listed == {"done": "succeeded", kept[0].id: "queued"} | {job.id: "cancelled" for job in kept[1:]}


def test_answers_wait_until_there_is_room(registry, disk):
    """The disk is taken to its last byte while jobs are under way, whose answers have no room then."""
    columns = {"x": [float(i) for i in range(20_000)]}
    with (
        ServerProcess(registry, "echo", jobs=disk.path / "jobs", prefix=disk.prefix) as server,
        mr.Client(server.url) as client,
    ):
        client.submit("echo", {"x": 1}).result(60)
        jobs = [client.submit("echo", columns, id=f"job-{i}", not_before_s=1) for i in range(10)]
        fill(disk.seen / "ballast", leave_bytes=64 << 10)
        wait_until("an answer finds no room", lambda: "full" in server.stderr)
        assert any(job.state != "succeeded" for job in jobs)
        (disk.seen / "ballast").unlink()
        assert [job.result(60) for job in jobs] == [{"y": columns["x"]}] * len(jobs)
        assert {job.known.attempts for job in jobs} == {1}


def test_a_large_answer_waits_until_there_is_room(registry, disk):
    """The disk is taken while the answer's file is being written; what is there of it is gone on with."""
    table = pa.table({"x": np.arange(300_000, dtype=float)})
    publish_slow(disk.seen / "here", "slow", busy_ms=5)
    with (
        ServerProcess(disk.path / "here", "slow", jobs=disk.path / "jobs", prefix=disk.prefix) as server,
        mr.Client(server.url) as client,
    ):
        job = client.submit("slow", table)
        wait_until("some of it is scored", lambda: job.status().rows_done > 0)
        fill(disk.seen / "ballast", leave_bytes=64 << 10)
        wait_until("the answer finds no room", lambda: "waits for room" in server.stderr)
        scored = job.status()
        assert (scored.state, scored.rows_done < table.num_rows) == ("running", True)
        assert server.predict("slow", {"x": 3}).json()["predictions"] == [{"y": 3.0}]
        with pytest.raises(errors.OverloadedError):
            client.submit("slow", table)
        (disk.seen / "ballast").unlink()
        assert job.result(60).column("y").equals(table.column("x"))
        assert job.known.attempts == 1
        assert server.stderr.count("waits for room") == 1


def test_a_disk_that_may_not_be_written(registry, disk):
    with ServerProcess(registry, "echo", jobs=disk.path / "jobs", prefix=disk.prefix) as server:
        with mr.Client(server.url) as client:
            client.submit("echo", {"x": 1}, id="kept", not_before_s=LATER_S)
        assert server.stop() == 0
    disk.make_read_only()
    for folder in ("jobs", "new"):
        ended = refused(registry, disk.path / folder, *disk.prefix)
        assert str(disk.path / folder) in ended
    assert not (disk.seen / "new").exists()


# ---------------------------------------------------------------- stores that are damaged or none


def refused(registry: Path, store: Path, *prefix: str) -> str:
    """What a server says that cannot have a store it was told to have."""
    command = [*prefix, sys.executable, "-m", "monorail.cli", "serve", "echo", "--registry", str(registry)]
    ended = subprocess.run(
        [*command, "--port", "0", "--jobs", str(store)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "--jobs" in ended.stderr
    return ended.stderr


@pytest.fixture(scope="module")
def left(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that a server has left, with some jobs in it."""
    folder = tmp_path_factory.mktemp("left") / "jobs"
    with ServerProcess(registry, "echo", jobs=folder) as server, mr.Client(server.url) as client:
        for i in range(100):
            client.submit("echo", {"x": i}, id=f"job-{i}", not_before_s=LATER_S)
        assert server.stop() == 0
    return folder


def test_a_store_is_one_file_when_its_server_has_ended(left):
    """So the other tests damage all there is."""
    assert not list(left.glob("jobs.sqlite-*"))
    with contextlib.closing(sqlite3.connect(left / "jobs.sqlite")) as store:
        assert store.execute("SELECT count(*) FROM jobs").fetchone() == (100,)


@pytest.mark.parametrize("kind", ["no database", "cut off", "overwritten", "another program's", "of a later form"])
def test_what_is_no_store_is_refused_and_left_alone(registry, left, tmp_path, kind):
    folder = tmp_path / "jobs"
    folder.mkdir()
    file = folder / "jobs.sqlite"
    content = (left / "jobs.sqlite").read_bytes()
    if kind == "no database":
        file.write_text("# notes\n" * 1_000)
    elif kind == "cut off":
        file.write_bytes(content[: len(content) // 2])
    elif kind == "overwritten":
        file.write_bytes(content[:4_096] + b"x" * (len(content) - 4_096))
    else:
        with contextlib.closing(sqlite3.connect(file)) as store:
            store.execute("CREATE TABLE jobs (id)" if kind == "of a later form" else "CREATE TABLE notes (text)")
            if kind == "of a later form":
                store.execute("PRAGMA user_version = 1000")
            store.commit()
    before = file.read_bytes()
    told = refused(registry, folder)
    assert str(folder) in told
    assert file.read_bytes() == before


def test_a_damaged_store_of_the_registry_keeps_nobody_from_predicting(registry, tmp_path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    (tmp_path / "here" / "jobs").mkdir()
    (tmp_path / "here" / "jobs" / "jobs.sqlite").write_text("# notes\n")
    with ServerProcess(tmp_path / "here", "echo") as server, mr.Client(server.url) as client:
        assert server.predict("echo", {"x": 3}).json()["predictions"] == [{"y": 3.0}]
        with pytest.raises(errors.OverloadedError) as caught:
            client.submit("echo", {"x": 1})
        assert caught.value.code == "jobs_unavailable"
    assert "not a database" in server.stderr
