"""Scoring with Spark: ``mr.spark.score`` beside a pandas UDF with the pickled pipeline, and ``mr.score`` without Spark.

The same pipeline (scaler, one-hot, LightGBM of 100 trees) over the same Parquet files, to no output (``noop``; a folder
for ``mr.score``). Each runs in a process of its own; CPU seconds are those of its whole tree (JVM and Python workers)
during the job, start-up apart::

    python -m benchmarks.score_spark [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import scale_data, tables

COLUMNS = [*scale_data.NUMBERS, *scale_data.WORDS[:3]]
_TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> None:
    """Run each way over the same files and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_spark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one file instead of two")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    rows = scale_data.FILE_ROWS * (1 if given.quick else 2)
    if given.way:
        print(json.dumps(_measured(WAYS[given.way], Path(given.folder), rows)))
        return
    tables.heading(f"Spark: {rows:,} rows of Parquet, scaler + one-hot + LightGBM")
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        found = {way: _child(way, folder, given.quick) for way in WAYS}
    cells = [[way, f"{f['cpu_s']:.1f}", f"{f['wall_s']:.1f}", f"{rows / f['cpu_s']:,.0f}"] for way, f in found.items()]
    tables.table(["", "CPU s", "wall s", "rows per CPU s"], cells)
    udf, arrow, bare = (found[way]["cpu_s"] for way in WAYS)
    tables.verdict("rows per CPU second, mr.spark.score over the pandas UDF", udf / arrow, 2.0, at_most=False)
    tables.verdict("CPU of mr.score over the pandas UDF", bare / udf, 0.2, at_most=True)


def _child(way: str, folder: str, quick: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.score_spark", "--way", way, "--folder", folder]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        start_new_session=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def _measured(way: Callable[[Path, list[str]], Callable[[], Any]], folder: Path, rows: int) -> dict[str, float]:
    """CPU and wall time of a job, once everything it needs has started."""
    job = way(folder, [str(path) for path in scale_data.files(rows)])
    cpu, wall = _cpu_of_session(), time.perf_counter()
    job()
    return {"cpu_s": _cpu_of_session() - cpu, "wall_s": time.perf_counter() - wall}


def _cpu_of_session() -> float:
    """CPU seconds of every process of this session, with those of children that have ended."""
    mine, total = os.getsid(0), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == mine:
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


def _prepare(folder: Path) -> None:
    """Fit the pipeline once: as a pickle and as a bundle."""
    import lightgbm
    import pyarrow.parquet as pq
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    import monorail as mr

    sample = pq.ParquetFile(scale_data.files(1)[0]).read_row_group(0).to_pandas().head(100_000)
    prepare = make_column_transformer(
        (StandardScaler(), list(scale_data.NUMBERS)),
        (OneHotEncoder(handle_unknown="ignore", max_categories=50), list(scale_data.WORDS[:3])),
    )
    model = make_pipeline(prepare, lightgbm.LGBMClassifier(n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1))
    model.fit(sample[COLUMNS], sample[scale_data.TARGET])
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    mr.save(model, "late", example=sample[COLUMNS].head(5_000), nullable=True, registry=folder / "registry", quiet=True)


def _session() -> Any:
    """A local Spark of two cores, warmed up: its JVM and Python workers run."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]")  # pyright: ignore[reportAttributeAccessIssue]
    spark = builder.config("spark.ui.enabled", "false").config("spark.driver.memory", "2g").getOrCreate()
    spark.range(1_000).repartition(2).mapInArrow(lambda batches: batches, "id long").write.format("noop").mode(
        "overwrite"
    ).save()
    return spark


def _pandas_udf(folder: Path, files: list[str]) -> Callable[[], Any]:
    """The usual way: the pickled pipeline, broadcast, in a pandas UDF over iterators."""
    import pandas as pd
    from pyspark.sql.functions import pandas_udf, struct

    spark = _session()
    packed = spark.sparkContext.broadcast((folder / "model.pkl").read_bytes())

    def predict(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
        model = pickle.loads(packed.value)  # our own bytes
        for batch in batches:
            yield pd.Series(model.predict_proba(batch)[:, 1])

    # Spark reads the types from the hints, which a module with postponed ones has as text.
    predict.__annotations__ = {"batches": Iterator[pd.DataFrame], "return": Iterator[pd.Series]}
    udf = pandas_udf(predict, "double")  # pyright: ignore[reportCallIssue, reportArgumentType]
    scored = spark.read.parquet(*files).select(udf(struct(*COLUMNS)).alias("probability"))
    return lambda: scored.write.format("noop").mode("overwrite").save()


def _arrow(folder: Path, files: list[str]) -> Callable[[], Any]:
    """``mr.spark.score``."""
    import monorail as mr

    spark = _session()
    scored = mr.spark.score(spark.read.parquet(*files), "late", columns=[], registry=folder / "registry")
    return lambda: scored.write.format("noop").mode("overwrite").save()


def _alone(folder: Path, files: list[str]) -> Callable[[], Any]:
    """``mr.score``, to Parquet."""
    import monorail as mr

    return lambda: mr.score("late", files, out=folder / "out", registry=folder / "registry", quiet=True)


WAYS: dict[str, Callable[[Path, list[str]], Callable[[], Any]]] = {
    "pandas UDF, pickled pipeline": _pandas_udf,
    "mr.spark.score": _arrow,
    "mr.score": _alone,
}


if __name__ == "__main__":
    main()
