"""What ``mr.fit`` is asked wrongly is told in words, before the data is read through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lightgbm import LGBMRegressor
from lightgbm.basic import LightGBMError
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import monorail as mr
from monorail.errors import FitError, MonorailError
from monorail.fit.plan import Run


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any pass over the data is a failure."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a pass began")

    monkeypatch.setattr(Run, "take_pass", refuse)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Targets of many types, and a feature."""
    random = np.random.default_rng(0)
    return pa.table(
        {
            "x": random.normal(size=60),
            "number": random.normal(size=60),
            "text": pa.array(random.choice(["a", "b"], 60)),
            "words": pa.array(random.choice(["red car", "blue bus"], 60)),
            "day": pa.array(random.integers(0, 9, 60).astype("datetime64[D]")),
            "list": pa.array([[1.0, 2.0]] * 60),
        }
    )


SCALED = make_pipeline(ColumnTransformer([("x", StandardScaler(), ["x"])]), Ridge())
WRONG = make_pipeline(ColumnTransformer([("x", StandardScaler(), ["x"])]), Ridge(alpha=-1))
CLASSES = make_pipeline(ColumnTransformer([("x", StandardScaler(), ["x"])]), LogisticRegression())


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (SCALED, {"target": "text"}, "`Ridge` cannot learn: the target is string, and a regressor learns numbers"),
        (SCALED, {"target": "day"}, "the target is date32"),
        (SCALED, {"target": "list"}, "the target `list` is list"),
        (SCALED, {"target": ["number", "text"]}, "`text` is string, and several targets are learnt as numbers"),
        (SCALED, {"target": ["number", "number"]}, "the target `number` is named twice"),
        (SCALED, {"target": "number", "sample_weight": "number"}, "the target `number` is the weight too"),
        (SCALED, {"target": "number", "sample_weight": "text"}, "the weight `text` is string"),
        (SCALED, {"target": "number", "sample_weight": "x"}, "`x` is the weight and is a feature too"),
        (SCALED, {}, "there is no target"),
        (CLASSES, {"target": "number"}, "the target holds fractions, and a classifier learns classes"),
        (WRONG, {"target": "number"}, "The 'alpha' parameter of Ridge must"),
        (
            make_pipeline(ColumnTransformer([("x", StandardScaler(), [])]), Ridge()),
            {"target": "number"},
            "`pipeline.columntransformer` takes none of the columns",
        ),
        (SCALED, {"target": "number", "workers": "2"}, "workers='2' cannot work"),
        (SCALED, {"target": "number", "on": 5}, "on=5 is no place to work"),
        (Pipeline([]), {"target": "number"}, "`pipeline` cannot be fitted: The pipeline is empty"),
        (make_pipeline(Ridge(), StandardScaler()), {"target": "number"}, "All intermediate steps"),
        (
            make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", LogisticRegression())]), Ridge()),
            {"target": "number"},
            "All estimators should implement fit and transform",
        ),
        (
            make_pipeline(
                ColumnTransformer([("t", CountVectorizer(), ["words"]), ("x", StandardScaler(), ["x"])]), Ridge()
            ),
            {"target": "number"},
            "`pipeline.columntransformer",
        ),
    ],
)
@pytest.mark.usefixtures("no_pass")
def test_it_is_told_before_the_first_pass(table: pa.Table, model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MonorailError) as told:
        mr.fit(model, table, quiet=True, **options)
    assert words in str(told.value)


@pytest.mark.usefixtures("no_pass")
def test_a_table_of_the_target_alone_has_nothing_to_learn_from(table: pa.Table) -> None:
    with pytest.raises(MonorailError, match="no columns to learn from"):
        mr.fit(make_pipeline(StandardScaler(), Ridge()), table.select(["number"]), target="number", quiet=True)


def test_an_error_of_the_step_s_own_package_names_the_step(table: pa.Table) -> None:
    with pytest.raises(FitError, match="`LGBMRegressor` cannot be fitted on these rows: Unknown objective") as told:
        mr.fit(LGBMRegressor(objective="nope", verbose=-1), table.select(["x", "number"]), target="number", quiet=True)
    assert type(told.value.__cause__) is LightGBMError


@pytest.mark.usefixtures("no_pass")
def test_a_sample_is_not_advised_where_its_columns_have_the_wrong_types_too(table: pa.Table) -> None:
    model = make_pipeline(ColumnTransformer([("x", StandardScaler(), ["x", "text"])]), Ridge())
    with pytest.raises(FitError, match="column 'text' is string") as told:
        mr.fit(model, table, target="number", quiet=True)
    assert "sample_rows" not in str(told.value)
