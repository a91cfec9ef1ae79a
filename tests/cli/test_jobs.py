"""``monorail jobs``, against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

import monorail as mr
from monorail import errors

ROW = {"carrier": "UA", "dep": 1.0, "distance": 100, "wind": "N"}
LATER_S = 3_600


@pytest.fixture(scope="module")
def server(registry, tmp_path_factory) -> Iterator[mr.Server]:
    folder = tmp_path_factory.mktemp("jobs")
    with mr.serve("flights", registry=registry, port=0, jobs=str(folder)) as server:
        yield server


@pytest.fixture
def client(server) -> Iterator[mr.Client]:
    """A client of the server, which has no jobs left that wait from other tests."""
    with mr.Client(server.url) as client:
        yield client
        for job in client.jobs(state="queued"):
            job.cancel()


@pytest.fixture
def jobs(monorail, server):
    """Runs ``monorail jobs`` against the server."""
    return lambda *arguments: monorail("jobs", *arguments, "--url", server.url)


def filtered(text: str) -> str:
    """Text without times."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    return re.sub(r"\d+\.\d{3} s", "TOOK", text)


def test_list(jobs, client):
    client.submit("flights", [ROW, ROW], id="of-two").result(60)
    client.submit("flights@2", ROW, id="later", not_before_s=LATER_S)
    ran = jobs("list", "--limit", 2)
    assert (ran.status, ran.err.count("\n") <= 1) == (0, True)
    head, later, two = filtered(ran.out).splitlines()
    assert head.split() == ["id", "model", "state", "rows", "done", "created", "took"]
    assert later.split() == ["later", "flights@2", "queued", "1", "-", "TIME", "-"]
    assert two.split() == ["of-two", "flights", "succeeded", "2", "100", "%", "TIME", "TOOK"]
    listed = json.loads(jobs("list", "--state", "queued", "--model", "flights@2", "--json").out)
    assert [(job["id"], job["state"], job["rows"]) for job in listed] == [("later", "queued", 1)]


def test_list_of_nothing(jobs, server, client):
    ran = jobs("list", "--model", "nobody")
    assert (ran.status, ran.out, ran.err) == (0, "", f"no such jobs at {server.url}\n")
    assert json.loads(jobs("list", "--model", "nobody", "--json").out) == []


def test_list_says_that_there_are_more(jobs, client):
    for i in range(3):
        client.submit("flights", ROW, id=f"one-of-three-{i}", not_before_s=LATER_S)
    ran = jobs("list", "--limit", 2)
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["one-of-three-2", "one-of-three-1"]
    assert ran.err == "there are more: --limit 20\n"
    assert jobs("list", "--state", "queued", "--limit", 3).err == ""


def test_show(jobs, client):
    client.submit("flights", ROW, id="shown", priority=3, deadline_s=LATER_S).result(60)
    ran = jobs("show", "shown")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in filtered(ran.out).splitlines()] == [
        ["id", "shown"],
        ["model", "flights,", "answered", "by", "version", "2"],
        ["state", "succeeded"],
        ["rows", "1"],
        ["priority", "3"],
        ["attempts", "1"],
        ["created", "TIME"],
        ["deadline", "TIME"],
        ["started", "TIME"],
        ["finished", "TIME"],
        ["expires", "TIME"],
        ["took", "TOOK"],
        ["result", "/jobs/shown/result"],
    ]
    shown = json.loads(jobs("show", "shown", "--json").out)
    assert shown["result"]["predictions"] == [client.predict("flights", ROW)]


def test_result(jobs, client, tmp_path):
    client.submit("flights", [ROW, ROW], id="fetched", not_before_s=0.5)
    right = client.predict("flights", [ROW, ROW])
    ran = jobs("result", "fetched")
    assert ran.status == 0
    assert [json.loads(line) for line in ran.out.splitlines()] == right
    ran = jobs("result", "fetched", "--output", tmp_path / "predictions.parquet")
    assert (ran.status, ran.out, ran.err) == (0, "", f"2 predictions in {tmp_path / 'predictions.parquet'}\n")
    assert pq.read_table(tmp_path / "predictions.parquet").to_pylist() == right
    client.submit("flights", ROW, id="never", not_before_s=LATER_S).cancel()
    assert jobs("result", "never").err.startswith("error: the job never was cancelled")


def test_cancel_and_retry(jobs, client):
    for id in ("first", "second"):
        client.submit("flights", ROW, id=id, not_before_s=LATER_S)
    ran = jobs("cancel", "first", "second")
    assert (ran.status, ran.out, ran.err) == (0, "", "first is cancelled\nsecond is cancelled\n")
    ran = jobs("retry", "first")
    assert (ran.status, ran.out, ran.err) == (0, "", "first is queued\n")
    told = json.loads(jobs("cancel", "first", "--json").out)
    assert (told["id"], told["state"]) == ("first", "cancelled")


def test_unknown_jobs(jobs):
    for word in ("show", "cancel", "retry", "tail"):
        ran = jobs(word, "nobody")
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("error: there is no job 'nobody'\nhint: ")


def test_what_cannot_be_retried(jobs, client):
    client.submit("flights", ROW, id="done").result(60)
    ran = jobs("retry", "done")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: ")


def test_no_server(monorail):
    ran = monorail("jobs", "list", "--url", "http://127.0.0.1:1")
    assert (ran.status, ran.out) == (1, "")
    assert "cannot be reached" in ran.err


def test_tail_of_one_job(jobs, client):
    client.submit("flights", ROW, id="followed", not_before_s=1)
    ran = jobs("tail", "followed")
    assert (ran.status, ran.err) == (0, "")
    first, *_, last = [line.split() for line in filtered(ran.out).splitlines()]
    assert first == ["TIME", "followed", "flights", "queued"]
    assert last == ["TIME", "followed", "flights", "succeeded"]
    # Of one that has ended, one line.
    assert len(jobs("tail", "followed").out.splitlines()) == 1


def test_tail_of_one_job_that_comes_to_nothing(jobs, client):
    job = client.submit("flights", ROW, id="overdue", not_before_s=LATER_S, deadline_s=0.5)
    ran = jobs("tail", "overdue", "--json")
    assert ran.status == 1
    assert [json.loads(line)["state"] for line in ran.out.splitlines()] == ["queued", "expired"]
    with pytest.raises(errors.DeadlineError):
        job.result(60)


def test_tail_of_all_until_it_is_interrupted(server, client):
    client.submit("flights", ROW, id="there-before").result(60)
    command = [sys.executable, "-m", "monorail.cli", "jobs", "tail", "--limit", "5", "--url", server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        seen = ""
        while "there-before  flights  succeeded" not in seen:
            seen = tail.stdout.readline()
        job = client.submit("flights", ROW, id="new", not_before_s=LATER_S)
        seen = tail.stdout.readline()
        assert filtered(seen) == "TIME  new  flights  queued\n"
        job.cancel()
        seen = tail.stdout.readline()
        assert filtered(seen) == "TIME  new  flights  cancelled\n"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(60) == 0
        assert tail.stderr.read() == ""
