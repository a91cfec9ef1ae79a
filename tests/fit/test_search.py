"""Searches: scikit-learn's own results, with candidates in processes that share the data."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tests.support.learning import framed
from tests.support.waiting import wait_until

import monorail as mr
from monorail.data.source import open_source
from monorail.errors import EngineError, FitError, InputError
from monorail.executors.local import LocalExecutor
from monorail.fit.processes import Processes, result_of
from monorail.fit.search import Watch, fit_search
from monorail.fit.spool import FileSpool


def table(rows: int = 300) -> pa.Table:
    random = np.random.default_rng(0)
    carrier = random.choice(["UA", "B6", "DL"], rows)
    delay = random.normal(size=rows)
    late = (delay + (carrier == "UA") + random.normal(size=rows) * 0.5 > 0.6).astype(int)
    return pa.table(
        {
            "carrier": carrier.tolist(),
            "delay": pa.array(delay, mask=random.random(rows) < 0.01).fill_null(0.0),
            "distance": random.integers(17, 4983, rows),
            "weight": random.uniform(0, 2, rows),
            "late": np.where(late == 1, "late", "ok").tolist(),
        }
    )


def pipeline() -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]), (StandardScaler(), ["delay", "distance"])
    )
    return make_pipeline(columns, LogisticRegression())


GRID = {"logisticregression__C": [0.01, 100.0], "logisticregression__fit_intercept": [True, False]}


def searched(search: Any, data: pa.Table, *, workers: int = 1, weight: str | None = None, **settings: Any) -> Any:
    with open_source(data) as source, LocalExecutor(workers) as executor:
        return fit_search(
            search, source, target="late", sample_weight=weight, executor=executor, quiet=True, **settings
        )


def plainly(search: Any, data: pa.Table, **settings: Any) -> Any:
    frame = framed(data)
    copy: Any = clone(search)
    return copy.fit(frame[[name for name in frame if name not in ("late", "weight")]], frame["late"], **settings)


def same(found: Any, expected: Any) -> None:
    """All results but times; and the refitted estimator says the same."""
    assert set(found.cv_results_) == set(expected.cv_results_)
    for name, value in expected.cv_results_.items():
        if not re.search("_time$", name):
            assert str(found.cv_results_[name]) == str(value), name
    assert found.best_params_ == expected.best_params_
    assert found.get_params(deep=False).keys() == expected.get_params(deep=False).keys()
    assert (found.n_jobs, found.pre_dispatch) == (expected.n_jobs, expected.pre_dispatch)
    assert set(vars(found)) == set(vars(expected))


SEARCHES: list[Any] = [
    GridSearchCV(pipeline(), GRID, return_train_score=True, n_jobs=1, cv=3),
    RandomizedSearchCV(pipeline(), {"logisticregression__C": loguniform(1e-3, 1e3)}, n_iter=4, random_state=1, cv=3),
    HalvingGridSearchCV(pipeline(), GRID, random_state=0, cv=2).set_params(min_resources=60),
    HalvingRandomSearchCV(
        pipeline(), {"logisticregression__C": loguniform(1e-3, 1e3)}, random_state=2, cv=2
    ).set_params(n_candidates=6, min_resources=60),
    GridSearchCV(
        pipeline(),
        GRID,
        scoring={"accuracy": "accuracy", "loss": "neg_log_loss"},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ).set_params(refit="loss"),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_results_are_those_of_the_searchs_own_fit(search):
    data = table()
    found = searched(search, data, features=["carrier", "delay", "distance"])
    expected = plainly(search, data)
    same(found, expected)
    features = framed(data).drop(columns=["late", "weight"])
    np.testing.assert_array_equal(found.predict_proba(features), expected.predict_proba(features))
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("search", [GridSearchCV(pipeline(), GRID, cv=2), SEARCHES[2]], ids=["grid", "halving"])
def test_the_number_of_workers_changes_nothing(search):
    data = table()
    found = searched(search, data, workers=2, features=["carrier", "delay", "distance"])
    same(found, plainly(search, data))


def test_weights_go_to_the_last_step():
    data, search = table(), GridSearchCV(pipeline(), GRID, cv=2)
    weight = data["weight"].to_numpy()
    same(searched(search, data, weight="weight"), plainly(search, data, logisticregression__sample_weight=weight))


class Failing(ClassifierMixin, BaseEstimator):
    """Fails where it is told to."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail

    def fit(self, X: Any, y: Any) -> Failing:
        if self.fail == "always":
            raise ValueError("it cannot be")
        if self.fail.startswith("once:"):
            try:
                Path(self.fail[5:]).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.repeat(self.classes_[:1], len(X))


