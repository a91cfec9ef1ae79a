"""Searches on a real Ray cluster: the results of scikit-learn, the data once on every node, and lost nodes."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from tests.support.waiting import wait_until

import monorail as mr


def table(rows: int = 400) -> pa.Table:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, rows))
    return pa.table({"a": a, "b": b, "late": np.where(a + b + random.normal(size=rows) > 0, "late", "ok").tolist()})


def frame(data: pa.Table) -> Any:
    from monorail.adapters.frames import Form

    return Form("pandas").frame(data)


def test_results_are_those_of_the_searchs_own_fit(cluster):
    data, search = table(), GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=3)
    found = mr.fit(search, data, target="late", on="ray", quiet=True)
    rows = frame(data)
    expected = search.fit(rows[["a", "b"]], rows["late"])
    for name, value in expected.cv_results_.items():
        if not name.endswith("_time"):
            assert str(found.cv_results_[name]) == str(value), name
    np.testing.assert_array_equal(found.best_estimator_.coef_, expected.best_estimator_.coef_)


class Memory(ClassifierMixin, BaseEstimator):
    """Says as its score how much memory of its process is its own, in MB."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def fit(self, X: Any, y: Any) -> Memory:
        self.classes_ = np.unique(y)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
        return sum(int(kb) for kb in re.findall(r"Anonymous: +(\d+)", text)) / 1024


def test_tasks_map_the_rows_instead_of_copying_them(cluster):
    rows = 3_000_000
    large = pa.table({"a": np.arange(rows, dtype=np.float64), "late": np.arange(rows) % 2})
    cut = ShuffleSplit(2, train_size=1_000, test_size=1_000, random_state=0)
    search = GridSearchCV(Memory(), {"number": [0, 1]}, cv=cut, refit=False)
    # The same search over few rows says what a process takes without the data.
    few = mr.fit(search, large.slice(0, 10_000), target="late", on="ray", quiet=True).cv_results_["mean_test_score"]
    used = mr.fit(search, large, target="late", on="ray", quiet=True).cv_results_["mean_test_score"]
    assert used.max() - few.min() < 40, "of 48 MB of rows, and 24 MB of numbers of rows"


class Slow(ClassifierMixin, BaseEstimator):
    """Tells that it runs, and on the node that is to be lost waits for its end."""

    def __init__(self, folder: str = "", number: int = 0) -> None:
        self.folder = folder
        self.number = number

    def fit(self, X: Any, y: Any) -> Slow:
        import ray

        node = ray.get_runtime_context().get_node_id()
        Path(self.folder, f"{node}-{os.getpid()}-{self.number}").touch()
        wait_until("a node is lost", Path(self.folder, "lost").exists, deadline_s=60)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.repeat(self.classes_[:1], len(X))


def test_a_lost_node_costs_its_candidates_alone(cluster, tmp_path):
    search = GridSearchCV(Slow(str(tmp_path)), {"number": [0, 1]}, cv=2, refit=False)

    def lose() -> None:
        wait_until(
            "both nodes are at work",
            lambda: len({path.name.partition("-")[0] for path in tmp_path.iterdir()}) == 2,
            deadline_s=60,
        )
        cluster.remove_node()
        (tmp_path / "lost").touch()

    thread = threading.Thread(target=lose)
    thread.start()
    found = mr.fit(search, table(), target="late", on="ray", quiet=True)
    thread.join()
    assert found.cv_results_["params"] == [{"number": 0}, {"number": 1}]
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
