"""One-hot and ordinal encoders fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from monorail.errors import FitError
from monorail.fit import statistics

from ..support.category_data import category_tables, object_matrices
from ..support.learning import Refused, fit_streamed, fitted, same_attributes

SPLITS = st.integers(1, 4)
SEEDS = st.integers(0, 1_000)

ONE_HOT = st.fixed_dictionaries(
    {
        "drop": st.sampled_from([None, None, "first", "if_binary"]),
        "min_frequency": st.sampled_from([None, 2, 5, 0.1, 0.5]),
        "max_categories": st.sampled_from([None, 1, 2, 3]),
        "handle_unknown": st.sampled_from(["error", "ignore", "infrequent_if_exist", "warn"]),
    }
)
ORDINAL = st.fixed_dictionaries(
    {
        "min_frequency": st.sampled_from([None, 2, 0.2]),
        "max_categories": st.sampled_from([None, 1, 2, 4]),
        "encoded_missing_value": st.sampled_from([np.nan, -1, -7, 1]),
        "handle_unknown": st.sampled_from(["error", "use_encoded_value"]),
    }
)


def compare(step: Any, data: Any, splits: int = 3, seed: int = 0) -> None:
    """Both learn the same, or both refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            expected = fitted(step, data)
        except (ValueError, TypeError, AttributeError):
            with pytest.raises((FitError, Refused)):
                fit_streamed(step, data, splits, seed=seed)
            return
        same_attributes(fit_streamed(step, data, splits, seed=seed, passes=1), expected, 0.0)


@settings(max_examples=150)
@given(category_tables(), ONE_HOT, SPLITS, SEEDS)
def test_one_hot_learns_the_same(table: pa.Table, parameters: dict[str, Any], splits: int, seed: int) -> None:
    compare(OneHotEncoder(**parameters), table, splits, seed)


@settings(max_examples=100)
@given(category_tables(), ORDINAL, SPLITS, SEEDS)
def test_ordinal_learns_the_same(table: pa.Table, parameters: dict[str, Any], splits: int, seed: int) -> None:
    if parameters["handle_unknown"] == "use_encoded_value":
        parameters["unknown_value"] = -9
    compare(OrdinalEncoder(**parameters), table, splits, seed)


@settings(max_examples=60)
@given(object_matrices(), st.sampled_from([OneHotEncoder(), OneHotEncoder(max_categories=2), OrdinalEncoder()]), SEEDS)
def test_matrices_of_objects(matrix: np.ndarray, step: Any, seed: int) -> None:
    compare(step, matrix, 3, seed)


@pytest.mark.parametrize("step", [OneHotEncoder(min_frequency=3), OrdinalEncoder(max_categories=2)])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, bool])
def test_matrices_of_numbers(step: Any, kind: Any) -> None:
    matrix = np.random.default_rng(0).integers(0, 5, (50, 3)).astype(kind)
    compare(step, matrix)
    if kind in (np.float32, np.float64):
        matrix[::7] = np.nan
        compare(step, matrix)


GIVEN = pa.table({"text": ["b", "a", None, "b", "c"] * 4, "number": [1, None, 2, 2, 1] * 4})
PLAIN = pa.table({"text": ["b", "a", "b", "c"] * 4, "number": [1, 2, 2, 1] * 4})


@pytest.mark.parametrize("step", [OneHotEncoder, OrdinalEncoder])
@pytest.mark.parametrize("table", [GIVEN, PLAIN])
@pytest.mark.parametrize(
    "given_",
    [
        [["c", "b", "a", np.nan], [1, 2, np.nan]],
        [["c", "b", "a", np.nan, "z"], [1, 2, 3, np.nan]],
        [["a", "b"], [1, 2]],
        [["c", "b", "a"], [1, 2]],
        [["c", "b", "a"], [2, 1]],
        [["c", "c", "b", "a"], [1, 2]],
        [[b"a", b"b"], [1, 2]],
        [["a", "b", "c"]],
    ],
)
def test_given_categories(step: Any, table: pa.Table, given_: Any) -> None:
    compare(step(categories=given_), table)
    compare(step(categories=given_, min_frequency=6), table)
    if step is OneHotEncoder:
        compare(step(categories=given_, handle_unknown="ignore"), table)
    else:
        compare(step(categories=given_, handle_unknown="use_encoded_value", unknown_value=-1), table)


@pytest.mark.parametrize("drop", [["a", 2], ["b", np.nan], ["nowhere", 1], ["a"]])
def test_dropped_categories(drop: Any) -> None:
    compare(OneHotEncoder(drop=drop), GIVEN)
    compare(OneHotEncoder(drop=drop, min_frequency=5, handle_unknown="ignore"), GIVEN)


def test_nulls_behind_the_first_rows_decide_the_type() -> None:
    numbers = [*range(1_500), None]
    table = pa.table({"number": pa.array(numbers, pa.int32()), "yes": pa.array([True, False] * 750 + [None])})
    compare(OneHotEncoder(), table)
    compare(OrdinalEncoder(), table)


@pytest.mark.parametrize("parameters", [{"min_frequency": 0}, {"drop": "last"}, {"max_categories": 0}])
def test_parameters_that_scikit_learn_refuses_are_refused_before_the_first_pass(parameters: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=next(iter(parameters))):
        fit_streamed(OneHotEncoder(**parameters), PLAIN)


def test_infinity_is_refused_with_the_column() -> None:
    table = pa.table({"fine": [1.0, 2.0], "bad": [1.0, float("inf")]})
    with pytest.raises(FitError, match=r"`bad` cannot be encoded: .*infinity") as caught:
        fit_streamed(OneHotEncoder(), table)
    assert caught.value.details == [{"code": "cannot_fit", "column": "bad"}]


def test_times_with_a_null_are_refused() -> None:
    table = pa.table({"at": pa.array([1, None, None], pa.timestamp("us"))})
    with pytest.raises(FitError, match="`at` holds times and nulls"):
        fit_streamed(OneHotEncoder(), table)
    compare(OneHotEncoder(), table.slice(0, 1))


def test_too_many_categories_are_refused_while_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST_VALUES", 100)
    table = pa.table({"user": [f"u{number}" for number in range(101)]})
    with pytest.raises(FitError, match="more than 100 different values"):
        fit_streamed(OneHotEncoder(), table)
    compare(OneHotEncoder(), table.slice(0, 100))
