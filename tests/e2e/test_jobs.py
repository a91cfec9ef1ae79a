"""Jobs of a real server: submitted, listed, cancelled, and answered as a prediction is."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.bundles import publish_scorer, scorer_answers
from tests.support.process import ServerProcess
from tests.support.proxies import Cutting
from tests.support.raw import Stopwatch
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors
from monorail.client.job import POLL_S

ROW = {"a": 1, "b": 2, "c": 3, "amount": "4"}
ROWS = [ROW, ROW | {"a": -0.5}, ROW | {"amount": "1e3"}]
#: The engine fails on it: it is a string, so the signature does not refuse it.
FAILING = ROW | {"amount": "much"}
#: Longer than any test takes.
LATER_S = 3_600


@pytest.fixture(scope="module")
def server(job_server: ServerProcess) -> ServerProcess:
    return job_server


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error."""
    return answer.status_code, answer.json()["error"]["code"]


# ---------------------------------------------------------------- what is submitted and answered


def test_the_answer_is_the_predictions(client):
    frame = pd.DataFrame(ROWS, index=["x", "y", "z"]).astype({"a": float, "b": float, "c": float})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = {name: [row[name] for row in ROWS] for name in ROW}
    for data in (ROW, ROWS, columns):
        assert client.submit("scorer", data).result(60) == client.predict("scorer", data)
    pd.testing.assert_frame_equal(client.submit("scorer", frame).result(60), client.predict("scorer", frame))
    assert client.submit("scorer", table).result(60).equals(client.predict("scorer", table))
    polars = pl.from_arrow(table)
    assert client.submit("scorer", polars).result(60).equals(client.predict("scorer", polars))
    arrays = {name: table.column(name).to_numpy() for name in table.column_names}
    answered = client.submit("scorer", arrays).result(60)
    assert answered["label"].tolist() == client.predict("scorer", arrays)["label"].tolist()


def test_the_answer_is_right(client):
    matrix = np.array([[float(value) for value in row.values()] for row in ROWS])
    label, probability, _ = scorer_answers(matrix)
    answers = client.submit("scorer", ROWS).result(60)
    assert [answer["label"] for answer in answers] == label.tolist()
    np.testing.assert_allclose([answer["probability"] for answer in answers], probability, rtol=1e-12)


def test_a_frame_that_changes_after_it_was_submitted(client):
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=["a", "b"])
    job = client.submit("echo", frame)
    frame.loc["c"] = 3.0
    assert job.result(60)["y"].to_dict() == {"a": 1.0, "b": 2.0}


def test_many_rows(client):
    rows = 100_000
    table = pa.table({"x": np.random.default_rng(0).normal(size=rows)})
    job = client.submit("echo", table)
    assert job.known.rows == rows
    answers = job.result(60)
    assert answers.column("y").to_numpy().tolist() == table.column("x").to_numpy().tolist()
    # Long answers in JSON are not part of the record.
    short = client.submit("echo", {"x": list(map(float, range(20_000)))})
    assert short.result(60)["y"] == list(map(float, range(20_000)))
    assert short.known.result is None
    assert short.known.result_url == f"/jobs/{short.id}/result"


def test_no_rows(client):
    assert client.submit("scorer", []).result(60) == []


def test_the_record(http):
    began = time.time()
    answer = http.post("/models/echo@1/jobs", params={"id": "the-record", "priority": 5}, json={"x": 2})
    assert answer.status_code == 202
    assert answer.headers["location"] == "/jobs/the-record"
    job = http.get("/jobs/the-record", params={"wait_s": 30}).json()
    assert job | {"created": 0, "started": 0, "finished": 0, "expires": 0} == {
        "id": "the-record",
        "model": "echo@1",
        "version": 1,
        "state": "succeeded",
        "rows": 1,
        "rows_done": 1,
        "priority": 5,
        "attempts": 1,
        "created": 0,
        "started": 0,
        "finished": 0,
        "expires": 0,
        "deadline": None,
        "not_before": None,
        "result": {"model": "echo", "version": 1, "predictions": [{"y": 2.0}]},
        "result_url": "/jobs/the-record/result",
    }
    assert began - 1 <= job["created"] <= job["started"] <= job["finished"] <= time.time() + 1
    assert job["expires"] == pytest.approx(job["finished"] + 86_400, abs=1)
    result = http.get(job["result_url"])
    assert (result.status_code, result.json()) == (200, job["result"])
    assert result.headers["content-type"].startswith("application/json")


