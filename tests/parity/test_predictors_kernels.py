"""Gaussian processes, kernel ridge, latent structure, isotonic and robust regression, on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import Case, assert_equal
from samples import split, two
from sklearn import cross_decomposition, gaussian_process, isotonic, kernel_ridge, linear_model
from sklearn.gaussian_process import kernels

from monorail.errors import CompileError

NOISE = kernels.WhiteKernel(0.5)
FIXED: dict[str, Any] = {"optimizer": None}
MANY: dict[str, Any] = {"length_scale": np.linspace(1, 3, 10)}
KERNELS = {
    "rbf": 2 * kernels.RBF(3.0) + NOISE,
    "one scale a column": kernels.RBF(**MANY) + NOISE,
    "matern 1/2": kernels.Matern(2, nu=0.5) + NOISE,
    "matern 3/2": kernels.Matern(2, nu=1.5) + NOISE,
    "matern 5/2": kernels.Matern(2, nu=2.5) + NOISE,
    "matern without end": kernels.Matern(2, nu=np.inf) + NOISE,
    "rational": kernels.RationalQuadratic(1.5, 0.7) + NOISE,
    "dot": kernels.DotProduct(0.5) + NOISE,
    "power": kernels.DotProduct(0.5) ** 2 + NOISE,
    "product": kernels.DotProduct() * kernels.RBF(4.0) + NOISE,
}
RIDGES = ("linear", "rbf", "poly", "sigmoid", "laplacian", "cosine")


@pytest.mark.parametrize("name", KERNELS)
def test_process(name: str) -> None:
    X, held_out, y = split("diabetes", True)
    X, y, held_out = X[:150], y[:150], held_out[:50]
    model = gaussian_process.GaussianProcessRegressor(KERNELS[name], normalize_y=True, **FIXED)
    case = assert_equal(model.fit(X, y), X, held_out, outputs=["deviation"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["prediction", "deviation"]
    labels = gaussian_process.GaussianProcessClassifier(KERNELS[name], **FIXED)
    assert_equal(labels.fit(X[:100], np.where(y[:100] > 140, "high", "low")), X[:100], held_out)


def test_periodic_process() -> None:
    X = np.sort(np.random.default_rng(0).uniform(0, 10, (80, 1)), axis=0)
    model = gaussian_process.GaussianProcessRegressor(kernels.ExpSineSquared(1.5, 5) + NOISE, **FIXED)
    assert_equal(model.fit(X, np.sin(X[:, 0])), X, X + 0.05)


def test_process_of_a_pairwise_kernel_has_no_deviation() -> None:
    X, held_out, y = split("diabetes", True)
    kernel = kernels.PairwiseKernel(metric="laplacian", gamma=0.1) + NOISE
    model = gaussian_process.GaussianProcessRegressor(kernel, **FIXED).fit(X, y)
    assert_equal(model, X, held_out)
    with pytest.raises(CompileError, match="no output `deviation`"):
        Case(model, X, outputs=["deviation"])


def test_process_of_several_targets() -> None:
    X, held_out, y = split("diabetes", True)
    X, y, held_out = X[:150], y[:150], held_out[:50]
    model = gaussian_process.GaussianProcessRegressor(KERNELS["rbf"], normalize_y=True, **FIXED)
    assert_equal(model.fit(X, np.column_stack([y, -(y**2)])), X, held_out, outputs=["deviation"])


@pytest.mark.parametrize("strategy", ["one_vs_rest", "one_vs_one"])
def test_process_of_three_classes(strategy: Any) -> None:
    X, held_out, y = split("iris")
    model = gaussian_process.GaussianProcessClassifier(multi_class=strategy, **FIXED).fit(X, y)
    case = assert_equal(model, X, held_out)
    names = ["label", "probability"] if strategy == "one_vs_rest" else ["label"]
    assert [entry["name"] for entry in case.compiled.outputs] == names


def test_bessel_functions_cannot_compile() -> None:
    X, _, y = split("iris")
    model = gaussian_process.GaussianProcessRegressor(kernels.Matern(nu=0.7), **FIXED).fit(X, y)
    with pytest.raises(CompileError, match="Bessel"):
        Case(model, X)


@pytest.mark.parametrize("kernel", RIDGES)
def test_kernel_ridge(kernel: str) -> None:
    X, held_out, y = split("diabetes", True)
    assert_equal(kernel_ridge.KernelRidge(alpha=20, kernel=kernel, gamma=0.01).fit(X, y), X, held_out)
    assert_equal(
        kernel_ridge.KernelRidge(alpha=20, kernel=kernel, gamma=0.01).fit(X, np.column_stack([y, -y])), X, held_out
    )


@pytest.mark.parametrize("name", ["PLSRegression", "PLSCanonical", "CCA"])
def test_latent_structure(name: str) -> None:
    X, held_out, y = split("diabetes")
    model = getattr(cross_decomposition, name)(2).fit(X, np.column_stack([y, X[:, 0] ** 2, -X[:, 1]]))
    case = assert_equal(model, X, held_out, outputs=["features"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["prediction", "features"]


def test_latent_structure_of_one_target_and_scores_alone() -> None:
    X, held_out, y = split("diabetes")
    assert_equal(cross_decomposition.PLSRegression(3).fit(X, y), X, held_out)
    model = cross_decomposition.PLSSVD(2).fit(X, np.column_stack([y, X[:, 0] ** 2]))
    assert_equal(model, X, held_out)


@pytest.mark.parametrize("outside", ["nan", "clip", "raise"])
@pytest.mark.parametrize("increasing", [True, False])
def test_isotonic(outside: Any, increasing: bool) -> None:
    X, held_out, y = split("diabetes")
    model = isotonic.IsotonicRegression(out_of_bounds=outside, increasing=increasing)
    case = assert_equal(model.fit(X[:, [2]], y), X[:, [2]], held_out[:, [2]], close=0.0)
    assert len(case.compiled.splits[0].at) == len(model.X_thresholds_)


def test_isotonic_of_one_threshold() -> None:
    X = np.full((5, 1), 2.0)
    model = isotonic.IsotonicRegression(out_of_bounds="clip").fit(X, np.arange(5.0))
    assert_equal(model, X, np.arange(4.0).reshape(-1, 1))


def test_consensus() -> None:
    X, held_out, y = split("diabetes")
    assert_equal(linear_model.RANSACRegressor(random_state=0).fit(X, y), X, held_out)
    model = linear_model.RANSACRegressor(linear_model.Ridge(), min_samples=20, random_state=0)
    assert_equal(model.fit(X, np.column_stack([y, X[:, 1]])), X, held_out)


def test_two_classes_of_text_by_a_process() -> None:
    X, held_out, y = split("wine", True)
    assert_equal(gaussian_process.GaussianProcessClassifier(**FIXED).fit(X, two(y)), X, held_out)
