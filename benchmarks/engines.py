"""Which engine should run a function of record batches over files: threads or tasks of our own, Daft, Ray Data.

Each reads twelve numbers a row out of 2.5 million rows, computes one and writes it beside one that is passed through,
as Parquet. Each runs in a process of its own; what is reported is the CPU time of that process and of all it started,
from the moment the engine is up, and the most memory they held together (PSS). Needs Linux::

    python -m benchmarks.engines [--rows 2500000] [--engines local,tasks,daft,ray_data,daft_ray]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import scale_data
from .trees import Tree, sampled, wait_for

PASSED = "n00"
_WEIGHTS = np.linspace(-1, 1, len(scale_data.NUMBERS))


def function(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The work: a weighted sum of twelve numbers, null as zero, through a curve."""
    total = np.zeros(batch.num_rows)
    for name, weight in zip(scale_data.NUMBERS, _WEIGHTS, strict=True):
        total += weight * pc.fill_null(batch.column(name), 0.0).to_numpy(zero_copy_only=False)
    return pa.RecordBatch.from_arrays([batch.column(PASSED), pa.array(np.tanh(total))], names=[PASSED, "answer"])


def local(files: list[str], out: str) -> Callable[[], None]:
    """Threads of this process."""
    from monorail.data.source import open_source
    from monorail.executors import open_executor

    executor = open_executor("local", 2)
    list(executor.map(_ready, range(2), shared=files))

    def work() -> None:
        with executor, open_source(files) as source:
            list(executor.map(_part, enumerate(source.fragments), shared=out))

    return work


def tasks(files: list[str], out: str) -> Callable[[], None]:
    """Tasks of our own on Ray."""
    from monorail.data.source import open_source
    from monorail.executors import open_executor

    executor = open_executor("ray", 2)
    list(executor.map(_ready, range(4), shared=files))

    def work() -> None:
        with open_source(files) as source:
            list(executor.map(_part, enumerate(source.fragments), shared=out))

    return work


def daft_native(files: list[str], out: str) -> Callable[[], None]:
    """Daft's own engine."""
    import daft

    struct = daft.DataType.struct({PASSED: daft.DataType.float64(), "answer": daft.DataType.float64()})

    @daft.func.batch(return_dtype=struct)
    def mapped(*columns: Any) -> pa.Array:
        arrays = [column.to_arrow() for column in columns]
        batch = function(pa.RecordBatch.from_arrays(arrays, names=list(scale_data.NUMBERS)))
        return batch.to_struct_array()

    # An engine that is up, as the others are.
    few = daft.from_pydict({name: [0.0] for name in scale_data.NUMBERS})
    few.select(mapped(*[daft.col(name) for name in scale_data.NUMBERS])).collect()

    def work() -> None:
        frame = daft.read_parquet(files)
        found = frame.select(mapped(*[daft.col(name) for name in scale_data.NUMBERS]).alias("found"))
        found.select(*[daft.col("found").get(name).alias(name) for name in (PASSED, "answer")]).write_parquet(out)

    return work


def daft_ray(files: list[str], out: str) -> Callable[[], None]:
    """Daft on Ray."""
    import daft
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    daft.set_runner_ray()
    return daft_native(files, out)


def ray_data(files: list[str], out: str) -> Callable[[], None]:
    """Ray Data."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def mapped(table: pa.Table) -> pa.Table:
        return pa.Table.from_batches([function(batch) for batch in table.to_batches()])

    # Workers that are up and have imported what they need, as for the others.
    table = pa.table({name: np.zeros(4) for name in scale_data.NUMBERS})
    ray.data.from_arrow([table] * 4).map_batches(mapped, batch_format="pyarrow").materialize()

    def work() -> None:
        dataset = ray.data.read_parquet(files, columns=list(scale_data.NUMBERS))
        dataset.map_batches(mapped, batch_format="pyarrow", batch_size=65_536).write_parquet(out)

    return work


ENGINES = {"local": local, "tasks": tasks, "daft": daft_native, "ray_data": ray_data, "daft_ray": daft_ray}


def _part(out: str, item: tuple[int, Any]) -> None:
    """One fragment to one file."""
    number, fragment = item
    schema = pa.schema({PASSED: pa.float64(), "answer": pa.float64()})
    with pq.ParquetWriter(f"{out}/part-{number:05}.parquet", schema, use_dictionary=False) as writer:
        for batch in fragment.batches(list(scale_data.NUMBERS)):
            writer.write_batch(function(batch))


def _ready(files: list[str], item: int) -> None:
    """Have the worker import what it needs and read a little, before the clock starts."""
    from monorail.data.source import open_source

    with open_source(files[:1]) as source:
        function(next(source.fragments[0].batches(list(scale_data.NUMBERS))))


def _engine(name: str, rows: int, out: str) -> None:
    """In the process under measurement: get ready, wait for the word, work."""
    work = ENGINES[name]([str(path) for path in scale_data.files(rows)], out)
    print("ready", flush=True)
    sys.stdin.readline()
    work()
    print("done", flush=True)
    sys.stdin.readline()


def measure(name: str, rows: int) -> dict[str, float]:
    """Run one engine in a process of its own.

    Returns:
        ``cpu_s``, ``wall_s``, ``pss_mb``, and ``start_s`` of CPU before the work.
    """
    with tempfile.TemporaryDirectory(prefix="engines-") as out:
        command = [sys.executable, "-m", "benchmarks.engines", "--in-process", name, "--rows", str(rows), "--out", out]
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "DAFT_PROGRESS_BAR": "0", "DO_NOT_TRACK": "true"}
        environment |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONPATH": os.getcwd()}
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
            with sampled(tree):
                print("go", file=process.stdin, flush=True)
                wait_for(process.stdout, "done")
                wall = time.perf_counter() - begun
            print("end", file=process.stdin, flush=True)
        found = sum(pq.read_metadata(path).num_rows for path in Path(out).rglob("*.parquet"))
        if found != rows:
            raise RuntimeError(f"{name} wrote {found} rows of {rows}")
    return {"cpu_s": tree.cpu - before, "wall_s": wall, "pss_mb": tree.peak / 2**20, "start_s": before}


def main(arguments: list[str] | None = None) -> None:
    """Measure them and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--in-process", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.in_process:
        _engine(given.in_process, given.rows, given.out)
        return
    scale_data.files(given.rows)
    print(f"{given.rows:,} rows; the best of {1 if given.quick else given.rounds} rounds")
    print(f"{'engine':10} {'CPU s':>8} {'wall s':>8} {'PSS MB':>8} {'CPU s to start':>16} {'of local':>9}")
    first = None
    for name in given.engines.split(","):
        rounds = [measure(name, given.rows) for _ in range(1 if given.quick else given.rounds)]
        best = min(rounds, key=lambda found: found["cpu_s"])
        first = first or best["cpu_s"]
        print(
            f"{name:10} {best['cpu_s']:8.2f} {best['wall_s']:8.2f} {best['pss_mb']:8.0f} {best['start_s']:16.1f} "
            f"{best['cpu_s'] / first:8.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
