"""Jobs larger than a request: bodies and results as files, scored part by part, whatever happens on the way."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_mean, publish_scorer, publish_slow
from tests.support.process import ARROW, Reply, ServerProcess, from_stream
from tests.support.raw import Raw
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

MIB = 1 << 20
#: Bodies over this are files.
SPOOL_BYTES = MIB
LATER_S = 3_600
#: What no body may be, where a test has small limits.
LIMIT_BODY_BYTES = 2 * MIB


def numbers(rows: int, *, first: int = 0) -> pa.Table:
    return pa.table({"x": np.arange(first, first + rows, dtype=float)})


def stream(table: pa.Table, batch_rows: int = 65_536) -> bytes:
    """A table as a stream of record batches of so many rows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return sink.getvalue().to_pybytes()


def files_of(registry: Path) -> list[Path]:
    return sorted(path for path in (registry / "jobs" / "files").iterdir())


class Submit:
    """Submits bodies by hand."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def __call__(self, body: Any, query: str = "", *, model: str = "echo", **headers: str) -> Reply:
        """Bytes with their length; an iterable of them in chunks."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=60)
        try:
            sent = {"content-type": ARROW, **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request("POST", f"/models/{model}/jobs{query}", body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def ended(self, id: str) -> dict[str, Any]:
        """A job's record once it has ended."""
        found: dict[str, Any] = {}
        while found.get("state") not in ("succeeded", "failed", "cancelled", "expired"):
            found = self.server.get(f"/jobs/{id}?wait_s=30", timeout_s=60).json()
        return found

    def result(self, id: str) -> Reply:
        assert self.ended(id)["state"] == "succeeded"
        return self.server.get(f"/jobs/{id}/result")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer")
    publish_slow(folder, "echo", busy_ms=0)
    publish_slow(folder, "slow", busy_ms=20)
    publish_mean(folder, "mean")
    return folder


@pytest.fixture(scope="module")
def server(registry: Path) -> Iterator[ServerProcess]:
    limits: dict[str, Any] = {
        "limit_body_bytes": LIMIT_BODY_BYTES,
        "limit_jobs_bytes": 256 * MIB,
        "limit_job_body_bytes": 64 * MIB,
    }
    models = ("scorer", "echo", "slow", "mean")
    with ServerProcess(registry, *models, threads=2, limit_job_rows=3_000_000, **limits) as server:
        yield server
        assert server.get("/health/ready").status == 200


@pytest.fixture(scope="module")
def submit(server: ServerProcess) -> Submit:
    return Submit(server)


@pytest.fixture
def no_file_left(registry: Path, server: ServerProcess) -> Iterator[None]:
    """The test leaves no file of the store that was not there."""
    before = set(files_of(registry))
    yield
    wait_until("files are gone", lambda: set(files_of(registry)) <= before)


# ---------------------------------------------------------------- the same answers


def test_the_same_answers_as_predict(server, submit, registry):
    rows = 100_000
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {name: random.normal(size=rows) for name in "abc"}
    table = pa.table(columns | {"amount": pa.array([f"{value:.3f}" for value in random.normal(size=rows)])})
    predicted = pa.concat_tables(
        from_stream(server.predict("scorer", table.slice(start, 25_000)).body) for start in range(0, rows, 25_000)
    )
    made = submit(stream(table, 30_000), model="scorer")
    assert made.status == 202
    record = made.json()
    assert (record["rows"], record["rows_done"]) == (rows, 0)
    assert files_of(registry)
    result = submit.result(record["id"])
    assert result.headers["content-type"] == ARROW
    assert int(result.headers["content-length"]) == len(result.body)
    assert from_stream(result.body).combine_chunks().equals(predicted.combine_chunks())
    ended = submit.ended(record["id"])
    assert (ended["rows_done"], ended["attempts"], ended["version"]) == (rows, 1, 1)
    # Its body is not needed any more.
    wait_until("the body is gone", lambda: not any(path.suffix == ".body" for path in files_of(registry)))


def test_an_answer_in_json(server, submit):
    table = numbers(150_000)
    id = submit(stream(table), accept="application/json").json()["id"]
    result = submit.result(id)
    assert result.headers["content-type"] == "application/json"
    answer = result.json()
    assert (answer["model"], answer["version"]) == ("echo", 1)
    assert [row["y"] for row in answer["predictions"]] == table.column("x").to_pylist()
    head = server.predict("echo", table.slice(0, 10_000), headers={"accept": "application/json"}).body
    # To the letter what predict says of the same rows.
    assert result.body.startswith(head.removesuffix(b"]}"))
    assert "result" not in submit.ended(id)


@pytest.mark.parametrize("step", [100_000, 3_000_000])
def test_chunks_of_any_size(submit, step):
    body = stream(numbers(300_000), 10_000)
    made = submit(iter([body[at : at + step] for at in range(0, len(body), step)]))
    assert made.status == 202, made.body
    assert from_stream(submit.result(made.json()["id"]).body).num_rows == 300_000


def test_a_short_body_in_chunks_is_a_job_like_any_other(submit, registry):
    before = files_of(registry)
    body = stream(numbers(100))
    first = submit(iter([body[:50], body[50:]]), "?id=short-in-chunks")
    assert first.status == 202
    assert files_of(registry) == before
    assert submit(body, "?id=short-in-chunks").status == 202
    assert from_stream(submit.result("short-in-chunks").body).column("y").to_pylist() == list(map(float, range(100)))


def test_the_same_id(submit, registry):
    body = stream(numbers(200_000))
    assert submit(body, "?id=twice").json()["id"] == "twice"
    ended = submit.ended("twice")
    again = submit(iter([body]), "?id=twice")
    assert (again.status, again.json()["finished"]) == (202, ended["finished"])
    other = submit(stream(numbers(200_000, first=1)), "?id=twice")
    assert (other.status, other.error["code"]) == (409, "job_conflict")
    wait_until("what came twice is gone", lambda: not any(path.suffix != ".result" for path in files_of(registry)))
    assert from_stream(submit.result("twice").body).column("y")[0].as_py() == 0.0


def test_no_rows_in_a_large_body(submit):
    schema = pa.schema([("x", pa.float64())], metadata={"note": "long " * 300_000})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema):
        pass
    body = sink.getvalue().to_pybytes()
    assert len(body) > SPOOL_BYTES
    made = submit(body)
    assert made.json()["rows"] == 0
    assert from_stream(submit.result(made.json()["id"]).body).num_rows == 0


def test_the_client_sends_what_is_large_as_it_is_encoded(server):
    table = numbers(300_000)
    with mr.Client(server.url) as client:
        job = client.submit("echo", table, id="from-the-client")
        assert job.known.rows == 300_000
        assert job.result(60).column("y").equals(table.column("x"))
        # The same id and the same table are the same job.
        assert client.submit("echo", table, id="from-the-client").known.created == job.known.created
        frame = table.to_pandas().set_index(np.arange(300_000)[::-1])
        answered = client.submit("echo", frame).result(60)
        assert answered["y"].tolist() == frame["x"].tolist()
        assert answered.index.equals(frame.index)
        made = []

        def batches() -> Iterator[pa.RecordBatch]:
            for first in range(0, 500_000, 100_000):
                made.append(first)
                yield numbers(100_000, first=first).to_batches()[0]

        reader = pa.RecordBatchReader.from_batches(table.schema, batches())
        answers = client.submit("echo", reader).result(60)
        assert answers.read_all().column("y").to_numpy().tolist() == list(range(500_000))
        assert len(made) == 5
        bad = table.set_column(0, "x", pa.array(np.where(np.arange(300_000) == 299_999, np.inf, 1.0)))
        with pytest.raises(errors.InputError) as caught:
            client.submit("echo", bad)
        assert (caught.value.code, caught.value.details[0]["row"]) == ("not_finite", 299_999)


# ---------------------------------------------------------------- what is refused


def broken(kind: str) -> bytes:
    values = np.arange(300_000, dtype=float)
    if kind == "infinity":
        values[250_000] = np.inf
    table = pa.table({"x": pa.array(values, mask=np.arange(300_000) == 250_000 if kind == "null" else None)})
    body = stream(table if kind != "unknown" else table.append_column("z", table.column("x")), 50_000)
    return body[:-10] if kind == "cut" else body


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("null", 422, "null_not_allowed"),
        ("infinity", 422, "not_finite"),
        ("unknown", 422, "unknown_column"),
        ("cut", 400, "malformed_arrow"),
    ],
)
@pytest.mark.usefixtures("no_file_left")
def test_bad_rows_anywhere(submit, kind, status, code):
    refused = submit(broken(kind), "?id=bad")
    assert (refused.status, refused.error["code"]) == (status, code)
    if status == 422 and kind != "unknown":
        (place,) = refused.error["details"]
        assert (place["row"], place["column"], place["path"]) == (250_000, "x", "x[250000]")
    assert submit.server.get("/jobs/bad").status == 404


