"""Transformers of categories, of missing values and of records against the original on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import assert_equal
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import DictVectorizer
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.tree import DecisionTreeClassifier


def mixed(rows: int = 300, seed: int = 0, missing: Any = np.nan, text: Any = "str") -> pd.DataFrame:
    """Text with and without missing values, and numbers that are categories."""
    random = np.random.default_rng(seed)
    word = np.asarray(["red", "green", "blue", "Zürich", "東京", "", "rare"], dtype=object)
    city = word[random.choice(7, rows, p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02])]
    city[random.random(rows) < 0.1] = missing
    frame = pd.DataFrame({"city": pd.Series(city, dtype=text), "size": word[random.integers(0, 3, rows)].astype(str)})
    frame["code"] = random.choice([0.5, 1.5, 2.25, np.nan], rows)
    frame["small"] = random.integers(0, 4, rows).astype(np.uint8)
    frame["member"] = random.random(rows) < 0.4
    return frame


def targets(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    score = 3 * (frame["city"] == "red") + frame["small"] + frame["code"].fillna(1)
    number = score.to_numpy(dtype=float)
    return {"binary": number > 2.5, "continuous": number, "multiclass": (number // 2).astype(int)}


@pytest.mark.parametrize("smooth", ["auto", 5.0])
@pytest.mark.parametrize("kind", ["binary", "continuous", "multiclass"])
@pytest.mark.parametrize("text", ["str", "object with NaN", "object with None"])
def test_target_means(kind: Any, smooth: Any, text: str) -> None:
    frame = mixed(missing=None if text.endswith("None") else np.nan, text=text.split()[0])
    y = targets(frame)[kind]
    for columns in (["city", "size"], ["code", "small", "member"], ["city", "code"]):
        model = make_pipeline(TargetEncoder(target_type=kind, smooth=smooth)).fit(frame[columns], y)
        assert_equal(model, frame[columns], mixed(seed=3)[columns].dropna())


def test_target_means_of_given_categories_before_models() -> None:
    frame = mixed()
    y = targets(frame)["binary"]
    given = TargetEncoder(categories=[["red", "green", "never"], ["red", "green", "blue"]])  # pyright: ignore[reportArgumentType]
    assert_equal(given.fit(frame[["city", "size"]], y), frame[["city", "size"]])
    for model in (LogisticRegression(), DecisionTreeClassifier(random_state=0)):
        assert_equal(make_pipeline(TargetEncoder(), model).fit(frame[["city", "size"]], y), frame[["city", "size"]])


ENCODERS = {
    "drop given": OneHotEncoder(drop=np.array(["red", "red"], dtype=object), handle_unknown="ignore"),
    "given categories": OneHotEncoder(categories=[["red", "green", "zzz"], ["blue", "red"]], handle_unknown="ignore"),  # pyright: ignore[reportArgumentType]
    "all rare": OneHotEncoder(max_categories=1, handle_unknown="infrequent_if_exist"),
    "rare, drop if binary": OneHotEncoder(min_frequency=70, drop="if_binary", handle_unknown="infrequent_if_exist"),
    "rare, drop first": OneHotEncoder(min_frequency=50, drop="first", handle_unknown="ignore"),
    "whole numbers": OneHotEncoder(dtype=int, handle_unknown="ignore", sparse_output=False),  # pyright: ignore[reportArgumentType]
    "truth values": OneHotEncoder(dtype=bool, handle_unknown="ignore", sparse_output=False),  # pyright: ignore[reportArgumentType]
    "numbers of given categories": OrdinalEncoder(
        categories=[["red", "green", "zzz"], ["blue", "red"]],  # pyright: ignore[reportArgumentType]
        handle_unknown="use_encoded_value",
        unknown_value=-5,
    ),
    "numbers, rare, missing": OrdinalEncoder(
        min_frequency=50, handle_unknown="use_encoded_value", unknown_value=99, encoded_missing_value=-3
    ),
    "numbers, few": OrdinalEncoder(max_categories=3, handle_unknown="use_encoded_value", unknown_value=np.nan),
    "int64": OrdinalEncoder(
        dtype=np.int64,  # pyright: ignore[reportArgumentType]
        handle_unknown="use_encoded_value",
        unknown_value=-5,
        encoded_missing_value=-1,
    ),
    "float32": OrdinalEncoder(dtype=np.float32, handle_unknown="use_encoded_value", unknown_value=np.nan),  # pyright: ignore[reportArgumentType]
    "missing": MissingIndicator(features="all"),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("nulls", ["NaN", "None", "in hard rows alone"])
def test_encoder(name: str, nulls: str) -> None:
    frame = mixed(missing=None if nulls == "None" else np.nan, text="object")[["city", "size"]]
    if nulls.startswith("in"):
        frame = frame.dropna().reset_index(drop=True)
    assert_equal(make_pipeline(ENCODERS[name]).fit(frame), frame, nullable=True if nulls.startswith("in") else None)


@pytest.mark.parametrize(
    "options", [{"features": "all"}, {"error_on_new": False}, {"sparse": True, "error_on_new": False}]
)
@pytest.mark.parametrize("value", [np.nan, -1.0, 7])
def test_missing_indicator(options: dict[str, Any], value: float) -> None:
    X = np.random.default_rng(0).normal(3, 20, (200, 4))
    X[np.random.default_rng(1).random(X.shape) < 0.2] = value
    X[:, 1] = 1.0
    X = X.astype(np.int64) if value == 7 else X
    assert_equal(make_pipeline(MissingIndicator(missing_values=value, **options)).fit(X), X)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{name: value for name, value in row.items() if isinstance(value, str) or value == value} for row in rows]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_records(dtype: Any, sparse: bool) -> None:
    frame = mixed()
    frame["code"] = frame["code"].round()
    options: Any = {"dtype": dtype, "sparse": sparse}
    model = DictVectorizer(**options).fit(records(frame))
    assert_equal(model, frame)
    # A column that it never saw, and one that the example lacks.
    assert_equal(model, frame.drop(columns="small").assign(other="new"))


def test_records_before_a_model() -> None:
    frame = mixed()
    model = make_pipeline(DictVectorizer(separator=": "), LogisticRegression(max_iter=300))
    assert_equal(model.fit(records(frame), targets(frame)["binary"]), frame)


def test_target_means_among_other_columns() -> None:
    frame = mixed()
    prepare = ColumnTransformer(
        [("mean", TargetEncoder(), ["city"]), ("one", OneHotEncoder(handle_unknown="ignore"), ["size", "small"])],
        remainder="drop",
    )
    model = make_pipeline(prepare, DecisionTreeClassifier(max_depth=5, random_state=0))
    assert_equal(model.fit(frame, targets(frame)["multiclass"]), frame)
