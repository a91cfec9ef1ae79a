"""None and NaN are two values to scikit-learn, one null to a table: the kind that a model was fitted on is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from judge import Case, assert_equal
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from monorail.errors import CompileError, SignatureError

WORDS = ["a", "b", None, "b", "a", None] * 20
LABEL = [0, 0, 1, 0, 0, 1] * 20


def fitted_on(null: Any, *steps: Any) -> Any:
    frame = pd.DataFrame({"c": pd.Series([null if word is None else word for word in WORDS], dtype=object)})
    steps = steps or (OneHotEncoder(handle_unknown="ignore"),)
    return make_pipeline(*steps, LogisticRegression(C=100)).fit(frame, LABEL), frame


def examples(frame: pd.DataFrame) -> list[Any]:
    """The example in forms that do not show which null the model was fitted on."""
    table = pa.table({"c": pa.array(WORDS)})
    whole = frame[frame["c"].notna()].reset_index(drop=True)
    return [table, pl.DataFrame(table), {"c": WORDS}, whole, whole.astype("str"), whole.astype("category")]


def label_of_null(case: Case) -> Any:
    return case.engine()(pa.table({"c": pa.array([None], pa.string())}))["label"].tolist()


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5, encoded_missing_value=9)


def filled(**options: Any) -> tuple[Any, ...]:
    return SimpleImputer(strategy="constant", fill_value="?", **options), OneHotEncoder(handle_unknown="ignore")


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize(
    ("null", "steps"),
    [
        (None, ()),
        (np.nan, ()),
        (None, (ordinal(),)),
        (np.nan, (ordinal(),)),
        (None, filled()),
        (np.nan, filled()),
        (None, filled(missing_values=None)),
    ],
)
def test_the_kind_the_model_was_fitted_on(null: Any, which: int, steps: tuple[Any, ...]) -> None:
    model, frame = fitted_on(null, *steps)
    case = assert_equal(model, examples(frame)[which], nullable=["c"])
    assert label_of_null(case) == model.predict(pd.DataFrame({"c": pd.Series([null], dtype=object)})).tolist()


def test_both_in_one_column() -> None:
    model, frame = fitted_on(None)
    frame.loc[0, "c"] = np.nan
    with pytest.raises(SignatureError, match="`c`: holds both None and NaN, which the model tells apart"):
        Case(model, frame)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, LABEL)
    with pytest.raises(CompileError, match="`c`: the model was fitted on both"):
        Case(model, pl.DataFrame({"c": WORDS}))


@pytest.mark.parametrize("null", [None, np.nan], ids=["None", "NaN"])
def test_an_example_that_contradicts_the_model(null: Any) -> None:
    model, _ = fitted_on(null)
    _, other = fitted_on(np.nan if null is None else None)
    with pytest.raises(CompileError, match="`c`: its nulls are"):
        Case(model, other)


@pytest.mark.parametrize("null", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize("values", [[1, 2], [True, False]], ids=["int", "bool"])
def test_numbers_in_a_column_of_objects(null: Any, values: list[Any]) -> None:
    cells = [*values, null] * 40
    frame = pd.DataFrame({"c": pd.Series(cells, dtype=object)})
    label = [0, 0, 1] * 40
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=100)).fit(frame, label)
    table = pa.table({"c": pa.array([*values, None] * 40)})
    # scikit-learn itself refuses integers as floats where it was fitted on objects.
    for example in [frame] if values == [1, 2] and null is not None else [frame, table]:
        case = assert_equal(model, example)
        assert case.engine()(case.table)["label"].tolist() == label
