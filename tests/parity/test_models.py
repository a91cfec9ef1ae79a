"""Every supported model, alone and behind a scaler, against the original on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import assert_equal
from sklearn import ensemble, linear_model, svm, tree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_steps import matrix, target, with_holes

CLASSES = {
    "two": np.asarray([0, 1]),
    "three": np.asarray([0, 1, 2]),
    "text": np.asarray(["no", "yes"]),
    "three texts": np.asarray(["b", "c", "ärger"]),
    "odd numbers": np.asarray([-3, 7]),
    "int32": np.asarray([4, 5, 9], dtype=np.int32),
    "bool": np.asarray([False, True]),
    "float": np.asarray([1.0, 2.0, 5.0]),
}
LINEAR_CLASSIFIERS = {
    "logistic": linear_model.LogisticRegression(max_iter=300),
    "logistic cv": linear_model.LogisticRegressionCV(
        Cs=2,
        cv=2,
        max_iter=300,
        scoring="accuracy",
        l1_ratios=(0,),  # pyright: ignore[reportArgumentType]
        use_legacy_attributes=False,  # pyright: ignore[reportArgumentType]
    ),
    "ridge": linear_model.RidgeClassifier(),
    "ridge cv": linear_model.RidgeClassifierCV(),
    "sgd hinge": linear_model.SGDClassifier(random_state=0),
    "sgd log": linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "sgd huber": linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    "linear svc": svm.LinearSVC(random_state=0),
    "perceptron": linear_model.Perceptron(random_state=0),
}
TREE_CLASSIFIERS = {
    "tree": tree.DecisionTreeClassifier(max_depth=6, random_state=0),
    "pure tree": tree.DecisionTreeClassifier(random_state=0),
    "extra tree": tree.ExtraTreeClassifier(max_depth=6, random_state=0),
    "forest": ensemble.RandomForestClassifier(8, min_samples_leaf=4, random_state=0),
    "pure forest": ensemble.RandomForestClassifier(9, random_state=0),
    "even forest": ensemble.RandomForestClassifier(10, bootstrap=False, random_state=0),
    "extra trees": ensemble.ExtraTreesClassifier(8, random_state=0),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histogram boosting": ensemble.HistGradientBoostingClassifier(max_iter=8, random_state=0),
}
REGRESSORS = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "ridge cv": linear_model.RidgeCV(),
    "lasso": linear_model.Lasso(0.1),
    "elastic net": linear_model.ElasticNet(0.1),
    "lars": linear_model.LassoLars(0.01),
    "bayes": linear_model.BayesianRidge(),
    "huber": linear_model.HuberRegressor(max_iter=1000),
    "sgd": linear_model.SGDRegressor(random_state=0),
    "linear svr": svm.LinearSVR(random_state=0, max_iter=20_000),
    "tree": tree.DecisionTreeRegressor(max_depth=6, random_state=0),
    "extra tree": tree.ExtraTreeRegressor(max_depth=6, random_state=0),
    "forest": ensemble.RandomForestRegressor(8, random_state=0),
    "extra trees": ensemble.ExtraTreesRegressor(8, random_state=0),
    "boosting": ensemble.GradientBoostingRegressor(n_estimators=8, random_state=0),
    "boosting from zero": ensemble.GradientBoostingRegressor(n_estimators=8, init="zero", random_state=0),
    "histogram boosting": ensemble.HistGradientBoostingRegressor(max_iter=8, random_state=0),
}
LOG_LINKED = {
    "poisson": linear_model.PoissonRegressor(),
    "gamma": linear_model.GammaRegressor(),
    "tweedie": linear_model.TweedieRegressor(power=1.5, link="log"),
    "histogram poisson": ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=8),
}


def classes(X: np.ndarray, names: np.ndarray) -> np.ndarray:
    score = np.nan_to_num(X) @ np.linspace(1, 2, X.shape[1]) + np.random.default_rng(9).normal(0, 15, len(X))
    return names[np.searchsorted(np.quantile(score, np.arange(1, len(names)) / len(names)), score)]


@pytest.mark.parametrize("name", LINEAR_CLASSIFIERS)
@pytest.mark.parametrize("names", ["two", "three", "text", "three texts"])
def test_linear_classifier(name: str, names: str) -> None:
    X = matrix(400)
    model = make_pipeline(StandardScaler(), LINEAR_CLASSIFIERS[name]).fit(X, classes(X, CLASSES[names]))
    assert_equal(model, X, matrix(seed=4))


@pytest.mark.parametrize("name", TREE_CLASSIFIERS)
@pytest.mark.parametrize("names", ["two", "three", "text"])
def test_tree_classifier(name: str, names: str) -> None:
    X = matrix(400)
    case = assert_equal(TREE_CLASSIFIERS[name].fit(X, classes(X, CLASSES[names])), X, matrix(seed=4), close=1e-14)
    assert {split.element for split in case.compiled.splits} == set(range(6))


@pytest.mark.parametrize("names", CLASSES)
@pytest.mark.parametrize("name", ["logistic", "forest", "boosting"])
def test_labels_keep_their_type(name: str, names: str) -> None:
    X = matrix(300)
    model = (LINEAR_CLASSIFIERS | TREE_CLASSIFIERS)[name].fit(X, classes(X, CLASSES[names]))
    case = assert_equal(model, X)
    kind = {"U": "string", "b": "bool", "f": "float64"}.get(CLASSES[names].dtype.kind, CLASSES[names].dtype.name)
    assert case.compiled.outputs[0] == {"name": "label", "type": kind}
    assert case.compiled.outputs[1]["names"] == [str(name) for name in CLASSES[names]]


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_regressor(name: str, dtype: str) -> None:
    X = matrix(300, dtype=dtype)
    y = target(X) / 50
    y = y if dtype != "float32" else y.astype(np.float32)
    single = dtype == "float32" and name not in ("tree", "forest")
    model = make_pipeline(StandardScaler(), REGRESSORS[name]).fit(X, y)
    assert_equal(model, X, matrix(seed=4, dtype=dtype), close=1e-6 if single else 1e-9)


@pytest.mark.parametrize("name", LOG_LINKED)
def test_log_link(name: str) -> None:
    X = matrix(300) / 20
    y = np.exp(target(X) / 20)
    assert_equal(LOG_LINKED[name].fit(X, y), X, matrix(seed=4) / 20)


@pytest.mark.parametrize("name", ["linear", "ridge", "tree", "forest"])
def test_several_targets(name: str) -> None:
    X = matrix(300)
    y = np.column_stack([target(X), X[:, 0] ** 2, -X[:, 1]]) / 50
    case = assert_equal(REGRESSORS[name].fit(X, y), X)
    assert case.compiled.outputs[0]["size"] == 3


@pytest.mark.parametrize("name", ["tree", "forest", "extra tree", "histogram boosting"])
def test_trees_with_missing_values(name: str) -> None:
    X = with_holes(matrix(400))
    assert_equal(TREE_CLASSIFIERS[name].fit(X, classes(X, CLASSES["three"])), X, with_holes(matrix(seed=4)))
    assert_equal(REGRESSORS[name].fit(X, target(X)), X, with_holes(matrix(seed=4)))


def test_trees_on_a_grid_meet_their_thresholds() -> None:
    X = np.random.default_rng(0).integers(-4, 5, (500, 4)) / 4
    y = np.where(X[:, 0] > X[:, 1], 1, 0) + (X[:, 2] > 0.25)
    for model in (TREE_CLASSIFIERS["forest"], TREE_CLASSIFIERS["histogram boosting"], TREE_CLASSIFIERS["boosting"]):
        assert_equal(model.fit(X, y), X)


@pytest.mark.parametrize("name", ["logistic", "boosting", "histogram boosting"])
@pytest.mark.parametrize("names", ["two", "three"])
def test_decision_score_on_demand(name: str, names: str) -> None:
    X = matrix(300)
    model = (LINEAR_CLASSIFIERS | TREE_CLASSIFIERS)[name].fit(X, classes(X, CLASSES[names]))
    case = assert_equal(model, X, outputs=["score"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "probability", "score"]


def test_named_columns_of_several_types() -> None:
    X = pd.DataFrame(matrix(300), columns=list("abcdef"))
    X["a"] = X["a"].astype(np.int32)
    X["b"] = X["b"].astype(np.float32)
    X["c"] = X["c"] > 0
    y = classes(matrix(300), CLASSES["two"])
    models: dict[str, Any] = {**LINEAR_CLASSIFIERS, **TREE_CLASSIFIERS}
    for name in ("ridge", "forest", "histogram boosting"):
        assert_equal(models[name].fit(X, y), X)


def test_packed_input_of_a_plain_table_is_one_matrix() -> None:
    X = pd.DataFrame(matrix(300, 30), columns=[f"c{i}" for i in range(30)])
    model = make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(
        X, classes(X.to_numpy(), CLASSES["two"])
    )
    case = assert_equal(model, X)
    assert case.compiled.stage["inputs"] == [{"name": "float64", "type": "float64", "columns": list(X.columns)}]
    assert len(case.compiled.graph.graph.node) <= 11
