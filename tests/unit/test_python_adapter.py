"""Plain Python classes: what `predict` takes and gives, and what of it an output can hold."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from monorail import errors
from monorail.adapters import find_adapter
from monorail.adapters.python import PythonAdapter, answer_table, declared, outputs_of, start, takes


class Plain:
    def predict(self, batch):
        return batch.column(0)


class Frames:
    def predict(self, frame: pd.DataFrame):
        return frame["x"]


class Worded:
    def predict(self, frame: "pd.DataFrame") -> "pd.Series":  # noqa: UP037
        return frame["x"]  # pyright: ignore[reportReturnType]


class Unresolved:
    # Imported for type checkers only.
    def predict(self, frame: pandas.DataFrame):  # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        return frame["x"]


class OfPolars:
    def predict(self, frame: pl.DataFrame):
        return frame["x"]


class Batches:
    def predict(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (Plain, "batch"),
        (Frames, "pandas"),
        (Worded, "pandas"),
        (Unresolved, "pandas"),
        (OfPolars, "batch"),
        (Batches, "batch"),
    ],
)
@pytest.mark.parametrize("made", [False, True])
def test_what_predict_takes(kind, form, made):
    model = kind() if made else kind
    assert takes(model) == form
    assert isinstance(find_adapter(model), PythonAdapter)
    assert find_adapter(model).describe(model).kind == "class"


def test_a_class_of_a_framework_is_not_taken_for_one():
    from sklearn.linear_model import LinearRegression

    with pytest.raises(errors.CompileError, match="is a class, not a fitted"):
        find_adapter(LinearRegression).describe(LinearRegression)


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        (np.array([1.0, 2.0]), [("prediction", "float64", None)]),
        (np.array([1.0, 2.0], np.float32), [("prediction", "float32", None)]),
        (np.array([[1, 2], [3, 4]]), [("prediction", "int64", 2)]),
        (pd.Series([1, 2], name="ignored"), [("prediction", "int64", None)]),
        (pl.Series(["a", "b"]), [("prediction", "string", None)]),
        ([True, False], [("prediction", "bool", None)]),
        ([[1.0, 2.0], [3.0, 4.0]], [("prediction", "float64", 2)]),
        (pa.array([1, 2], pa.int8()), [("prediction", "int32", None)]),
        (pa.chunked_array([["a"], ["b"]]), [("prediction", "string", None)]),
        (pd.DataFrame({"a": [1.0, None], "b": ["x", "y"]}), [("a", "float64", None), ("b", "string", None)]),
        (pd.DataFrame({"c": pd.Categorical(["x", "y"])}), [("c", "string", None)]),
        (pl.DataFrame({"a": [1, 2]}), [("a", "int64", None)]),
        (pa.table({"a": [[1.0, 2.0], [3.0, 4.0]]}), [("a", "float64", 2)]),
        (pa.record_batch({"a": pa.array([1, 2], pa.uint32())}), [("a", "int64", None)]),
        ({"label": ["x", "y"], "p": np.ones((2, 3))}, [("label", "string", None), ("p", "float64", 3)]),
    ],
)
def test_what_predict_gives(answer, outputs):
    table = answer_table(answer)
    assert [(o["name"], o["type"], o.get("size")) for o in outputs_of(table)] == outputs
    assert len(table) == 2
    assert all(column.null_count == 0 for column in table.columns)


def test_null_floats_are_nan_and_one_column_takes_the_name_asked_for():
    assert np.isnan(answer_table(pa.array([None, 1.0]), ["score"])["score"][0].as_py())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "NoneType"),
        (5.0, "float"),
        ({}, "no columns"),
        ({"a": [1, 2], "b": [1]}, "different lengths"),
        ({"a": [1, "x"]}, "'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'"),
        (pa.record_batch([pa.array([1]), pa.array([2])], names=["a", "a"]), "two columns 'a'"),
        ({1: [1], "1": [2]}, "two columns '1'"),
        ({"a": [1, None]}, "holds a null"),
        ({"a": pd.to_datetime(["2024-01-01"])}, "timestamp"),
        ({"a": [[1, 2], [3]]}, "'a'"),
        ({"a": [{"b": 1}]}, "struct"),
    ],
)
def test_what_no_output_holds_is_refused_by_name(answer, words):
    with pytest.raises(errors.SignatureError, match=words):
        answer_table(answer)


def test_rows_that_are_not_one_a_row_are_refused():
    class Short:
        def predict(self, batch):
            return [1.0]

    with pytest.raises(errors.SignatureError, match="1 rows for 2"):
        PythonAdapter().answers(Short(), pa.record_batch({"x": [1.0, 2.0]}), ["prediction"])


def test_answers_are_arrays_by_name():
    class Both:
        def predict(self, frame: pd.DataFrame):
            return {"label": frame["x"] > 1, "p": np.column_stack([frame["x"], frame["x"]])}

    answers = PythonAdapter().answers(Both(), pd.DataFrame({"x": [1.0, 2.0]}), ["p", "label"])
    assert list(answers) == ["p", "label"]
    assert answers["p"].tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert answers["label"].tolist() == [False, True]


def test_start_makes_loads_and_warms_up(tmp_path):
    class Model:
        row_wise = False

        def __init__(self) -> None:
            self.done: list[str] = []

        def load(self, path):
            self.done = [*self.done, path]

        def warmup(self):
            self.done.append("warm")

        def predict(self, batch):
            return batch

    assert start(Model, tmp_path).done == [str(tmp_path), "warm"]
    mine = Model()
    assert start(mine, tmp_path).done == [str(tmp_path), "warm"]
    assert mine.done == [], "the author's own object is left as it is"
    assert declared(Model, "row_wise") is False
    assert declared(Model, "idempotent") is None


def test_what_an_object_makes_while_it_is_asked_is_not_stored_with_it(tmp_path):
    class Lazy:
        lock: Any = None

        def warmup(self):
            self.lock = self.lock or threading.Lock()

        def predict(self, batch):
            return batch.column("x")

    mine = Lazy()
    started = start(mine, tmp_path)
    assert started.lock is not None
    assert mine.lock is None


def test_what_cannot_be_copied_is_asked_itself(tmp_path):
    class Alone:
        def __reduce__(self) -> Any:
            raise TypeError("there is one of me")

        def predict(self, batch):
            return batch.column("x")

    mine = Alone()
    assert start(mine, tmp_path) is mine
