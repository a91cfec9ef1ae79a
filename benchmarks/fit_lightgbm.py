"""Fitting a pipeline with LightGBM: ``mr.fit`` beside LightGBM on ready Arrow columns, and beside the usual pandas way.

Scaler, one-hot and LightGBM over ten million rows of Parquet. "Ready" columns are what scaler and one-hot make of those
rows, in an Arrow file that is mapped into memory: LightGBM's own work and nothing else. The pandas way is
``pandas.read_parquet`` and ``pipeline.fit``. Each runs in a process of its own; CPU seconds of both cores, peak of
resident memory::

    python -m benchmarks.fit_lightgbm [--rows 2_500_000] [--trees 100] [--threads 1] [--ways ours ready]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import scale_data, tables

COLUMNS = [*scale_data.NUMBERS, *scale_data.WORDS[:3]]
#: Rows that the ready columns are made of at a time.
PIECE = 250_000


def main(arguments: list[str] | None = None) -> None:
    """Run each way over the same rows and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_lightgbm", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one file and ten trees")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="LightGBM's")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--way", choices=["prepare", *WAYS], help=argparse.SUPPRESS)
    parser.add_argument("--ready", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.quick:
        given.rows, given.trees = scale_data.FILE_ROWS, 10
    if given.way:
        print(json.dumps(_measured(given)))
        return
    tables.heading(f"fit of scaler + one-hot + LightGBM, {given.rows:,} rows, {given.trees} trees")
    with tempfile.TemporaryDirectory(dir=scale_data.files(1)[0].parent) as folder:
        given.ready = str(Path(folder) / "ready.arrow")
        if "ready" in given.ways:
            _child("prepare", given)
        found = {way: _child(way, given) for way in given.ways}
    cells = [
        [WAYS[way][0], f"{f['cpu_s']:.1f}", f"{f['wall_s']:.1f}", f"{f['peak_mb']:,.0f}", f"{f['auc']:.4f}"]
        for way, f in found.items()
    ]
    tables.table(["", "CPU s", "wall s", "peak MB", "AUC"], cells)
    if {"ours", "ready"} <= found.keys():
        ratio = found["ours"]["cpu_s"] / found["ready"]["cpu_s"]
        tables.verdict("CPU of mr.fit over LightGBM on ready columns", ratio, 1.1, at_most=True)
    if {"ours", "pandas"} <= found.keys():
        ratio = found["ours"]["peak_mb"] / found["pandas"]["peak_mb"]
        tables.verdict("peak memory of mr.fit over the pandas way", ratio, 0.5, at_most=True)


def _child(way: str, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.fit_lightgbm", "--way", way, "--ready", given.ready]
    sizes = ["--rows", str(given.rows), "--trees", str(given.trees), "--threads", str(given.threads)]
    done = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(given: argparse.Namespace) -> dict[str, float]:
    """What a way costs, imports apart; and how good its model is, so that none has done less."""
    import lightgbm  # noqa: F401 - imports are not what is measured
    import sklearn.metrics

    import monorail  # noqa: F401

    if given.way == "prepare":
        _prepare(given)
        return {}
    use = resource.getrusage(resource.RUSAGE_SELF)
    cpu, wall = use.ru_utime + use.ru_stime, time.perf_counter()
    model: Any = WAYS[given.way][1](given)
    use, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - wall
    found = {"cpu_s": use.ru_utime + use.ru_stime - cpu, "wall_s": wall, "peak_mb": use.ru_maxrss / 1024}
    if given.way == "ready":
        with pa.memory_map(given.ready) as file:
            piece = pa.ipc.open_file(file).get_batch(0)
        judged: Any = pa.table([*piece.columns[:-1]], names=piece.schema.names[:-1])
        target = piece.column(piece.num_columns - 1)
    else:
        piece = _piece(0)
        judged, target = piece[COLUMNS], pa.array(piece[scale_data.TARGET])
    probability = model.predict_proba(judged)[:, 1]
    return found | {"auc": float(sklearn.metrics.roc_auc_score(target.to_numpy(), probability))}


def _pipeline(given: argparse.Namespace) -> Any:
    from lightgbm import LGBMClassifier
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    prepare = make_column_transformer(
        (StandardScaler(), list(scale_data.NUMBERS)),
        (OneHotEncoder(handle_unknown="ignore", max_categories=50), list(scale_data.WORDS[:3])),
    )
    return make_pipeline(prepare, LGBMClassifier(n_estimators=given.trees, n_jobs=given.threads, verbose=-1))


def _piece(number: int) -> Any:
    """Some of the rows, as pandas."""
    each = scale_data.FILE_ROWS // PIECE
    path = scale_data.files(scale_data.FILE_ROWS * (number // each + 1))[-1]
    return pq.ParquetFile(path).read_row_group(number % each, columns=[*COLUMNS, scale_data.TARGET]).to_pandas()


def _prepare(given: argparse.Namespace) -> None:
    """Write the ready columns: the scaled numbers, each category as 0 or 1, the target."""
    first = _piece(0)
    prepare = _pipeline(given)[0].fit(first[COLUMNS])
    names = [name.replace(" ", "_") for name in prepare.get_feature_names_out()]
    kinds = [pa.float64()] * len(scale_data.NUMBERS) + [pa.int8()] * (len(names) - len(scale_data.NUMBERS))
    schema = pa.schema([*zip(names, kinds, strict=True), (scale_data.TARGET, pa.int8())])
    with pa.OSFile(given.ready, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for number in range(given.rows // PIECE):
            piece = _piece(number)
            made = prepare.transform(piece[COLUMNS]).tocsc()
            columns = [
                pa.array(made[:, [place]].toarray()[:, 0].astype(kind.to_pandas_dtype()), from_pandas=True)
                for place, kind in enumerate(kinds)
            ]
            writer.write_batch(pa.record_batch([*columns, pa.array(piece[scale_data.TARGET])], schema=schema))


def _ours(given: argparse.Namespace) -> Any:
    """``mr.fit`` from the Parquet files."""
    import monorail as mr

    files = [str(path) for path in scale_data.files(given.rows)]
    model = mr.fit(_pipeline(given), files, target=scale_data.TARGET, quiet=True)
    print(model.fit_report_, file=sys.stderr)
    return model


def _ready(given: argparse.Namespace) -> Any:
    """LightGBM alone, on ready columns."""
    with pa.memory_map(given.ready) as file:
        table = pa.ipc.open_file(file).read_all()
    target = table.column(scale_data.TARGET).to_numpy().astype(np.float32)
    return _pipeline(given)[-1].fit(table.drop_columns([scale_data.TARGET]), target)


def _pandas(given: argparse.Namespace) -> Any:
    """The usual way."""
    import pandas as pd

    files = [str(path) for path in scale_data.files(given.rows)]
    rows = pd.concat([pd.read_parquet(path, columns=[*COLUMNS, scale_data.TARGET]) for path in files])
    return _pipeline(given).fit(rows[COLUMNS], rows[scale_data.TARGET])


#: What each is called, and what runs it.
WAYS = {
    "ours": ("mr.fit", _ours),
    "ready": ("LightGBM on ready Arrow columns", _ready),
    "pandas": ("pandas and pipeline.fit", _pandas),
}


if __name__ == "__main__":
    main()
