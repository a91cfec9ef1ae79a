"""A job's progress, and the stream of its events, over sockets of our own and over the client."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.raw import Closed, Raw, Stopwatch
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors
from monorail.client import Job

LATER_S = 3_600
#: How often a stream without events says that it lives.
HEARTBEAT_S = 15
EVENTS = "Accept: text/event-stream"


class Stream:
    """A stream of events, read from a socket byte by byte as it comes."""

    def __init__(self, address: tuple[str, int], id: str, *headers: str, version: str = "HTTP/1.1") -> None:
        self.raw = Raw(address)
        self.raw.request("GET", f"/jobs/{id}", None, EVENTS, *headers, version=version)
        self._file = self.raw.socket.makefile("rb")
        first, *head = [line.decode().strip() for line in iter(self._file.readline, b"\r\n")]
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
        self.lines = self._chunks() if "transfer-encoding" in self.headers else self._rest()
        self.comments = 0

    def _rest(self) -> Iterator[str]:
        yield from (line.decode().rstrip("\n") for line in self._file)

    def _chunks(self) -> Iterator[str]:
        """The lines of the body; ends only where the body is said to end."""
        while True:
            size = self._file.readline()
            if not size.endswith(b"\r\n"):
                raise Closed(size, reset=False)
            part = self._file.read(int(size, 16))
            assert self._file.read(2) == b"\r\n"
            if not part:
                return
            yield from part.decode().split("\n")[:-1]

    def events(self) -> Iterator[dict[str, Any]]:
        """The records, until the stream ends; comments are kept in ``comments``."""
        event: dict[str, str] = {}
        for line in self.lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event:
                assert set(event) == {"id", "event", "data"}
                assert event["event"] == "job"
                yield json.loads(event["data"])
                event = {}

    def close(self) -> None:
        self._file.close()
        self.raw.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "echo", busy_ms=0)
    publish_slow(folder, "slow", busy_ms=100)
    with ServerProcess(folder, "echo", "slow", threads=1, max_batch_rows=64, limit_job_streams=8) as server:
        yield server
        assert server.get("/health/ready").status == 200


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[mr.Client]:
    with mr.Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def quiet(server: ServerProcess, client: mr.Client) -> Iterator[tuple[Stream, Stopwatch]]:
    """A stream of a job that waits, opened before all others."""
    client.submit("echo", {"x": 1}, id="quiet", not_before_s=LATER_S)
    stream = Stream(server.address, "quiet")
    yield stream, Stopwatch()
    stream.close()


def table(rows: int) -> pa.Table:
    return pa.table({"x": np.arange(float(rows))})


def test_progress(quiet, client):
    job = client.submit("slow", table(64 * 8))
    assert (job.known.rows, job.known.rows_done, job.known.progress) == (512, 0, 0.0)
    seen = []
    while not (status := job.status()).ended:
        seen.append(status.rows_done)
        listed = next(each.known for each in client.jobs(limit=1))
        assert status.rows_done <= listed.rows_done
    assert seen == sorted(seen)
    # More than none and all: it was seen on its way.
    assert len(set(seen)) > 2
    assert all(done % 64 == 0 for done in seen)
    assert (status.state, status.rows_done, job.progress) == ("succeeded", 512, 1.0)


def test_events_of_a_job(server, client):
    job = client.submit("slow", table(64 * 8), not_before_s=0.5)
    stream = Stream(server.address, job.id)
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    events = list(stream.events())
    states = [event["state"] for event in events]
    assert list(dict.fromkeys(states)) == ["queued", "running", "succeeded"]
    done = [event["rows_done"] for event in events]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert done[-1] == 512
    last = events[-1]
    assert last == json.loads(server.get(f"/jobs/{job.id}").body)
    # A few a second, whatever the number of batches.
    assert len(events) <= 3 + 4 * (last["finished"] - last["created"] + 1)
    # The connection goes on.
    assert stream.raw.ask("GET", "/health/live").status == 200
    stream.close()


def test_events_of_a_job_that_has_ended(server, client):
    job = client.submit("echo", {"x": 5})
    assert job.result(60) == {"y": 5.0}
    for headers in ((), ("Last-Event-ID: 1",), ("Last-Event-ID: \xe4",)):
        stream = Stream(server.address, job.id, *headers)
        (event,) = stream.events()
        assert event["result"] == {"model": "echo", "version": 1, "predictions": [{"y": 5.0}]}
        stream.close()


def test_events_over_http_1_0_end_with_the_connection(server, client):
    job = client.submit("echo", {"x": 5})
    job.result(60)
    stream = Stream(server.address, job.id, "Connection: keep-alive", version="HTTP/1.0")
    assert "transfer-encoding" not in stream.headers
    assert [event["state"] for event in stream.events()] == ["succeeded"]
    stream.close()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0.5", "text/event-stream"),
        ("text/event-stream;q=0, application/json", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("text/event-stream, */*;q=0.1", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_events_only_for_who_wants_nothing_else(raw, client, accept, media_type):
    client.submit("echo", {"x": 5}, id="negotiated").result(60)
    answer = raw.ask("HEAD", "/jobs/negotiated", None, f"Accept: {accept}")
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert raw.ask("GET", "/health/live").status == 200


def test_what_is_no_stream_is_refused_before_it_begins(raw):
    answer = raw.ask("GET", "/jobs/nobody", None, EVENTS)
    assert (answer.status, answer.error["code"]) == (404, "unknown_job")
    answer = raw.ask("GET", "/jobs/nobody?wait_s=1", None, EVENTS)
    assert (answer.status, answer.error["code"]) == (400, "malformed_request")
    answer = raw.ask("POST", "/models/echo/predict", b'{"x": 1}', EVENTS)
    assert (answer.status, answer.error["code"]) == (406, "not_acceptable")


def test_a_job_that_is_cancelled_and_one_that_fails(server, client):
    job = client.submit("echo", {"x": 1}, not_before_s=LATER_S)
    stream = Stream(server.address, job.id)
    events = stream.events()
    assert next(events)["state"] == "queued"
    job.cancel()
    assert [event["state"] for event in events] == ["cancelled"]
    stream.close()


def test_streams_are_bounded_and_given_back(server, client):
    client.submit("echo", {"x": 1}, id="watched", not_before_s=LATER_S)
    streams = [Stream(server.address, "watched") for _ in range(8)]
    refused = [stream for stream in streams if stream.status != 200]
    # One or two may be open for other tests.
    assert len(refused) <= 2
    over = Stream(server.address, "watched")
    assert (over.status, over.headers["retry-after"]) == (503, "1")
    # The client then asks in another way.
    watched = client.job("watched").watch()
    assert next(watched).state == "queued"
    for stream in [*streams, over]:
        stream.close()

    def is_free() -> bool:
        stream = Stream(server.address, "watched")
        stream.close()
        return stream.status == 200

    wait_until("a stream whose client has gone is given back", is_free)
    client.job("watched").cancel()
    assert [status.state for status in watched] == ["cancelled"]


def test_watch(client):
    job = client.submit("slow", table(64 * 4))
    seen = list(job.watch())
    assert [status.state for status in seen][-1] == "succeeded"
    assert len(seen) == len({(status.state, status.rows_done) for status in seen})
    assert job.known == seen[-1]
    with pytest.raises(errors.NotFoundError):
        next(Job(client, dataclasses.replace(seen[-1], id="nobody")).watch())


def test_a_server_that_stops_ends_its_streams(tmp_path: Path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    with ServerProcess(tmp_path / "here", "echo", drain_s=30) as server, mr.Client(server.url) as client:
        job = client.submit("echo", {"x": 1}, not_before_s=LATER_S)
        stream = Stream(server.address, job.id)
        events = stream.events()
        assert next(events)["state"] == "queued"
        gone: list[BaseException] = []

        def watch() -> None:
            with mr.Client(server.url) as other:
                try:
                    list(other.job(job.id).watch())
                except errors.RetryableError as error:
                    gone.append(error)

        watching = threading.Thread(target=watch)
        watching.start()
        watch_ = Stopwatch()
        server.signal()
        # To its end, in order, as the framing says it.
        assert list(events) == []
        assert server.wait() == 0, server.stderr
        assert watch_.seconds < 20
        stream.close()
        watching.join(60)
        assert gone


def test_a_stream_without_events_says_that_it_lives(quiet, client):
    stream, watch = quiet
    found: list[str] = []
    for line in stream.lines:
        found.append(line)
        if line.startswith(":"):
            break
    assert watch.seconds >= HEARTBEAT_S - 1
    client.job("quiet").cancel()
    events = list(stream.events())
    assert [event["state"] for event in events] == ["cancelled"]
