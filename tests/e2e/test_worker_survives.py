"""What a model's own code may do to its process, and what everybody else notices of it: nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support import workers
from tests.support.bundles import publish_scorer
from tests.support.process import ServerProcess
from tests.support.waiting import wait_until
from tests.support.workers import ask, is_alive, pid_of, proven, publish_worker, restarts, wait_gone, wait_log

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

MODEL = "obedient"
SCORER = {"a": 0.5, "b": -1.0, "c": 2.0, "amount": "3"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    registry = tmp_path_factory.mktemp("registry")
    publish_worker(registry, MODEL, "Obedient")
    publish_worker(registry, "wrong", "Wrong")
    publish_worker(registry, "frames", "Frames", takes="pandas")
    publish_scorer(registry, "scorer")
    return registry


@pytest.fixture(scope="module")
def server(registry):
    with workers.serve(registry, MODEL, "wrong", "frames", "scorer", max_workers=1) as server:
        yield server


def test_answers_and_shares_batches(server):
    reply = ask(server, MODEL, "", "", "")
    assert reply.status == 200, reply.text
    rows = reply.json()["predictions"]
    assert [row["y"] for row in rows] == [0.0, 1.0, 2.0]
    assert {row["rows"] for row in rows} == {3}
    assert is_alive(rows[0]["pid"])
    assert rows[0]["pid"] != server.pid


def test_printing_goes_to_the_log(server):
    pid = pid_of(server, MODEL)
    assert ask(server, MODEL, "print ünïcode").status == 200
    assert f"obedient@1: worker {pid} printed:" in wait_log(server, "hello from the model ünïcode")
    wait_log(server, f"worker {pid}", "and from its other stream")
    assert pid_of(server, MODEL) == pid


@pytest.mark.parametrize(
    ("word", "told"),
    [("exit 3", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt"), ("raise bad weather", "ValueError: bad weather")],
)
def test_what_it_raises_is_an_answer_and_the_worker_lives_on(server, word, told):
    pid, before = pid_of(server, MODEL), restarts(server, MODEL)
    reply = ask(server, MODEL, word)
    assert (reply.status, reply.error["code"]) == (500, "worker_failed")
    assert told in reply.error["message"]
    assert "worker_models" not in reply.text
    assert "/" not in reply.error["message"]
    assert pid_of(server, MODEL) == pid
    assert restarts(server, MODEL) == before
    wait_log(server, f"worker {pid}", "worker_models.py")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("segfault", "was killed by signal 11 (SIGSEGV)"),
        ("abort", "was killed by signal 6 (SIGABRT)"),
        ("kill", "was killed by signal 9 (SIGKILL)"),
        ("leave 4", "ended with exit status 4"),
    ],
)
def test_its_death_is_an_error_and_another_takes_its_place(server, word, told):
    pid, before = proven(server, MODEL), restarts(server, MODEL, reason="died")
    reply = ask(server, MODEL, word)
    assert (reply.status, reply.error["code"]) == (500, "worker_lost")
    assert told in reply.error["message"]
    wait_log(server, f"worker {pid} {told}")
    assert not is_alive(pid)
    assert pid_of(server, MODEL) != pid
    assert restarts(server, MODEL, reason="died") == before + 1
    assert server.predict("scorer", SCORER).status == 200


def test_a_segfault_says_where(server):
    proven(server, MODEL)
    assert ask(server, MODEL, "segfault").status == 500
    wait_log(server, "Fatal Python error: Segmentation fault")
    wait_log(server, "worker_models.py", "in do_segfault")


def test_without_a_descriptor_left_it_does_not_answer_for_rows_of_before(server):
    pid = proven(server, MODEL)
    first = server.predict(MODEL, [{"x": 1.0, "do": "exhaust"}])
    assert first.json()["predictions"][0]["pid"] == pid
    reply = server.predict(MODEL, [{"x": 2.0, "do": ""}])
    assert (reply.status, reply.status != 200 and reply.error["code"]) == (500, "worker_lost"), reply.text
    wait_log(server, f"worker {pid}", "no descriptor left")


def test_a_forked_child_that_comes_back_does_not_answer(server):
    pid = pid_of(server, MODEL)
    for _ in range(5):
        reply = ask(server, MODEL, "fork", "")
        assert reply.status == 200, reply.text
        assert [row["pid"] for row in reply.json()["predictions"]] == [pid, pid]
    assert pid_of(server, MODEL) == pid


@pytest.mark.parametrize("word", ["child", "program"])
def test_what_it_starts_does_not_outlive_it(server, tmp_path, word):
    place = tmp_path / "pid"
    proven(server, MODEL)
    assert ask(server, MODEL, f"{word} {place}").status == 200
    child = int(place.read_text())
    assert is_alive(child)
    assert ask(server, MODEL, "kill").status == 500
    wait_gone(child)
    assert pid_of(server, MODEL)


def test_what_it_keeps_of_a_batch_stays_as_it_was(server):
    assert ask(server, MODEL, "keep").status == 200
    assert ask(server, MODEL, "", "keep").status == 200
    for _ in range(3):
        assert server.predict(MODEL, [{"x": 99.5, "do": ""}] * 3).status == 200
    reply = ask(server, MODEL, "compare 0,0,1")
    assert reply.status == 200, reply.text


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("rows", "the model gave 1 rows for 2"),
        ("missing", "the model gave no column 'rows'; its columns are 'y', 'pid'"),
        ("type", "column 'y' must be double, got string"),
        ("null", "column 'pid' must be int64, got a null in row 0"),
        ("kind", "int"),
        ("narrow", "column 'pid' must be int64"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(server, word, told):
    reply = server.predict("wrong", [{"x": 1.0, "do": word}, {"x": 2.0, "do": ""}])
    assert (reply.status, reply.error["code"]) == (500, "worker_failed")
    assert told in reply.error["message"]
    fits = server.predict("wrong", [{"x": 1.5, "do": "widened"}, {"x": None, "do": ""}])
    assert fits.status == 200, fits.text
    assert [row["y"] for row in fits.json()["predictions"]] == [1.5, None]
    assert restarts(server, "wrong") == 0


def test_a_class_for_pandas_gets_a_frame_of_its_own(server):
    for _ in range(2):
        reply = server.predict("frames", [{"x": 1.0, "do": "a"}, {"x": 2.5, "do": "b"}])
        assert [row["y"] for row in reply.json()["predictions"]] == [7.0, 5.0], reply.text


def test_no_rows_are_no_rows(server):
    reply = server.predict(MODEL, {"columns": {"x": [], "do": []}})
    assert (reply.status, reply.json()["predictions"]) == (200, {"y": [], "pid": [], "rows": []}), reply.text


def test_a_leaking_worker_is_replaced_and_no_request_dropped(registry):
    cap = 400 << 20
    with workers.serve(registry, MODEL, max_workers=1, worker_memory_bytes=cap) as server:
        pids = set()
        for _ in range(6):
            reply = ask(server, MODEL, "leak 150")
            assert reply.status == 200, reply.text
            pids.add(reply.json()["predictions"][0]["pid"])
        wait_until("it is replaced", lambda: restarts(server, MODEL, reason="memory") >= 1)
        wait_until("the first is gone", lambda: any(not is_alive(pid) for pid in pids))
        assert restarts(server, MODEL, reason="died") == 0


def test_a_model_that_cannot_be_loaded_is_refused_at_the_start(tmp_path):
    publish_worker(tmp_path, "broken", "Broken")
    with ServerProcess(tmp_path, "broken", trust=True, wait=False) as server:
        assert server.wait() == 2
        assert "could not load the model: RuntimeError: the weights are missing" in server.stderr


def test_a_model_that_does_not_come_up_is_refused_at_the_start(tmp_path):
    publish_worker(tmp_path, "slow", "Slow")
    with ServerProcess(tmp_path, "slow", trust=True, wait=False, worker_start_timeout_s=1.5) as server:
        assert server.wait() == 2
        assert "was not ready within 1.5 s" in server.stderr
        assert "in load" in server.stderr, "where it was, in the log"


def test_a_flood_of_lines_is_cut(registry):
    with workers.serve(registry, MODEL, max_workers=1) as server:
        pid = pid_of(server, MODEL)
        assert ask(server, MODEL, "flood").status == 200
        assert pid_of(server, MODEL) == pid
        wait_log(server, "left out: it prints too much")
        assert sum("printed: flood" in line for line in list(server.err)) < 2_000
