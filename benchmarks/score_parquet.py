"""Scoring Parquet files beside the bare engine, and beside Daft's and Ray Data's own way with the same graph.

The model is a scaler and a one-hot encoder before LightGBM (100 trees of 31 leaves), or LightGBM alone on the twelve
numbers. All read the files, score them and write a number that is passed through and the predictions, as Parquet; the
bare engine is ONNX Runtime alone, on arrays that are ready, on one thread, and writes nothing. Each way is a process of
its own; CPU seconds are those of it and of all it started, from the moment it is up, memory is the most they held
together (PSS). Needs Linux::

    python -m benchmarks.score_parquet [--rows 10000000] [--model pipeline|trees] [--ways bare,monorail,daft]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import scale_data
from .tables import heading, median, table, verdict, with_noise
from .trees import Tree, sampled

PASSED = scale_data.TARGET
WORDS = scale_data.WORDS[:3]
LEAST_OF_BARE = 0.9
MOST_OF_RIVAL = 0.5
MOST_ON_RAY = 1.25
BATCH = 65_536


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_parquet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--model", choices=["pipeline", "trees"], default="pipeline")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--quick", action="store_true", help="one round of 1,250,000 rows, without clusters")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(WAYS[options.child[0]], Path(options.child[1]), options.rows)
    rounds, rows = (1, 1_250_000) if options.quick else (options.rounds, options.rows)
    ways = ["bare", "monorail"] if options.quick else options.ways.split(",")
    heading(f"scoring {rows:,} rows ({options.model}) beside the bare engine, {rounds} rounds")
    scale_data.files(rows)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="monorail-score-") as folder:
        prepare(Path(folder), options.model)
        for _ in range(rounds):
            for way in ways:
                found[way].append(measured(way, folder, rows))
    report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Print what was measured, beside what it is judged by."""
    cpu = {way: [run["cpu_us"] for run in runs] for way, runs in found.items()}
    table(
        ["way", "CPU µs a row", "wall s", "peak MB"],
        [
            [
                way,
                with_noise(cpu[way], ".2f"),
                with_noise([run["wall_s"] for run in runs], ".1f"),
                with_noise([run["mb"] for run in runs], ".0f"),
            ]
            for way, runs in found.items()
        ],
    )
    ours = median(cpu["monorail"]) if "monorail" in cpu else 0.0
    if "bare" in cpu and ours:
        ratio = median(cpu["bare"]) / ours
        verdict("rows per CPU second, of the bare engine's", ratio, LEAST_OF_BARE, at_most=False)
    for rival in ("daft", "ray_data"):
        if rival in cpu and ours:
            verdict(f"CPU, of {rival}'s", ours / median(cpu[rival]), MOST_OF_RIVAL, at_most=True)
    if "monorail_ray" in cpu and ours:
        verdict(
            "CPU of two workers on Ray, of one process's", median(cpu["monorail_ray"]) / ours, MOST_ON_RAY, at_most=True
        )


def measured(way: str, folder: str, rows: int) -> dict[str, float]:
    """What a way took, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.score_parquet", "--rows", str(rows), "--child", way, folder]
    environment = {**os.environ, "DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0", "ORT_DISABLE_TELEMETRY": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        wait_for("ready", process)
        tree = Tree(process.pid)
        tree.look()
        before, begun = tree.cpu, time.perf_counter()
        print(file=process.stdin, flush=True)
        with sampled(tree):
            scored = int(wait_for("done", process))
        wall = time.perf_counter() - begun
        print(file=process.stdin, flush=True)
    return {"cpu_us": (tree.cpu - before) / scored * 1e6, "wall_s": wall, "mb": tree.peak / 1e6}


def wait_for(word: str, process: subprocess.Popen[str]) -> str:
    """What a child says behind a word, once it says it."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise SystemExit(f"ended before it was {word}: {process.args}")


def child(way: Callable[[Path, list[str]], Callable[[], int]], folder: Path, rows: int) -> None:
    """In the process under measurement: get ready, wait for the word, work."""
    files = [str(path) for path in scale_data.files(rows)]
    work = way(folder, files)
    print("ready", flush=True)
    sys.stdin.readline()
    print("done", work(), flush=True)
    sys.stdin.readline()


def prepare(folder: Path, model: str) -> None:
    """Fit and save the model, and lay its graph aside for the others."""
    import lightgbm
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    import monorail as mr

    sample = pq.ParquetFile(scale_data.files(1)[0]).read_row_group(0).to_pandas().head(100_000)
    trees = lightgbm.LGBMClassifier(n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1)
    columns = list(scale_data.NUMBERS)
    if model == "pipeline":
        columns += WORDS
        encode = OneHotEncoder(handle_unknown="ignore", max_categories=50)
        trees = make_pipeline(
            make_column_transformer((StandardScaler(), list(scale_data.NUMBERS)), (encode, list(WORDS))), trees
        )
    trees.fit(sample[columns], sample[PASSED])
    example = sample[columns].head(5_000)
    version = mr.save(trees, "late", example=example, nullable=True, registry=folder / "registry", quiet=True)
    graph, _ = version.export(folder / "graph.onnx", format="onnx")
    assert graph.exists()
    (folder / "inputs.json").write_text(json.dumps(version.manifest["stages"][0]["inputs"]))


