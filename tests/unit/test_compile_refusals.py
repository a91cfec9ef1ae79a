"""What has no compiled form is refused by name: every step, with its way through the model and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from monorail.adapters import find_adapter
from monorail.compile import compile_model
from monorail.errors import CompileError

FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, 0.25, 4.0, 1.0], "word": ["x", "y", "x", "z"]})
LABEL = [0, 1, 0, 1]
INPUTS = [
    {"name": "a", "type": "float64", "nullable": False},
    {"name": "b", "type": "float64", "nullable": False},
    {"name": "word", "type": "string", "nullable": False},
]


def refused(model: Any, inputs: list[dict[str, Any]] = INPUTS, **options: Any) -> CompileError:
    with pytest.raises(CompileError) as caught:
        compile_model(model, inputs, **options)
    assert caught.value.code == "cannot_compile"
    assert caught.value.hint
    return caught.value


class Turned(PCA):
    """A class nobody knows."""


class Near(KNeighborsClassifier):
    """Another."""


def sorted_by_value(values: Any) -> Any:
    return np.sort(values, axis=0)


def test_every_step_is_named() -> None:
    prepare = ColumnTransformer(
        [
            ("pca", Turned(1), ["a", "b"]),
            ("own", FunctionTransformer(sorted_by_value), ["a"]),
            ("fine", StandardScaler(), ["a"]),
        ]
    )
    model = Pipeline([("prepare", prepare), ("near", Near(1))]).fit(FRAME, LABEL)
    error = refused(model)
    assert [detail["path"] for detail in error.details] == ["model.prepare.pca", "model.prepare.own", "model.near"]
    assert [detail["got"].rpartition(".")[2] for detail in error.details] == [
        "Turned",
        "FunctionTransformer",
        "Near",
    ]
    assert "numpy.sort" in error.message


def test_subclass_of_a_known_class_is_not_known() -> None:
    class Mine(StandardScaler):
        pass

    assert "Mine" in refused(Mine().fit(FRAME[["a", "b"]]), INPUTS[:2]).message


def test_text_and_dates_where_numbers_are_needed() -> None:
    model = LogisticRegression().fit(FRAME[["a", "b"]].to_numpy(), LABEL)
    assert "`word` is a string" in refused(model, INPUTS[1:]).message
    date = {"name": "day", "type": "date32", "nullable": False}
    assert "`day` is a date32" in refused(model, [INPUTS[0], date]).message


def test_column_as_a_vector() -> None:
    class Lengths(FunctionTransformer):
        pass

    prepare = ColumnTransformer([("words", Lengths(lambda v: np.zeros((len(v), 1))), "word")]).fit(FRAME)
    assert "one-dimensional" in refused(prepare).message


def test_column_that_the_example_lacks() -> None:
    frame = FRAME[["a", "b"]]
    prepare = ColumnTransformer([("scale", StandardScaler(), ["a"]), ("keep", "passthrough", ["b"])])
    model = Pipeline([("prepare", prepare), ("model", LogisticRegression())]).fit(frame, LABEL)
    extra = {"name": "z", "type": "float64", "nullable": False}
    for inputs in ([INPUTS[0]], [INPUTS[0], extra]):
        error = refused(model, inputs)
        assert error.message.count("column `b`, which it was fitted on, is not in the example") == 1
        error = refused(Pipeline([("model", LogisticRegression())]).fit(frame, LABEL), inputs)
        assert "column `b`, which it was fitted on, is not in the example" in error.message


def test_column_that_is_dropped_may_be_lacking() -> None:
    prepare = ColumnTransformer([("scale", StandardScaler(), ["a"]), ("not", "drop", ["b"])]).fit(FRAME[["a", "b"]])
    assert compile_model(prepare, INPUTS[:1]).outputs[0]["name"] == "features"


def test_a_reason_is_said_once() -> None:
    error = refused(Near(1).fit(FRAME[["a", "b"]], LABEL), INPUTS[:2])
    assert str(error).count("no converter is known") == 1
    assert "worker" not in str(error)


def test_output_the_model_does_not_have() -> None:
    model = LogisticRegression().fit(FRAME[["a", "b"]].to_numpy(), LABEL)
    assert "label, probability, score" in str(refused(model, INPUTS[:2], outputs=["leaf"]).hint)


def test_model_without_columns() -> None:
    model = Pipeline([("encode", OneHotEncoder()), ("model", LogisticRegression())])
    constant = pd.DataFrame({"word": ["x"] * 4})
    assert compile_model(model.fit(constant, LABEL), INPUTS[2:]).outputs[0]["name"] == "label"


def test_unknown_and_unfitted_objects() -> None:
    with pytest.raises(CompileError) as caught:
        find_adapter(object())
    assert caught.value.code == "unknown_framework"
    with pytest.raises(CompileError, match="not fitted") as caught:
        find_adapter(StandardScaler()).describe(StandardScaler())
    assert caught.value.code == "unknown_framework"
