"""Every supported step, in front of a model, against the original on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import assert_equal
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor


def matrix(rows: int = 300, columns: int = 6, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    values = np.random.default_rng(seed).normal(3, 20, (rows, columns))
    return values.astype(dtype)


def with_holes(values: np.ndarray, share: float = 0.15, seed: int = 1) -> np.ndarray:
    holes = values.copy()
    holes[np.random.default_rng(seed).random(values.shape) < share] = np.nan
    return holes


def target(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values) @ np.arange(1, values.shape[1] + 1)


def mixed(rows: int = 400, seed: int = 0, missing: Any = np.nan, text: str = "str") -> pd.DataFrame:
    """A table of every kind of column, with missing numbers and missing text."""
    random = np.random.default_rng(seed)
    word = np.asarray(["red", "green", "blue", "Zürich", "東京", "rare1", "rare2"], dtype=object)
    city = word[random.choice(7, rows, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.03, 0.02])]
    city[random.random(rows) < 0.1] = missing
    city = pd.Series(city, dtype=text if text != "object" else object)
    frame = pd.DataFrame({"city": city, "size": word[random.integers(0, 3, rows)].astype(str)})
    frame["age"] = random.integers(18, 90, rows)
    frame["small"] = random.integers(-50, 50, rows).astype(np.int16)
    frame["weight"] = with_holes(random.normal(70, 12, rows), seed=seed)
    frame["narrow"] = random.normal(0, 1, rows).astype(np.float32)
    frame["member"] = random.random(rows) < 0.4
    return frame


def label(frame: pd.DataFrame) -> np.ndarray:
    score = frame["age"] + frame["weight"].fillna(60) / 3 + 20 * frame["member"] + 15 * (frame["city"] == "red")
    return (score > score.median()).astype(int).to_numpy()


SCALERS = {
    "standard": StandardScaler(),
    "standard, mean only": StandardScaler(with_std=False),
    "standard, deviation only": StandardScaler(with_mean=False),
    "min-max": MinMaxScaler(),
    "min-max clipped": MinMaxScaler((-1, 2), clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(quantile_range=(10, 80)),
    "robust, no centre": RobustScaler(with_centering=False),
    "normal l2": Normalizer(),
    "normal l1": Normalizer("l1"),
    "normal max": Normalizer("max"),
    "binary": Binarizer(threshold=2.5),
    "polynomial": PolynomialFeatures(3),
    "interactions": PolynomialFeatures((2, 3), interaction_only=True, include_bias=False),  # pyright: ignore[reportArgumentType]
    "identity": FunctionTransformer(),
}


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "table"])
def test_scaler_as_transformer(name: str, kind: str) -> None:
    X: Any = matrix(dtype=np.float64 if kind == "table" else kind)
    if kind == "table":
        X = pd.DataFrame(X, columns=list("abcdef"))
        X["a"] = X["a"].astype(int)
        X["b"] = X["b"].astype(np.float32)
    model = make_pipeline(SCALERS[name]).fit(X)
    # Products of huge values are infinite in both; of float32 ones, single precision is what can be asked.
    assert_equal(model, X, close=1e-9 if kind != "float32" else 1e-6)


@pytest.mark.parametrize("name", [name for name in SCALERS if "polynomial" not in name])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scaler_before_tree_is_bit_exact(name: str, dtype: str) -> None:
    X = matrix(dtype=dtype)
    model = make_pipeline(SCALERS[name], DecisionTreeRegressor(max_depth=7, random_state=0)).fit(X, target(X))
    case = assert_equal(model, X, matrix(seed=5, dtype=dtype), close=0.0 if name != "normal l2" else 1e-9)
    if name in ("standard", "min-max clipped", "robust", "max-abs", "identity"):
        assert [node.op_type for node in case.compiled.graph.graph.node][-1] == "TreeEnsemble"
        assert len(case.compiled.graph.graph.node) <= 2, "the tree reads the raw columns"


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numeric_imputer(strategy: str, indicator: bool, dtype: str) -> None:
    X = with_holes(matrix(dtype=dtype))
    imputer = SimpleImputer(
        strategy=strategy, fill_value=None if strategy != "constant" else 7, add_indicator=indicator
    )
    assert_equal(make_pipeline(imputer).fit(X), X)
    tree = DecisionTreeRegressor(max_depth=8, random_state=0)
    assert_equal(make_pipeline(imputer, StandardScaler(), tree).fit(X, target(X)), X, close=0.0)


def test_imputer_of_another_value_and_of_empty_columns() -> None:
    X = with_holes(matrix())
    X[:, 2] = np.nan
    for keep in (False, True):
        assert_equal(make_pipeline(SimpleImputer(keep_empty_features=keep)).fit(X), X)
    Y = np.where(np.random.default_rng(0).random(X.shape) < 0.2, -1.0, matrix())
    assert_equal(make_pipeline(SimpleImputer(missing_values=-1)).fit(Y), Y)
    assert_equal(make_pipeline(SimpleImputer(missing_values=-1)).fit(Y.astype(int)), Y.astype(int))


def test_missing_indicator() -> None:
    X = with_holes(matrix())
    union = FeatureUnion([("fill", SimpleImputer()), ("holes", MissingIndicator())])
    assert_equal(make_pipeline(union, LinearRegression()).fit(X, target(X)), X)


ENCODERS = {
    "ignore": OneHotEncoder(handle_unknown="ignore"),
    "dense": OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),  # pyright: ignore[reportArgumentType]
    "error": OneHotEncoder(),
    "drop first": OneHotEncoder(drop="first", handle_unknown="ignore"),
    "drop if binary": OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    "rare": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
    "rare by share": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.08),
    "rare by count": OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=3),
    "rare, ignore": OneHotEncoder(handle_unknown="ignore", min_frequency=30),
    "rare, warn": OneHotEncoder(handle_unknown="warn", min_frequency=30),
    "rare, dropped": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30, drop="first"),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-7),
    "ordinal, nan": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    "ordinal, missing": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
    "ordinal, rare": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=99, min_frequency=30),
    "ordinal, error": OrdinalEncoder(),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("text", ["str", "object with NaN", "object with None"])
def test_encoder_of_text(name: str, text: str) -> None:
    missing = None if text.endswith("None") else np.nan
    frame = mixed(missing=missing, text=text.split()[0])[["city", "size"]]
    assert_equal(make_pipeline(ENCODERS[name]).fit(frame), frame)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_of_numbers(name: str) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"whole": random.integers(-3, 5, 400), "flag": random.random(400) < 0.3})
    frame["part"] = random.choice([0.5, 1.5, 2.25, np.nan], 400)
    frame["short"] = random.choice([1, 2, 200], 400).astype(np.uint8)
    frame["single"] = random.choice([0.1, 0.2], 400).astype(np.float32)
    assert_equal(make_pipeline(ENCODERS[name]).fit(frame), frame)


@pytest.mark.parametrize("missing", [np.nan, None, "red"])
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
@pytest.mark.parametrize("indicator", [False, True])
def test_text_imputer(missing: Any, strategy: str, indicator: bool) -> None:
    frame = mixed(missing=None if missing == "red" else missing, text="object")[["city", "size"]]
    imputer = SimpleImputer(missing_values=missing, strategy=strategy, add_indicator=indicator)  # pyright: ignore[reportArgumentType]
    steps = [("fill", imputer), ("encode", OneHotEncoder(handle_unknown="ignore"))]
    if indicator:
        steps = [("fill", SimpleImputer(missing_values=missing, strategy=strategy)), steps[1]]  # pyright: ignore[reportArgumentType]
    y = label(mixed())
    assert_equal(Pipeline([*steps, ("model", LogisticRegression())]).fit(frame, y), frame)


def test_pandas_text_with_imputer() -> None:
    frame = mixed()[["city", "size"]]
    steps = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    assert_equal(steps.fit(frame), frame)


NUMBERS = ["age", "small", "weight", "narrow", "member"]


def prepared(**options: Any) -> ColumnTransformer:
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer([("text", text, ["city", "size"]), ("numbers", numbers, NUMBERS)], **options)


MODELS = {
    "logistic": LogisticRegression(max_iter=500),
    "forest": RandomForestClassifier(12, max_depth=6, random_state=0),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_mixed_table(model: str, sparse: float) -> None:
    frame = mixed()
    pipeline = Pipeline([("prepare", prepared(sparse_threshold=sparse)), ("model", MODELS[model])])
    assert_equal(pipeline.fit(frame, label(frame)), frame, mixed(seed=3))


def test_mixed_table_all_nullable() -> None:
    frame = mixed()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = ColumnTransformer([("numbers", numbers, ["age", "small", "weight"])])
    pipeline = Pipeline([("prepare", prepare), ("model", MODELS["forest"])]).fit(frame, label(frame))
    case = assert_equal(pipeline, frame, nullable=True)
    assert [entry["columns"] for entry in case.compiled.stage["inputs"]] == [["age", "small", "weight"]]


def test_nullable_extension_types() -> None:
    frame = mixed()[["age", "weight", "member"]].convert_dtypes()
    frame.loc[::7, "age"] = pd.NA
    frame.loc[::5, "member"] = pd.NA
    pipeline = make_pipeline(SimpleImputer(strategy="median"), MODELS["forest"])
    assert_equal(pipeline.fit(frame, label(mixed())), frame)


def test_column_choices() -> None:
    frame = mixed()
    plain = frame.drop(columns="weight")
    choices = ColumnTransformer(
        [
            ("position", StandardScaler(), [2, -1]),
            ("slice", MinMaxScaler(), slice("small", "narrow")),
            ("mask", OneHotEncoder(handle_unknown="ignore"), [False, True, False, False, False, False]),
            ("callable", RobustScaler(), make_column_selector(dtype_include=np.float32)),
            ("dropped", "drop", ["age"]),
            ("kept", "passthrough", ["age"]),
        ],
        remainder="drop",
        transformer_weights={"position": 2.5},
    )
    assert_equal(make_pipeline(choices, LogisticRegression(max_iter=500)).fit(plain, label(frame)), plain)


def test_remainders_and_nesting() -> None:
    frame = mixed().drop(columns=["city", "size"])
    inner = ColumnTransformer([("first", StandardScaler(), [0, 2])], remainder="passthrough")
    outer = ColumnTransformer(
        [("numbers", make_pipeline(SimpleImputer(), inner, MinMaxScaler()), ["age", "weight", "small"])],
        remainder=StandardScaler(),  # pyright: ignore[reportArgumentType]
    )
    model = make_pipeline(outer, MODELS["forest"])
    assert_equal(model.fit(frame, label(mixed())), frame)


def test_order_and_extra_columns_of_the_table_do_not_matter() -> None:
    frame = mixed()
    pipeline = Pipeline([("prepare", prepared()), ("model", MODELS["logistic"])]).fit(frame, label(frame))
    turned = frame[frame.columns[::-1]].assign(extra=1.5)
    case = assert_equal(pipeline, turned)
    used = [name for entry in case.compiled.stage["inputs"] for name in entry.get("columns", [])]
    assert "extra" not in used
    assert sorted(used) == sorted(frame.columns)


def test_union_with_weights() -> None:
    X = matrix()
    union = FeatureUnion(
        [("a", StandardScaler()), ("b", MinMaxScaler()), ("c", "passthrough"), ("d", "drop")],
        transformer_weights={"b": 0.3},
    )
    assert_equal(make_pipeline(union, LinearRegression()).fit(X, target(X)), X)
