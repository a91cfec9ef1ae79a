"""Many classes and many answers out of simple estimators, thresholds and calibration, against their originals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import assert_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from test_models import CLASSES, classes
from test_steps import matrix, target

SIMPLE = {
    "logistic": LogisticRegression(max_iter=500),
    "support": LinearSVC(random_state=0),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "line": LinearRegression(),
}
SURE = {name: SIMPLE[name] for name in ("logistic", "tree")}


def answers(X: np.ndarray) -> np.ndarray:
    return np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 10, X[:, 3] > 5]).astype(int)


@pytest.mark.parametrize("names", ["two", "three", "three texts"])
@pytest.mark.parametrize("name", SIMPLE)
def test_one_vs_rest(name: str, names: str) -> None:
    X = matrix(300) / 10
    model = OneVsRestClassifier(SIMPLE[name]).fit(X, classes(X, CLASSES[names]))
    extra = ["score"] if name in ("logistic", "support") else None
    assert_equal(model, X, matrix(seed=4) / 10, outputs=extra)


@pytest.mark.parametrize("name", SIMPLE)
def test_one_vs_rest_of_several_labels(name: str) -> None:
    X = matrix(300)
    case = assert_equal(OneVsRestClassifier(SIMPLE[name]).fit(X / 10, answers(X)), X / 10)
    assert case.compiled.outputs[0] == {"name": "label", "type": "int64", "size": 3, "names": ["0", "1", "2"]}


def test_one_vs_rest_with_a_label_nobody_has() -> None:
    X = matrix(100)
    with pytest.warns(UserWarning, match="Label not"):
        model = OneVsRestClassifier(SIMPLE["logistic"]).fit(X / 10, answers(X) * [1, 0, 1])
    assert_equal(model, X / 10)


@pytest.mark.parametrize("names", ["two", "three", "three texts"])
@pytest.mark.parametrize("name", ["logistic", "support", "tree"])
def test_one_vs_one(name: str, names: str) -> None:
    X = matrix(300) / 10
    model = OneVsOneClassifier(SIMPLE[name]).fit(X, classes(X, CLASSES[names]))
    assert_equal(model, X, matrix(seed=4) / 10, outputs=["score"])


@pytest.mark.parametrize("name", ["logistic", "tree"])
def test_output_code(name: str) -> None:
    X = matrix(300) / 10
    model = OutputCodeClassifier(SIMPLE[name], code_size=2, random_state=0).fit(X, classes(X, CLASSES["three texts"]))
    assert_equal(model, X, matrix(seed=4) / 10)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("order", [None, [2, 0, 1]])
@pytest.mark.parametrize("name", SURE)
def test_classifier_chain(name: str, order: Any, method: str) -> None:
    X = matrix(300)
    model = ClassifierChain(SIMPLE[name], order=order, chain_method=method).fit(X / 10, answers(X))
    case = assert_equal(model, X / 10, outputs=["score"] if name == "logistic" else None)
    assert case.compiled.outputs[0]["type"] == "float64"


@pytest.mark.parametrize("order", [None, [1, 0]])
@pytest.mark.parametrize("inner", [Ridge(), DecisionTreeRegressor(max_depth=3, random_state=0)], ids=str)
def test_several_targets(inner: Any, order: Any) -> None:
    X = matrix(200) / 10
    y = np.column_stack([target(X), X[:, 0] * X[:, 1]])
    assert_equal(RegressorChain(inner, order=order).fit(X, y), X)
    assert_equal(MultiOutputRegressor(inner).fit(X, y), X)


@pytest.mark.parametrize("name", ["logistic", "tree", "support"])
def test_several_answers(name: str) -> None:
    X = matrix(300)
    words = np.asarray(["no", "yes"])[answers(X)]
    for y in (answers(X), words):
        case = assert_equal(MultiOutputClassifier(SIMPLE[name]).fit(X / 10, y), X / 10)
    if name != "support":
        assert case.compiled.outputs[1]["names"] == ["0:no", "0:yes", "1:no", "1:yes", "2:no", "2:yes"]


@pytest.mark.parametrize("names", ["two", "text", "three texts"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("inner", [GaussianNB(), LinearSVC(random_state=0)], ids=str)
def test_calibrated(names: str, method: str, ensemble: bool, inner: Any) -> None:
    X = matrix(300) / 10
    options: dict[str, Any] = {"ensemble": ensemble}
    model = CalibratedClassifierCV(inner, method=method, cv=3, **options).fit(X, classes(X, CLASSES[names]))
    assert_equal(model, X, matrix(seed=4) / 10)


@pytest.mark.parametrize("threshold", ["auto", 0.2, 0.8])
@pytest.mark.parametrize("method", ["auto", "predict_proba", "decision_function"])
@pytest.mark.parametrize("positive", [None, "yes", "no"])
def test_fixed_threshold(threshold: Any, method: str, positive: Any) -> None:
    X = matrix(200) / 10
    y = classes(X, CLASSES["text"])
    if positive is None:
        y = (y == "yes").astype(int)
    model = FixedThresholdClassifier(
        LogisticRegression(), threshold=threshold, response_method=method, pos_label=positive
    )
    assert_equal(model.fit(X, y), X, matrix(seed=4) / 10)


@pytest.mark.parametrize("inner", [RandomForestClassifier(8, random_state=0), LogisticRegression()], ids=str)
def test_tuned_threshold_is_used(inner: Any) -> None:
    X = matrix(400) / 10
    y = (X[:, 0] + np.random.default_rng(0).normal(0, 2, 400) > 3).astype(int)
    model: Any = TunedThresholdClassifierCV(inner, scoring="balanced_accuracy", cv=3, random_state=0).fit(X, y)
    plain = model.estimator_.predict(X)
    assert np.any(model.predict(X) != plain), "a threshold that changes no label proves nothing"
    assert_equal(model, X, matrix(seed=4) / 10)
