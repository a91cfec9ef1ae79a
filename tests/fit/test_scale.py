"""Scalers fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from monorail.errors import InputError

from ..support.learning import Refused, fit_streamed, fitted, same_attributes
from ..support.learning_data import NUMBERS, number_matrices, number_tables

SPLITS = st.integers(1, 5)
SEEDS = st.integers(0, 1_000)
#: Half floats have too few digits to compare quantiles.
KINDS = [kind for kind in NUMBERS if kind != pa.float16()]
#: Of numbers of about a hundred, by the rounding of a few dozen sums.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
#: Where scikit-learn itself computes in single precision.
SINGLE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}


def plainly(step: Any, data: Any) -> Any:
    """Fitted by scikit-learn, without what NumPy says of columns that are all null."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return fitted(step, data)


@settings(max_examples=60)
@given(number_tables(), SPLITS, SEEDS, st.booleans(), st.booleans())
def test_standard_scaler_learns_the_same(table: pa.Table, splits: int, seed: int, mean: bool, std: bool) -> None:
    step = StandardScaler(with_mean=mean, with_std=std)
    same_attributes(fit_streamed(step, table, splits, seed=seed, passes=1), plainly(step, table), **CLOSE)


@settings(max_examples=40)
@given(number_matrices(), SPLITS, SEEDS, st.booleans())
def test_standard_scaler_of_matrices(matrix: Any, splits: int, seed: int, std: bool) -> None:
    step = StandardScaler(with_mean=not sp.issparse(matrix), with_std=std)
    learnt = fit_streamed(step, matrix, splits, seed=seed, passes=1)
    single = sp.issparse(matrix) and matrix.dtype == np.float32
    same_attributes(learnt, plainly(step, matrix), **(SINGLE if single else CLOSE))


@settings(max_examples=60)
@given(number_tables(), SPLITS, SEEDS, st.sampled_from([MinMaxScaler(), MinMaxScaler((-2, 3)), MaxAbsScaler()]))
def test_extremes_are_exact(table: pa.Table, splits: int, seed: int, step: Any) -> None:
    same_attributes(fit_streamed(step, table, splits, seed=seed, passes=1), plainly(step, table), 0.0)


@settings(max_examples=40)
@given(number_matrices(), SPLITS, SEEDS)
def test_max_abs_scaler_of_matrices(matrix: Any, splits: int, seed: int) -> None:
    learnt = fit_streamed(MaxAbsScaler(), matrix, splits, seed=seed, passes=1)
    same_attributes(learnt, plainly(MaxAbsScaler(), matrix), 0.0)


@settings(max_examples=60)
@given(number_tables(kinds=KINDS), SPLITS, SEEDS, st.booleans(), st.booleans())
def test_robust_scaler_learns_the_same(table: pa.Table, splits: int, seed: int, unit: bool, scaling: bool) -> None:
    step = RobustScaler(quantile_range=(10.0, 77.0), unit_variance=unit, with_scaling=scaling)
    learnt = fit_streamed(step, table, splits, seed=seed, exact=seed % 3 == 0)
    single = any(pa.types.is_floating(kind) and kind.bit_width < 64 for kind in table.schema.types)
    same_attributes(learnt, plainly(step, table), **(SINGLE if single else CLOSE))


@settings(max_examples=20)
@given(number_matrices(sparse=True), SPLITS, SEEDS)
def test_robust_scaler_of_sparse_matrices(matrix: Any, splits: int, seed: int) -> None:
    step = RobustScaler(with_centering=False)
    learnt = fit_streamed(step, matrix, splits, seed=seed)
    same_attributes(learnt, plainly(step, matrix), rtol=1e-6, atol=1e-6)


def test_exact_quantiles_of_many_rows() -> None:
    random = np.random.default_rng(3)
    rows = 120_000
    table = pa.table(
        {"a": random.normal(size=rows), "b": random.integers(0, 3, rows), "c": random.lognormal(5, 4, rows)}
    )
    step = RobustScaler()
    whole = fitted(step, table)
    same_attributes(fit_streamed(step, table, 3, exact=True), whole)
    rough = fit_streamed(step, table, 3)
    for place, name in enumerate(table.column_names):
        values = np.sort(table[name].to_numpy())
        at = (
            np.searchsorted(values, [rough.center_[place]] * 2),
            np.searchsorted(values, [rough.center_[place]], "right"),
        )
        assert at[0][0] - 0.002 * rows <= rows / 2 <= at[1][0] + 0.002 * rows


def test_a_constant_column_does_not_vary() -> None:
    table = pa.table({"a": np.full(1_000, 0.1), "b": np.full(1_000, 1e9 + 0.3)})
    learnt = fit_streamed(StandardScaler(), table, 4)
    assert learnt.var_.tolist() == [0, 0]
    assert learnt.scale_.tolist() == [1, 1]


@pytest.mark.parametrize("step", [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler()])
def test_infinity_is_refused_with_its_column(step: Any) -> None:
    table = pa.table({"a": [1.0, 2.0], "b": [1.0, float("inf")]})
    with pytest.raises(ValueError, match="infinity"):
        fitted(step, table)
    with pytest.raises(InputError) as caught:
        fit_streamed(step, table)
    assert caught.value.code == "not_finite"
    assert caught.value.details[0]["column"] == "b"


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="no rows"):
        fit_streamed(StandardScaler(), pa.table({"a": pa.array([], pa.float64())}))


@pytest.mark.parametrize(
    ("step", "data", "words"),
    [
        (StandardScaler(), pa.table({"a": ["1", "2"]}), "column 'a' is string"),
        (StandardScaler(), pa.table({"a": pa.array([1, 2], pa.timestamp("us"))}), "column 'a' is timestamp"),
        (StandardScaler(), sp.csr_matrix(np.eye(3)), "Cannot center sparse"),
        (MinMaxScaler(), sp.csr_matrix(np.eye(3)), "does not support sparse"),
        (MinMaxScaler((2, 1)), pa.table({"a": [1.0, 2.0]}), "must be smaller"),
        (RobustScaler(quantile_range=(70, 20)), pa.table({"a": [1.0, 2.0]}), "Invalid quantile range"),
        (StandardScaler().set_params(with_mean="yes"), pa.table({"a": [1.0, 2.0]}), "with_mean"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_any_pass(step: Any, data: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_streamed(step, data)
