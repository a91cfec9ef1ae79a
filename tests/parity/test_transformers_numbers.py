"""Transformers of numbers, one parameter at a time, against the original on rows held out and on hard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from real_data import CANCER, DIABETES, DIGITS, IRIS, KINDS, PROGRESS, WINE
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    KernelCenterer,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

PIXELS = DIGITS[:600, 16:32]


def check(model: Any, X: Any, y: Any = None, **options: Any) -> Case:
    """Fits on two thirds and proves on the rest."""
    order = np.random.default_rng(0).permutation(len(X))
    fitted, held_out = np.sort(order[: len(X) * 2 // 3]), np.sort(order[len(X) * 2 // 3 :])
    model = make_pipeline(model).fit(X[fitted], None if y is None else y[fitted])
    return assert_equal(model, X[fitted], X[held_out], **options)


@pytest.mark.parametrize("strategy", ["uniform", "quantile", "kmeans"])
@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
def test_bins(strategy: Any, encode: Any) -> None:
    check(KBinsDiscretizer(5, encode=encode, strategy=strategy, quantile_method="averaged_inverted_cdf"), WINE)


def test_bins_of_repeated_and_constant_values() -> None:
    X = np.column_stack([PIXELS[:, :6], np.full(len(PIXELS), 3.0)])
    with pytest.warns(UserWarning, match="constant|too small"):
        model = KBinsDiscretizer(6, quantile_method="averaged_inverted_cdf").fit(X)
    assert len(set(model.n_bins_.tolist())) > 1
    assert_equal(model, X)


@pytest.mark.parametrize("X", [WINE.astype(np.float32), (WINE * 10).astype(np.int64)], ids=["float32", "int64"])
def test_bins_of_other_types(X: np.ndarray) -> None:
    check(KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), X)
    check(KBinsDiscretizer(4, encode="ordinal", strategy="uniform", dtype=np.float32), X)


def test_tree_reads_raw_columns_through_bins() -> None:
    bins = KBinsDiscretizer(8, encode="ordinal", quantile_method="averaged_inverted_cdf")
    case = check(make_pipeline(bins, DecisionTreeClassifier(random_state=0)), WINE, KINDS, close=0.0)
    nodes = [node.op_type for node in case.compiled.graph.graph.node]
    assert nodes.count("TreeEnsemble") == 1
    hot = KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")
    check(make_pipeline(hot, LogisticRegression(max_iter=300)), WINE, KINDS)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(
    ("method", "X"),
    [("box-cox", WINE), ("yeo-johnson", WINE), ("yeo-johnson", CANCER), ("yeo-johnson", DIABETES)],
    ids=["box-cox", "wine", "cancer", "diabetes"],
)
def test_powers(method: Any, X: np.ndarray, standardize: bool) -> None:
    check(PowerTransformer(method, standardize=standardize), X)


@pytest.mark.parametrize("power", [0.0, 2.0, 1.0, 1e-17, 2 - 1e-17, -3.5])
def test_powers_at_the_edges_of_the_formula(power: float) -> None:
    model = PowerTransformer(standardize=False).fit(DIABETES[:, :2])
    model.lambdas_[:] = power
    assert_equal(model, DIABETES[:, :2])


def test_powers_of_missing_values() -> None:
    X = DIABETES.copy()
    X[::7, 2] = np.nan
    check(make_pipeline(PowerTransformer(), SimpleImputer()), X)
    check(PowerTransformer(), X)


@pytest.mark.parametrize("X", [WINE, PIXELS], ids=["wine", "repeated values"])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_quantiles(distribution: Any, X: np.ndarray) -> None:
    check(QuantileTransformer(n_quantiles=60, output_distribution=distribution), X)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_quantiles_of_missing_values_and_single_precision(distribution: Any) -> None:
    X = WINE.copy()
    X[::5, 3] = np.nan
    check(QuantileTransformer(n_quantiles=40, output_distribution=distribution), X)
    check(QuantileTransformer(n_quantiles=40, output_distribution=distribution), X.astype(np.float32), close=1e-6)


def test_quantiles_before_a_tree() -> None:
    model = make_pipeline(QuantileTransformer(n_quantiles=50), DecisionTreeRegressor(max_depth=6, random_state=0))
    check(model, DIABETES, PROGRESS)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("knots", ["uniform", "quantile"])
@pytest.mark.parametrize("beyond", ["constant", "linear", "continue", "periodic", "error"])
def test_splines(beyond: Any, knots: Any, bias: bool) -> None:
    # A table of few different values has knots that coincide.
    check(SplineTransformer(5, extrapolation=beyond, knots=knots, include_bias=bias), DIABETES)


@pytest.mark.parametrize("degree", [0, 1, 2, 4])
@pytest.mark.parametrize("beyond", ["constant", "linear", "continue", "periodic"])
def test_degrees_of_splines(beyond: Any, degree: int) -> None:
    check(SplineTransformer(6, degree=degree, extrapolation=beyond), IRIS)
    if degree:
        # The original's sparse answers need a degree.
        check(SplineTransformer(6, degree=degree, extrapolation=beyond, sparse_output=True), IRIS)


@pytest.mark.parametrize("beyond", ["constant", "linear", "continue"])
def test_splines_of_missing_values(beyond: Any) -> None:
    X = IRIS.copy()
    X[::9, 1] = np.nan
    check(SplineTransformer(5, extrapolation=beyond, handle_missing="zeros"), X)


def test_splines_of_a_table_with_whole_numbers() -> None:
    frame = pd.DataFrame({"age": np.arange(100) % 37, "size": IRIS[:100, 0].astype(np.float32)})
    assert_equal(SplineTransformer(4, extrapolation="linear").fit(frame), frame)


def test_kernel_centering() -> None:
    K = WINE @ WINE[:20].T
    assert_equal(KernelCenterer().fit(WINE[:20] @ WINE[:20].T), K)