def test_failed_candidates_are_treated_as_scikit_learn_does():
    data, search = table(), GridSearchCV(Failing(), {"fail": ["", "always"]}, cv=2)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        found = searched(search, data)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        same(found, plainly(search, data))
    with pytest.raises(ValueError, match="it cannot be"):
        searched(GridSearchCV(Failing(), {"fail": ["always"]}).set_params(error_score="raise"), data, workers=2)


TWO_STEPS = Pipeline([("scale", StandardScaler()), ("learn", LogisticRegression())])


@pytest.mark.parametrize(
    ("search", "path", "words"),
    [
        (GridSearchCV(TWO_STEPS, {"learn__D": [1]}), "learn__D", "varies `learn__D`.*did you mean learn__C"),
        (RandomizedSearchCV(TWO_STEPS, {"lean__C": loguniform(1, 2)}), "lean__C", "varies `lean__C`.*learn__C"),
        (
            # Some candidates have the parameter, and some have not.
            GridSearchCV(
                TWO_STEPS,
                {
                    "learn__C": [1.0],
                    "learn": [LogisticRegression(), DecisionTreeClassifier()],
                    "scale": ["passthrough"],
                },
            ),
            "learn__C",
            "varies `learn__C`",
        ),
        (GridSearchCV(TWO_STEPS, {"learn__C": []}), "GridSearchCV", "non-empty sequence"),
        (GridSearchCV(TWO_STEPS, GRID, scoring="worth"), "GridSearchCV", "'scoring' parameter of GridSearchCV"),
    ],
)
def test_what_a_search_cannot_try_is_told_before_the_data_is_read(search, path, words, monkeypatch):
    def read(*_: Any) -> Any:
        raise AssertionError("the data was read")

    monkeypatch.setattr(sys.modules[fit_search.__module__], "_read", read)
    with pytest.raises(FitError, match=f"(?s){words}") as told:
        searched(search, table())
    assert told.value.code == "cannot_fit"
    assert [detail["path"] for detail in told.value.details] == [path]


def test_parameters_of_every_step_that_is_tried_may_be_varied():
    grid = [
        {"learn": [DecisionTreeClassifier(random_state=0)], "learn__max_depth": [1, 2], "scale": ["passthrough"]},
        {"learn": [LogisticRegression()], "learn__C": [1.0]},
    ]
    data, search = table().select(["delay", "distance", "late"]), GridSearchCV(TWO_STEPS, grid, cv=2)
    found, expected = searched(search, data), plainly(search, data)
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert str(found.best_params_) == str(expected.best_params_)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("search", "column", "path", "words"),
    [
        (GridSearchCV(TWO_STEPS, {"learn__C": [-1.0]}, cv=2), "delay", "learn", "'C' parameter of LogisticRegression"),
        (GridSearchCV(TWO_STEPS, {"learn__C": [1.0]}, cv=2), "carrier", "scale", "could not convert string"),
        (GridSearchCV(Failing(), {"fail": ["always"]}, cv=2), "delay", None, "`Failing`: ValueError: it cannot be"),
    ],
    ids=["parameter", "rows", "estimator"],
)
def test_a_search_without_a_fit_that_succeeds_names_the_step(search, column, path, words, workers):
    with pytest.raises(FitError, match=f"none of the search's fits succeeded: .*{words}") as told:
        searched(search, table().select([column, "late"]), workers=workers)
    assert told.value.code == "cannot_fit"
    assert told.value.details[0].get("path") == path
    assert isinstance(told.value.__cause__, ValueError)


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more of the test", "ignore:Scoring failed"
)
def test_a_best_candidate_that_all_rows_cannot_be_fitted_with_names_the_step():
    gap = pa.table({"delay": [None, *np.arange(39.0)], "late": ["late", "ok"] * 20})
    with pytest.raises(FitError, match="`learn` cannot be fitted on these rows: Input X contains NaN"):
        searched(GridSearchCV(TWO_STEPS, {"learn__C": [1.0]}, cv=2), gap)


def test_a_lost_process_is_replaced_and_its_candidate_runs_again(tmp_path):
    data, search = table(), GridSearchCV(Failing(), {"fail": ["", f"once:{tmp_path / 'lost'}"]}, cv=2)
    found = searched(search, data, workers=2)
    assert (tmp_path / "lost").exists()
    same(found, plainly(search, data))


def test_a_process_that_is_always_lost_is_an_error():
    with FileSpool() as spool, Processes(1, spool.reader()) as processes:
        with pytest.raises(EngineError, match="SIGKILL") as found:
            processes.run(spool.packed(functools.partial(signal.raise_signal, signal.SIGKILL)))
        assert found.value.code == "worker_lost"
        assert result_of(processes.run(spool.packed(functools.partial(abs, -1)))) == 1


