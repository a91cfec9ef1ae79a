"""A form is words: what it makes after a trip through JSON is what it made before."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from monorail.adapters import Form
from monorail.data import conform, to_arrow
from monorail.signature import infer

WHEN = pd.date_range("2024-02-28", periods=3, freq="26h")
FRAME = pd.DataFrame(
    {
        "float": [1.5, np.nan, -2.0],
        "small": np.array([1, 2, 3], dtype=np.int8),
        "gaps": pd.array([1, None, 3], dtype="Int64"),
        "flag": [True, False, True],
        "maybe": pd.array([True, None, False], dtype="boolean"),
        "text": ["a", "b", None],
        "words": pd.Series(["a", "b", "c"], dtype="string"),
        "object": pd.Series(["x", "y", "z"], dtype=object),
        "size": pd.Categorical(["M", "S", "M"], categories=["S", "M", "L"], ordered=True),
        "arrow": pd.array([1, 2, 3], dtype="int64[pyarrow]"),
        "nano": WHEN.astype("datetime64[ns]"),
        "milli": WHEN.astype("datetime64[ms]"),
        "zoned": WHEN.tz_localize("Europe/Oslo"),
        "day": pd.Series([datetime.date(2024, 1, day) for day in (1, 2, 3)], dtype=object),
    }
)


def through_json(form: Form) -> Form:
    return Form.from_json(json.loads(json.dumps(form.to_json())))


def rows_of(frame) -> pa.Table:
    table = to_arrow(frame)
    return conform(table, infer(table))


def test_a_pandas_frame_comes_back_as_it_was():
    form = through_json(Form.of(FRAME, tuple(FRAME.columns)))
    pd.testing.assert_frame_equal(form.frame(rows_of(FRAME)), FRAME)


def test_categories_keep_their_codes_whatever_a_batch_holds():
    form = through_json(Form.of(FRAME[["size"]], ("size",)))
    batch = form.frame(pa.table({"size": ["L", "XXL", "S", None, "A"]}))["size"]
    assert list(batch.cat.categories) == ["S", "M", "L", "A", "XXL"]
    assert batch.cat.codes.tolist() == [2, 4, 0, -1, 3]
    assert batch.cat.ordered


@pytest.mark.parametrize(
    ("words", "new"), [([30, 10, 20], 40), ([0.5, 2.5], 3.5), ([False, True], None)], ids=["int", "float", "bool"]
)
@pytest.mark.parametrize("null", [False, True])
def test_categories_of_numbers_keep_their_codes_too(words, new, null):
    dtype = pd.CategoricalDtype(pd.Index(words), ordered=True)
    fitted = pd.DataFrame({"n": pd.Categorical([*words, *([None] if null else [])], dtype=dtype)})
    form = through_json(Form.of(fitted, ("n",)))
    pd.testing.assert_frame_equal(form.frame(rows_of(fitted)), fitted)
    alone = form.frame(rows_of(fitted).slice(1, 1))["n"]
    assert (alone.cat.codes.tolist(), alone.dtype) == ([1], dtype)
    if new is not None:
        assert form.frame(pa.table({"n": [new, words[1]]}))["n"].cat.codes.tolist() == [len(words), 1]


def test_a_time_that_nanoseconds_cannot_hold_is_no_fault():
    form = Form.of(FRAME[["nano"]], ("nano",))
    far = pa.table({"nano": pa.array([datetime.datetime(3000, 1, 1)], pa.timestamp("us"))})
    assert form.frame(far)["nano"].dt.year.tolist() == [3000]


def test_a_polars_frame_comes_back_as_it_was():
    frame = pl.DataFrame(
        {
            "x": [1.0, None],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "when": pl.Series([WHEN[0], WHEN[1]], dtype=pl.Datetime("ms")),
            "text": ["a", None],
        }
    )
    made = through_json(Form.of(frame, tuple(frame.columns))).frame(rows_of(frame))
    assert made.schema == frame.schema
    assert made.to_dicts() == frame.to_dicts()


@pytest.mark.parametrize("takes", ["series", "records", "batch"])
def test_what_a_model_takes_wins_over_the_example(takes):
    table = pa.table({"text": ["one two", None]})
    made = through_json(Form.of(pd.DataFrame({"text": ["a"]}), (), takes)).frame(table)
    expected = {"series": ["one two", None], "records": [{"text": "one two"}, {}], "batch": table.to_batches()[0]}
    assert made == expected[takes]


def test_records_leave_out_what_is_null():
    table = pa.table({"a": [1.0, float("nan"), None], "b": ["x", None, "z"]})
    assert Form("records").frame(table) == [{"a": 1.0, "b": "x"}, {}, {"b": "z"}]


def test_a_model_that_takes_frames_gets_one_of_numbers_too():
    made = Form.of(FRAME[["float", "small"]], (), "pandas").frame(pa.table({"float": [1.0], "small": [2]}))
    assert made["small"].dtype == np.int8


def test_the_form_needs_no_compiler_and_no_core():
    """A worker imports it where neither is installed."""
    import subprocess
    import sys

    script = (
        "import sys, monorail.adapters, monorail.adapters.python, monorail.adapters.between, monorail.data.types;"
        "bad = {'monorail._core', 'onnx', 'onnxruntime', 'httpx', 'click', 'rich', 'pandas', 'sklearn'};"
        "sys.exit(', '.join(sorted(bad & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
