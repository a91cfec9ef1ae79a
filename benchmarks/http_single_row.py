"""One JSON record a request: Monorail beside nginx and beside the best composition in Python, one core for each.

The data are scikit-learn's breast cancer data with their own 30 column names; no request is like the one before.
A server is kept to one core and wrk to another; servers take turns within a round, and medians over the rounds are
shown. nginx gets the bodies that Monorail gets and answers all of them with the same text. Granian, msgspec and ONNX
Runtime get each row as a bare list of numbers, which is in their favour, and run the very graph that Monorail runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import monorail as mr

from . import models, rivals, wrk
from .counts import Counts, counted_by
from .processes import first_line, monorail, pinned, running, two_cores, wait_answer
from .tables import heading, median, table, verdict, with_noise

#: Share of its core that our server must have used for a ratio of throughputs to count.
LEAST_BUSY = 0.95
LEAST_OF_NGINX = 0.5
LEAST_OF_GRANIAN = 1.8
MODELS = {
    "linear": ("a scaler and a logistic regression", models.linear),
    "trees": ("200 trees of at most 31 leaves", models.trees),
}


class Served(NamedTuple):
    """A server that runs: its process, its address, the route and the bodies for it."""

    pid: int
    url: str
    route: str
    bodies: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_single_row", description=__doc__)
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one load")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    options = parser.parse_args(arguments)
    rivals.require_tools()
    cores = two_cores("one for the server, one for wrk")
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    for name in MODELS if options.model == "all" else [options.model]:
        heading(
            f"single-row JSON over HTTP, {MODELS[name][0]}: server on core {cores[0]}, wrk on core {cores[1]}, "
            f"{options.connections} connections, {rounds} rounds of {seconds} s"
        )
        with tempfile.TemporaryDirectory(prefix="monorail-bench-") as scratch:
            measure(name, Path(scratch), cores[0], cores[1], options.connections, rounds, seconds)


def measure(name: str, scratch: Path, server: int, generator: int, connections: int, rounds: int, seconds: int) -> None:
    """Measure one model on all servers and print what was found."""
    version, named, bare = _prepare(name, scratch)
    with contextlib.ExitStack() as stack:
        servers = _start(stack, version, named, bare, scratch, server)

        def load(which: str, for_s: int) -> wrk.Run:
            to = servers[which]
            return wrk.load(
                to.url,
                to.route,
                to.bodies,
                to.pid,
                core=generator,
                connections=connections,
                seconds=for_s,
                scratch=scratch,
            )

        for which in servers:
            load(which, 1)
        seen: dict[str, list[wrk.Run]] = {which: [] for which in servers}
        counted: list[Counts] = []
        for _ in range(rounds):
            for which in servers:
                before = counted_by(servers["monorail"].url)
                seen[which].append(load(which, seconds))
                if which == "monorail":
                    after = counted_by(servers["monorail"].url)
                    counted.append(Counts(*(late - early for late, early in zip(after, before, strict=True))))
    _report(seen, counted, judged=name == "linear")


def _prepare(name: str, scratch: Path) -> tuple[mr.Version, Path, Path]:
    """Fit and save the model, and write the bodies: records by name, and bare lists in the graph's order."""
    X, y = models.cancer()
    version = mr.save(MODELS[name][1]().fit(X, y), "cancer", example=X, registry=scratch / "registry", quiet=True)
    inputs = version.manifest["stages"][0]["inputs"]
    if len(inputs) != 1 or sorted(inputs[0]["columns"]) != sorted(X.columns):
        raise SystemExit("the graph has not the one input of 30 columns that the rival's code is written for")
    named, bare = scratch / "named.jsonl", scratch / "bare.jsonl"
    records = X.to_dict(orient="records")
    named.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    columns = inputs[0]["columns"]
    rows = ({"x": [record[column] for column in columns]} for record in records)
    bare.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return version, named, bare


def _start(
    stack: contextlib.ExitStack, version: mr.Version, named: Path, bare: Path, scratch: Path, core: int
) -> dict[str, Served]:
    """Start all servers, and see that those which score answer alike."""
    command = monorail("serve", str(version.path), "--port", "0", "--threads", "1")
    ours = stack.enter_context(running(pinned(core, command), folder=scratch))
    servers = {"monorail": Served(ours.pid, first_line(ours), "/models/cancer/predict", named)}
    answer = _first_answer(servers["monorail"], ours)
    port = rivals.free_port()
    static = stack.enter_context(running(pinned(core, rivals.nginx(port, answer.decode(), scratch))))
    servers["nginx"] = Served(static.pid, f"http://127.0.0.1:{port}", "/predict", named)
    _first_answer(servers["nginx"], static)
    port = rivals.free_port()
    environment = {"GRAPH": str(version.path / "graph.onnx"), "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    command = pinned(core, rivals.granian(port))
    composed = stack.enter_context(running(command, environment=environment, folder=rivals.APPS))
    servers["granian"] = Served(composed.pid, f"http://127.0.0.1:{port}", "/predict", bare)
    theirs: dict[str, Any] = json.loads(_first_answer(servers["granian"], composed))
    [prediction] = json.loads(answer)["predictions"]
    if prediction["label"] != theirs["label"] or not np.allclose(prediction["probability"], theirs["probability"]):
        raise SystemExit(f"the servers disagree: {prediction} and {theirs}")
    return servers


def _first_answer(server: Served, process: Any) -> bytes:
    """What a server answers to its first body."""
    with server.bodies.open("rb") as file:
        return wait_answer(server.url + server.route, file.readline().rstrip(), process)


def _report(seen: dict[str, list[wrk.Run]], counted: Sequence[Counts], *, judged: bool) -> None:
    """Print the table and the ratios. Limits are set for the linear model, where the engine does next to nothing."""
    rows = []
    for which, runs in seen.items():
        rows.append(
            [
                which,
                with_noise([run.rate for run in runs], ",.0f"),
                f"{median([run.p50_ms for run in runs]):.2f}",
                with_noise([run.p99_ms for run in runs], ".2f"),
                f"{sum(run.errors for run in runs)}",
                f"{median([run.server_busy for run in runs]):.0%}",
                f"{median([run.generator_busy for run in runs]):.0%}",
            ]
        )
    table(("server", "requests/s", "p50 ms", "p99 ms", "errors", "server busy", "wrk busy"), rows)
    batch = median([count.rows / count.batches for count in counted])
    share = median([count.engine_s / run.seconds for count, run in zip(counted, seen["monorail"], strict=True)])
    print(f"   monorail: {batch:.1f} rows a batch on average; {share:.0%} of the time in the engine")
    rate = {which: median([run.rate for run in runs]) for which, runs in seen.items()}
    late = {which: median([run.p99_ms for run in runs]) for which, runs in seen.items()}
    busy = {which: median([run.server_busy for run in runs]) for which, runs in seen.items()}
    full = busy["monorail"] > LEAST_BUSY
    idle = None if full else f"our core was {busy['monorail']:.0%} busy, and over {LEAST_BUSY:.0%} is needed"
    for rival, least in (("nginx", LEAST_OF_NGINX), ("granian", LEAST_OF_GRANIAN)):
        ratio = rate["monorail"] / rate[rival]
        verdict(f"requests/s of {rival}'s", ratio, least if judged else None, at_most=False, counts=idle)
        if busy[rival] <= LEAST_BUSY:
            print(f"     {rival} used {busy[rival]:.0%} of its core: it could do more than shown")
    verdict("p99 of granian's", late["monorail"] / late["granian"], 1.0 if judged else None, at_most=True)


if __name__ == "__main__":
    main()
