"""What hostile or unlucky requests may cost: memory of all together is bounded, and a failed start ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ServerProcess
from tests.support.raw import Raw, request
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

MIB = 1 << 20


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    publish_scorer(folder, "first", golden=True)
    publish_scorer(folder, "second", golden=True)
    return folder


def test_a_server_whose_second_model_cannot_be_loaded_ends(registry: Path):
    graph = registry / "second" / "1" / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    server = ServerProcess(registry, "first", "second", wait=False)
    try:
        assert server.wait() == 1
    finally:
        server.kill()
    assert "graph.onnx" in server.stderr
    with pytest.raises(errors.BundleError, match=r"graph\.onnx"):
        mr.serve("first", "second", registry=registry, port=0)


def test_bodies_of_all_connections_together_are_bounded(registry: Path):
    with ServerProcess(registry, "first", limit_buffered_bytes=3 * MIB) as server:
        head = f"POST /models/first/predict HTTP/1.1\r\nHost: h\r\nContent-Length: {4 * MIB}\r\n\r\n"
        with Raw(server.address) as first:
            first.send(head)
            first.send(b" " * (2 * MIB))

            def is_refused() -> bool:
                # Until the first body's bytes have arrived there is room for the second's.
                with Raw(server.address) as second:
                    second.send(head)
                    second.send(b" " * (2 * MIB))
                    if second.is_quiet(0.2):
                        return False
                    answer = second.answer()
                    assert answer.status == 503
                    assert answer.error["code"] == "overloaded"
                    return True

            wait_until("the second body is refused", is_refused)
            # Small requests do not count, whatever large ones hold.
            assert server.get("/health/ready").status == 200

        def is_taken() -> bool:
            with Raw(server.address) as third:
                third.send(request("POST", "/models/first/predict", b" " * (2 * MIB)))
                return third.answer().status == 400

        wait_until("what the first held is free again", is_taken)


def test_an_old_client_is_told_that_its_connection_stays_open(registry: Path):
    with ServerProcess(registry, "first") as server, Raw(server.address) as old:
        for _ in range(2):
            old.send("GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = old.answer()
            assert answer.status == 200
            assert answer.headers["connection"] == "keep-alive"


def test_golden_rows_are_not_counted_as_traffic(registry: Path):
    with ServerProcess(registry, "first") as server:
        metrics = server.get("/metrics").text
        counted = [line for line in metrics.splitlines() if line.startswith(("monorail_out_of", "monorail_unseen"))]
        assert all(line.endswith(" 0") for line in counted)


def test_a_job_over_the_limit_is_refused_and_not_kept(registry: Path):
    row = {"a": 1, "b": 2, "c": 3, "amount": "4"}
    with ServerProcess(registry, "first", limit_body_bytes=10_000) as server, mr.Client(server.url) as client:
        with pytest.raises(errors.InputError) as caught:
            client.submit("first", [row] * 1_000, id="long")
        assert caught.value.code == "body_too_large"
        with pytest.raises(errors.NotFoundError):
            client.job("long")
        assert list(client.jobs()) == []
        assert client.submit("first", [row], id="long").result(60) == client.predict("first", [row])
