"""How soon a server is ready, how much memory it holds, and how long `import monorail` takes, with the flights model.

Each beside its limit, and beside what Python or ONNX Runtime needs alone: an empty program, and a program that does no
more than load the same graph.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence

import monorail as mr
from monorail.cli.bench import json_bodies

from .models import flights_bundle
from .processes import first_line, monorail, resident_mb, running
from .tables import heading, median, table, verdict, with_noise

MOST_READY_S = 1.0
MOST_RESIDENT_MB = 150.0
MOST_IMPORT_MS = 150.0

#: Imports in a fresh interpreter, timed from inside.
_IMPORT = "import time; started = time.perf_counter(); import monorail; print((time.perf_counter() - started) * 1000)"
#: The least a Python server of this graph would have to do: says so, then waits to be stopped.
_BARE = (
    "import sys, onnxruntime; "
    "session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider']); "
    "print('loaded', flush=True); sys.stdin.read()"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    options = parser.parse_args(arguments)
    rounds = 2 if options.quick else options.rounds
    heading(f"from start to ready, memory and import, {rounds} rounds")
    version = flights_bundle()
    serving, bare, imports, empty, resident, alone = [], [], [], [], [], []
    for _ in range(rounds):
        seconds, megabytes = _serve(version)
        serving.append(seconds)
        resident.append(megabytes)
        seconds, megabytes = _bare(version)
        bare.append(seconds)
        alone.append(megabytes)
        imports.append(float(_python(_IMPORT)[1]))
        empty.append(_python("pass")[0] * 1000)
    rows = [
        ["monorail serve flights: ready", f"{with_noise(serving, '.3f')} s", f"{MOST_READY_S:g} s"],
        ["  Python, onnxruntime and the graph: loaded", f"{with_noise(bare, '.3f')} s", ""],
        ["monorail serve flights: resident", f"{with_noise(resident, '.0f')} MB", f"{MOST_RESIDENT_MB:g} MB"],
        ["  Python, onnxruntime and the graph: resident", f"{with_noise(alone, '.0f')} MB", ""],
        ["import monorail", f"{with_noise(imports, '.1f')} ms", f"{MOST_IMPORT_MS:g} ms"],
        ["  python -c pass, whole", f"{with_noise(empty, '.1f')} ms", ""],
    ]
    table(("", "median", "limit"), rows)
    verdict("ready, of its limit", median(serving) / MOST_READY_S, 1.0, at_most=True)
    verdict("memory, of its limit", median(resident) / MOST_RESIDENT_MB, 1.0, at_most=True)
    verdict("import, of its limit", median(imports) / MOST_IMPORT_MS, 1.0, at_most=True)
    print(f"   ready takes {statistics.median(serving) / statistics.median(bare):.2f} times the bare program's time")


def _serve(version: mr.Version) -> tuple[float, float]:
    """Seconds from a server's start until it is ready, and the MB it holds once it has answered."""
    started = time.perf_counter()
    with running(monorail("serve", str(version.path), "--port", "0")) as process:
        url = first_line(process)
        seconds = time.perf_counter() - started
        [body] = json_bodies(version.golden_inputs().slice(0, 1), 1)
        for _ in range(100):
            request = urllib.request.Request(f"{url}/models/flights/predict", body)
            request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
        return seconds, resident_mb(process.pid)


def _bare(version: mr.Version) -> tuple[float, float]:
    """Seconds until a bare program has loaded the graph, and the MB it holds then."""
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _BARE, str(version.path / "graph.onnx")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        first_line(process)
        seconds = time.perf_counter() - started
        megabytes = resident_mb(process.pid)
        process.communicate()
        return seconds, megabytes


def _python(code: str) -> tuple[float, str]:
    """Seconds that a fresh interpreter takes for some code, and what it prints."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    main()