def test_workers_end_with_the_search():
    with FileSpool() as spool:
        with Processes(1, spool.reader()) as processes:
            call = spool.packed(os.getpid)
            process = result_of(processes.run(call))
            assert processes.ids == [process]
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_closing_ends_a_call_that_runs():
    with FileSpool() as spool:
        processes = Processes(1, spool.reader())
        failed: list[BaseException] = []

        def call() -> None:
            try:
                processes.run(spool.packed(signal.pause))
            except EngineError as error:
                failed.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        while not processes.ids and thread.is_alive():
            thread.join(0.01)
        processes.close()
        thread.join()
        assert failed


def private_mb(rows: Any) -> tuple[float, float]:
    """Memory of this process alone, in MB, and a sum that needs all the rows."""
    total = float(np.sum(rows["a"].to_numpy()))
    text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return sum(int(kb) for kb in re.findall(r"Anonymous: +(\d+)", text)) / 1024, total


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux says what is shared")
def test_workers_share_the_rows():
    frame = pd.DataFrame({name: np.random.default_rng(0).normal(size=4_000_000) for name in "abcd"})
    with FileSpool() as spool, Processes(1, spool.reader()) as processes:
        rows = spool.keep(frame)
        few = spool.keep(frame[:50_000].copy())
        without, _ = result_of(processes.run(spool.packed(functools.partial(private_mb, few))))
        call = spool.packed(functools.partial(private_mb, rows))
        used, total = result_of(processes.run(call))
        assert len(call) < 10_000
        assert total == float(np.sum(frame["a"].to_numpy()))
        assert used - without < 16, "of 128 MB"


def test_what_is_kept_is_the_same_and_can_be_written_to():
    frame = framed(table(20_000))
    with FileSpool() as spool:
        kept = spool.keep(frame)
        again = spool.reader().read(0)
    pd.testing.assert_frame_equal(kept, frame)
    kept.loc[0, "delay"] = 5.0
    assert again["delay"].iloc[0] in (5.0, frame["delay"].iloc[0])
    assert str(kept.dtypes["carrier"]) == str(frame.dtypes["carrier"])


def test_missing_columns_and_null_targets_are_told():
    data = table()
    search = GridSearchCV(pipeline(), GRID)
    with pytest.raises(InputError) as missing:
        searched(search, data.drop_columns(["late"]))
    assert missing.value.code == "missing_column"
    holed = data.set_column(4, "late", pa.array([None, *data["late"].to_pylist()[1:]]))
    with pytest.raises(FitError, match="null in 1 of 300"):
        searched(search, holed)


def test_the_best_so_far_is_told_when_all_folds_of_a_candidate_are_there():
    told: list[str | None] = []

    def advance(done: float, text: str | None = None, total: float | None = None) -> None:
        told.append(text)

    watch = Watch(advance, GridSearchCV(DecisionTreeClassifier(), {}))
    for depth, scores in ((1, (0.5, 0.7)), (2, (0.9, 0.2)), (3, (0.8, float("nan")))):
        for score in scores:
            watch.asked()
            watch.done({"parameters": {"max_depth": depth}, "split_progress": (0, 2)}, [{"test_scores": score}])
    assert told[0] == "1 of 1 fits"
    assert told[-1] == "6 of 6 fits, best 0.6 with max_depth=1"


def test_cross_validation_by_given_rows():
    data, search = table(), GridSearchCV(pipeline(), GRID, cv=ShuffleSplit(2, random_state=3))
    same(searched(search, data), plainly(search, data))


def test_a_search_says_what_it_was_fitted_on():
    data = table()
    search = GridSearchCV(pipeline(), GRID, cv=2)
    found = mr.fit(search, data, target="late", workers=1, quiet=True)
    report: Any = found.__dict__["fit_report_"]
    assert report.rows == report.example.num_rows == 300
    # The pipeline names its columns, so others are not read.
    assert report.example.column_names == ["carrier", "delay", "distance"]
    assert "4 candidates, 2 folds" in str(report)
    same_results = plainly(search, data)
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], same_results.cv_results_["mean_test_score"])


INTERRUPTED = """
import os, signal, sys
import numpy as np, pyarrow as pa, monorail as mr
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV

signal.signal(signal.SIGINT, signal.default_int_handler)

class Long(BaseEstimator):
    def __init__(self, folder=""):
        self.folder = folder

    def fit(self, X, y):
        open(os.path.join(self.folder, str(os.getpid())), "w").close()
        signal.pause()

table = pa.table({"a": np.arange(100.0), "y": np.arange(100) % 2})
search = GridSearchCV(Long(), {"folder": [sys.argv[1]]}, cv=2, scoring="accuracy")
try:
    mr.fit(search, table, target="y", workers=2, quiet=True)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_ends_the_workers(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        workers = wait_until("a worker works", lambda: [int(path.name) for path in tmp_path.iterdir()], deadline_s=60)
        # To all of the group, as a terminal does it.
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "interrupted\n"
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
