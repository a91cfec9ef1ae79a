"""Decompositions fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA, TruncatedSVD

from monorail.errors import FitError, InputError
from monorail.fit.sklearn import decompose

from ..support.learning import Refused, fit_streamed, fitted, same_attributes

SPLITS = st.integers(1, 5)
SEEDS = st.integers(0, 1_000)


@st.composite
def spread_matrices(draw: Any, *, kind: Any = np.float64, most: int = 6) -> np.ndarray:
    """Matrices whose directions vary by different amounts, so that they can be told apart."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(3, 80)), draw(st.integers(2, most))
    turned = np.linalg.qr(random.normal(size=(width, width)))[0]
    matrix = random.normal(size=(rows, width)) * 3.0 ** np.arange(width) @ turned
    return (matrix + draw(st.sampled_from((0.0, 20.0)))).astype(kind)


def table_of(matrix: np.ndarray) -> pa.Table:
    return pa.table({f"c{place}": matrix[:, place] for place in range(matrix.shape[1])})


def compare(step: Any, data: Any, splits: int, seed: int, rtol: float = 1e-9, **more: Any) -> None:
    expected = fitted(step, data)
    greatest = abs(expected.components_).max() if expected.components_.size else 1.0
    scale = {"singular_values_": expected.singular_values_, "explained_variance_": expected.explained_variance_}
    within = {name: (rtol, rtol * (1e-300 + np.max(values, initial=0.0))) for name, values in scale.items()}
    within["components_"] = (rtol, rtol * greatest)
    if hasattr(expected, "noise_variance_"):
        within["noise_variance_"] = (rtol, within["explained_variance_"][1])
    same_attributes(fit_streamed(step, data, splits, seed=seed, **more), expected, rtol, atol=1e-12, within=within)


@settings(max_examples=60)
@given(spread_matrices(), SPLITS, SEEDS, st.sampled_from(["auto", "full", "covariance_eigh"]), st.booleans())
def test_pca_learns_the_same(matrix: np.ndarray, splits: int, seed: int, solver: Any, named: bool) -> None:
    rows, width = matrix.shape
    choices = [None, 1, 0.8, 0.4] + (["mle"] if rows > width + 2 and solver != "covariance_eigh" else [])
    components = choices[seed % len(choices)]
    # Where there are fewer rows than features the last directions are any.
    if rows <= width:
        components = 1
    step = PCA(svd_solver=solver, whiten=seed % 2 == 0).set_params(n_components=components)
    compare(step, table_of(matrix) if named else matrix, splits, seed, 1e-7, passes=1)


@settings(max_examples=20)
@given(spread_matrices(kind=np.float32), SPLITS, SEEDS)
def test_pca_of_single_precision(matrix: np.ndarray, splits: int, seed: int) -> None:
    matrix = matrix[:, :3]
    for data in (matrix, table_of(matrix)):
        step = PCA(1)
        learnt, expected = fit_streamed(step, data, splits, seed=seed), fitted(step, data)
        same_attributes(learnt, expected, 2e-3, atol=2e-3)


@settings(max_examples=20)
@given(spread_matrices(), SPLITS, SEEDS, st.sampled_from(["arpack", "randomized"]))
def test_pca_by_truncating_solvers(matrix: np.ndarray, splits: int, seed: int, solver: Any) -> None:
    if min(matrix.shape) < 3:
        return
    step = PCA(2, svd_solver=solver, random_state=0).set_params(iterated_power=30)
    compare(step, matrix, splits, seed, 1e-6)


@settings(max_examples=20)
@given(spread_matrices(), SPLITS, SEEDS, st.sampled_from(["auto", "covariance_eigh"]))
def test_pca_of_sparse_matrices(matrix: np.ndarray, splits: int, seed: int, solver: Any) -> None:
    if min(matrix.shape) > 2:
        compare(PCA(1, svd_solver=solver, random_state=0), sp.csr_matrix(matrix), splits, seed, 1e-7)


@settings(max_examples=40)
@given(spread_matrices(), SPLITS, SEEDS, st.sampled_from(["table", "matrix", "sparse"]))
def test_truncated_svd_learns_the_same(matrix: np.ndarray, splits: int, seed: int, form: str) -> None:
    if min(matrix.shape) < 3:
        return
    data: Any = {"table": table_of, "matrix": np.asarray, "sparse": sp.csr_matrix}[form](matrix)
    compare(TruncatedSVD(2, algorithm="arpack", random_state=0), data, splits, seed, 1e-6, passes=1)


def test_truncated_svd_of_many_features_takes_the_same_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompose, "MOST_SQUARED", 50)
    random = np.random.default_rng(0)
    for data in (
        sp.csr_matrix(random.normal(size=(400, 120)) * (random.random((400, 120)) < 0.1)),
        random.normal(size=(300, 60)) * 0.9 ** np.arange(60),
    ):
        for turns in (0, 2, 5):
            step = TruncatedSVD(4, n_iter=turns, random_state=3)
            compare(step, data, 3, 0, 1e-6, passes=turns + 2)


def test_missing_and_infinite_values_are_refused_with_their_column() -> None:
    for value, code in ((None, "null_not_allowed"), (float("nan"), "null_not_allowed"), (float("inf"), "not_finite")):
        table = pa.table({"a": [1.0, 2.0, 4.0], "b": [1.0, 7.0, value]})
        for step in (PCA(1), TruncatedSVD(1)):
            with pytest.raises(InputError) as caught:
                fit_streamed(step, table)
            assert caught.value.code == code
            assert caught.value.details[0]["column"] == "b"


def test_more_components_than_there_are() -> None:
    with pytest.raises(FitError, match="n_components=3"):
        fit_streamed(PCA(3), table_of(np.eye(4)[:, :2]))


@pytest.mark.parametrize(
    ("step", "data", "words"),
    [
        (PCA(svd_solver="full"), sp.csr_matrix(np.eye(4)), "sparse"),
        (PCA(n_components="mle", svd_solver="arpack"), np.eye(4), "mle"),
        (PCA(n_components=-1), np.eye(4), "n_components"),
        (PCA(), np.zeros((2, 6_000)), "6,000 features"),
        (TruncatedSVD(9), np.eye(4), "n_components=9"),
        (TruncatedSVD(2, algorithm="arpack"), np.zeros((2, 6_000)), "randomized"),
        (PCA(), pa.table({"a": ["x"]}), "takes numbers"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_any_pass(step: Any, data: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_streamed(step, data)