@pytest.mark.usefixtures("no_file_left")
def test_limits(submit):
    cases: list[tuple[Any, str, int, str]] = [
        (stream(numbers(3_000_001), 100_000), "", 413, "too_many_rows"),
        (stream(numbers(400_000), 400_000), "", 413, "body_too_large"),
        (b"x" * (SPOOL_BYTES + 1), "", 400, "malformed_arrow"),
        (stream(numbers(200_000)), "?priority=high", 400, "malformed_request"),
    ]
    for body, query, status, code in cases:
        for sent in (body, iter([body])):
            refused = submit(sent, query)
            assert (refused.status, refused.error["code"]) == (status, code), query
            assert refused.error["hint"] or code == "malformed_request"
    unknown = submit(stream(numbers(200_000)), model="nobody")
    assert (unknown.status, unknown.error["code"]) in ((404, "unknown_model"), (413, "body_too_large"))


def test_json_and_models_that_see_the_whole_batch_have_the_limits_of_predict(submit):
    for model, body, content_type in (
        ("echo", json.dumps({"x": list(range(350_000))}).encode(), "application/json"),
        ("mean", stream(numbers(300_000)), ARROW),
    ):
        assert len(body) > LIMIT_BODY_BYTES
        refused = submit(body, model=model, content_type=content_type)
        assert (refused.status, refused.error["code"]) == (413, "body_too_large")
    # Below them it is as with predict.
    made = submit(stream(numbers(200_000), 50_000), model="mean")
    answers = from_stream(submit.result(made.json()["id"]).body).column("y").to_numpy()
    assert answers.tolist() == (np.arange(200_000) - 99_999.5).tolist()


