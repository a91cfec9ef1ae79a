"""`Model.predict` on 336,776 flights beside ONNX Runtime alone on arrays that are ready for it.

Monorail gets an Arrow table and gives one back: it checks every value, brings the columns into the graph's form, and
makes Arrow of the answers. The rival is the same graph in the same runtime, called from Python with NumPy arrays that
were made before the clock started: in one call for all rows, and in calls of as many rows as Monorail gives it. The
faster of the two is what Monorail is compared with. Once with one thread each, once with what each does by itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import monorail as mr
from monorail.cli.demo import flights

from .models import flights_bundle
from .tables import heading, median, table, verdict, with_noise

MOST_OF_RUNTIME = 1.15
#: Rows of one call, where there is more than one.
CALL_ROWS = 1_024
OUTPUTS = ["label", "probability"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict_flights", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    options = parser.parse_args(arguments)
    rounds = 2 if options.quick else options.rounds
    heading(f"Model.predict on 336,776 flights, beside bare ONNX Runtime, {rounds} rounds")
    version = flights_bundle()
    frame = flights.read_flights()[flights.COLUMNS]
    question = pa.Table.from_pandas(frame, preserve_index=False)
    arrays = ready_arrays(version, frame)
    for words, threads in (("one thread", 1), ("default threads", 0)):
        model, session = mr.load(version, threads=threads), bare_session(version, threads)

        def ours(model: mr.Model = model) -> Any:
            return model.predict(question)

        def whole(session: Any = session) -> Any:
            return session.run(OUTPUTS, arrays)

        def parts(session: Any = session) -> Any:
            return in_parts(session, arrays, len(frame))

        _check(ours(), whole())
        _check(ours(), parts())
        names = ("Model.predict", "bare, one call", f"bare, {CALL_ROWS:,} rows a call")
        times = in_turn(dict(zip(names, (ours, whole, parts), strict=True)), rounds)
        rows = [
            [name, with_noise(seconds, ".3f"), f"{len(frame) / median(seconds):,.0f}"]
            for name, seconds in times.items()
        ]
        table((words, "seconds", "rows/s"), rows)
        mine, *bare = (median(times[name]) for name in names)
        verdict(f"time of bare ONNX Runtime's, {words}", mine / min(bare), MOST_OF_RUNTIME, at_most=True)


def in_parts(session: Any, arrays: dict[str, np.ndarray], rows: int) -> list[np.ndarray]:
    """The answers for all rows, a few at a time."""
    answers = [
        session.run(OUTPUTS, {name: array[start : start + CALL_ROWS] for name, array in arrays.items()})
        for start in range(0, rows, CALL_ROWS)
    ]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def ready_arrays(version: mr.Version, frame: Any) -> dict[str, np.ndarray]:
    """The graph's inputs for all rows, as the bundle's stage describes them."""
    kinds = {"string": np.dtype(object), "float64": np.dtype(np.float64), "int64": np.dtype(np.int64)}
    inputs = version.manifest["stages"][0]["inputs"]
    return {
        entry["name"]: np.ascontiguousarray(frame[entry["columns"]].to_numpy(dtype=kinds[entry["type"]]))
        for entry in inputs
    }


def bare_session(version: mr.Version, threads: int) -> Any:
    """The graph in ONNX Runtime's own Python interface; 0 threads is what it does by itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    graph = str(version.path / version.manifest["stages"][0]["graph"])
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turn so that a disturbance meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def _check(ours: pa.Table, bare: Sequence[np.ndarray]) -> None:
    """See that both did the same work."""
    labels = ours["label"].to_numpy()
    probabilities = ours["probability"].combine_chunks().flatten().to_numpy().reshape(len(labels), -1)
    if not np.array_equal(labels, bare[0].ravel()) or not np.allclose(probabilities, bare[1], rtol=0, atol=1e-9):
        raise SystemExit("Model.predict and bare ONNX Runtime disagree")


if __name__ == "__main__":
    main()
