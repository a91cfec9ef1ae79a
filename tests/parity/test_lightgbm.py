"""LightGBM, alone and as the last step: every objective, missing values, the zero threshold, and what is refused."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_models import CLASSES, classes
from test_steps import label, matrix, mixed, prepared, target, with_holes

from monorail.errors import CompileError

OPTIONS: dict[str, Any] = {"n_estimators": 12, "num_leaves": 15, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}


def around_zero(rows: int = 500, seed: int = 0) -> np.ndarray:
    """Values on, beside and between zero and LightGBM's limit for it."""
    limit = float(np.float32(1e-35))
    steps = [0.0, -0.0, limit, -limit, np.nextafter(limit, 1), np.nextafter(-limit, -1), 1e-36, -1e-36, 1e-30, -1e-30]
    return np.random.default_rng(seed).choice([*steps, 1.0, -1.0, 2.0, np.nan], (rows, 3))


@pytest.mark.parametrize(
    ("names", "objective"),
    [(names, objective) for names in CLASSES for objective in ("default", "boosting")]
    + [(names, "multiclassova") for names in CLASSES if len(CLASSES[names]) > 2],
)
def test_classifier(names: str, objective: str) -> None:
    X = matrix(400)
    chosen = {"default": {}, "multiclassova": {"objective": "multiclassova"}, "boosting": {"boosting_type": "dart"}}
    model = lightgbm.LGBMClassifier(**OPTIONS, **chosen[objective]).fit(X, classes(X, CLASSES[names]))
    assert_equal(model, X, matrix(seed=4), outputs=["score"], close=1e-14)


@pytest.mark.parametrize(
    "objective",
    [
        {"objective": name}
        for name in ("regression", "l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie")
    ]
    + [
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "cross_entropy"},
        {"objective": "cross_entropy_lambda"},
        {"boosting_type": "rf", "subsample": 0.7, "subsample_freq": 1},
        {"boosting_type": "rf", "objective": "poisson", "subsample": 0.7, "subsample_freq": 1},
        {"linear_lambda": 0.1, "max_bin": 7},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_regressor(objective: dict[str, Any]) -> None:
    X = with_holes(matrix(400))
    y = 1 / (1 + np.exp(-target(X) / 100))
    model = lightgbm.LGBMRegressor(**(OPTIONS | objective)).fit(X, y)
    assert_equal(model, X, with_holes(matrix(seed=4)), close=1e-12)


@pytest.mark.parametrize(
    "missing", [{}, {"use_missing": False}, {"zero_as_missing": True}], ids=["nan", "none", "zero"]
)
@pytest.mark.parametrize("trained_on_nulls", [False, True])
def test_missing_values_and_zero(missing: dict[str, Any], trained_on_nulls: bool) -> None:
    X = around_zero()
    y = np.nan_to_num(X[:, 0]) * 2 + (np.abs(X[:, 1]) < 1e-20) + np.isnan(X[:, 2])
    seen = X if trained_on_nulls else np.nan_to_num(X, nan=3.0)
    model = lightgbm.LGBMRegressor(**OPTIONS, **missing).fit(seen, y)
    assert_equal(model, X, around_zero(seed=8), close=1e-14)


def test_trained_around_zero() -> None:
    X = np.random.default_rng(0).normal(0, 1, (600, 3))
    X[np.random.default_rng(1).random(X.shape) < 0.4] = 0.0
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(X, np.sign(X[:, 0]) + np.sign(X[:, 1]) * 2 + (X[:, 2] > 0))
    case = Case(model, np.concatenate([X, around_zero()]))
    proof = case.prove(rtol=0.0, atol=1e-14)
    proof.check()


def test_best_iteration_counts() -> None:
    X, y = matrix(400), target(matrix(400))
    model = lightgbm.LGBMRegressor(**(OPTIONS | {"n_estimators": 60, "learning_rate": 0.9}))
    stop = lightgbm.early_stopping(2, verbose=False)
    model.fit(X, y, eval_X=matrix(seed=4), eval_y=np.zeros(300), callbacks=[stop])
    assert 0 < model.best_iteration_ < 60
    assert_equal(model, X, close=1e-12)


def test_native_booster() -> None:
    X = matrix(400)
    data = lightgbm.Dataset(X, classes(X, CLASSES["three"]))
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "num_leaves": 7}, data, 9)
    case = assert_equal(booster, X, outputs=["score"])
    assert case.compiled.outputs[0]["size"] == 3


def test_ranker() -> None:
    X = matrix(400)
    y = np.clip(target(X) / 100, 0, 4).astype(int)
    model = lightgbm.LGBMRanker(**OPTIONS).fit(X, y, group=[20] * 20)
    assert_equal(model, X)


@pytest.mark.parametrize("dtype", ["float32", "int64", "int16", "bool"])
def test_element_types(dtype: str) -> None:
    X = (matrix(400) * (10_000_000 if dtype == "int64" else 1)).astype(dtype) if dtype != "bool" else matrix(400) > 0
    frame = pd.DataFrame(X, columns=list("abcdef"))
    y = target(matrix(400))
    assert_equal(lightgbm.LGBMRegressor(**OPTIONS).fit(X, y), X, close=1e-12)
    assert_equal(lightgbm.LGBMRegressor(**OPTIONS).fit(frame, y), frame, close=1e-12)


@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_last_step_of_a_mixed_pipeline(sparse: float) -> None:
    frame = mixed(800)
    model = make_pipeline(prepared(sparse_threshold=sparse), lightgbm.LGBMClassifier(**OPTIONS))
    case = assert_equal(model.fit(frame, label(frame)), frame, mixed(400, seed=3), close=1e-14)
    kinds = [node.op_type for node in case.compiled.graph.graph.node]
    assert "IsNaN" not in kinds, "imputing and scaling moved into the trees"


def test_scaler_moves_into_the_trees() -> None:
    X = matrix(400)
    model = make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(**OPTIONS)).fit(X, target(X))
    case = assert_equal(model, X, close=0.0)
    assert [node.op_type for node in case.compiled.graph.graph.node] == ["TreeEnsemble"]


def test_only_leaves() -> None:
    X = matrix(30)
    y = classes(X, CLASSES["two"])
    assert_equal(lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=100, verbose=-1).fit(X, y), X)


def test_python_objectives_and_early_answers_are_refused() -> None:
    X, y = matrix(), target(matrix())
    own = lightgbm.LGBMClassifier(**OPTIONS, objective=lambda y, p: (p - y, np.ones_like(y)))
    with pytest.raises(CompileError, match="Python objective") as caught:
        Case(own.fit(X, (y > 0).astype(float)), X)
    assert caught.value.code == "cannot_compile"
    hasty = lightgbm.LGBMClassifier(**OPTIONS, pred_early_stop=True).fit(X, y > 0)
    with pytest.raises(CompileError, match="pred_early_stop"):
        Case(hasty, X)