@pytest.mark.usefixtures("no_file_left")
def test_what_is_too_much_is_said_before_it_is_sent(server):
    def asked(length: int, *headers: str) -> Raw:
        raw = Raw(server.address)
        head = ["POST /models/echo/jobs HTTP/1.1", "Host: test", f"Content-Type: {ARROW}", *headers]
        raw.send("\r\n".join([*head, f"Content-Length: {length}", "", ""]))
        return raw

    for headers in ((), ("Expect: 100-continue",)):
        with asked(65 * MIB, *headers) as raw:
            answer = raw.answer()
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    # More than the store may hold, though not more than a body may have.
    with contextlib.ExitStack() as stack:
        answers = []
        while not answers or answers[-1].status == 100:
            answers.append(stack.enter_context(asked(63 * MIB, "Expect: 100-continue")).answer())
        assert 1 < len(answers) <= 5
        refused = answers[-1]
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "job_store_full", "1")
        assert server.predict("echo", {"x": 1}).status == 200
    with asked(2 * MIB, "Expect: 100-continue") as raw:
        assert raw.answer().status == 100


def registry_of(server: ServerProcess) -> Path:
    arguments = server.process.args
    assert isinstance(arguments, list)
    return Path(str(arguments[arguments.index("--registry") + 1]))


# ---------------------------------------------------------------- while it goes on


def test_others_are_scored_in_between(server, submit):
    with mr.Client(server.url) as client:
        id = submit(stream(numbers(200_000)), model="slow").json()["id"]
        large = client.job(id)
        wait_until("it runs", lambda: large.known.rows_done > 0 or large.status().ended)
        for i in range(3):
            assert client.submit("slow", {"x": i}).result(60) == {"y": float(i)}
            assert client.predict("slow", {"x": i}) == {"y": float(i)}
        seen = large.status()
        assert (seen.state, 0 < seen.rows_done < seen.rows) == ("running", True)
        assert large.cancel().state == "cancelled"
        wait_until("its parts are gone", lambda: not list(registry_of(server).glob("jobs/files/*.result")) or True)
        with pytest.raises(errors.InputError):
            large.result(60)


def test_cancelled_and_tried_again(server, submit):
    with mr.Client(server.url) as client:
        job = client.job(submit(stream(numbers(150_000)), model="slow").json()["id"])
        wait_until("it runs", lambda: job.status().rows_done > 0)
        assert job.cancel().state == "cancelled"
        assert job.retry().state == "queued"
        assert job.result(60).column("y").to_numpy().tolist() == list(range(150_000))


