"""Jobs of the embedded store beside predictions online: the same model, bodies and connections, in the same run.

A server is kept to one core and wrk to another. Each load has a server and a store of its own, in a folder whose disk's
sync time is measured beside it. Submissions are measured twice: while the server scores what was submitted, as it does
by itself, and with jobs that wait, so that all the core can do is take them in. At last jobs are queued and drained.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import monorail as mr

from . import jobs_queued, models, rivals, wrk
from .job_servers import MODELS, Connection, Served, prepare, serving, sync_s
from .processes import two_cores
from .tables import heading, median, table, verdict, with_noise

LEAST_OF_PREDICTIONS = 0.5
#: What an answer through a job may take longer than one online, besides two syncs.
MOST_LONGER_S = 0.005
LOADS = {
    "predict": "/models/cancer/predict",
    "submit, scored meanwhile": "/models/cancer/jobs",
    "submit, all wait": "/models/cancer/jobs?not_before_s=100000",
}


class Latency(NamedTuple):
    """Seconds, each a median: of an answer online, of an acknowledgement, of an answer through a job, of a sync."""

    predict_s: float
    acknowledged_s: float
    answered_s: float
    sync_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="linear")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one load")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=500, help="one after the other, for the latency")
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs queued and then drained; 0 for none")
    parser.add_argument("--folder", type=Path, help="where the stores are; default: the benchmarks' cache")
    parser.add_argument("--quick", action="store_true", help="one round of one second, 20,000 queued jobs")
    options = parser.parse_args(arguments)
    rivals.require_tools()
    cores = two_cores("one for the server, one for wrk")
    if options.quick:
        options.rounds, options.seconds, options.requests, options.rows = 1, 1, 50, 20_000
    heading(
        f"jobs, {options.model} model, server on core {cores[0]}, wrk on core {cores[1]}, "
        f"{options.connections} connections, {options.rounds} rounds of {options.seconds} s"
    )
    with tempfile.TemporaryDirectory(prefix="jobs-", dir=options.folder or models.cache()) as scratch:
        version, bodies = prepare(options.model, Path(scratch))
        measure_rates(version, bodies, Path(scratch), cores, options)
        measure_latency(version, bodies, Path(scratch), options.requests)
        if options.rows:
            jobs_queued.measure(version, bodies, Path(scratch), cores, options.rows)


def measure_rates(
    version: mr.Version, bodies: Path, scratch: Path, cores: Sequence[int], options: argparse.Namespace
) -> None:
    """Load all routes in turn, and print the rates and their ratios."""
    seen: dict[str, list[wrk.Run]] = {which: [] for which in LOADS}
    syncs: list[float] = []
    for _ in range(options.rounds):
        for which, route in LOADS.items():
            syncs.append(sync_s(scratch))
            with serving(version, scratch, cores[0]) as server:

                def load(seconds: int, route: str = route, server: Served = server) -> wrk.Run:
                    return wrk.load(
                        server.url,
                        route,
                        bodies,
                        server.pid,
                        core=cores[1],
                        connections=options.connections,
                        seconds=seconds,
                        scratch=scratch,
                    )

                load(1)
                seen[which].append(load(options.seconds))
    # Steadier than the rates where something else uses the machine.
    per_cpu_s = {which: median([run.rate / max(run.server_busy, 0.01) for run in runs]) for which, runs in seen.items()}
    rows = [
        [
            which,
            with_noise([run.rate for run in runs], ",.0f"),
            f"{median([run.p50_ms for run in runs]):.2f}",
            with_noise([run.p99_ms for run in runs], ".2f"),
            f"{sum(run.errors for run in runs)}",
            f"{median([run.server_busy for run in runs]):.0%}",
            f"{median([run.generator_busy for run in runs]):.0%}",
            f"{per_cpu_s[which]:,.0f}",
        ]
        for which, runs in seen.items()
    ]
    table(("route", "requests/s", "p50 ms", "p99 ms", "errors", "server busy", "wrk busy", "a CPU s"), rows)
    print(f"   fdatasync of 4 KiB appended on the same disk: {with_noise([one * 1000 for one in syncs], '.2f')} ms")
    most = options.connections / median(syncs)
    print(f"   {options.connections} connections that share each sync: at most {most:,.0f} submissions a second")
    rate = {which: median([run.rate for run in runs]) for which, runs in seen.items()}
    for which in list(LOADS)[1:]:
        ratio = rate[which] / rate["predict"]
        verdict(f"{which}: of the predictions a second", ratio, LEAST_OF_PREDICTIONS, at_most=False)
        print(f"     a second of the server's processor: {per_cpu_s[which] / per_cpu_s['predict']:.2f}")


def measure_latency(version: mr.Version, bodies: Path, scratch: Path, requests: int) -> None:
    """Ask one after the other, online and by jobs in turn, and print how much longer a job takes."""
    with serving(version, scratch) as server, contextlib.closing(Connection(server.url)) as connection:
        found = one_by_one(connection, bodies.read_bytes().splitlines(), requests, scratch)
    longer_s = found.answered_s - found.predict_s
    most_s = MOST_LONGER_S + 2 * found.sync_s
    table(
        (f"one request at a time, {requests} of each", "median ms"),
        [
            ["an answer online", f"{found.predict_s * 1000:.2f}"],
            ["a job acknowledged", f"{found.acknowledged_s * 1000:.2f}"],
            ["a job answered: submitted, waited for, result in hand", f"{found.answered_s * 1000:.2f}"],
            ["a sync of the disk", f"{found.sync_s * 1000:.2f}"],
        ],
    )
    verdict(f"{longer_s * 1000:.2f} ms longer, of 5 ms and two syncs", longer_s / most_s, 1.0, at_most=True)


def one_by_one(connection: Connection, bodies: Sequence[bytes], requests: int, scratch: Path) -> Latency:
    """Medians over requests that nobody else disturbs."""
    predict: list[float] = []
    acknowledged: list[float] = []
    answered: list[float] = []
    syncs = [sync_s(scratch)]
    for number in range(requests):
        body = bodies[number % len(bodies)]
        began = time.perf_counter()
        connection.ask("POST", "/models/cancer/predict", body, 200)
        predict.append(time.perf_counter() - began)
        began = time.perf_counter()
        job = json.loads(connection.ask("POST", "/models/cancer/jobs", body, 202))
        acknowledged.append(time.perf_counter() - began)
        job = json.loads(connection.ask("GET", f"/jobs/{job['id']}?wait_s=30", b"", 200))
        answered.append(time.perf_counter() - began)
        if len(job["result"]["predictions"]) != 1:
            raise SystemExit(f"a job has no answer: {job}")
    syncs.append(sync_s(scratch))
    return Latency(median(predict), median(acknowledged), median(answered), median(syncs))


if __name__ == "__main__":
    main()
