"""Rows per second of trees on one thread: our engine, ONNX Runtime with the same graph, the framework's own predict.

Ours gets an Arrow record batch, checks its values and gives Arrow back; ONNX Runtime gets NumPy arrays that are ready,
all rows in one call, and so does the framework (a data frame where it has text). CPU seconds, since wall times are
noisy; a ratio over 1 means that ours has more rows per second. The last column says whether ours answers as ONNX
Runtime does, bit for bit. What a call costs beside the trees is in it: for few rows, that is the way through Arrow and
back::

    python -m benchmarks.tree_engine [--models lightgbm,forest] [--rows 1,1024]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

import monorail as mr
from monorail import _core
from monorail.engine import runtime_library

from .predict_flights import bare_session
from .tables import heading, median, noise, table

#: Rows that models are fitted on.
FITTED = 20_000
ROWS = (1, 16, 1_024, 65_536)
#: Seconds that the calls of one round take at least, and how many there are at most.
LEAST_SECONDS = 0.02
MOST_CALLS = 500
NUMBERS = tuple(f"n{place:02}" for place in range(20))
WORDS = {"carrier": 12, "region": 200}
_TYPES = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "string": np.object_, "bool": np.bool_}

Predict = Callable[[Any], Any]


@dataclass
class Fitted:
    """A model, what it reads of the rows, and how its framework predicts with one thread."""

    model: Any
    columns: list[str]
    predict: Predict
    #: What the framework is given of a frame.
    ready: Predict = pd.DataFrame.to_numpy
    #: What it was fitted on, where that was not plain columns.
    typed: Predict = pd.DataFrame.copy


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree_engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="rows of a call")
    parser.add_argument("--quick", action="store_true", help="one round, of calls with at most 1,024 rows")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else options.rounds
    sizes = [size for size in map(int, options.rows.split(",")) if size <= 1_024 or not options.quick]
    heading(f"trees on one thread, {rounds} rounds")
    frame, target = rows(FITTED, seed=0)
    fresh, _ = rows(max(sizes), seed=1)
    lines = []
    with tempfile.TemporaryDirectory(prefix="monorail-trees-") as registry, warnings.catch_warnings():
        # scikit-learn minds that arrays have no names.
        warnings.simplefilter("ignore")
        for name in options.models.split(","):
            fitted = MODELS[name](frame, target)
            lines += measured(name, fitted, frame, fresh, sizes, rounds, Path(registry))
    head = ("model", "rows a call", "ours rows/s", "ONNX Runtime's", "framework's", "ours/ORT", "ours/framework")
    table((*head, "±", "bits"), lines)


def measured(
    name: str, fitted: Fitted, frame: pd.DataFrame, fresh: pd.DataFrame, sizes: list[int], rounds: int, registry: Path
) -> list[list[str]]:
    """A line for each size of a call."""
    from threadpoolctl import threadpool_limits

    example = fitted.typed(frame[fitted.columns].head(2_000))
    version = mr.save(fitted.model, name, example=example, nullable=True, registry=registry, quiet=True)
    ours = _core.Engine(version.path, runtime=runtime_library(), threads=1)
    session = bare_session(version, 1)
    lines = []
    for size in sizes:
        batch = fresh.head(size)[fitted.columns]
        question = pa.RecordBatch.from_pandas(batch, preserve_index=False)
        feeds, given = arrays(version, batch), fitted.ready(batch)
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda question=question: ours.predict(question),
            "runtime": lambda feeds=feeds: session.run(None, feeds),
            "framework": lambda given=given: fitted.predict(given),
        }
        with threadpool_limits(1):
            seconds = in_turn(calls, rounds)
        rate = {way: size / median(found) for way, found in seconds.items()}
        ratios = [rate["ours"] / rate[way] for way in ("runtime", "framework")]
        apart = max(noise(found) for found in seconds.values()) * 50
        answers = pa.RecordBatchReader.from_stream(ours.predict(question)).read_all()
        bits = "equal" if equal(version, answers, session, feeds) else "DIFFER"
        words = [f"{rate[way]:,.0f}" for way in calls] + [f"{ratio:.2f}" for ratio in ratios]
        lines.append([name, f"{size:,}", *words, f"{apart:.0f}%", bits])
    return lines


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds a call, taken in turn; short calls are repeated."""

    def spent(call: Callable[[], Any], times: int) -> float:
        begun = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - begun) / times

    times = {}
    for way, call in calls.items():
        call()
        times[way] = min(MOST_CALLS, 1 + int(LEAST_SECONDS / max(spent(call, 1), 1e-6)))
    found: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(rounds):
        for way, call in calls.items():
            found[way].append(spent(call, times[way]))
    return found


