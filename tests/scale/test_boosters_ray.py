"""LightGBM and XGBoost trained on several workers by their own distributed training; workers that go away."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from lightgbm import LGBMClassifier, LGBMRegressor
from tests.support.training import MadeRows, trained
from tests.support.waiting import wait_until
from xgboost import XGBRegressor

from monorail.errors import EngineError, InputError
from monorail.executors import open_executor
from monorail.fit.boosting import gang
from monorail.fit.boosting.gang import shares, train_together
from monorail.fit.learning import Block

LIGHTGBM = {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbosity": -1, "n_estimators": 10}
XGBOOST = {"n_estimators": 10, "n_jobs": 1, "verbosity": 0}


def data(rows: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Numbers with nulls, and a target that they say much of."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(rows, 5))
    matrix[random.random(matrix.shape) < 0.05] = np.nan
    return matrix, np.nansum(matrix[:, :3], axis=1) + random.normal(size=rows) / 10


@pytest.mark.parametrize(
    ("part_rows", "seats", "expected"),
    [
        ([5, 5, 5, 5], 2, [[0, 1], [2, 3]]),
        ([5, 5, 5], 2, [[0, 1], [2]]),
        ([1, 1, 100], 3, [[0], [1], [2]]),
        ([100, 1, 1], 2, [[0], [1, 2]]),
        ([1, 1, 100], 2, [[0, 1], [2]]),
        ([0, 7, 0], 2, [[1]]),
        ([3], 4, [[0]]),
    ],
)
def test_seats_share_the_parts_in_order(part_rows, seats, expected):
    assert shares(part_rows, seats) == expected


@pytest.fixture
def executor(cluster) -> Iterator[Any]:
    with open_executor("ray") as opened:
        yield opened


def assert_close(here: np.ndarray, there: np.ndarray, most: float) -> None:
    """Predictions differ by no more than this share of how far they spread."""
    assert np.sqrt(np.mean((here - there) ** 2)) < most * np.std(here)


def test_lightgbm_on_two_workers_is_close_to_lightgbm_on_one(executor):
    matrix, target = data()
    # Sparse rows, with a column that is seldom zero.
    sparse = sp.csr_matrix(np.column_stack([np.nan_to_num(matrix), matrix[:, 0] > -1, matrix[:, 1] > 2]))
    names = np.where(target > 0, "high", "low")
    # Leaves so large that how many rows they have, which workers estimate, decides nothing.
    model = LGBMClassifier(class_weight="balanced", num_leaves=7, **LIGHTGBM)
    here = trained(model, MadeRows(sparse, names))
    there = trained(model, MadeRows(sparse, names, parts=4, executor=executor))
    assert_close(here.predict(sparse, raw_score=True), there.predict(sparse, raw_score=True), 1e-6)
    assert vars(here).keys() == vars(there).keys()
    assert here.booster_.params == there.booster_.params
    assert here.booster_.dump_model()["feature_infos"] == there.booster_.dump_model()["feature_infos"]
    assert "[machines: ]" in there.booster_.model_to_string()
    assert list(there.classes_) == ["high", "low"]


def test_categories_are_the_same_on_two_workers(executor):
    matrix, target = data()
    words = ["low", "high", "middle", "unseen"]
    codes = np.digitize(target, [-1.0, 1.0]).astype(np.int8)
    column = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == 2), words)
    table = pa.table({"a": matrix[:, 0], "word": column})
    model = LGBMRegressor(num_leaves=7, **LIGHTGBM)
    here = trained(model, MadeRows(table, target))
    there = trained(model, MadeRows(table, target, parts=4, executor=executor))
    assert there.booster_.pandas_categorical == here.booster_.pandas_categorical == [words]
    assert here.booster_.params == there.booster_.params
    codes_of = np.column_stack([matrix[:, 0], np.where(codes == 2, np.nan, codes)])
    assert_close(here.booster_.predict(codes_of), there.booster_.predict(codes_of), 1e-6)
    assert here.booster_.dump_model()["feature_infos"] == there.booster_.dump_model()["feature_infos"]


def test_xgboost_on_two_workers_is_close_to_xgboost_on_one(executor):
    matrix, target = data()
    here = trained(XGBRegressor(**XGBOOST), MadeRows(matrix, target))
    there = trained(XGBRegressor(**XGBOOST), MadeRows(matrix, target, parts=4, executor=executor))
    # The workers' sketches of quantiles are merged, so that a bin may end elsewhere.
    assert_close(here.predict(matrix), there.predict(matrix), 0.1)
    assert vars(here).keys() == vars(there).keys()
    assert there.n_jobs == 1


def test_what_is_wrong_with_the_data_is_said_at_once(executor):
    matrix, target = data(1_000)
    target[700] = np.nan
    with pytest.raises(InputError) as caught:
        trained(LGBMRegressor(**LIGHTGBM), MadeRows(matrix, target, executor=executor))
    assert caught.value.details[0]["row"] == 700


class Stalling(MadeRows):
    """Whose last part, the first time it is read elsewhere, says so in a file and then never comes."""

    marker: Path

    def reader(self, part: int) -> Any:
        read, marker = super().reader(part), self.marker
        last = part == self.parts - 1

        def stalled(max_rows: int) -> Iterator[Block]:
            if last and not marker.exists():
                marker.touch()
                threading.Event().wait()
            return read(max_rows)

        return stalled


@pytest.mark.parametrize("model", [LGBMRegressor(**LIGHTGBM), XGBRegressor(**XGBOOST)], ids=["lightgbm", "xgboost"])
def test_a_node_removed_in_the_middle_begins_the_training_again(cluster, executor, model, tmp_path):
    matrix, target = data(1_000)
    rows = Stalling(matrix, target, parts=4, executor=executor)
    rows.marker = tmp_path / "reading"

    def remove() -> None:
        wait_until("a seat reads", rows.marker.exists, deadline_s=90)
        cluster.remove_node()

    remover = threading.Thread(target=remove)
    remover.start()
    there = trained(model, rows)
    remover.join()
    here = trained(model, MadeRows(matrix, target))
    # One core is left, so that the second try is one worker's.
    np.testing.assert_array_equal(here.predict(matrix), there.predict(matrix))
    assert rows.marker.exists()


def test_a_worker_that_dies_every_time_is_given_up(executor, monkeypatch):
    monkeypatch.setattr(gang, "TRIES", 1)

    matrix, target = data(100)

    def die(shared: Any, seat: Any) -> None:
        os._exit(1)

    with pytest.raises(EngineError, match="lost a worker"):
        train_together(MadeRows(matrix, target, executor=executor), die, None)
