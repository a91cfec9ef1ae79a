"""Estimators of estimators that average, stack, delegate or change the target, against their originals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from test_models import CLASSES, classes
from test_steps import matrix, target

from monorail.errors import CompileError

FLEET: list[tuple[str, Any]] = [
    ("line", make_pipeline(StandardScaler(), LogisticRegression())),
    ("tree", DecisionTreeClassifier(max_depth=4, random_state=0)),
    ("bayes", GaussianNB()),
]
NUMBERS: list[tuple[str, Any]] = [
    ("line", Ridge()),
    ("tree", DecisionTreeRegressor(max_depth=4, random_state=0)),
    ("forest", RandomForestRegressor(4, random_state=0)),
]


@pytest.mark.parametrize("names", ["two", "three texts", "float"])
@pytest.mark.parametrize("voting", ["soft", "hard"])
@pytest.mark.parametrize("weights", [None, [1, 2.5, 0]])
def test_voting_classifier(names: str, voting: str, weights: Any) -> None:
    X = matrix(300)
    model = VotingClassifier(FLEET, voting=voting, weights=weights).fit(X, classes(X, CLASSES[names]))
    case = assert_equal(model, X, matrix(seed=4), outputs=["features"])
    assert case.compiled.outputs[-1]["type"] == ("float64" if voting == "soft" else "int64")


def test_voting_drops_who_was_dropped() -> None:
    X = matrix(200)
    fleet = [*FLEET[:1], ("gone", "drop"), *FLEET[1:]]
    assert_equal(VotingClassifier(fleet, weights=[1, 5, 1, 1]).fit(X, classes(X, CLASSES["three"])), X)


def test_voting_without_one_table_of_probabilities_offers_no_features() -> None:
    X = matrix(200)
    model = VotingClassifier(FLEET, voting="soft", flatten_transform=False).fit(X, classes(X, CLASSES["two"]))
    assert_equal(model, X)
    with pytest.raises(CompileError, match="no output `features`"):
        Case(model, X, outputs=["features"])


@pytest.mark.parametrize("weights", [None, [3, 1, 2]])
def test_voting_regressor(weights: Any) -> None:
    X = matrix(300)
    assert_equal(VotingRegressor(NUMBERS, weights=weights).fit(X, target(X)), X, matrix(seed=4), outputs=["features"])


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("final", [LogisticRegression(max_iter=500), HistGradientBoostingClassifier(max_iter=5)])
@pytest.mark.parametrize("names", ["two", "three texts"])
def test_stacking_classifier(passthrough: bool, final: Any, names: str) -> None:
    X = pd.DataFrame(matrix(240) / 20, columns=list("abcdef"))
    model = StackingClassifier([*FLEET, ("ridge", RidgeClassifier())], final, cv=2, passthrough=passthrough)
    model.fit(X, classes(X.to_numpy(), CLASSES[names]))
    assert_equal(model, X, outputs=["features"])


def test_stacking_of_labels() -> None:
    X = matrix(200)
    model = StackingClassifier(FLEET, DecisionTreeClassifier(max_depth=3), cv=2, stack_method="predict")
    assert_equal(model.fit(X, classes(X, CLASSES["three"])), X)


@pytest.mark.parametrize("passthrough", [False, True])
def test_stacking_regressor(passthrough: bool) -> None:
    X = matrix(240) / 20
    model = StackingRegressor(NUMBERS, LinearRegression(), cv=2, passthrough=passthrough)
    assert_equal(model.fit(X, target(X)), X, outputs=["features"])


def test_stacking_of_several_labels() -> None:
    X = matrix(240)
    y = (X[:, :2] > 0).astype(int)
    fleet = [("forest", RandomForestClassifier(5, random_state=0)), ("near", KNeighborsClassifier())]
    model = StackingClassifier(fleet, RandomForestClassifier(5, random_state=0), cv=2)
    assert_equal(model.fit(X, y), X)


def test_a_search_is_its_best_estimator() -> None:
    X = matrix(200)
    y = classes(X, CLASSES["text"])
    grid = {"max_depth": [2, 4]}
    tree = DecisionTreeClassifier(random_state=0)
    for model in (
        GridSearchCV(tree, grid, cv=2),
        RandomizedSearchCV(tree, grid, n_iter=2, cv=2),
        HalvingGridSearchCV(tree, grid, cv=2),
    ):
        assert_equal(model.fit(X, y), X, close=1e-15)


def test_a_search_of_a_pipeline_reads_named_columns() -> None:
    X = pd.DataFrame({"a": np.arange(60.0), "b": ["x", "y", "z"] * 20})
    prepare = make_column_transformer((StandardScaler(), ["a"]), (OneHotEncoder(), ["b"]))
    model = GridSearchCV(make_pipeline(prepare, LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2)
    assert_equal(model.fit(X, X["b"] == "x"), X)


def test_a_search_without_refit_is_no_model() -> None:
    X = matrix(60)
    model = GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2, refit=False).fit(X, target(X))
    with pytest.raises(CompileError):
        Case(model, X)


def test_frozen_and_self_training() -> None:
    X = matrix(200)
    y = classes(X, CLASSES["three"])
    frozen = FrozenEstimator(FLEET[0][1].fit(X, y))
    assert_equal(frozen, X)
    assert_equal(make_pipeline(FrozenEstimator(StandardScaler().fit(X)), LogisticRegression()).fit(X, y), X)
    assert_equal(CalibratedClassifierCV(frozen, method="sigmoid").fit(X, y), X)
    unknown = np.where(np.arange(len(y)) % 3 == 0, -1, y)
    assert_equal(SelfTrainingClassifier(GaussianNB()).fit(X, unknown), X)


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        MinMaxScaler((2, 5)),
        MaxAbsScaler(),
        RobustScaler(),
        PowerTransformer(),
        PowerTransformer("box-cox", standardize=False),
        QuantileTransformer(n_quantiles=40),
        QuantileTransformer(n_quantiles=40, output_distribution="normal"),
        make_pipeline(MinMaxScaler((1, 2)), PowerTransformer("box-cox")),
    ],
    ids=str,
)
@pytest.mark.parametrize("targets", [1, 2])
def test_transformed_target(transformer: Any, targets: int) -> None:
    X = matrix(200) / 20
    y = np.exp(np.column_stack([X[:, 0] + X[:, 1], X[:, 2]])[:, :targets] / 2)
    model = TransformedTargetRegressor(Ridge(), transformer=transformer)
    assert_equal(model.fit(X, y[:, 0] if targets == 1 else y), X, matrix(seed=4) / 20)


@pytest.mark.parametrize(("function", "inverse"), [(np.log, np.exp), (np.log1p, np.expm1), (np.sqrt, np.square)])
def test_target_through_a_function(function: Any, inverse: Any) -> None:
    X = matrix(200) / 20
    model = TransformedTargetRegressor(Ridge(), func=function, inverse_func=inverse)
    assert_equal(model.fit(X, np.exp(X[:, 0] + X[:, 1])), X, matrix(seed=4) / 20)


@pytest.mark.parametrize("names", ["two", "three texts"])
@pytest.mark.parametrize("strategy", ["prior", "most_frequent", "constant"])
def test_dummy_classifier(names: str, strategy: str) -> None:
    X = pd.DataFrame({"word": ["a", None, "b"] * 20, "x": np.arange(60.0)})
    y = np.resize(CLASSES[names], 60)
    model = DummyClassifier(strategy=strategy, constant=CLASSES[names][1] if strategy == "constant" else None)
    case = assert_equal(model.fit(X, y), X)
    assert case.compiled.stage["inputs"]


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_random_answers_are_refused(strategy: str) -> None:
    X = matrix(30)
    model = DummyClassifier(strategy=strategy, random_state=0).fit(X, np.arange(30) % 2)
    with pytest.raises(CompileError, match="its answers are random"):
        Case(model, X)


def test_dummy_regressor() -> None:
    X = matrix(30)
    assert_equal(DummyRegressor().fit(X, X[:, 0]), X, outputs=["deviation"])
    assert_equal(DummyRegressor(strategy="median").fit(X, X[:, :2]), X)
    assert_equal(DummyRegressor(strategy="constant", constant=7).fit(X, X[:, 0]), X)


def test_dummy_of_several_answers() -> None:
    X = matrix(60)
    assert_equal(DummyClassifier().fit(X, np.column_stack([X[:, 0] > 0, X[:, 1] > 5])), X)
