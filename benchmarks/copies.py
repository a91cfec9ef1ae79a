"""How many times a value is written between a file and its prediction, on each road: counted in the processes' memory.

A Parquet file has numbers in it that stand nowhere else. A process takes one road, and stops with everything it has
freed still in its heap; then the memory of its whole tree is searched for those numbers. Each place where one is found
is a copy; the compressed pages of the file do not count. Memory that was used again shows less, so a count is a lower
bound::

    python -m benchmarks.copies [ROAD...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import tables

ROWS = 20_000
#: Rows whose first column holds a number that stands nowhere else: apart, since memory is used again in parts.
MARKED = range(500, ROWS, 1_000)
#: Bytes that are searched at once.
PIECE = 1 << 26
#: What keeps freed memory as it was: one heap, nothing given back, nothing overwritten.
KEEPING = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
}


def main(arguments: list[str] | None = None) -> None:
    """Take each road and print how many copies were found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copies", description=__doc__)
    parser.add_argument("roads", nargs="*", help=f"of {', '.join(ROADS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="changes nothing: it is quick")
    parser.add_argument("--take", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.take:
        held = ROADS[given.take](Path.cwd())
        print("there", flush=True)
        sys.stdin.read()
        del held
        return
    tables.heading("copies of a value from file to prediction")
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        rows = [[road, f"{_copies(road, Path(folder))}"] for road in given.roads or ROADS]
    tables.table(["road", "copies"], rows)


def _marks() -> np.ndarray:
    """The numbers that stand nowhere else: alike but for their lowest byte, so that one search finds them all."""
    first = int(np.float64(0.123456789).view(np.uint64)) & ~0xFF
    return (np.uint64(first) + np.arange(len(MARKED), dtype=np.uint64)).view(np.float64)


def _prepare(folder: Path) -> None:
    """Write the file and the model, in a process that is not searched."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import monorail as mr

    values = np.random.default_rng(0).normal(size=(ROWS, 4))
    values[list(MARKED), 0] = _marks()
    table = pa.table({name: values[:, place] for place, name in enumerate("abcd")})
    pq.write_table(table, folder / "rows.parquet", use_dictionary=False, compression="snappy")
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    frame = table.to_pandas()
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(frame, values.sum(axis=1))
    mr.save(model, "sum", example=frame.head(200), registry=folder / "registry", quiet=True)


def _copies(road: str, folder: Path) -> int:
    """The most places, among the marked rows, that hold a row's number; what holds for an eighth of them at least."""
    command = [sys.executable, "-m", "benchmarks.copies", "--take", road]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    taking = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **KEEPING, "PYTHONPATH": path, "PYSPARK_PYTHON": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    if taking.stdin is None or taking.stdout is None:
        raise SystemExit("the road's process has no pipes")
    with taking:
        if not any(line.strip() == "there" for line in iter(taking.stdout.readline, "")):
            raise SystemExit(f"{road}: the road did not end")
        counts = dict.fromkeys((mark.tobytes() for mark in _marks()), 0)
        for process in _tree(taking.pid):
            _search(process, counts)
        taking.stdin.close()
    return sorted(counts.values())[-len(counts) // 8]


def _tree(session: int) -> list[int]:
    """Every process of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            found.append(int(stat.parent.name))
    return found


def _search(process: int, counts: dict[bytes, int]) -> None:
    """Count each mark in a process's own memory: what is mapped from a file is the file, not a copy."""
    alike = next(iter(counts))[1:]
    maps = Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines()
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("rw") or fields[4] != "0":
                continue
            start, end = (int(place, 16) for place in fields[0].split("-"))
            for first in range(start, end, PIECE):
                try:
                    memory.seek(first)
                    content = memory.read(min(PIECE, end - first))
                except (OSError, OverflowError, ValueError):  # a page that nobody may read
                    continue
                at = content.find(alike, 1)
                while at > 0:
                    mark = content[at - 1 : at + 7]
                    counts[mark] = counts.get(mark, 0) + 1
                    at = content.find(alike, at + 7)


def _file(folder: Path) -> Any:
    """Reading alone: the file's pages, and the columns."""
    import pyarrow.parquet as pq

    return pq.read_table(folder / "rows.parquet", use_threads=False, memory_map=True)


def _predict(folder: Path) -> Any:
    """``Model.predict`` over a mapped Arrow file."""
    import pyarrow as pa

    import monorail as mr

    table = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow"))).read_all()
    return table, mr.load("sum", registry=folder / "registry", threads=1).predict(table)


def _pandas(folder: Path) -> Any:
    """``Model.predict`` over a pandas frame of a Parquet file."""
    import pandas as pd

    import monorail as mr

    frame = pd.read_parquet(folder / "rows.parquet")
    return frame, mr.load("sum", registry=folder / "registry", threads=1).predict(frame)


def _stream(folder: Path) -> Any:
    """``mr.score`` as a stream."""
    import monorail as mr

    return list(mr.score("sum", folder / "rows.parquet", registry=folder / "registry", workers=1, quiet=True))


def _written(folder: Path) -> Any:
    """``mr.score`` to Parquet."""
    import monorail as mr

    return mr.score(
        "sum", folder / "rows.parquet", out=folder / "out", registry=folder / "registry", workers=1, quiet=True
    )


def _spark(folder: Path) -> Any:
    """``mr.spark.score`` over Spark's own reader."""
    from pyspark.sql import SparkSession

    import monorail as mr

    builder = SparkSession.builder.master("local[1]")  # pyright: ignore[reportAttributeAccessIssue]
    spark = builder.config("spark.ui.enabled", "false").config("spark.driver.memory", "512m").getOrCreate()
    scored = mr.spark.score(
        spark.read.parquet(str(folder / "rows.parquet")), "sum", columns=[], registry=folder / "registry"
    )
    scored.write.format("noop").mode("overwrite").save()
    return spark


def _frame(folder: Path) -> Any:
    """A frame of pandas, nothing else."""
    import pandas as pd

    return pd.read_parquet(folder / "rows.parquet")


ROADS: dict[str, Callable[[Path], Any]] = {
    "file to Arrow": _file,
    "Arrow file to Model.predict": _predict,
    "file to pandas": _frame,
    "pandas to Model.predict": _pandas,
    "mr.score, stream": _stream,
    "mr.score, Parquet": _written,
    "mr.spark.score": _spark,
}


if __name__ == "__main__":
    main()
