"""What a model's answer may be, and how it becomes the declared record batch."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from monorail.worker.convert import conform


def _list(kind: pa.DataType, size: int) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False), size)


SCHEMA = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("probability", _list(pa.float64(), 2), nullable=False),
    ]
)
LABELS, SCORES, MATRIX = ["a", "ü"], [0.5, 2.0], [[0.25, 0.75], [1.0, 0.0]]
WANTED = [{"label": a, "score": s, "probability": p} for a, s, p in zip(LABELS, SCORES, MATRIX, strict=True)]


@pytest.mark.parametrize(
    "answer",
    [
        {"label": LABELS, "score": SCORES, "probability": MATRIX},
        {"label": np.array(LABELS), "score": np.array(SCORES, np.float32), "probability": np.array(MATRIX)},
        {"label": np.array(LABELS, object), "score": pd.Series(SCORES), "probability": np.array(MATRIX, np.float32)},
        {"label": pa.array(LABELS).dictionary_encode(), "score": pa.array(SCORES), "probability": pa.array(MATRIX)},
        {"label": pd.Categorical(LABELS), "score": (0.5, 2), "probability": [np.array(row) for row in MATRIX]},
        pa.table({"probability": MATRIX, "more": [1, 2], "score": SCORES, "label": LABELS}),
        pd.DataFrame({"label": LABELS, "score": SCORES, "probability": MATRIX}),
        pa.RecordBatch.from_pylist(WANTED, schema=SCHEMA),
        pa.RecordBatch.from_pylist([{}, *WANTED], schema=pa.schema([f.with_nullable(True) for f in SCHEMA])).slice(1),
    ],
    ids=["lists", "arrays", "objects", "arrow", "categories", "table", "frame", "as declared", "a slice"],
)
def test_whatever_holds_the_columns_will_do(answer):
    batch = conform(answer, SCHEMA, 2)
    assert batch.schema.equals(SCHEMA)
    assert batch.to_pylist() == WANTED


def _one(values: object, kind: pa.DataType, *, nullable: bool = False, rows: int | None = None) -> list:
    schema = pa.schema([pa.field("y", kind, nullable=nullable)])
    given = len(values) if rows is None else rows  # pyright: ignore[reportArgumentType]
    return conform({"y": values}, schema, given).column("y").to_pylist()


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (np.array([1, 2], np.int8), pa.int32(), [1, 2]),
        (np.array([1, 2], np.uint64), pa.int64(), [1, 2]),
        ([1, 2], pa.float64(), [1.0, 2.0]),
        (np.array([1.5], np.float16), pa.float32(), [1.5]),
        ([True, False], pa.bool_(), [True, False]),
        (pa.array(["x"], pa.large_string()), pa.string(), ["x"]),
        (np.array(["2020-02-29"], "datetime64[ns]"), pa.timestamp("us"), [dt.datetime(2020, 2, 29)]),
        ([], pa.int64(), []),
        (np.zeros((0, 2)), _list(pa.float64(), 2), []),
        (np.arange(6).reshape(1, 2, 3), _list(_list(pa.float32(), 3), 2), [[[0, 1, 2], [3, 4, 5]]]),
        (np.arange(6).reshape(1, 6), _list(_list(pa.float32(), 3), 2), [[[0, 1, 2], [3, 4, 5]]]),
        (np.array([1.0, 2.0]), _list(pa.float64(), 1), [[1.0], [2.0]]),
    ],
)
def test_what_loses_nothing_is_widened(values, kind, wanted):
    assert _one(values, kind) == wanted


def test_nulls_of_floats_are_nan_and_others_stay_where_they_may():
    assert math.isnan(_one(pa.array([None], pa.float64()), pa.float64())[0])
    assert math.isnan(_one([None], pa.float32())[0])
    assert _one(pd.Series(["a", None]), pa.string(), nullable=True) == ["a", None]
    assert _one([None, 2], pa.int64(), nullable=True) == [None, 2]
    lists = _one(pa.array([None, [1.0, 2.0]], pa.list_(pa.float64(), 2)), _list(pa.float64(), 2), nullable=True)
    assert math.isnan(lists[0][0])
    assert lists[1] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "kind", "error", "told"),
    [
        ([1.5], pa.int64(), TypeError, "column 'y' must be int64, got double"),
        (["1"], pa.float64(), TypeError, "column 'y' must be double, got string"),
        ([1], pa.string(), TypeError, "column 'y' must be string, got int64"),
        ([True], pa.int64(), TypeError, "column 'y' must be int64, got bool"),
        ([1], pa.bool_(), TypeError, "column 'y' must be bool, got int64"),
        (np.array([1.5]), pa.float32(), TypeError, "column 'y' must be float, got double"),
        ([2**40], pa.int32(), ValueError, "column 'y' must be int32"),
        ([2**53 + 1], pa.float64(), ValueError, "column 'y' must be double"),
        ([1, None], pa.int64(), ValueError, "column 'y' must be int64, got a null in row 1"),
        ([1, "a"], pa.int64(), TypeError, "column 'y' must be int64"),
        ([2**70], pa.int64(), TypeError, "column 'y' must be int64"),
        (np.zeros((2, 3)), _list(pa.float64(), 2), TypeError, "got lists of shape [3]"),
        ([1.0, 2.0], _list(pa.float64(), 2), TypeError, "got double"),
        (pa.array([[1.0], [1.0, 2.0]]), _list(pa.float64(), 2), TypeError, "got lists of lengths [1, 2]"),
        (pa.array([None, [1, 2]], pa.list_(pa.int64(), 2)), _list(pa.int64(), 2), ValueError, "got a null list"),
    ],
)
def test_anything_else_is_named(values, kind, error, told):
    with pytest.raises(error) as caught:
        _one(values, kind)
    assert told in str(caught.value)


def test_another_number_of_rows_and_missing_columns_are_named():
    with pytest.raises(ValueError, match="the model gave 3 rows for 2"):
        _one([1, 2, 3], pa.int64(), rows=2)
    with pytest.raises(ValueError, match="the model gave 2 rows for 5"):
        conform(pa.RecordBatch.from_pylist(WANTED, schema=SCHEMA), SCHEMA, 5)
    with pytest.raises(TypeError, match="the model gave no column 'label'; its columns are 'score'"):
        conform({"score": SCORES}, SCHEMA, 2)
    with pytest.raises(TypeError, match="the model gave a int, not a record batch"):
        conform(3, SCHEMA, 2)
