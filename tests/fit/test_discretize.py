"""Bins and quantile transformers fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer

from monorail.errors import InputError
from monorail.fit.sklearn import ordered

from ..support.learning import Refused, drive, fit_streamed, fitted, learner_of, same_attributes
from ..support.learning_data import NUMBERS, number_matrices, number_tables

SPLITS = st.integers(1, 5)
SEEDS = st.integers(0, 1_000)
#: Half floats have too few digits to compare quantiles, and NumPy has none of bools.
KINDS = [kind for kind in NUMBERS if kind not in (pa.float16(), pa.bool_())]


def compare(step: Any, data: Any, splits: int, seed: int, **more: Any) -> None:
    """Both learn the same, or both refuse the data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = fitted(step, data)
        except ValueError:
            with pytest.raises((InputError, Refused)):
                fit_streamed(step, data, splits, seed=seed, **more)
            return
    kinds = data.schema.types if isinstance(data, pa.Table) else [pa.from_numpy_dtype(data.dtype)]
    single = any(pa.types.is_floating(kind) and kind.bit_width < 64 for kind in kinds)
    rtol, atol = (1e-6, 1e-6) if single else (1e-12, 1e-13)
    same_attributes(fit_streamed(step, data, splits, seed=seed, **more), expected, rtol, atol=atol)


@settings(max_examples=80)
@given(
    number_tables(kinds=KINDS, shapes=("spread", "spread", "far", "few", "constant")),
    SPLITS,
    SEEDS,
    st.sampled_from(["uniform", "quantile"]),
    st.sampled_from(["onehot", "onehot-dense", "ordinal"]),
    st.sampled_from(["averaged_inverted_cdf", "linear", "inverted_cdf", "lower", "higher"]),
    st.integers(2, 9),
)
def test_bins(table: pa.Table, splits: int, seed: int, strategy: str, encode: str, method: str, bins: int) -> None:
    step = KBinsDiscretizer().set_params(strategy=strategy, encode=encode, quantile_method=method)
    step.set_params(n_bins=[bins + place for place in range(table.num_columns)] if seed % 2 else bins)
    step.set_params(dtype=[None, np.float32, np.float64][seed % 3])
    compare(step, table, splits, seed, passes=1)


@settings(max_examples=40)
@given(number_matrices(sparse=False), SPLITS, SEEDS)
def test_bins_of_matrices(matrix: Any, splits: int, seed: int) -> None:
    compare(KBinsDiscretizer(n_bins=3, quantile_method="averaged_inverted_cdf"), matrix, splits, seed)


@settings(max_examples=80)
@given(number_tables(kinds=KINDS), SPLITS, SEEDS, st.sampled_from([1, 2, 7, 30, 1_000]))
def test_quantile_transformer(table: pa.Table, splits: int, seed: int, quantiles: int) -> None:
    compare(QuantileTransformer(n_quantiles=quantiles), table, splits, seed, exact=seed % 2 == 0)


@settings(max_examples=40)
@given(number_matrices(), SPLITS, SEEDS)
def test_quantile_transformer_of_matrices(matrix: Any, splits: int, seed: int) -> None:
    compare(QuantileTransformer(n_quantiles=9), matrix, splits, seed)


@pytest.mark.parametrize(
    "cells", [[[np.nan], [np.nan]], [[np.nan, 1.0], [np.nan, 2.0]], [[1.0, np.nan], [2.0, np.nan]]]
)
@pytest.mark.parametrize("sparse", [True, False])
def test_quantiles_of_columns_without_a_value_are_of_numpys_type(cells: Any, sparse: bool) -> None:
    matrix = np.array(cells, np.float32)
    compare(QuantileTransformer(n_quantiles=2), sp.csr_matrix(matrix) if sparse else matrix, 1, 0)


def test_exact_quantiles_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # So few may be held that a column needs several passes.
    monkeypatch.setattr(ordered, "HELD_VALUES", 20_000)
    random = np.random.default_rng(5)
    rows = 60_000
    table = pa.table(
        {"a": random.normal(size=rows), "b": random.lognormal(3, 3, rows), "c": random.integers(0, 9, rows)}
    )
    step = QuantileTransformer(n_quantiles=200, subsample=rows)
    same_attributes(fit_streamed(step, table, 3, exact=True), fitted(step, table))
    bins = KBinsDiscretizer(n_bins=6, subsample=rows, quantile_method="averaged_inverted_cdf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_attributes(fit_streamed(bins, table, 3, exact=True), fitted(bins, table))


def test_more_rows_than_a_subsample_are_all_used_and_said() -> None:
    table = pa.table({"a": np.arange(1_000.0)})
    for step in (QuantileTransformer(n_quantiles=3, subsample=100), KBinsDiscretizer(subsample=100)):
        learner = learner_of(step, table)
        drive(learner, table)
        assert "of all 1,000 rows" in (learner.note() or "")
    assert fit_streamed(QuantileTransformer(n_quantiles=3, subsample=100), table).quantiles_.tolist() == [
        [0.0],
        [499.5],
        [999.0],
    ]


@pytest.mark.parametrize(
    ("step", "data", "words"),
    [
        (KBinsDiscretizer(strategy="kmeans"), pa.table({"a": [1.0, 2.0]}), "kmeans"),
        (KBinsDiscretizer(quantile_method="hazen"), pa.table({"a": [1.0, 2.0]}), "hazen"),
        (KBinsDiscretizer(n_bins=1), pa.table({"a": [1.0, 2.0]}), "n_bins"),
        (KBinsDiscretizer(), sp.csr_matrix(np.eye(3)), "[Ss]parse"),
        (QuantileTransformer(n_quantiles=20, subsample=10), pa.table({"a": [1.0, 2.0]}), "more than subsample"),
        (QuantileTransformer(ignore_implicit_zeros=True), sp.csr_matrix(np.eye(3)), "stored"),
        (QuantileTransformer(), pa.table({"a": ["x"]}), "takes numbers"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_any_pass(step: Any, data: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_streamed(step, data)