def test_an_id_is_made_where_none_is_given(http):
    ids = {http.post("/models/echo/jobs", json={"x": 1}).json()["id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(http.get(f"/jobs/{id}").json()["id"] == id for id in ids)


def test_predict_that_prefers_to_answer_later(http):
    answer = http.post("/models/echo/predict", json={"x": 3}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    job = http.get(answer.headers["location"], params={"wait_s": 30}).json()
    assert job["result"]["predictions"] == [{"y": 3.0}]


def test_a_handle_by_its_id(client):
    client.submit("echo", [{"x": 1}, {"x": 2}], id="rows-of-json").result(60)
    client.submit("echo", pa.table({"x": [1.0]}), id="arrow-table").result(60)
    assert client.job("rows-of-json").result(60) == [{"y": 1.0}, {"y": 2.0}]
    assert client.job("arrow-table").result(60).to_pydict() == {"y": [1.0]}
    for id in ("no-such-job", "..", "a/b", "", "ä"):
        with pytest.raises(errors.NotFoundError) as caught:
            client.job(id)
        assert caught.value.code == "unknown_job"


# ---------------------------------------------------------------- ids


def test_the_same_id_and_data_is_the_same_job(client):
    first = client.submit("echo", {"x": 7}, id="same")
    assert first.result(60) == {"y": 7.0}
    again = client.submit("echo", {"x": 7}, id="same")
    assert again.known.attempts == 1
    assert again.known.created == first.known.created
    assert again.known.state == "succeeded"
    assert sum(job.id == "same" for job in client.jobs()) == 1


@pytest.mark.parametrize(
    ("model", "data"), [("echo", {"x": 8}), ("echo@1", {"x": 7}), ("slow", {"x": 7}), ("echo", pa.table({"x": [7.0]}))]
)
def test_the_same_id_with_anything_else_is_a_conflict(client, model, data):
    client.submit("echo", {"x": 7}, id="other")
    with pytest.raises(errors.InputError) as caught:
        client.submit(model, data, id="other")
    assert caught.value.code == "job_conflict"
    assert client.job("other").result(60) == [{"y": 7.0}]


@pytest.mark.parametrize("id", ["", "-a", ".a", "a b", "a/b", "ä", "a" * 129])
def test_ids_that_are_none(client, id):
    with pytest.raises(errors.InputError) as caught:
        client.submit("echo", {"x": 7}, id=id)
    assert caught.value.code == "malformed_request"


def test_a_submission_whose_answer_is_lost_is_sent_again(server, client):
    with Cutting(server.address, lost=1) as cut, mr.Client(cut.url) as far:
        job = far.submit("echo", {"x": 5}, id="lost-once")
        assert not cut.left
        assert job.result(60) == {"y": 5.0}
        assert repr(job) == "Job('lost-once', 'succeeded')"
    assert [job.known.attempts for job in client.jobs() if job.id == "lost-once"] == [1]


def test_a_submission_whose_answers_are_all_lost_says_its_id(server, client):
    with Cutting(server.address, lost=1_000) as cut, mr.Client(cut.url) as far:
        with pytest.raises(errors.UnreachableError) as caught:
            far.submit("echo", {"x": 5})
        id = str(caught.value.hint).rpartition("id='")[2].removesuffix("'")
    assert len(id) == 32
    # It had arrived.
    assert client.submit("echo", {"x": 5}, id=id).known.created == client.job(id).known.created


# ---------------------------------------------------------------- what is refused


def test_bad_data_is_refused_as_predict_refuses_it(client, http):
    frame = pd.DataFrame([ROW | {"a": "far"}])
    for data in (ROW | {"a": "far"}, [ROW, ROW | {"a": None}], [{"a": 1}], frame):
        with pytest.raises(errors.InputError) as predicted:
            client.predict("scorer", data)
        with pytest.raises(errors.InputError) as submitted:
            client.submit("scorer", data, id="refused")
        assert submitted.value.code == predicted.value.code
        assert submitted.value.details == predicted.value.details
        assert submitted.value.message == predicted.value.message
    assert refusal(http.post("/models/scorer/jobs", json={"a": 1})) == (422, "missing_column")
    assert refusal(http.post("/models/scorer/jobs", content=b"{")) == (400, "malformed_json")
    assert refusal(http.post("/models/scorer/jobs", content=b"a=1", headers={"content-type": "text/csv"}))[0] == 415
    with pytest.raises(errors.NotFoundError):
        client.job("refused")


@pytest.mark.parametrize(("model", "code"), [("none", "unknown_model"), ("echo@9", "unknown_version")])
def test_unknown_models(client, model, code):
    with pytest.raises(errors.NotFoundError) as caught:
        client.submit(model, {"x": 1})
    assert caught.value.code == code


@pytest.mark.parametrize(
    "query",
    [
        "priority=1001", "priority=-1001", "priority=high", "priority=1.5", "deadline_s=-1", "deadline_s=soon",
        "deadline_s=nan", "not_before_s=inf", "not_before_s=-0.1", "ttl_s=-1", "ttl_s=", "wait=1", "id=", "id=a&id=b",
    ],
)  # fmt: skip
def test_queries_that_are_wrong(http, query):
    assert refusal(http.post(f"/models/echo/jobs?{query}", json={"x": 1})) == (400, "malformed_request")


@pytest.mark.parametrize("query", ["state=done", "limit=0", "limit=1001", "limit=x", "after=never", "sort=id"])
def test_lists_that_are_wrong(http, query):
    assert refusal(http.get(f"/jobs?{query}")) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/models/echo/jobs", "POST"), ("POST", "/jobs", "GET"), ("POST", "/jobs/a", "DELETE"),
        ("GET", "/jobs/a/retry", "POST"), ("DELETE", "/jobs/a/result", "GET"),
    ],
)  # fmt: skip
def test_methods_that_are_not_allowed(http, method, path, allowed):
    answer = http.request(method, path)
    assert refusal(answer) == (405, "method_not_allowed")
    assert allowed in answer.headers["allow"]


def test_unknown_jobs(http):
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("POST", "/retry")):
        assert refusal(http.request(method, f"/jobs/nobody{path}")) == (404, "unknown_job")