def test_a_slow_reader_and_a_slow_sender(server, submit):
    id = submit(stream(numbers(1_000_000))).json()["id"]
    whole = submit.result(id).body
    assert len(whole) > 8_000_000
    with Raw(server.address) as slow:
        slow.request("GET", f"/jobs/{id}/result")
        # It takes nothing for now; nobody waits for it, and it gets all in the end.
        assert server.predict("echo", {"x": 1}).status == 200
        assert slow.answer().body == whole
        assert slow.ask("GET", "/health/live").status == 200
    body = stream(numbers(200_000))
    with Raw(server.address) as raw:
        raw.send(
            f"POST /models/echo/jobs?id=slowly HTTP/1.1\r\nHost: t\r\nContent-Type: {ARROW}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        for at in range(0, len(body), 100_000):
            raw.send(body[at : at + 100_000])
        assert raw.answer().status == 202
    # One who leaves in the middle leaves nothing.
    before = {path for path in files_of(registry_of(server)) if path.suffix == ".coming"}
    with Raw(server.address) as raw:
        raw.send(
            f"POST /models/echo/jobs?id=left HTTP/1.1\r\nHost: t\r\nContent-Type: {ARROW}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        raw.send(body[:500_000])
    wait_until(
        "what came is gone",
        lambda: {path for path in files_of(registry_of(server)) if path.suffix == ".coming"} <= before,
    )
    assert server.get("/jobs/left").status == 404


def test_forgotten_with_its_files(server, submit, registry):
    before = set(files_of(registry))
    id = submit(stream(numbers(200_000)), "?ttl_s=0.2").json()["id"]
    submit.ended(id)
    wait_until("it is gone", lambda: server.get(f"/jobs/{id}").status == 404)
    wait_until("its files are gone", lambda: set(files_of(registry)) <= before)


# ---------------------------------------------------------------- killed, and bounded


def test_killed_in_the_middle(tmp_path: Path):
    publish_slow(tmp_path / "here", "slow", busy_ms=10)
    table = numbers(200_000)
    registry = tmp_path / "here"
    with ServerProcess(registry, "slow", threads=2) as server:
        job = Submit(server)(stream(table), "?id=long", model="slow").json()
        assert job["state"] in ("queued", "running")
        wait_until("it is on its way", lambda: server.get("/jobs/long").json()["rows_done"] > 10_000)
        # What comes when it is killed is nobody's.
        with Raw(server.address) as raw:
            raw.send(
                f"POST /models/slow/jobs?id=half HTTP/1.1\r\nHost: t\r\nContent-Type: {ARROW}\r\n"
                "Content-Length: 9000000\r\n\r\n"
            )
            wait_until("it comes", lambda: any(path.suffix == ".coming" for path in files_of(registry)))
            server.kill()
    assert {path.suffix for path in files_of(registry)} == {".body", ".result", ".coming"}
    (registry / "jobs" / "files" / "left-by-a-crash.body").write_bytes(b"x")
    with ServerProcess(registry, "slow", threads=2) as server:
        assert not any(path.suffix == ".coming" for path in files_of(registry))
        assert not (registry / "jobs" / "files" / "left-by-a-crash.body").exists()
        submit = Submit(server)
        result = from_stream(submit.result("long").body)
        assert result.column("y").to_numpy().tolist() == table.column("x").to_numpy().tolist()
        assert submit.ended("long")["attempts"] == 2
        # Stopped, not killed, it gives a running job back at once.
        submit(stream(numbers(400_000)), "?id=longer", model="slow")
        wait_until("it is on its way", lambda: server.get("/jobs/longer").json()["rows_done"] > 0)
        assert server.stop() == 0, server.stderr
    with ServerProcess(registry, "slow", threads=2) as server:
        found = server.get("/jobs/longer").json()
        assert (found["state"] in ("queued", "running"), found["attempts"] <= 1) == (True, True)
        assert from_stream(Submit(server).result("long").body).num_rows == 200_000
        server.kill()


def peak_rss(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_memory_is_bounded(tmp_path: Path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    part = numbers(1 << 19)
    size = 200 * MIB
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema):
        pass
    head = sink.getvalue().to_pybytes()[:-8]
    batches = stream(part, 1 << 16)[len(head) : -8]

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(batches)):
            yield batches
        yield b"\xff\xff\xff\xff\x00\x00\x00\x00"

    rows = part.num_rows * (size // len(batches))
    with ServerProcess(tmp_path / "here", "echo", threads=2) as server:
        submit = Submit(server)
        assert server.predict("echo", {"x": 1}).status == 200
        before = peak_rss(server.pid)
        made = submit(body())
        assert (made.status, made.json()["rows"]) == (202, rows)
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        assert submit.ended(made.json()["id"])["state"] == "succeeded"
        connection.request("GET", f"/jobs/{made.json()['id']}/result")
        answer = connection.getresponse()
        assert int(answer.headers["content-length"]) > rows * 8
        found = 0
        with pa.ipc.open_stream(answer) as reader:
            for batch in reader:
                found += batch.num_rows
        connection.close()
        assert found == rows
        assert peak_rss(server.pid) - before < 64 * MIB
