"""What a batch costs besides the model: 64 rows of 30 floats to a Python process and back, beside Mosec.

Both have a front in Rust and one Python worker behind it, and a model that does nothing. Mosec has its default
settings: the body goes to the worker as it came and is read there as JSON. Ours reads it in the front; the worker gets
Arrow. One client asks the two in turn, one request at a time on a connection kept alive, with bytes made beforehand.

Two costs are told. The hop is what the front counts from handing a batch over to having its answer: our
`monorail_engine_seconds`, Mosec's `mosec_service_process_duration_second` of its only stage. The request is the whole
way over HTTP, as the client sees it.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import monorail as mr

from . import rivals
from .processes import first_line, monorail, running, wait_answer
from .tables import heading, median, table, verdict, with_noise

ROWS, COLUMNS = 64, 30
MOST_OF_MOSEC = 1 / 3
#: Requests before anything is measured.
WARM_UP = 50


class Nothing:
    """Answers the same, whatever it is asked."""

    row_wise = True
    idempotent = True

    def __init__(self) -> None:
        self.answer = pa.array([0.5] * ROWS)

    def predict(self, batch: pa.RecordBatch) -> Any:
        """One number a row."""
        return {"y": self.answer if batch.num_rows == ROWS else self.answer[: batch.num_rows]}


class Side(NamedTuple):
    """A server that runs: how to ask it, and where it counts."""

    ask: Connection
    metrics: str
    counter: str
    labels: str


class Connection:
    """One connection, kept alive, and one request as bytes."""

    def __init__(self, port: int, route: str, body: bytes) -> None:
        head = f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def seconds(self) -> float:
        """How long one request takes."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        answer = self._socket.recv(1 << 16)
        while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + _length(answer):
            answer += self._socket.recv(1 << 16)
        took = time.perf_counter() - began
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"a request failed: {answer!r}")
        return took

    def close(self) -> None:
        """End it."""
        self._socket.close()


def _length(answer: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)
    return int(found[1]) if found else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=300, help="of each server in a round")
    parser.add_argument("--quick", action="store_true", help="two rounds of 50")
    options = parser.parse_args(arguments)
    rounds, requests = (2, 50) if options.quick else (options.rounds, options.requests)
    heading(f"{ROWS} rows of {COLUMNS} floats to a worker that does nothing, {rounds} rounds of {requests} requests")
    values = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    with tempfile.TemporaryDirectory(prefix="monorail-bench-") as scratch:
        registry = Path(scratch) / "registry"
        registry.mkdir(mode=0o700)
        example = {f"x{number}": values[:, number] for number in range(COLUMNS)}
        mr.save(Nothing(), "nothing", example=example, registry=registry, quiet=True, golden_rows=0)
        serve = monorail("serve", "nothing", "--registry", str(registry), "--port", "0", "--threads", "1")
        port = rivals.free_port()
        with running(serve) as ours, running(rivals.mosec(port)) as mosec:
            sides = {
                "Monorail": _ours(int(first_line(ours).rsplit(":", 1)[1]), values),
                "Mosec": _mosec(port, values, mosec),
            }
            measure(sides, rounds, requests)
            for side in sides.values():
                side.ask.close()


def measure(sides: dict[str, Side], rounds: int, requests: int) -> None:
    """Ask all in turn, and tell what a batch cost each."""
    hops: dict[str, list[float]] = {name: [] for name in sides}
    whole: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        for _ in range(WARM_UP):
            side.ask.seconds()
    for _ in range(rounds):
        for name, side in sides.items():
            before = _counted(side)
            took = [side.ask.seconds() for _ in range(requests)]
            after = _counted(side)
            hops[name].append(1e6 * (after[0] - before[0]) / (after[1] - before[1]))
            whole[name].append(1e6 * median(took))
    rows = [[name, with_noise(hops[name], ",.0f"), with_noise(whole[name], ",.0f")] for name in sides]
    table(("", "hop µs", "request µs"), rows)
    verdict("hop, of Mosec's", _ratio(hops), MOST_OF_MOSEC, at_most=True)
    verdict("request, of Mosec's", _ratio(whole), MOST_OF_MOSEC, at_most=True)


def _ratio(values: dict[str, list[float]]) -> float:
    """Ours over theirs, in each round beside each other."""
    return median([ours / theirs for ours, theirs in zip(values["Monorail"], values["Mosec"], strict=True)])


def _counted(side: Side) -> tuple[float, float]:
    """Seconds and batches that a server has counted so far."""
    with urllib.request.urlopen(side.metrics, timeout=10) as answer:
        text = answer.read().decode()
    found = [
        re.search(rf"^{side.counter}_{what}{{{side.labels}}} (\S+)$", text, re.MULTILINE) for what in ("sum", "count")
    ]
    if not found[0] or not found[1]:
        raise SystemExit(f"{side.metrics} does not count {side.counter}")
    return float(found[0][1]), float(found[1][1])


def _ours(port: int, values: np.ndarray) -> Side:
    columns = {f"x{number}": values[:, number].tolist() for number in range(COLUMNS)}
    ask = Connection(port, "/models/nothing/predict", json.dumps({"columns": columns}).encode())
    return Side(ask, f"http://127.0.0.1:{port}/metrics", "monorail_engine_seconds", 'model="nothing".*')


def _mosec(port: int, values: np.ndarray, process: Any) -> Side:
    body = json.dumps({"rows": values.tolist()}).encode()
    wait_answer(f"http://127.0.0.1:{port}/inference", body, process)
    ask = Connection(port, "/inference", body)
    return Side(ask, f"http://127.0.0.1:{port}/metrics", "mosec_service_process_duration_second", 'stage="Nothing_1".*')


if __name__ == "__main__":
    main()
