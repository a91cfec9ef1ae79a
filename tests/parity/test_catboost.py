"""CatBoost: every way it grows trees, its losses, missing values and one-hot categories; raw values bit-equal."""

from __future__ import annotations

from typing import Any

import catboost
import numpy as np
import pandas as pd
import polars
import pytest
from judge import Case, assert_equal
from test_steps import matrix, target, with_holes

from monorail.adapters import find_adapter
from monorail.errors import CompileError

OPTIONS: dict[str, Any] = {
    "iterations": 15,
    "depth": 4,
    "verbose": 0,
    "thread_count": 1,
    "allow_writing_files": False,
}
ROUNDING = 1e-14


def grades(X: np.ndarray) -> np.ndarray:
    return np.digitize(target(X), [-50, 50])


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16"])
@pytest.mark.parametrize("form", ["array", "table"])
def test_element_types(dtype: str, form: str) -> None:
    X: Any = (matrix(400) * (10_000_000 if dtype == "int64" else 1)).astype(dtype)
    X = X if form == "array" else pd.DataFrame(X, columns=list("abcdef"))
    assert_equal(catboost.CatBoostRegressor(**OPTIONS).fit(X, target(matrix(400))), X, close=0.0, outputs=["score"])


@pytest.mark.parametrize("mode", ["Min", "Max", "Forbidden"])
def test_missing_values(mode: str) -> None:
    X = with_holes(matrix(400))
    seen = X if mode != "Forbidden" else np.nan_to_num(X)
    model = catboost.CatBoostRegressor(**OPTIONS, nan_mode=mode).fit(seen, target(X))
    assert_equal(model, seen, X if mode != "Forbidden" else seen, close=0.0, nullable=True)


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
def test_ways_to_grow(policy: str) -> None:
    X = with_holes(matrix(400))
    model = catboost.CatBoostRegressor(**OPTIONS, grow_policy=policy).fit(X, target(X))
    assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0)
    sorted_in = catboost.CatBoostClassifier(**OPTIONS, grow_policy=policy).fit(X, grades(X))
    assert_equal(sorted_in, X, close=ROUNDING, outputs=["score"])


@pytest.mark.parametrize(
    "loss",
    [
        *("RMSE", "MAE", "MAPE", "Quantile:alpha=0.3", "MultiQuantile:alpha=0.1,0.5", "LogLinQuantile", "Poisson"),
        *("Tweedie:variance_power=1.5", "RMSEWithUncertainty", "Huber:delta=1", "Expectile:alpha=0.2"),
    ],
)
def test_losses(loss: str) -> None:
    X = with_holes(matrix(400))
    y = 1 / (1 + np.exp(-target(X) / 100))
    assert_equal(catboost.CatBoostRegressor(**OPTIONS, loss_function=loss).fit(X, y), X, close=ROUNDING)


def test_several_targets() -> None:
    X = with_holes(matrix(400))
    y = np.column_stack([target(X), -target(X)])
    case = assert_equal(catboost.CatBoostRegressor(**OPTIONS, loss_function="MultiRMSE").fit(X, y), X, close=0.0)
    assert case.compiled.outputs[0]["size"] == 2


@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [3, 7], [1.5, 2.0], ["ä", "b", "c"], [4, 5, 9]], ids=str
)
def test_classes(names: list[Any]) -> None:
    X = with_holes(matrix(400))
    y = np.asarray(names)[grades(X) if len(names) == 3 else (target(X) > 0).astype(int)]
    assert_equal(catboost.CatBoostClassifier(**OPTIONS).fit(X, y), X, close=ROUNDING, outputs=["score"])


@pytest.mark.parametrize(
    "loss", ["CrossEntropy", "Focal:focal_alpha=0.3;focal_gamma=1", "MultiClassOneVsAll", "MultiLogloss"]
)
def test_losses_of_classes(loss: str) -> None:
    X = with_holes(matrix(400))
    y: Any = grades(X) if loss == "MultiClassOneVsAll" else (target(X) > 0).astype(int)
    if loss == "MultiLogloss":
        y = np.column_stack([y, 1 - y, X[:, 0] > 0]).astype(int)
    case = assert_equal(catboost.CatBoostClassifier(**OPTIONS, loss_function=loss).fit(X, y), X, close=ROUNDING)
    assert ("size" in case.compiled.outputs[0]) == (loss == "MultiLogloss")