# ---------------------------------------------------------------- the end of a job


def test_a_job_that_fails(client, http):
    with pytest.raises(errors.EngineError) as predicted:
        client.predict("scorer", FAILING)
    job = client.submit("scorer", FAILING)
    with pytest.raises(errors.EngineError) as caught:
        job.result(60)
    assert caught.value.code == predicted.value.code == "engine_failed"
    status = job.status()
    assert (status.state, status.result, status.result_url) == ("failed", None, None)
    assert status.error is not None
    assert status.error["code"] == "engine_failed"
    assert refusal(http.get(f"/jobs/{job.id}/result")) == (500, "engine_failed")
    assert job.retry().state == "queued"
    with pytest.raises(errors.EngineError):
        job.result(60)
    # It was scored again, and its tries are counted anew.
    assert job.known.started > status.started
    assert job.known.attempts == status.attempts == 1


def test_a_failed_job_is_nobody_elses(client):
    jobs = [client.submit("scorer", FAILING if i % 5 == 0 else ROW) for i in range(50)]
    right = client.predict("scorer", ROW)
    for i, job in enumerate(jobs):
        if i % 5 == 0:
            with pytest.raises(errors.EngineError):
                job.result(60)
        else:
            assert job.result(60) == right


def test_cancelling(client, http):
    job = client.submit("echo", {"x": 1}, not_before_s=LATER_S)
    assert refusal(http.get(f"/jobs/{job.id}/result")) == (409, "job_unfinished")
    assert job.cancel().state == "cancelled"
    assert job.cancel().state == job.state == "cancelled"
    with pytest.raises(errors.InputError) as caught:
        job.result(60)
    assert caught.value.code == "job_cancelled"
    assert http.get(f"/jobs/{job.id}/result").status_code == 409
    # It is kept as other ended jobs are.
    assert job.known.expires is not None


def test_cancelling_what_has_ended(client):
    job = client.submit("echo", {"x": 1})
    assert job.result(60) == {"y": 1.0}
    assert job.cancel().state == "succeeded"
    assert job.result(60) == {"y": 1.0}


