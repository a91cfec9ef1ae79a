"""Jobs that wait by the million: memory while they wait, the disk they need, and how fast they are drained.

One-row jobs are submitted by wrk, all put off to one moment, so that none is scored before all are there. Then the
server scores them, and that is timed. Beside it, on the same core: the engine alone over the same rows, Arrow in, Arrow
out, and predictions online.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import monorail as mr

from . import models, rivals, wrk
from .counts import counted_by
from .job_servers import MODELS, Connection, Served, prepare, serving
from .processes import pinned, resident_mb, two_cores
from .tables import heading, table, verdict

#: Memory that a server with queued jobs may take over that of one with none, however many they are.
MOST_MORE_MB = 256.0
CONNECTIONS = 64
#: Seconds of one load, after which progress is told.
LOAD_S = 10
#: How much longer queueing may take than its beginning lets expect, and some seconds besides.
SLOWER, MARGIN_S = 1.5, 15
POLL_S = 0.1

#: Every request is put off to the same moment.
PUT_OFF = wrk.SCRIPT.replace(
    "return requests[i]",
    """local wait_s = os.getenv("DUE") - os.time()
  return (requests[i]:gsub("not_before_s=0", "not_before_s=" .. wait_s))""",
)

_ENGINE = """
import json, sys, time
import pyarrow as pa
import monorail as mr
path, bodies, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
records = [json.loads(line) for line in open(bodies)]
table = pa.Table.from_pylist((records * (rows // len(records) + 1))[:rows])
model = mr.load(path, threads=1)
model.predict(table.slice(0, 1024))
began = time.perf_counter()
model.predict(table)
print(rows / (time.perf_counter() - began))
"""


class Queued(NamedTuple):
    """What queueing did.

    Attributes:
        jobs: How many are there at least.
        rate: Acknowledged a second.
        resident_mb: Of the server, the greatest seen.
        disk_bytes: Of its store.
    """

    jobs: int
    rate: float
    resident_mb: float
    disk_bytes: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs_queued", description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="linear")
    parser.add_argument("--rows", type=int, default=10_000_000, help="jobs, of one row each")
    parser.add_argument("--folder", type=Path, help="where the store is; default: the benchmarks' cache")
    options = parser.parse_args(arguments)
    rivals.require_tools()
    cores = two_cores("one for the server, one for wrk")
    heading(f"{options.rows:,} queued jobs, {options.model} model")
    with tempfile.TemporaryDirectory(prefix="jobs-", dir=options.folder or models.cache()) as scratch:
        version, bodies = prepare(options.model, Path(scratch))
        if not measure(version, bodies, Path(scratch), cores, options.rows):
            raise SystemExit("memory grows with the jobs that wait")


def measure(version: mr.Version, bodies: Path, scratch: Path, cores: Sequence[int], rows: int) -> bool:
    """Queue jobs, drain them, and print both; whether memory stayed within its bound."""
    engine = _engine_rate(version, bodies, cores[0], min(rows, 1_000_000))
    with serving(version, scratch, cores[0]) as server:
        online = _load(server, "/models/cancer/predict", bodies, cores[1], scratch, 2).rate
    limit = ("--limit-jobs-bytes", str(1 << 42))
    with serving(version, scratch, cores[0], *limit) as server:
        _load(server, "/models/cancer/predict", bodies, cores[1], scratch, 1)
        alone_mb = resident_mb(server.pid)
        queued = _queue(server, bodies, cores[1], scratch, rows)
        drained, batch, drain_mb = _drain(server)
    per_job = queued.disk_bytes / queued.jobs
    table(
        (f"{queued.jobs:,} one-row jobs", ""),
        [
            ["taken in, a second", f"{queued.rate:,.0f}"],
            ["disk while they wait", f"{queued.disk_bytes / 1e6:,.0f} MB"],
            ["  for a job", f"{per_job:,.0f} bytes (a body is {_body_bytes(bodies):,.0f})"],
            ["server's memory with none", f"{alone_mb:.0f} MB"],
            ["  while they wait, at most", f"{queued.resident_mb:.0f} MB"],
            ["  while they are drained, at most", f"{drain_mb:.0f} MB"],
            ["drained, rows a second", f"{drained:,.0f}, {batch:.0f} in a batch"],
            ["engine alone, rows a second", f"{engine:,.0f}"],
            ["predictions online, a second", f"{online:,.0f}"],
        ],
    )
    verdict("drained: of the engine's rows a second", drained / engine, None, at_most=False)
    verdict("drained: of the predictions online", drained / online, None, at_most=False)
    more = max(queued.resident_mb, drain_mb) - alone_mb
    verdict(f"{more:.0f} MB more than with no jobs, of {MOST_MORE_MB:g}", more / MOST_MORE_MB, 1.0, at_most=True)
    return more <= MOST_MORE_MB


def _queue(server: Served, bodies: Path, core: int, scratch: Path, rows: int) -> Queued:
    """Submit jobs until there are as many, and wait until they may begin."""
    route = "/models/cancer/jobs?not_before_s=0"
    probe = _load(server, route.replace("=0", "=1000000"), bodies, core, scratch, 2)
    # Those of the probe are put off for good: only their rate is wanted.
    due = int(time.time() + rows / probe.rate * SLOWER + MARGIN_S)
    jobs, seconds, resident = 0, 0.0, 0.0
    while jobs < rows:
        left_s = max(1, min(LOAD_S, round((rows - jobs) / probe.rate)))
        run = _load(server, route, bodies, core, scratch, left_s, script=PUT_OFF, environment={"DUE": str(due)})
        jobs += round(run.rate * run.seconds)
        seconds += run.seconds
        resident = max(resident, resident_mb(server.pid))
        print(f"   {jobs:>12,} queued, {run.rate:,.0f} a second, {resident:.0f} MB resident", flush=True)
        if time.time() > due:
            raise SystemExit("taking jobs in got slower and slower: they were due before all were there")
        if run.errors:
            raise SystemExit(f"{run.errors} submissions failed")
    disk = sum(path.stat().st_blocks * 512 for path in server.store.iterdir())
    while time.time() < due - 1:
        time.sleep(POLL_S)
        resident = max(resident, resident_mb(server.pid))
    return Queued(jobs, jobs / seconds, resident, disk)


def _drain(server: Served) -> tuple[float, float, float]:
    """Wait until all are scored: rows a second, rows in a batch, the most memory."""
    before = counted_by(server.url)
    times: list[tuple[float, float]] = []
    resident, latest = 0.0, before
    with contextlib.closing(Connection(server.url)) as connection:
        [newest] = json.loads(connection.ask("GET", "/jobs?limit=1", b"", 200))["jobs"]
        while True:
            ended = json.loads(connection.ask("GET", f"/jobs/{newest['id']}", b"", 200))
            resident = max(resident, resident_mb(server.pid))
            latest = counted_by(server.url)
            times.append((time.perf_counter(), latest.rows - before.rows))
            if ended["state"] not in ("queued", "running"):
                break
            time.sleep(POLL_S)
    # Not the first and the last tenth: they may begin within a second of each other.
    all_rows = times[-1][1]
    middle = [one for one in times if 0.1 * all_rows <= one[1] <= 0.9 * all_rows] or times
    first, last = (middle[0], middle[-1]) if len(middle) > 1 else (times[0], times[-1])
    rate = (last[1] - first[1]) / (last[0] - first[0])
    return rate, (latest.rows - before.rows) / (latest.batches - before.batches), resident


def _load(
    server: Served,
    route: str,
    bodies: Path,
    core: int,
    scratch: Path,
    seconds: int,
    *,
    script: str = wrk.SCRIPT,
    environment: dict[str, str] | None = None,
) -> wrk.Run:
    return wrk.load(
        server.url,
        route,
        bodies,
        server.pid,
        core=core,
        connections=CONNECTIONS,
        seconds=seconds,
        scratch=scratch,
        script=script,
        environment=environment,
    )


def _engine_rate(version: mr.Version, bodies: Path, core: int, rows: int) -> float:
    """Rows a second of the engine alone, on one core."""
    command = pinned(core, [sys.executable, "-c", _ENGINE, str(version.path), str(bodies), str(rows)])
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _body_bytes(bodies: Path) -> float:
    lines = bodies.read_bytes().splitlines()
    return sum(map(len, lines)) / len(lines)


if __name__ == "__main__":
    main()