def test_probability_threshold() -> None:
    X = matrix(400)
    model = catboost.CatBoostClassifier(**OPTIONS).fit(X, target(X) > 0)
    model.set_probability_threshold(0.3)
    assert_equal(model, X, close=ROUNDING)


def test_ranker_and_plain_model() -> None:
    X = matrix(400)
    y = np.clip(target(X) / 50, 0, 4).astype(int)
    ranker = catboost.CatBoostRanker(**OPTIONS, loss_function="QueryRMSE")
    assert_equal(ranker.fit(X, y, group_id=np.repeat(np.arange(20), 20)), X, close=0.0)
    plain = catboost.CatBoost({**OPTIONS, "loss_function": "Logloss"}).fit(X, y > 2)
    assert_equal(plain, X, close=0.0)


def test_best_iteration_counts() -> None:
    X, other = matrix(400), matrix(seed=4)
    model = catboost.CatBoostRegressor(**(OPTIONS | {"iterations": 100, "learning_rate": 0.9}))
    noise = np.random.default_rng(0).normal(0, 80, 300)
    model.fit(X, target(X), eval_set=(other, target(other) + noise), early_stopping_rounds=3)
    assert model.tree_count_ is not None
    assert 0 < model.tree_count_ < 100
    assert_equal(model, X, close=0.0)


def flats(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"quarter": random.choice([*(f"quarter {n}" for n in range(40)), "Süd", "東", ""], rows)})
    frame["area"] = random.normal(70, 20, rows)
    frame["heating"] = pd.Categorical(random.choice(["gas", "oil", "wärme"], rows))
    frame["floor"] = random.integers(-2, 9, rows)
    frame["lift"] = random.random(rows) > 0.5
    return frame


CATEGORIES = ["quarter", "heating", "floor", "lift"]


def rent(frame: pd.DataFrame) -> np.ndarray:
    known = frame["quarter"].str.len() + 3.0 * (frame["heating"].astype(str) == "gas")
    return np.asarray(frame["area"] / 10 + known + frame["floor"] + 2 * frame["lift"])


@pytest.mark.parametrize("nullable", [None, True], ids=["as seen", "nullable"])
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_one_hot_categories(policy: str, nullable: bool | None) -> None:
    frame = flats()
    model = catboost.CatBoostRegressor(**OPTIONS, one_hot_max_size=60, cat_features=CATEGORIES, grow_policy=policy)
    case = assert_equal(model.fit(frame, rent(frame)), frame, flats(300, seed=4), close=0.0, nullable=nullable)
    assert case.prove().generators["unseen_category"] > 0


def test_codes_in_an_array_of_whole_numbers() -> None:
    frame = flats()
    X = np.column_stack([frame["floor"], frame["area"] * 10, frame["lift"]]).astype(int)
    model = catboost.CatBoostRegressor(**OPTIONS, one_hot_max_size=60, cat_features=[0, 2]).fit(X, rent(frame))
    assert_equal(model, X, close=0.0)


def test_categories_of_polars() -> None:
    frame = flats()
    model = catboost.CatBoostRegressor(**OPTIONS, one_hot_max_size=60, cat_features=CATEGORIES).fit(frame, rent(frame))
    asked = find_adapter(model).answers(model, polars.from_pandas(frame), ["prediction"])
    assert np.array_equal(asked["prediction"], model.predict(frame))


def test_what_is_not_compiled_is_refused() -> None:
    frame = flats()
    counted = catboost.CatBoostRegressor(**OPTIONS, cat_features=CATEGORIES).fit(frame, rent(frame))
    with pytest.raises(CompileError, match="statistics of categories"):
        Case(counted, frame)
    named = catboost.CatBoostRegressor(**OPTIONS, one_hot_max_size=60, cat_features=CATEGORIES)
    with pytest.raises(CompileError, match=r"`quarter` that its trees split on are not in the example"):
        Case(named.fit(frame, rent(frame)), frame.head(5))
    with pytest.raises(CompileError, match="not fitted"):
        find_adapter(catboost.CatBoostRegressor()).describe(catboost.CatBoostRegressor())
