"""The three boosting frameworks on scikit-learn's own data sets and on a made table of diamonds, held-out rows too."""

from __future__ import annotations

from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from judge import assert_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

QUIET: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 40, "num_leaves": 15, "verbose": -1, "n_jobs": 1},
    "xgboost": {"n_estimators": 40, "max_depth": 4, "n_jobs": 1},
    "catboost": {"n_estimators": 40, "depth": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False},
}
CLASSIFIERS: dict[str, Any] = {
    "lightgbm": lightgbm.LGBMClassifier,
    "xgboost": xgboost.XGBClassifier,
    "catboost": catboost.CatBoostClassifier,
}
REGRESSORS: dict[str, Any] = {
    "lightgbm": lightgbm.LGBMRegressor,
    "xgboost": xgboost.XGBRegressor,
    "catboost": catboost.CatBoostRegressor,
}
CLOSE = {"lightgbm": 1e-14, "xgboost": 0.0, "catboost": 1e-14}


@pytest.mark.parametrize("framework", CLASSIFIERS)
@pytest.mark.parametrize("load", [load_breast_cancer, load_digits], ids=["cancer", "digits"])
def test_classes(framework: str, load: Any) -> None:
    X, y = load(return_X_y=True)
    options = QUIET[framework] | ({"n_estimators": 8} if load is load_digits else {})
    model = CLASSIFIERS[framework](**options).fit(X[::2], y[::2])
    assert_equal(model, X[::2], X[1::2], close=CLOSE[framework])


@pytest.mark.parametrize("framework", REGRESSORS)
def test_numbers(framework: str) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = REGRESSORS[framework](**QUIET[framework]).fit(X[::2], y[::2])
    assert_equal(model, X[::2], X[1::2], close=0.0)


def diamonds(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"carat": np.round(random.lognormal(-0.4, 0.6, rows), 2)})
    for name, words in (
        ("cut", ["Fair", "Good", "Very Good", "Premium", "Ideal"]),
        ("color", list("DEFGHIJ")),
        ("clarity", ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"]),
    ):
        frame[name] = pd.Categorical(random.choice(words, rows), categories=words)
    frame["depth"] = np.round(random.normal(61.7, 1.4, rows), 1)
    frame["table"] = random.integers(52, 68, rows)
    return frame


def prices(frame: pd.DataFrame) -> np.ndarray:
    quality = frame["clarity"].cat.codes * 0.08 + frame["cut"].cat.codes * 0.03 - frame["color"].cat.codes * 0.05
    return np.asarray(np.round(np.exp(7.8 + 1.6 * np.log(frame["carat"]) + quality)))


@pytest.mark.parametrize("framework", REGRESSORS)
def test_diamonds(framework: str) -> None:
    frame, other = diamonds(1500, 0), diamonds(700, 1)
    more: dict[str, dict[str, Any]] = {
        "lightgbm": {},
        "xgboost": {"enable_categorical": True},
        "catboost": {"cat_features": ["cut", "color", "clarity"], "one_hot_max_size": 10},
    }
    model = REGRESSORS[framework](**QUIET[framework], **more[framework]).fit(frame, prices(frame))
    assert_equal(model, frame, other, close=0.0)
    dear = prices(frame) > 3000
    judge = CLASSIFIERS[framework](**QUIET[framework], **more[framework]).fit(frame, dear)
    assert_equal(judge, frame, other, close=CLOSE[framework])
