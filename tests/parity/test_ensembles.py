"""Ensembles of scikit-learn: isolation, boosting and bagging of any base, starting estimators, categories, outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from sklearn import ensemble, linear_model, naive_bayes, svm, tree
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_steps import matrix, target, with_holes

from monorail.errors import CompileError

ROUNDING = 1e-13
"""For softmax and means, which round in the last digits."""


def grades(X: np.ndarray, names: Any = (0, 1, 2)) -> np.ndarray:
    return np.asarray(names)[np.digitize(target(X), [-50, 50])]


def uneven(rows: int = 400) -> pd.DataFrame:
    """Columns of several types, one of whole numbers that float64 does not tell apart."""
    frame = pd.DataFrame(matrix(rows), columns=list("abcdef"))
    frame["a"] = (frame["a"] * 1e16).astype(np.int64)
    return frame.assign(b=frame["b"].astype(np.float32))


@pytest.mark.parametrize("contamination", ["auto", 0.1, 0.3])
@pytest.mark.parametrize("columns", [1.0, 0.5])
def test_isolation_forest(contamination: Any, columns: float) -> None:
    X = with_holes(matrix(400))
    options: dict[str, Any] = {"contamination": contamination, "max_features": columns}
    model = ensemble.IsolationForest(n_estimators=30, random_state=0, **options)
    case = assert_equal(model.fit(X), X, with_holes(matrix(seed=4)), outputs=["score", "sample_score"], close=1e-15)
    found = case.engine()(case.table)["label"]
    assert set(found.tolist()) == {-1, 1}


def test_isolation_forest_on_a_threshold_that_is_a_score() -> None:
    X = matrix(101)
    for share in (0.05, 0.1, 0.25, 0.5):
        options: dict[str, Any] = {"contamination": share}
        model = ensemble.IsolationForest(n_estimators=9, random_state=1, **options).fit(X)
        assert np.isclose(model.decision_function(X), 0).any(), "some row is on the threshold"
        assert_equal(model, X, close=1e-15)


def test_leaves_as_features() -> None:
    X = matrix(400)
    model = ensemble.RandomTreesEmbedding(n_estimators=5, max_depth=3, random_state=0).fit(X)
    assert_equal(model, X, close=0.0)
    assert_equal(make_pipeline(model, linear_model.LogisticRegression()).fit(X, grades(X)), X)


@pytest.mark.parametrize("base", ["stumps", "trees", "logistic"])
@pytest.mark.parametrize("names", [(0, 1, 1), (0, 1, 2), ("a", "b", "ä")], ids=["two", "three", "text"])
def test_adaboost_classifier(base: str, names: Any) -> None:
    X, y = load_wine(return_X_y=True)
    X = X[:, :6]
    bases: dict[str, Any] = {
        "stumps": None,
        "trees": tree.DecisionTreeClassifier(max_depth=3, random_state=0),
        "logistic": linear_model.LogisticRegression(C=1e-3),
    }
    model = ensemble.AdaBoostClassifier(bases[base], n_estimators=9, random_state=0)
    assert_equal(model.fit(X, np.asarray(names)[y]), X, outputs=["score"], close=ROUNDING)


@pytest.mark.parametrize("loss", ["linear", "square", "exponential"])
@pytest.mark.parametrize("base", ["trees", "linear"])
def test_adaboost_regressor(loss: str, base: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    estimator = None if base == "trees" else linear_model.LinearRegression()
    model = ensemble.AdaBoostRegressor(estimator, n_estimators=9, loss=loss, random_state=0).fit(X, y)
    assert_equal(model, X, close=0.0 if base == "trees" else 1e-9)


BASES: dict[str, Any] = {
    "trees": None,
    "logistic": make_pipeline(StandardScaler(), linear_model.LogisticRegression()),
    "votes": svm.LinearSVC(random_state=0),
    "bayes": naive_bayes.GaussianNB(),
    "boosting": ensemble.HistGradientBoostingClassifier(max_iter=2, max_leaf_nodes=5),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("names", [(0, 1, 1), ("a", "b", "c")], ids=["two", "text"])
def test_bagging_classifier(base: str, names: Any) -> None:
    X = matrix(400)
    model = ensemble.BaggingClassifier(BASES[base], n_estimators=7, max_features=0.5, random_state=0)
    assert_equal(model.fit(X, grades(X, names)), X, close=ROUNDING)


def test_bagging_where_some_did_not_see_a_class() -> None:
    X = matrix(400)
    y = np.where(np.arange(400) < 6, 9, grades(X))
    model = ensemble.BaggingClassifier(LinearDiscriminantAnalysis(), 7, max_samples=0.1, random_state=0).fit(X, y)
    assert any(len(inner.classes_) < 4 for inner in model.estimators_)
    assert_equal(model, X, close=1e-9)


def test_bagging_score() -> None:
    X = matrix(400)
    model = ensemble.BaggingClassifier(linear_model.LogisticRegression(max_iter=300), 5, random_state=0)
    assert_equal(model.fit(X, grades(X)), X, outputs=["score"], close=1e-12)


@pytest.mark.parametrize("base", ["trees", "linear", "forest"])
def test_bagging_regressor(base: str) -> None:
    X = matrix(400)
    bases: dict[str, Any] = {
        "trees": None,
        "linear": linear_model.LinearRegression(),
        "forest": ensemble.RandomForestRegressor(3, max_depth=4, random_state=0),
    }
    model = ensemble.BaggingRegressor(bases[base], n_estimators=7, max_features=0.5, random_state=0)
    assert_equal(model.fit(X, target(X)), X, close=1e-12)
    if base == "trees":
        assert_equal(model.fit(X, np.column_stack([target(X), X[:, 0]])), X, close=ROUNDING)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_losses_of_gradient_boosting(loss: str) -> None:
    X = matrix(300)
    assert_equal(ensemble.GradientBoostingRegressor(loss=loss, n_estimators=8, random_state=0).fit(X, target(X)), X)


def test_starting_estimators_of_gradient_boosting() -> None:
    X = matrix(300)
    trees: dict[str, Any] = {"n_estimators": 6, "random_state": 0}
    start = tree.DecisionTreeRegressor(max_depth=3, random_state=0)
    assert_equal(ensemble.GradientBoostingRegressor(init=start, **trees).fit(X, target(X)), X, close=ROUNDING)
    for loss, names in (("log_loss", (0, 1, 2)), ("log_loss", ("n", "y", "y")), ("exponential", (0, 1, 1))):
        forest = ensemble.RandomForestClassifier(5, max_depth=4, random_state=0)
        model = ensemble.GradientBoostingClassifier(init=forest, loss=loss, **trees)
        assert_equal(model.fit(X, grades(X, names)), X, outputs=["score"], close=1e-12)
    model = ensemble.GradientBoostingRegressor(init=linear_model.LinearRegression(), **trees)
    with pytest.raises(CompileError, match="float32"):
        Case(model.fit(X, target(X)), X)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile", "poisson", "gamma"])
def test_losses_of_histogram_boosting(loss: str) -> None:
    X = with_holes(matrix(400))
    options: dict[str, Any] = {"quantile": 0.3} if loss == "quantile" else {}
    model = ensemble.HistGradientBoostingRegressor(loss=loss, max_iter=8, **options)
    assert_equal(model.fit(X, np.exp(target(X) / 200)), X, close=ROUNDING)


def animals(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"weight": random.normal(size=rows)})
    frame["race"] = pd.Categorical(random.choice([*(f"race {n}" for n in range(40)), "é", ""], rows))
    frame["age"] = random.integers(-3, 9, rows)
    frame["sex"] = pd.Categorical(random.choice(["w", "m", "ö"], rows))
    frame["legs"] = pd.Categorical(random.choice([2, 4, 6], rows))
    frame.loc[random.random(rows) < 0.1, "sex"] = None
    return frame


@pytest.mark.parametrize("chosen", ["from_dtype", "named"])
@pytest.mark.parametrize("nullable", [None, True], ids=["as seen", "nullable"])
def test_categories_of_histogram_boosting(chosen: str, nullable: bool | None) -> None:
    frame = animals()
    y = frame["weight"] + frame["race"].cat.codes % 7 + 3.0 * (frame["sex"].astype(str) == "m") + frame["age"] % 3
    columns: Any = chosen if chosen == "from_dtype" else ["race", "sex", "age"]
    model = ensemble.HistGradientBoostingRegressor(max_iter=9, min_samples_leaf=3, categorical_features=columns)
    assert_equal(model.fit(frame, y), frame, animals(300, seed=4), close=0.0, nullable=nullable)
    sorted_in = ensemble.HistGradientBoostingClassifier(max_iter=5, categorical_features=columns)
    assert_equal(sorted_in.fit(frame, np.digitize(y, [2, 4])), frame, close=ROUNDING, nullable=nullable)


def test_codes_of_histogram_boosting() -> None:
    frame = animals()
    X = np.column_stack([frame["age"], frame["weight"]]).astype(float)
    X[:30, 0] = np.nan
    options: dict[str, Any] = {"categorical_features": [0]}
    model = ensemble.HistGradientBoostingRegressor(max_iter=6, **options)
    assert_equal(model.fit(X, np.nan_to_num(X[:, 0] ** 2) + X[:, 1]), X, close=0.0, nullable=True)


@pytest.mark.parametrize(
    "model",
    [
        tree.DecisionTreeClassifier(max_depth=5, random_state=0),
        tree.ExtraTreeClassifier(random_state=0),
        ensemble.RandomForestClassifier(8, random_state=0),
        ensemble.ExtraTreesClassifier(8, max_depth=4, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_several_labels_a_row(model: Any) -> None:
    X = with_holes(matrix(400))
    for y in (
        np.column_stack([grades(X), target(X) > 0]),
        np.column_stack([grades(X, ("a", "b", "ä")), np.where(X[:, 0] > 0, "yes", "no")]),
    ):
        case = assert_equal(model.fit(X, y), X, close=ROUNDING)
        assert case.compiled.outputs[0]["names"] == ["0", "1"]
        assert case.compiled.outputs[1]["names"][:2] == [f"0:{name}" for name in model.classes_[0][:2]]


FORESTS: list[Any] = [
    tree.DecisionTreeRegressor(random_state=0),
    ensemble.RandomForestRegressor(4, random_state=0),
    ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0),
    ensemble.HistGradientBoostingRegressor(max_iter=5),
    ensemble.AdaBoostRegressor(n_estimators=5, random_state=0),
]


@pytest.mark.parametrize("model", FORESTS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("form", ["table", "array", "whole numbers"])
def test_whole_numbers_that_float64_does_not_tell_apart(model: Any, form: str) -> None:
    frame = uneven()
    y = target(matrix(400))
    X: Any = {"table": frame, "array": frame[["a"]].to_numpy(), "whole numbers": frame[["a"]]}[form]
    assert_equal(model.fit(X, y), X, close=0.0)


def test_real_data() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    for model in (
        ensemble.RandomForestClassifier(20, random_state=0),
        ensemble.AdaBoostClassifier(n_estimators=20, random_state=0),
        ensemble.BaggingClassifier(n_estimators=10, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
    ):
        assert_equal(model.fit(X[::2], y[::2]), X[::2], X[1::2], close=ROUNDING)
