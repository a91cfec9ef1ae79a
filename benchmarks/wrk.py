"""One load by wrk: a thread of its own core, bodies that vary with every request."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from .processes import cpu_seconds, pinned

#: How long after its start, and before its end, a load is not looked at: wrk is warming up or leaving.
MARGIN_S = 0.2

SCRIPT = """
local requests, i = {}, 0
function init()
  local headers = {["Content-Type"] = "application/json", ["Host"] = "127.0.0.1"}
  for line in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", os.getenv("ROUTE"), headers, line)
  end
end
function request()
  i = i % #requests + 1
  return requests[i]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %f %d %f %f %f\\n", summary.requests / (summary.duration / 1e6),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.duration / 1e6))
end
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """What one load found.

    Attributes:
        rate: Requests a second.
        errors: Requests that failed.
        p50_ms: Half of all requests were answered within this time.
        p99_ms: 99 of 100 were.
        seconds: How long it took.
        server_busy: Share of a core that the server used meanwhile, 0 to 1.
        generator_busy: The same of wrk.
    """

    rate: float
    errors: int
    p50_ms: float
    p99_ms: float
    seconds: float
    server_busy: float
    generator_busy: float


def load(
    url: str,
    route: str,
    bodies: Path,
    server: int,
    *,
    core: int,
    connections: int,
    seconds: int,
    scratch: Path,
    script: str = SCRIPT,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Load a server.

    Args:
        url: ``http://HOST:PORT``.
        route: Path that predictions are posted to.
        bodies: File of JSON bodies, one a line.
        server: Process to watch.
        core: Core that wrk is kept to.
        connections: Connections kept alive, each with one request at a time.
        seconds: How long.
        scratch: Folder for the script.
        script: What wrk runs.
        environment: More of the environment for it.
    """
    file = scratch / "load.lua"
    file.write_text(script, encoding="ascii")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(file)]
    wrk = subprocess.Popen(
        pinned(core, ["wrk", *options, url]),
        env={**os.environ, "BODIES": str(bodies), "ROUTE": route, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(MARGIN_S)
    first = (time.perf_counter(), cpu_seconds(server), cpu_seconds(wrk.pid))
    time.sleep(seconds - 2 * MARGIN_S)
    last = (time.perf_counter(), cpu_seconds(server), cpu_seconds(wrk.pid))
    output, _ = wrk.communicate()
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if not found:
        raise SystemExit(f"wrk failed: {output}")
    rate, errors, p50, p99, took = (float(word) for word in found[1].split())
    wall = last[0] - first[0]
    return Run(rate, int(errors), p50, p99, took, (last[1] - first[1]) / wall, (last[2] - first[2]) / wall)
