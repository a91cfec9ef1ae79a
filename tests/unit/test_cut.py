"""Pipelines that are cut: where, and what goes from the first part to the second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from monorail.adapters import Form, find_adapter
from monorail.compile.cut import Cut, cut_model, flat_steps
from monorail.compile.hard_rows import make_hard_rows
from monorail.data import conform, to_arrow
from monorail.signature import infer

RANDOM = np.random.default_rng(3)
TRIPS = pd.DataFrame(
    {
        "when": pd.date_range("2024-01-01", periods=200, freq="7h"),
        "km": np.where(RANDOM.random(200) < 0.1, np.nan, RANDOM.gamma(2.0, 3.0, 200)),
        "city": RANDOM.choice(["a", "b", "c"], 200),
        "stops": RANDOM.integers(0, 9, 200),
    }
)
LATE = (TRIPS.km.fillna(0) > 5).map({True: "late", False: "ok"})


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """What people write: copies, dates, ratios."""
    out = frame.copy()
    out["hour"] = out["when"].dt.hour
    out["weekend"] = out["when"].dt.day_of_week >= 5
    out["per_stop"] = out["km"] / (out["stops"] + 1)
    out["since"] = out["when"] - pd.Timestamp("2024-01-01")
    return out


class Numbers(TransformerMixin, BaseEstimator):
    """A transformer of somebody's own that gives an array."""

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = dtype

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X[["km", "stops"]].fillna(0.0)).astype(self.dtype)


def chosen() -> object:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["km", "per_stop", "hour", "stops"]),
        ("passthrough", ["weekend"]),
    )


def cut(model: object, frame: Any = TRIPS) -> Cut | None:
    table = to_arrow(frame)
    signature = infer(table)
    rows = conform(table, signature)
    description = find_adapter(model).describe(model)
    form = Form.of(frame, description.feature_names)
    hard = make_hard_rows(signature.to_json()["inputs"], rows)
    return cut_model(model, rows, hard.table, form)


def test_behind_the_function():
    found = cut(make_pipeline(FunctionTransformer(features), chosen(), LogisticRegression()).fit(TRIPS, LATE))
    assert found is not None
    assert (found.worker, found.native) == (["functiontransformer"], ["columntransformer", "logisticregression"])
    columns = {column["name"]: (column["type"], column["nullable"]) for column in found.columns}
    # `when` and `since` are no columns a graph reads, and none that the rest asks for.
    assert columns == {
        "km": ("float64", True),
        "city": ("string", False),
        "stops": ("int64", False),
        "hour": ("int32", False),
        "weekend": ("bool", False),
        "per_stop": ("float64", True),
    }
    assert not any("seen" in column for column in found.columns)
    assert [output["name"] for output in found.compiled.outputs] == ["label", "probability"]


def test_behind_the_last_step_that_does_not_compile():
    more = FunctionTransformer(lambda frame: frame.assign(twice=frame["km"] * 2))
    model = Pipeline(
        [("first", FunctionTransformer(features)), ("second", more), ("rest", chosen()), ("end", LinearRegression())]
    ).fit(TRIPS, TRIPS.stops)
    found = cut(model)
    assert found is not None
    assert (found.worker, found.native) == (["first", "second"], ["rest", "end"])


def test_inside_a_pipeline_of_pipelines():
    inner = Pipeline([("make", FunctionTransformer(features)), ("choose", chosen())])
    model = Pipeline([("prepare", inner), ("end", LinearRegression())]).fit(TRIPS, TRIPS.stops)
    assert [name for name, _ in flat_steps(model)] == ["prepare.make", "prepare.choose", "end"]
    found = cut(model)
    assert found is not None
    assert (found.worker, found.native) == (["prepare.make"], ["prepare.choose", "end"])


def test_inside_what_a_search_has_found():
    from sklearn.model_selection import GridSearchCV

    model = make_pipeline(FunctionTransformer(features), chosen(), LogisticRegression())
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(TRIPS, LATE)
    found = cut(search)
    assert found is not None
    assert found.worker == ["functiontransformer"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_an_array_is_one_column_of_its_own_type(dtype):
    found = cut(make_pipeline(Numbers(dtype), StandardScaler(), LinearRegression()).fit(TRIPS, TRIPS.stops))
    assert found is not None
    [column] = found.columns
    assert (column["name"], column["type"], column["dtype"], column["shape"]) == ("features", "tensor", dtype, [2])
    assert column["nullable"] == dtype.startswith("float")


def test_whole_numbers_that_get_gaps_are_floats():
    """The example has none, but a null in the input makes one: hard rows show it."""
    frame = TRIPS[["km", "stops"]]
    model = make_pipeline(
        FunctionTransformer(lambda X: X.assign(near=X["km"].where(X["km"].isna(), 1).astype("Int64"))),
        SimpleImputer(),
        LinearRegression(),
    ).fit(frame, TRIPS.stops)
    found = cut(model, frame)
    assert found is not None
    assert {column["name"]: column["nullable"] for column in found.columns}["near"]


def test_nothing_to_cut():
    own = Numbers().fit(TRIPS)
    assert cut(own) is None
    last = make_pipeline(FunctionTransformer(features), Numbers()).fit(TRIPS)
    assert cut(last) is None
