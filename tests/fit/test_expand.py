"""Selectors, steps without anything to learn, and splines fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import VarianceThreshold
from sklearn.kernel_approximation import AdditiveChi2Sampler, PolynomialCountSketch, RBFSampler, SkewedChi2Sampler
from sklearn.preprocessing import Binarizer, Normalizer, PolynomialFeatures, SplineTransformer
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from monorail.errors import InputError

from ..support.learning import Refused, fit_streamed, fitted, same_attributes
from ..support.learning_data import NUMBERS, number_matrices, number_tables

SPLITS = st.integers(1, 5)
SEEDS = st.integers(0, 1_000)
#: Half floats have too few digits to compare quantiles, and some steps do not take bools.
KINDS = [kind for kind in NUMBERS if kind not in (pa.float16(), pa.bool_())]
PLAIN: list[Any] = [PolynomialFeatures(), Normalizer(), Binarizer(), AdditiveChi2Sampler()]


def compare(step: Any, data: Any, splits: int, seed: int, close: float = 1e-12, **more: Any) -> None:
    """Both learn the same, or both refuse the data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = fitted(step, data)
        except ValueError:
            with pytest.raises((InputError, Refused)):
                fit_streamed(step, data, splits, seed=seed, **more)
            return
    same_attributes(fit_streamed(step, data, splits, seed=seed, **more), expected, close, atol=close)


@settings(max_examples=60)
@given(number_tables(), SPLITS, SEEDS, st.sampled_from([0, 0.0, 0.5, 4.0]))
def test_variance_threshold(table: pa.Table, splits: int, seed: int, threshold: float) -> None:
    compare(VarianceThreshold(threshold), table, splits, seed, passes=1)


@settings(max_examples=60)
@given(number_matrices(), SPLITS, SEEDS, st.sampled_from([0.0, 3.0]))
def test_variance_threshold_of_matrices(matrix: Any, splits: int, seed: int, threshold: float) -> None:
    compare(VarianceThreshold(threshold), matrix, splits, seed, passes=1)


@settings(max_examples=60)
@given(
    number_tables(kinds=KINDS, shapes=("spread", "far", "few")),
    SPLITS,
    SEEDS,
    st.sampled_from(
        [
            PolynomialFeatures(),
            AdditiveChi2Sampler(),
            PolynomialFeatures(degree=(2, 3), interaction_only=True),  # pyright: ignore[reportArgumentType]
            PolynomialFeatures(3, include_bias=False, order="F"),
            Normalizer("l1"),
            Binarizer(threshold=0.4),
            RBFSampler(gamma=0.3, n_components=7, random_state=2),
            SkewedChi2Sampler(n_components=3, random_state=2),
            PolynomialCountSketch(n_components=5, random_state=2),
            GaussianRandomProjection(random_state=1).set_params(n_components=2),
            SparseRandomProjection(random_state=1).set_params(n_components=2, density=0.5),
        ]
    ),
)
def test_steps_that_learn_only_their_features(table: pa.Table, splits: int, seed: int, step: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(step, table, splits, seed, passes=1)


@settings(max_examples=20)
@given(
    number_matrices(missing=False, least=0.0),
    SPLITS,
    SEEDS,
    st.sampled_from(PLAIN),
)
def test_steps_that_learn_only_the_features_of_a_matrix(matrix: Any, splits: int, seed: int, step: Any) -> None:
    compare(step, matrix, splits, seed, passes=0)


@settings(max_examples=60)
@given(
    number_tables(kinds=KINDS),
    SPLITS,
    SEEDS,
    st.sampled_from(["uniform", "quantile"]),
    st.sampled_from(["error", "zeros"]),
    st.sampled_from(["constant", "periodic", "linear"]),
)
def test_splines(table: pa.Table, splits: int, seed: int, knots: str, missing: str, extrapolation: str) -> None:
    step = SplineTransformer(n_knots=3 + seed % 4, degree=2).set_params(
        knots=knots, handle_missing=missing, extrapolation=extrapolation
    )
    compare(step, table, splits, seed, 1e-6, exact=seed % 2 == 0)


@pytest.mark.parametrize(
    ("step", "data", "words"),
    [
        (PolynomialFeatures(0, include_bias=False), pa.table({"a": [1.0]}), "empty output"),
        (PolynomialFeatures(), pa.table({"a": ["x"]}), "takes numbers"),
        (RBFSampler().set_params(gamma="scale"), pa.table({"a": [1.0]}), "variance of all values"),
        (GaussianRandomProjection(), pa.table({"a": [1.0]}), "number of rows"),
        (SplineTransformer(n_knots=1), pa.table({"a": [1.0]}), "n_knots"),
        (SplineTransformer(), sp.csr_matrix(np.eye(3)), "[Ss]parse"),
        (VarianceThreshold(-1), pa.table({"a": [1.0]}), "0 or more"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_any_pass(step: Any, data: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_streamed(step, data)


def test_no_feature_varies_enough() -> None:
    with pytest.raises(InputError) as caught:
        fit_streamed(VarianceThreshold(3.0), pa.table({"a": [1.0, 2.0]}))
    assert caught.value.details == [{"code": "out_of_range", "column": "a", "got": "0.25"}]
