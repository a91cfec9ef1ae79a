"""What Ray costs a fit: two workers of one core each beside one process, start-up apart.

The same pipeline (imputer, scaler, one-hot, linear regression) fitted by ``mr.fit`` on the same Parquet files. CPU
seconds are those of the process and all below it, raylet and workers included, from when the workers have imported what
they need. Needs Linux::

    python -m benchmarks.fit_ray [--rows 5000000] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Any

from . import scale_data, tables
from .trees import Tree, wait_for

#: How each way calls ``mr.fit``.
WAYS: dict[str, dict[str, Any]] = {
    "one process": {"on": "local", "workers": 1},
    "Ray, two workers": {"on": "ray", "workers": 2},
}


def main(arguments: list[str] | None = None) -> None:
    """Fit both ways, in turns, and print the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_ray", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.way:
        _fit_when_told(given.rows, WAYS[given.way])
        return
    tables.heading(f"mr.fit of {given.rows:,} rows on Ray")
    scale_data.files(given.rows)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(1 if given.quick else given.rounds):
        for way in WAYS:
            found[way].append(_cpu_s(way, given.rows))
    tables.table(["", "CPU s"], [[way, tables.with_noise(seconds, ".1f")] for way, seconds in found.items()])
    one, two = (tables.median(seconds) for seconds in found.values())
    tables.verdict("CPU of two workers on Ray over one process", two / one, 1.25, at_most=True)


def _pipeline() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), list(scale_data.NUMBERS)),
        (OneHotEncoder(handle_unknown="ignore"), list(scale_data.WORDS[:2])),
    )
    return make_pipeline(columns, LinearRegression())


def _fit_when_told(rows: int, options: dict[str, Any]) -> None:
    """In the process under measurement: have everything imported, wait for the word, fit."""
    import monorail as mr

    if options["on"] == "ray":
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    files = [str(path) for path in scale_data.files(rows)]
    # Both workers have imported what they need behind a first, small fit.
    mr.fit(_pipeline(), files[0], target=scale_data.TARGET, quiet=True, filters=[("n00", ">", 3.5)], **options)
    print("ready", flush=True)
    sys.stdin.readline()
    mr.fit(_pipeline(), files, target=scale_data.TARGET, quiet=True, **options)
    print("done", flush=True)
    sys.stdin.readline()


def _cpu_s(way: str, rows: int) -> float:
    """CPU seconds of one fit."""
    command = [sys.executable, "-m", "benchmarks.fit_ray", "--way", way, "--rows", str(rows)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    environment["PYTHONPATH"] = os.getcwd()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        wait_for(process.stdout, "ready")
        tree = Tree(process.pid)
        tree.look()
        before, begun = tree.cpu, time.perf_counter()
        print("go", file=process.stdin, flush=True)
        wait_for(process.stdout, "done")
        tree.look()
        taken = tree.cpu - before
        print(f"   {way}: {taken:.1f} CPU s, {time.perf_counter() - begun:.1f} s", flush=True)
        print("end", file=process.stdin, flush=True)
    return taken


if __name__ == "__main__":
    main()
