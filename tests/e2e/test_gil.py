"""A thread of the serving process holds the GIL, and predictions go on: nothing of Python is on their way."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.bundles import publish_scorer
from tests.support.waiting import wait_until

import monorail as mr

pytestmark = pytest.mark.timed

HOLD_S = 2
#: Sends one row after the other until its stdin is closed; a line per answer: when, and what.
CLIENT = """
import http.client, json, sys, threading, time
host, port = sys.argv[1].removeprefix("http://").split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=60)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
number = 0
while not over.is_set():
    number += 1
    body = json.dumps({"a": number, "b": 2, "c": 3, "amount": "4"})
    connection.request("POST", "/models/scorer/predict", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    rows = len(json.loads(answer.read())["predictions"])
    connection.request("GET", "/health/ready")
    health = connection.getresponse()
    health.read()
    print(time.monotonic(), answer.status, rows, health.status, flush=True)
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer", golden=True)
    return folder


def hold_the_gil(seconds: int) -> tuple[float, float]:
    """Sleep in C without giving the GIL up; when it began and when it ended."""
    began = time.monotonic()
    ctypes.PyDLL(None).usleep(seconds * 1_000_000)
    return began, time.monotonic()


def test_predictions_go_on_while_a_thread_holds_the_gil(registry, tmp_path):
    out = tmp_path / "answers"
    with mr.serve("scorer", registry=registry, port=0) as server, out.open("w") as sink:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, server.url], stdin=subprocess.PIPE, stdout=sink)
        with client:
            assert client.stdin is not None
            wait_until("the client has an answer", lambda: out.stat().st_size)
            began, ended = hold_the_gil(HOLD_S)
            client.stdin.close()
            client.wait(30)
        assert client.returncode == 0
    assert ended - began > HOLD_S * 0.95, "the GIL was not held for that long"
    answers = [line.split() for line in out.read_text().splitlines()]
    assert all(answer[1:] == ["200", "1", "200"] for answer in answers)
    times = [float(answer[0]) for answer in answers]
    meanwhile = [at for at in times if began < at < ended]
    # Spread over the whole time, not just its edges.
    assert len(meanwhile) > 50
    gaps = [b - a for a, b in zip([began, *meanwhile], [*meanwhile, ended], strict=True)]
    assert max(gaps) < HOLD_S / 2, gaps


def test_model_predict_gives_the_gil_up(registry):
    """Python goes on in other threads while rows are scored in this process."""
    code = """
import sys, threading, time
import monorail as mr, numpy as np, pyarrow as pa
model = mr.load("busy", registry=sys.argv[1], threads=1)
table = pa.table({"a": np.arange(20.0), "b": np.arange(20.0), "c": np.arange(20.0), "amount": ["1"] * 20})
span = []
def score():
    began = time.monotonic()
    model.predict(table, max_batch_rows=1)
    span.extend([began, time.monotonic()])
thread = threading.Thread(target=score)
thread.start()
ticks = []
while thread.is_alive():
    ticks.append(time.monotonic())
    thread.join(0.005)
inside = [t for t in ticks if span[0] < t < span[1]]
print(len(inside), max(b - a for a, b in zip([span[0], *inside], [*inside, span[1]])), span[1] - span[0])
"""
    publish_scorer(registry, "busy", busy_ms=30)
    done = subprocess.run([sys.executable, "-c", code, str(registry)], capture_output=True, text=True, check=True)
    count, longest, whole = (float(word) for word in done.stdout.split())
    assert whole > 0.2
    assert count > 10
    assert longest < whole / 2


def test_the_client_in_the_other_process_is_as_strict_as_json(registry):
    """Guards the test above against a server that answers without scoring."""
    with mr.serve("scorer", registry=registry, port=0) as server, mr.Client(server.url) as client:
        one = client.predict("scorer", {"a": 1, "b": 2, "c": 3, "amount": "4"})
        two = client.predict("scorer", {"a": 2, "b": 2, "c": 3, "amount": "4"})
    assert json.dumps(one) != json.dumps(two)