class Bare:
    """ONNX Runtime alone, as its users write it."""

    def __init__(self, folder: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(f"{folder}/graph.onnx", options)
        self.inputs = json.loads(Path(f"{folder}/inputs.json").read_text())
        self.columns = [name for each in self.inputs for name in each.get("columns", ())]

    def feeds(self, batch: pa.RecordBatch | pa.Table) -> dict[str, np.ndarray]:
        """The graph's inputs of a batch."""
        ready = {}
        for each in self.inputs:
            arrays = [batch.column(name) for name in each.get("columns", [each.get("valid")])]
            if each["type"] == "string":
                columns = [array.fill_null("").to_numpy(zero_copy_only=False) for array in arrays]
            elif each["type"] == "bool":
                columns = [array.is_valid().to_numpy(zero_copy_only=False) for array in arrays]
            else:
                columns = [array.to_numpy(zero_copy_only=False) for array in arrays]
            ready[each["name"]] = np.column_stack(columns)
        shapes = {each.name: len(each.shape) for each in self.session.get_inputs()}
        return {name: values if shapes[name] == 2 else values[:, 0] for name, values in ready.items()}

    def run(self, feeds: dict[str, np.ndarray]) -> list[Any]:
        """Label and probability."""
        return list(self.session.run(["label", "probability"], feeds))


def bare(folder: Path, files: list[str]) -> Callable[[], int]:
    """The bare engine, on arrays of one file that are ready."""
    engine = Bare(str(folder))
    rows = pq.read_table(files[0], columns=engine.columns).combine_chunks().to_batches()[0].slice(0, 500_000)
    ready = [engine.feeds(rows.slice(first, 16_384)) for first in range(0, len(rows), 16_384)]

    def work() -> int:
        for _ in range(3):
            for feeds in ready:
                engine.run(feeds)
        return 3 * len(rows)

    return work


def monorail(folder: Path, files: list[str], *, on: str = "local", workers: int = 1) -> Callable[[], int]:
    """Ours: one process, one thread; or tasks on Ray."""
    import importlib

    import monorail as mr

    options: dict[str, Any] = {"registry": folder / "registry", "columns": [PASSED], "quiet": True, "on": on}
    if on == "ray":
        import ray

        # Workers that are up and have imported what they need, as for the others.
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    warm = pq.ParquetFile(files[0]).read_row_group(0).slice(0, 1_000)
    warmed = f"{folder}/warm-{os.getpid()}"
    mr.score("late", warm, out=warmed, workers=workers, **options)
    assert importlib.import_module("monorail.score.run")
    out = f"{folder}/out-{os.getpid()}"
    return lambda: mr.score("late", files, out=out, workers=workers, **options).rows


def monorail_ray(folder: Path, files: list[str]) -> Callable[[], int]:
    """Ours on Ray, two workers of one core each."""
    return monorail(folder, files, on="ray", workers=2)


def daft(folder: Path, files: list[str]) -> Callable[[], int]:
    """Daft's own way: a class whose method takes columns."""
    import daft

    struct = daft.DataType.struct({"label": daft.DataType.int64(), "p": daft.DataType.float64()})
    names = Bare(str(folder)).columns

    @daft.cls(max_concurrency=1)
    class Scorer:
        def __init__(self) -> None:
            self.engine = Bare(str(folder))

        @daft.method.batch(return_dtype=struct, batch_size=BATCH)
        def score(self, *columns: Any) -> pa.Array:
            batch = pa.table([column.to_arrow() for column in columns], names=self.engine.columns)
            label, probability = self.engine.run(self.engine.feeds(batch))
            return pa.StructArray.from_arrays([pa.array(label), pa.array(probability[:, 1])], names=["label", "p"])

    scorer: Any = Scorer()

    def work() -> int:
        frame = daft.read_parquet(files)
        found = frame.select(daft.col(PASSED), scorer.score(*[daft.col(name) for name in names]).alias("found"))
        out = f"{folder}/out-{os.getpid()}"
        found.select(
            PASSED, daft.col("found").get("label").alias("label"), daft.col("found").get("p").alias("p")
        ).write_parquet(out)
        return sum(pq.read_metadata(path).num_rows for path in Path(out).glob("*.parquet"))

    return work


class RayScorer:
    """Ray Data's own way: an actor that is called with tables."""

    def __init__(self, folder: str) -> None:
        self.engine = Bare(folder)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A table with predictions."""
        label, probability = self.engine.run(self.engine.feeds(rows))
        return pa.table({PASSED: rows[PASSED], "label": label, "p": probability[:, 1]})


def ray_data(folder: Path, files: list[str]) -> Callable[[], int]:
    """Ray Data, two cores."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    columns = [*Bare(str(folder)).columns, PASSED]

    def score(paths: list[str], rows: int | None, out: str) -> None:
        dataset = ray.data.read_parquet(paths, columns=columns)
        dataset = dataset.limit(rows) if rows else dataset
        actors = ray.data.ActorPoolStrategy(size=1)
        dataset.map_batches(
            RayScorer, fn_constructor_args=[str(folder)], batch_format="pyarrow", batch_size=BATCH, compute=actors
        ).write_parquet(out)

    score(files[:1], 1_000, f"{folder}/warm-{os.getpid()}")

    def work() -> int:
        out = f"{folder}/out-{os.getpid()}"
        score(files, None, out)
        return sum(pq.read_metadata(path).num_rows for path in Path(out).glob("*.parquet"))

    return work


WAYS = {"bare": bare, "monorail": monorail, "daft": daft, "ray_data": ray_data, "monorail_ray": monorail_ray}

if __name__ == "__main__":
    main()
