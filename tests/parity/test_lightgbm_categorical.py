"""LightGBM on categories (pandas' own type, and numbers that are codes) and with linear leaves: bit-equal scores."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from judge import assert_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from test_lightgbm import OPTIONS
from test_steps import matrix, target, with_holes

GROUPS: dict[str, Any] = {**OPTIONS, "min_data_per_group": 5, "cat_smooth": 1.0}


def cars(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    """Two columns of categories, one of ordered ones and one of numbers; more categories than one word has bits."""
    random = np.random.default_rng(seed)
    names = [f"type {number}" for number in range(90)]
    frame = pd.DataFrame({"model": pd.Categorical(random.choice(names, rows), categories=names)})
    frame["colour"] = pd.Categorical(random.choice(["red", "grün", "", "黒"], rows))
    frame["speed"] = random.normal(size=rows)
    steps = ["low", "middle", "high"]
    frame["grade"] = pd.Categorical(random.choice(steps, rows), categories=steps, ordered=True)
    frame.loc[random.random(rows) < 0.1, "colour"] = None
    return frame


def price(frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(
        frame["speed"]
        + frame["model"].cat.codes % 7
        + 3.0 * (frame["colour"].astype(str) == "red")
        + 2.0 * frame["grade"].cat.codes
    )


def numbers(dtype: Any, rows: int = 500) -> np.ndarray:
    """Codes up to 149, codes with negative ones among them, and a plain number; NaN in each where the type has it."""
    random = np.random.default_rng(1)
    values = np.column_stack([random.integers(0, 150, rows), random.integers(-2, 5, rows), random.normal(0, 3, rows)])
    values = values.astype(dtype)
    if values.dtype.kind == "f":
        values[random.random(values.shape) < 0.05] = np.nan
    return values


@pytest.mark.parametrize("nullable", [None, True], ids=["as seen", "nullable"])
@pytest.mark.parametrize("linear", [False, True], ids=["plain", "linear"])
def test_pandas_categories(nullable: bool | None, linear: bool) -> None:
    frame = cars()
    model = lightgbm.LGBMRegressor(**GROUPS, linear_tree=linear).fit(frame, price(frame))
    assert_equal(model, frame, cars(300, seed=4), close=0.0, nullable=nullable)


def test_categories_of_a_booster_read_from_its_text() -> None:
    frame = cars()
    data = lightgbm.Dataset(frame, np.digitize(price(frame), [3, 7]))
    trained = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, data, 5)
    again = lightgbm.Booster(model_str=trained.model_to_string())
    assert_equal(again, frame, cars(300, seed=4), close=1e-14, outputs=["score"])


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16"])
@pytest.mark.parametrize("one_hot", [2, 200], ids=["sets", "one against rest"])
def test_codes(dtype: str, one_hot: int) -> None:
    X = numbers(dtype)
    y = np.nan_to_num(X[:, 0]) % 7 + np.nan_to_num(X[:, 1].astype(float) ** 2) + np.nan_to_num(X[:, 2])
    model = lightgbm.LGBMRegressor(**GROUPS, max_cat_to_onehot=one_hot)
    assert_equal(model.fit(X, y, categorical_feature=[0, 1]), X, close=0.0)
    frame = pd.DataFrame(X, columns=list("abc"))
    assert_equal(model.fit(frame, y, categorical_feature=["a"]), frame, close=0.0)


def test_odd_codes_are_cut_as_the_original_cuts_them() -> None:
    X = numbers("float64")
    model = lightgbm.LGBMRegressor(**GROUPS).fit(X, np.nan_to_num(X[:, 0]) % 5, categorical_feature=[0])
    odd = [-0.5, -0.0, -1.0, -1e-300, 0.5, 1.9999999999, 3e9, -3e9, 1e300, np.inf, -np.inf, np.nan, 63.5, 64.5, 127.9]
    rows = np.column_stack([np.repeat(odd, 3), np.zeros(3 * len(odd)), np.tile([-1.0, 0.0, 1.0], len(odd))])
    assert_equal(model, np.concatenate([X, rows]), close=0.0)


def test_zero_is_missing_only_among_numbers() -> None:
    X = np.random.default_rng(0).integers(-3, 3, (400, 3)).astype(float)
    model = lightgbm.LGBMRegressor(**GROUPS, zero_as_missing=True)
    assert_equal(model.fit(X, X[:, 0] ** 2 + X[:, 1], categorical_feature=[0]), X, close=0.0, nullable=True)


def test_codes_made_by_an_encoder() -> None:
    frame = cars()[["model", "colour"]].astype(object)
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(encode, lightgbm.LGBMRegressor(**GROUPS))
    model.fit(frame, price(cars()), lgbmregressor__categorical_feature=[0, 1])
    assert_equal(model, frame, close=0.0, nullable=True)


@pytest.mark.parametrize("kind", ["plain", "holes", "integers"])
@pytest.mark.parametrize("boosting", ["gbdt", "rf", "dart"])
def test_linear_leaves(kind: str, boosting: str) -> None:
    X = {"plain": matrix, "holes": lambda n: with_holes(matrix(n)), "integers": lambda n: matrix(n, dtype="int64")}[
        kind
    ](400)
    y = target(X) + np.nan_to_num(X[:, 0] * X[:, 1])
    model = lightgbm.LGBMRegressor(**OPTIONS, linear_tree=True, boosting_type=boosting, subsample=0.7, subsample_freq=1)
    assert_equal(model.fit(X, y), X, close=0.0)


def test_linear_leaves_of_several_classes() -> None:
    X = matrix(400)
    model = lightgbm.LGBMClassifier(**OPTIONS, linear_tree=True).fit(X, np.digitize(target(X), [-50, 50]))
    assert_equal(model, X, matrix(seed=4), close=1e-14)
