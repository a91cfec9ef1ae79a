"""Sharing a batch never changes an answer: many callers at once, against the same rows scored alone."""

from __future__ import annotations

import dataclasses
import http.client
import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.bundles import publish_mean, publish_scorer, publish_slow, scorer_answers
from tests.support.process import ARROW, Metrics, ServerProcess, from_stream, running, to_stream
from tests.support.raw import Raw, connections, request
from tests.support.waiting import wait_until

import monorail as mr

pytestmark = pytest.mark.timed

CALLERS = 36
REQUESTS_EACH = 12
MAX_BATCH_ROWS = 256
#: Rows a request has; some are larger than a batch.
SIZES = [1, 1, 1, 2, 3, 7, 20, 64, 255, 256, 257, 600, 2_000]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer")
    # A call that costs something: while it runs, rows of other callers gather.
    publish_scorer(folder, "busy", busy_ms=4)
    publish_scorer(folder, "unhurried", busy_ms=100)
    publish_mean(folder, "mean", busy_ms=20)
    publish_slow(folder, "slow", busy_ms=400)
    return folder


@dataclasses.dataclass
class Question:
    """One request, and what should come of it."""

    matrix: np.ndarray
    form: str
    fate: str = "answered"

    def records(self) -> list[dict[str, Any]]:
        rows = [
            {"a": float(a), "b": float(b), "c": float(c), "amount": repr(float(amount))}
            for a, b, c, amount in self.matrix
        ]
        if self.fate == "fails at run time":
            rows[len(rows) // 2]["amount"] = "abc"
        elif self.fate == "refused":
            rows[-1]["b"] = "text"
        return rows

    def columns(self) -> dict[str, list[Any]]:
        rows = self.records()
        return {name: [row[name] for row in rows] for name in rows[0]}

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        headers = {"content-type": "application/json"}
        if self.form == "record":
            return json.dumps(self.records()[0]).encode(), headers
        if self.form == "rows":
            return json.dumps(self.records()).encode(), headers
        if self.form == "columns":
            return json.dumps({"columns": self.columns()}).encode(), headers
        answer_form = {"accept": "application/json"} if self.form == "arrow in" else {}
        return to_stream(pa.table(self.columns())), {"content-type": ARROW, **answer_form}

    def decoded(self, body: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.form == "arrow":
            table = from_stream(body)
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
        else:
            predictions = json.loads(body)["predictions"]
            if isinstance(predictions, list):
                columns = {n: [p[n] for p in predictions] for n in ("label", "probability", "single")}
            else:
                columns = predictions
        return (
            np.array(columns["label"]),
            np.array(columns["probability"], dtype=float),
            np.array(columns["single"], dtype=np.float32),
        )


def questions(seed: int) -> list[Question]:
    """What one caller asks: every row different from every other row of the run."""
    rng, choice = np.random.default_rng(seed), random.Random(seed)
    asked = []
    for _ in range(REQUESTS_EACH):
        fate = choice.choices(["answered", "refused", "fails at run time", "cancelled"], [14, 2, 2, 3])[0]
        rows = choice.choice(SIZES)
        forms: list[str] = ["rows", "columns", "arrow", "arrow in", *(["record"] * 2 if rows == 1 else [])]
        form = choice.choice(forms)
        if fate == "refused" and form.startswith("arrow"):
            form = "rows"
        asked.append(Question(rng.normal(size=(rows, 4)) * 2, form, fate))
    return asked


class Caller:
    """One client with a keep-alive connection of its own."""

    def __init__(self, server: ServerProcess, name: str, asked: list[Question]) -> None:
        self.server, self.name, self.asked = server, name, asked
        self.answers: list[tuple[Question, int, bytes]] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failure = error

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self.server.address, timeout=60)
        path = f"/models/{self.name}/predict"
        for question in self.asked:
            body, headers = question.encoded()
            if question.fate == "cancelled":
                with Raw(self.server.address) as gone:
                    gone.send(request("POST", path, body, *(f"{k}: {v}" for k, v in headers.items())))
                continue
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            self.answers.append((question, answer.status, answer.read()))
        connection.close()


def ask(server: ServerProcess, name: str, each: list[list[Question]]) -> list[tuple[Question, int, bytes]]:
    """All callers at once; every answer they got."""
    callers = [Caller(server, name, asked) for asked in each]
    with running(threading.Thread(target=caller.run) for caller in callers):
        pass
    assert [caller.failure for caller in callers if caller.failure] == []
    return [answer for caller in callers for answer in caller.answers]


def unbatched(registry: Path, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Every row scored alone, by the same engine in this process."""
    model = mr.load("scorer", registry=registry, threads=1)
    amounts = [repr(float(amount)) for amount in matrix[:, 3]]
    table = pa.table({"a": matrix[:, 0], "b": matrix[:, 1], "c": matrix[:, 2], "amount": amounts})
    answers = model.predict(table, max_batch_rows=1)
    return {
        "label": answers.column("label").to_numpy(),
        "probability": np.array(answers.column("probability").to_pylist()),
        "single": answers.column("single").to_numpy(),
    }


def taken(server: ServerProcess, name: str) -> float:
    """How many requests an engine has taken out of the queue."""
    return server.metrics().value("monorail_queue_seconds_count", model=name)


def mean_batch_rows(before: Metrics, after: Metrics, name: str) -> float:
    rows, calls = (
        after.value(f"monorail_batch_rows_{part}", model=name) - before.value(f"monorail_batch_rows_{part}", model=name)
        for part in ("sum", "count")
    )
    return rows / calls


@pytest.mark.parametrize("threads", [1, 2])
def test_batched_equals_unbatched(registry, threads):
    each = [questions(1_000 * threads + caller) for caller in range(CALLERS)]
    with ServerProcess(registry, "busy", threads=threads, max_batch_rows=MAX_BATCH_ROWS) as server:
        before = server.metrics()
        answers = ask(server, "busy", each)
        server.settle("busy")
        after = server.metrics()

    kept = [question for asked in each for question in asked if question.fate != "cancelled"]
    assert len(answers) == len(kept)
    good = [(question, body) for question, status, body in answers if question.fate == "answered" and status == 200]
    by_fate = {fate: [(s, b) for q, s, b in answers if q.fate == fate] for fate in ("refused", "fails at run time")}
    assert len(good) == sum(question.fate == "answered" for question in kept)
    for status, body in by_fate["refused"]:
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (422, "wrong_type")
        assert [detail["column"] for detail in error["details"]] == ["b"]
    for status, body in by_fate["fails at run time"]:
        assert (status, json.loads(body)["error"]["code"]) == (500, "engine_failed")
    assert all(by_fate.values()), "the mix must have failing rows of both kinds"

    expected = unbatched(registry, np.concatenate([question.matrix for question, _ in good]))
    start = 0
    for question, body in good:
        mine = slice(start, start := start + len(question.matrix))
        label, probability, single = question.decoded(body)
        np.testing.assert_array_equal(label, expected["label"][mine])
        np.testing.assert_allclose(probability, expected["probability"][mine], rtol=0, atol=1e-12)
        np.testing.assert_allclose(single, expected["single"][mine], rtol=1e-6, atol=1e-6)
    # And the engine is not wrong in the same way alone.
    np.testing.assert_allclose(
        expected["probability"], scorer_answers(np.concatenate([q.matrix for q, _ in good]))[1], rtol=0, atol=1e-12
    )

    assert mean_batch_rows(before, after, "busy") > 4
    # Of those who left, some may have been answered before that was seen.
    cancelled = sum(question.fate == "cancelled" for asked in each for question in asked)
    answered = after.value("monorail_requests_total", model="busy", status="200")
    assert len(good) <= answered <= len(good) + cancelled
    assert after.value("monorail_requests_total", model="busy") <= len(kept) + cancelled


def test_single_rows_of_many_callers_share_batches(registry):
    rng = np.random.default_rng(5)
    each = [[Question(rng.normal(size=(1, 4)), "record") for _ in range(10)] for _ in range(48)]
    with ServerProcess(registry, "busy", threads=1) as server:
        before = server.metrics()
        answers = ask(server, "busy", each)
        after = server.metrics()
    expected = scorer_answers(np.concatenate([question.matrix for question, _, _ in answers]))
    for row, (question, status, body) in enumerate(answers):
        assert status == 200, body
        label, probability, _ = question.decoded(body)
        assert label == expected[0][row]
        np.testing.assert_allclose(probability[0], expected[1][row], rtol=0, atol=1e-12)
    assert mean_batch_rows(before, after, "busy") > 4
    calls = after.value("monorail_engine_seconds_count", model="busy")
    assert len(answers) / calls > 4, "callers must share calls of the engine"


def test_only_the_guilty_caller_of_a_shared_batch_fails(registry):
    """A batch is known to be shared: its callers wait together while the engine is busy with another."""
    rng = np.random.default_rng(6)
    fates = ["answered"] * 4 + ["fails at run time"] + ["answered"] * 4
    asked = [Question(rng.normal(size=(3, 4)), "rows", fate) for fate in fates]
    with (
        ServerProcess(registry, "unhurried", threads=1) as server,
        connections(server.address, len(asked)) as callers,
        Raw(server.address) as first,
    ):
        first.request("POST", "/models/unhurried/predict", Question(rng.normal(size=(1, 4)), "rows").encoded()[0])
        wait_until("the engine works", lambda: taken(server, "unhurried") == 1)
        for caller, question in zip(callers, asked, strict=True):
            caller.request("POST", "/models/unhurried/predict", question.encoded()[0])
        answers = [caller.answer() for caller in callers]
        assert first.answer().status == 200
        for question, answer in zip(asked, answers, strict=True):
            if question.fate == "answered":
                assert answer.status == 200, answer.body
                _, probability, _ = question.decoded(answer.body)
                np.testing.assert_allclose(probability, scorer_answers(question.matrix)[1], rtol=0, atol=1e-12)
            else:
                assert (answer.status, answer.error["code"]) == (500, "engine_failed")
                assert answer.error["details"] == []
        metrics = server.metrics()
        # The first alone, all the others together, and then each of them alone.
        assert metrics.value("monorail_engine_seconds_count", model="unhurried") == 1 + 1 + len(asked)
        assert metrics.value("monorail_queue_rows", model="unhurried") == 0


def test_a_large_request_lets_others_in_between(registry):
    """Many batches of one caller; a single row that comes later is answered before they are through."""
    rng = np.random.default_rng(7)
    large, small = Question(rng.normal(size=(160, 4)), "arrow"), Question(rng.normal(size=(1, 4)), "record")
    with (
        ServerProcess(registry, "unhurried", threads=1, max_batch_rows=16) as server,
        Raw(server.address) as first,
        Raw(server.address) as second,
    ):
        body, headers = large.encoded()
        first.request("POST", "/models/unhurried/predict", body, *(f"{k}: {v}" for k, v in headers.items()))
        wait_until("the engine works", lambda: taken(server, "unhurried") == 1)
        assert second.ask("POST", "/models/unhurried/predict", small.encoded()[0]).status == 200
        calls = server.metrics().value("monorail_engine_seconds_count", model="unhurried")
        assert calls < 11, "the large one must not be through"
        whole = first.answer()
        assert whole.status == 200
        np.testing.assert_allclose(large.decoded(whole.body)[1], scorer_answers(large.matrix)[1], rtol=0, atol=1e-12)
        assert server.metrics().value("monorail_engine_seconds_count", model="unhurried") == 11


def test_a_model_that_is_not_row_wise_never_shares(registry):
    """Answers hang on the whole batch: each caller must get those of its own rows alone."""
    rng = np.random.default_rng(8)
    values = [rng.normal(size=1 + caller % 5) for caller in range(32)]
    large = rng.normal(size=5_000)
    with (
        ServerProcess(registry, "mean", threads=1, max_batch_rows=64) as server,
        connections(server.address, len(values)) as callers,
    ):
        for caller, mine in zip(callers, values, strict=True):
            caller.request("POST", "/models/mean/predict", json.dumps({"columns": {"x": mine.tolist()}}).encode())
        for caller, mine in zip(callers, values, strict=True):
            answer = caller.answer()
            np.testing.assert_allclose(answer.json()["predictions"]["y"], mine - mine.mean(), rtol=0, atol=1e-12)
        # And it is never cut either.
        answer = server.predict("mean", {"columns": {"x": large.tolist()}})
        np.testing.assert_allclose(answer.json()["predictions"]["y"], large - large.mean(), rtol=0, atol=1e-9)
        assert server.metrics().value("monorail_engine_seconds_count", model="mean") == len(values) + 1


def test_cancelled_rows_leave_the_queue(registry):
    """Callers go away while the engine is busy with another: nothing of them is scored."""
    with (
        ServerProcess(registry, "slow", threads=1) as server,
        Raw(server.address) as first,
        connections(server.address, 8) as others,
    ):
        first.request("POST", "/models/slow/predict", b'{"x": 1}')
        wait_until("the engine works", lambda: taken(server, "slow") == 1)
        for other in others:
            other.request("POST", "/models/slow/predict", b'[{"x": 2}, {"x": 3}]')
        wait_until("they wait", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 16)
        for other in others[:7]:
            other.close()
        wait_until("seven left", lambda: server.metrics().value("monorail_queue_rows", model="slow") == 2)
        assert first.answer().json()["predictions"] == [{"y": 1.0}]
        assert others[7].answer().json()["predictions"] == [{"y": 2.0}, {"y": 3.0}]
        scored = server.metrics()
        assert scored.value("monorail_batch_rows_sum", model="slow") == 3
        assert scored.value("monorail_requests_total", model="slow", status="499") == 7