def test_cancelling_what_runs(client):
    job = client.submit("slow", {"x": 1})
    wait_until("it runs", lambda: job.state != "queued")
    assert job.cancel().state in ("cancelled", "succeeded")
    ended = job.known.state
    # Whatever the engine says later, a state that was told stays.
    assert client.submit("slow", {"x": 2}).result(60) == {"y": 2.0}
    assert job.state == ended


def test_a_cancelled_job_is_retried(client, http):
    job = client.submit("echo", {"x": 4}, not_before_s=LATER_S)
    assert refusal(http.post(f"/jobs/{job.id}/retry")) == (409, "job_conflict")
    job.cancel()
    answer = http.post(f"/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.json()["finished"] is answer.json()["expires"] is None
    job.cancel()


def test_a_job_that_succeeded_is_not_retried(client):
    job = client.submit("echo", {"x": 4})
    job.result(60)
    with pytest.raises(errors.InputError) as caught:
        job.retry()
    assert caught.value.code == "job_conflict"
    assert job.result(60) == {"y": 4.0}


def test_a_deadline_that_passes(client, http):
    job = client.submit("echo", {"x": 1}, not_before_s=LATER_S, deadline_s=0.2)
    assert job.known.deadline == pytest.approx(job.known.created + 0.2, abs=0.05)
    watch = Stopwatch()
    with pytest.raises(errors.DeadlineError) as caught:
        job.result(60)
    assert caught.value.code == "deadline_exceeded"
    assert "expired" in caught.value.message
    assert job.known.state == "expired"
    # Whoever waits is told when it happens, not when the wait is over.
    assert watch.seconds < POLL_S / 2
    assert refusal(http.get(f"/jobs/{job.id}/result"))[1] in ("deadline_exceeded", "job_unfinished")


def test_an_expired_job_is_retried_without_its_deadline(client):
    job = client.submit("echo", {"x": 1}, not_before_s=0.2, deadline_s=0.1)
    with pytest.raises(errors.DeadlineError):
        job.result(60)
    assert job.retry().deadline is None
    assert job.result(60) == {"y": 1.0}


def test_a_deadline_that_is_met(client):
    assert client.submit("echo", {"x": 1}, deadline_s=LATER_S).result(60) == {"y": 1.0}


def test_not_before(client):
    job = client.submit("echo", {"x": 1}, not_before_s=1.0)
    assert job.state == "queued"
    assert job.result(60) == {"y": 1.0}
    assert job.known.started >= job.known.not_before
    assert job.known.not_before == pytest.approx(job.known.created + 1.0, abs=0.05)


def test_an_ended_job_is_forgotten_when_its_time_is_over(client, http):
    job = client.submit("echo", {"x": 1}, id="short-lived", ttl_s=0.5)
    assert job.result(60) == {"y": 1.0}
    assert job.known.expires == pytest.approx(job.known.finished + 0.5, abs=0.05)
    wait_until("it is gone", lambda: http.get("/jobs/short-lived").status_code == 404)
    with pytest.raises(errors.NotFoundError) as caught:
        job.result(60)
    assert caught.value.code == "unknown_job"
    # The id is free again.
    assert client.submit("echo", {"x": 2}, id="short-lived").result(60) == {"y": 2.0}


# ---------------------------------------------------------------- what is counted


def test_metrics_tell_what_waits_and_what_has_ended(tmp_path):
    publish_scorer(tmp_path / "here", "scorer")
    with ServerProcess(tmp_path / "here", "scorer") as server, mr.Client(server.url) as client:

        def value(name: str, **labels: str) -> float:
            return server.metrics().value(f"monorail_jobs_{name}", **labels)

        put_off = client.submit("scorer", ROW, not_before_s=LATER_S)
        client.submit("scorer", ROW).result(60)
        assert (value("submitted_total"), value("queued"), value("running")) == (2, 1, 0)
        assert (value("ended_total", state="succeeded"), value("ended_total")) == (1, 1)
        put_off.cancel()
        assert (value("queued"), value("ended_total", state="cancelled")) == (0, 1)
        wait_until("nothing ages that is put off", lambda: value("oldest_seconds") == 0)