def arrays(version: mr.Version, batch: Any) -> dict[str, np.ndarray]:
    """The graph's inputs of some rows, as the bundle's stage describes them."""
    feeds = {}
    for each in version.manifest["stages"][0]["inputs"]:
        kind = _TYPES[each["type"]]
        # A column that says which values are there is made of the one that may lack some.
        parts = [batch[name] for name in each["columns"]] if "columns" in each else [batch[each["valid"]].notna()]
        feeds[each["name"]] = np.column_stack([part.to_numpy(dtype=kind) for part in parts])
    return feeds


def equal(version: mr.Version, answers: pa.Table, session: Any, feeds: dict[str, np.ndarray]) -> bool:
    """Whether all answers are the same, bit for bit."""
    outputs = version.manifest["stages"][0]["outputs"]
    found = session.run([each["graph_output"] for each in outputs], feeds)
    for each, theirs in zip(outputs, found, strict=True):
        column = answers[each["name"]].combine_chunks()
        values = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        if values.to_numpy(zero_copy_only=False).tobytes() != theirs.ravel().tobytes():
            return False
    return True


def rows(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows, some of their numbers missing, and a number that is to be learnt."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, len(NUMBERS)))
    codes = {name: (random.random(count) ** 2 * size).astype(np.int64) for name, size in WORDS.items()}
    target = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + np.sin(3 * numbers[:, 3]) + np.sin(codes["carrier"])
    target += np.cos(codes["region"]) + random.normal(size=count) / 2
    numbers[:, 4:8][random.random((count, 4)) < 0.05] = np.nan
    frame = pd.DataFrame(numbers, columns=list(NUMBERS))
    for name, code in codes.items():
        words = np.array([f"{name}-{word}" for word in range(WORDS[name])], dtype=object)
        frame[name] = words[code]
    return frame, target


def classes(target: np.ndarray, count: int) -> np.ndarray:
    """Classes of about the same size."""
    return np.searchsorted(np.quantile(target, np.linspace(0, 1, count + 1)[1:-1]), target)


def _lightgbm(trees: int, leaves: int, count: int = 2) -> Callable[[pd.DataFrame, np.ndarray], Fitted]:
    def fit(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
        import lightgbm

        model = lightgbm.LGBMClassifier(n_estimators=trees, num_leaves=leaves, n_jobs=1, verbose=-1)
        model.fit(frame.loc[:, list(NUMBERS)], classes(target, count))
        return Fitted(model, list(NUMBERS), model.predict_proba)

    return fit


def _categories(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    import lightgbm

    kinds = {name: pd.CategoricalDtype(sorted(set(frame[name]))) for name in WORDS}

    def typed(batch: pd.DataFrame) -> Any:
        return batch.astype(kinds)

    model = lightgbm.LGBMRegressor(n_estimators=100, n_jobs=1, verbose=-1).fit(typed(frame), target)
    return Fitted(model, list(frame), model.predict, typed, typed)


def _xgboost(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    import xgboost

    model = xgboost.XGBRegressor(n_estimators=300, max_depth=6, n_jobs=1)
    model.fit(frame[list(NUMBERS)].astype(np.float32), target)
    return Fitted(model, list(NUMBERS), model.predict, lambda batch: batch.to_numpy(np.float32))


def _catboost(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    import catboost

    model = catboost.CatBoostRegressor(
        iterations=500, depth=6, thread_count=2, verbose=False, allow_writing_files=False
    )
    model.fit(frame[list(NUMBERS)], target)
    return Fitted(model, list(NUMBERS), lambda batch: model.predict(batch, thread_count=1))


def _forest(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=100, n_jobs=2, random_state=0)
    model.fit(frame[list(NUMBERS)], classes(target, 3))
    model.n_jobs = 1
    return Fitted(model, list(NUMBERS), model.predict_proba)


def _histogram(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_iter=200, random_state=0).fit(frame[list(NUMBERS)], target)
    return Fitted(model, list(NUMBERS), model.predict)


def _pipeline(frame: pd.DataFrame, target: np.ndarray) -> Fitted:
    import lightgbm
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    encode = OneHotEncoder(handle_unknown="ignore", max_categories=50)
    model = make_pipeline(
        make_column_transformer((StandardScaler(), list(NUMBERS)), (encode, list(WORDS))),
        lightgbm.LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1),
    )
    model.fit(frame, classes(target, 2))
    return Fitted(model, list(frame), model.predict_proba, lambda batch: batch)


MODELS = {
    "lightgbm": _lightgbm(100, 31),
    "lightgbm_large": _lightgbm(500, 127),
    "lightgbm_classes": _lightgbm(100, 31, count=5),
    "lightgbm_categories": _categories,
    "xgboost": _xgboost,
    "catboost": _catboost,
    "forest": _forest,
    "histogram": _histogram,
    "pipeline": _pipeline,
}

if __name__ == "__main__":
    main()
