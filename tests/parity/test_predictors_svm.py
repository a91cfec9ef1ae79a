"""Support vector machines and one-class detectors, of every kernel and shape, on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import Case, assert_equal
from samples import split, two
from sklearn import covariance, linear_model, svm

from monorail.errors import CompileError

KERNELS = ("linear", "poly", "rbf", "sigmoid")
PROBABLE: dict[str, Any] = {"probability": True}
NARROW: dict[str, Any] = {"gamma": 1e-3}
ONE_CLASS = {
    **{f"svm {kernel}": svm.OneClassSVM(kernel=kernel) for kernel in KERNELS},
    "sgd": linear_model.SGDOneClassSVM(random_state=0),
    "ellipse": covariance.EllipticEnvelope(random_state=0),
    "ellipse without precision": covariance.EllipticEnvelope(random_state=0, store_precision=False),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", ["ovr", "ovo"])
def test_three_classes(kernel: Any, shape: Any) -> None:
    X, held_out, y = split("wine", True)
    case = assert_equal(svm.SVC(kernel=kernel, decision_function_shape=shape).fit(X, y), X, held_out)
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "score"]
    names = ["0", "1", "2"] if shape == "ovr" else ["0:1", "0:2", "1:2"]
    assert case.compiled.outputs[1]["names"] == names


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_classes(kernel: Any) -> None:
    X, held_out, y = split("cancer", True)
    assert_equal(svm.SVC(kernel=kernel).fit(X, two(y)), X, held_out)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nu(kernel: Any) -> None:
    X, held_out, y = split("iris")
    assert_equal(svm.NuSVC(kernel=kernel, nu=0.2).fit(X, y), X, held_out)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [2, 3])
def test_probability(kernel: Any, classes: int) -> None:
    X, held_out, y = split("wine", True)
    model = svm.SVC(kernel=kernel, random_state=0, **PROBABLE).fit(X, two(y) if classes == 2 else y)
    case = assert_equal(model, X, held_out)
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "probability"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_probability_of_ten_classes_with_the_serving_engine(tmp_path: Any) -> None:
    X, held_out, y = split("digits")
    model = svm.SVC(random_state=0, **PROBABLE).fit(X, y)
    case = assert_equal(model, X, held_out)
    answers = case.serving_engine(tmp_path)(case.table)
    np.testing.assert_allclose(answers["probability"], model.predict_proba(X), rtol=1e-9, atol=1e-9)


def test_ties_broken_by_decisions() -> None:
    X, held_out, y = split("digits")
    assert_equal(svm.SVC(kernel="linear", break_ties=True).fit(X, y), X, held_out)


def test_unscaled_columns_and_a_far_support_vector() -> None:
    X, held_out, y = split("wine")
    X = X.copy()
    X[0] = 1e9
    assert_equal(svm.SVC(**NARROW).fit(X, y), X, held_out)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [svm.SVR, svm.NuSVR])
def test_regression(kernel: Any, kind: Any) -> None:
    X, held_out, y = split("diabetes", True)
    assert_equal(kind(kernel=kernel, degree=2, coef0=0.5).fit(X, y), X, held_out)


@pytest.mark.parametrize("name", ONE_CLASS)
def test_one_class(name: str) -> None:
    X, held_out, _ = split("wine", True)
    case = assert_equal(ONE_CLASS[name].fit(X), X, held_out, outputs=["sample_score"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "score", "sample_score"]


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_types_of_columns(dtype: Any) -> None:
    X, held_out, y = (values.astype(dtype) for values in split("digits"))
    assert_equal(svm.SVC().fit(X, y), X, held_out)


def test_kernels_that_cannot_compile() -> None:
    X, _, y = split("iris")
    own: Any = lambda a, b: a @ b.T  # noqa: E731
    with pytest.raises(CompileError, match="not one of a table's columns"):
        Case(svm.SVC(kernel="precomputed").fit(X @ X.T, y), X @ X.T)
    with pytest.raises(CompileError, match="Python function"):
        Case(svm.SVC(kernel=own).fit(X, y), X)
