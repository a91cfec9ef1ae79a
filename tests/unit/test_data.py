"""Data in as Arrow, and out again in the kind it came."""

import datetime as dt
import decimal
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from monorail.data import conform, from_arrow, is_record, to_arrow, to_numpy
from monorail.data.files import read_rows, read_table, write_table
from monorail.errors import InputError, SignatureError
from monorail.signature import Column, Output, Signature, infer

TWO = Signature(
    (Column("a", "int64", nullable=True), Column("s", "string", nullable=True)), (Output("label", "int64"),)
)
TENSOR = Signature((Column("input", "tensor", dtype="float64", shape=(3,)),), (Output("label", "int64"),))


def answers(rows, *, chunks=1):
    """What an engine gives: a label, a list and a word a row."""
    table = pa.table(
        {
            "label": pa.array(np.arange(rows)),
            "probability": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * rows)), 2),
            "word": pa.array([f"w{i}" for i in range(rows)], pa.string()),
        }
    )
    step = max(1, -(-rows // chunks))
    return pa.concat_tables([table.slice(start, step) for start in range(0, rows, step)] or [table])


@pytest.mark.parametrize("chunks", [1, 3])
def test_pandas_keeps_its_index_and_lists_are_views(chunks):
    index = pd.Index([7, 3, 9, 9, 1], name="key")
    frame = from_arrow(answers(5, chunks=chunks), pd.DataFrame({"a": range(5)}, index=index))
    pd.testing.assert_index_equal(frame.index, index)
    assert frame["label"].dtype == np.int64
    assert frame["word"].tolist() == ["w0", "w1", "w2", "w3", "w4"]
    cells = frame["probability"].tolist()
    assert [cell.tolist() for cell in cells] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert all(cell.base is not None for cell in cells)
    assert np.shares_memory(cells[0].base, cells[4].base)


def test_every_kind_comes_back_as_it_came():
    table = answers(2)
    rows = [{"label": 0, "probability": [0, 1], "word": "w0"}, {"label": 1, "probability": [2, 3], "word": "w1"}]
    columns = {"label": [0, 1], "probability": [[0, 1], [2, 3]], "word": ["w0", "w1"]}
    question = pa.table({"a": [1, 2], "s": ["x", "y"]})
    polars = from_arrow(table, pl.DataFrame({"a": [1, 2]}))
    assert isinstance(polars, pl.DataFrame)
    assert polars.to_dicts() == rows
    assert from_arrow(table, question) is table
    assert from_arrow(table, question.to_batches()[0]) == table.to_batches()[0]
    assert from_arrow(table, question.to_reader()).read_all() == table
    assert from_arrow(table, [{"a": 1}, {"a": 2}]) == rows
    assert from_arrow(table, {"a": [1, 2], "s": ["x", "y"]}) == columns
    assert from_arrow(table.slice(0, 1), {"a": 1, "s": "x"}) == rows[0]
    arrays = from_arrow(table, {"a": np.array([1, 2])})
    assert {name: values.tolist() for name, values in arrays.items()} == columns


def test_a_numpy_matrix_gives_arrays():
    out = from_arrow(answers(2), np.zeros((2, 3)))
    assert out["probability"].shape == (2, 2)
    assert from_arrow(answers(2).select(["label"]), np.zeros((2, 3))).tolist() == [0, 1]


def test_no_rows():
    table = answers(0)
    assert len(from_arrow(table, pd.DataFrame({"a": []}))) == 0
    assert from_arrow(table, []) == []
    assert from_arrow(table, pa.RecordBatch.from_pydict({"a": []})).num_rows == 0
    assert to_numpy(pa.chunked_array([], pa.list_(pa.float64(), 2))).shape == (0, 2)
    assert to_arrow([], TWO).num_rows == 0


def test_slices_of_lists_are_their_own_rows():
    assert to_numpy(answers(5).slice(3, 2).column("probability")).tolist() == [[6, 7], [8, 9]]


def test_plain_numbers_are_not_copied():
    values = np.arange(10.0)
    table = to_arrow(pd.DataFrame({"f": values}, copy=False))
    assert np.shares_memory(table.column("f").chunk(0).to_numpy(), values)
    matrix = np.zeros((4, 3))
    flat = to_arrow(matrix).column("input").chunk(0).flatten().to_numpy()
    assert np.shares_memory(flat, matrix)


def test_is_record():
    assert is_record({"a": 1, "s": "text"}, TWO)
    assert is_record({"a": None}, TWO)
    assert is_record({}, TWO)
    assert not is_record({"a": [1], "s": ["x"]}, TWO)
    assert not is_record({"a": np.array([1])}, TWO)
    assert is_record({"a": np.int64(1)}, TWO)
    assert is_record({"input": [1.0, 2.0, 3.0]}, TENSOR)
    assert not is_record({"input": [[1.0, 2.0, 3.0]]}, TENSOR)
    assert is_record({"input": np.zeros(3)}, TENSOR)


def test_tensors_of_dicts():
    for data in ({"input": [1.0, 2.0, 3.0]}, {"input": [[1.0, 2.0, 3.0]]}, {"input": np.array([[1.0, 2.0, 3.0]])}):
        assert to_arrow(data, TENSOR).to_pydict() == {"input": [[1.0, 2.0, 3.0]]}


def test_all_null_columns_take_the_signatures_type():
    table = to_arrow(pd.DataFrame({"a": [None, None], "s": [None, None]}), TWO)
    assert table.schema.types == [pa.int64(), pa.string()]


def test_mixed_values_are_wrong_type_where_a_signature_is_known():
    with pytest.raises(InputError) as caught:
        to_arrow(pd.DataFrame({"a": [1, 2], "s": pd.Series(["x", 5], dtype=object)}), TWO)
    assert caught.value.code == "wrong_type"
    assert caught.value.details == [{"code": "wrong_type", "column": "s", "row": 1, "expected": "str", "got": "int"}]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([decimal.Decimal(1)]),
        pd.Series([b"x"]),
        pd.Series([dt.time(1)]),
        pd.Series([1j]),
        pd.Series([1.0, 2.0], dtype="Sparse[float64]"),
        np.array([1.0], dtype=np.longdouble),
        pd.Series(np.array([1.0], dtype=np.longdouble)),
    ],
    ids=lambda values: str(values.dtype),
)
def test_columns_that_no_signature_holds(values):
    with pytest.raises(SignatureError, match="of a type that no signature holds: 'x'") as caught:
        to_arrow(pd.DataFrame({"x": values}) if isinstance(values, pd.Series) else {"x": values})
    assert caught.value.code == "unsupported_column"
    assert "astype" not in str(caught.value.hint)


def test_a_matrix_of_long_doubles():
    with pytest.raises(SignatureError) as caught:
        to_arrow(np.zeros((2, 2), dtype=np.longdouble))
    assert caught.value.code == "unsupported_column"


@pytest.mark.parametrize(
    "data", [5, "text", None, pd.Series([1]), pl.LazyFrame({"a": [1]}), [1, 2], np.zeros(3), np.array([["a", "b"]])]
)
def test_what_is_no_table_is_refused(data):
    with pytest.raises(InputError) as caught:
        to_arrow(data, TWO)
    assert caught.value.code == "wrong_shape"
    assert caught.value.hint


def test_a_matrix_for_named_columns_is_refused():
    with pytest.raises(InputError, match="named columns"):
        to_arrow(np.zeros((2, 2)), TWO)


def test_columns_of_different_lengths():
    with pytest.raises(InputError, match="different lengths"):
        to_arrow({"a": [1, 2], "s": ["x"]})


def test_a_name_twice():
    with pytest.raises(InputError) as caught:
        to_arrow(pd.DataFrame([[1, 2]], columns=["a", "a"]), TWO)
    assert caught.value.code == "duplicate_column"


def test_conform_brings_every_layout_to_the_signatures_types():
    table = pa.table(
        {
            "more": [1],
            "c": pa.array(["x"], pa.string()).dictionary_encode(),
            "v": pa.array(["x"], pa.string_view()),
            "t": pa.array([dt.datetime(2013, 1, 1)], pa.timestamp("ms")),
            "x": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4.0).reshape(1, 2, 2)),
        }
    )
    signature = infer(table.drop_columns(["more"]))
    exact = conform(table, signature)
    assert exact.column_names == ["c", "v", "t", "x"]
    assert exact.schema.types[:3] == [pa.string(), pa.string(), pa.timestamp("us")]
    assert exact.column("x").to_pylist() == [[[0, 1], [2, 3]]]


def test_conform_refuses_nanoseconds():
    table = pa.table({"t": pa.array([1], pa.timestamp("ns"))})
    with pytest.raises(SignatureError, match="'t'"):
        conform(table, infer(table))


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather", "csv", "jsonl", "ndjson"])
def test_files_round_trip(kind, tmp_path):
    table = pa.table({"a": [1, None, 3], "s": ["x", None, "ü"]})
    path = str(tmp_path / f"rows.{kind}")
    write_table(table, path)
    assert read_table(path, TWO).to_pydict() == table.to_pydict()


def test_a_csv_value_that_the_signature_does_not_take_is_told_by_its_place(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('s,a\n"x\ny",1\n' + "x,2\n" * 300_000 + "z,oops\n")
    a = Column("a", "float64")
    with pytest.raises(InputError, match=r"row 300001 \(line 300004\): column 'a' has 'oops'") as caught:
        read_table(str(path), Signature((a,), ()))
    assert caught.value.details[0]["column"] == "a"
    path.write_text("s,a\n" + '"x\ny",1\n' * 300_000)
    assert read_table(str(path)).num_rows == 300_000


def test_csv_writes_lists_as_columns(tmp_path):
    path = str(tmp_path / "out.csv")
    write_table(answers(2), path)
    assert read_table(path).column_names == ["label", "probability_0", "probability_1", "word"]


def test_json_files_hold_records_or_columns(tmp_path):
    for text in (
        '[{"a": 1}, {"a": 2}]',
        '{"a": [1, 2]}',
        '{"rows": [{"a": 1}, {"a": 2}]}',
        '{"columns": {"a": [1, 2]}}',
    ):
        (tmp_path / "x.json").write_text(text)
        assert read_table(str(tmp_path / "x.json")).to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize(
    "content", [{"rows": 1}, {"rows": [1], "columns": [2]}, {"columns": [1, 2]}, {"rows": [1], "a": 1}]
)
def test_json_columns_of_the_names_of_wrappers(content, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert read_rows(str(tmp_path / "x.json")) == content


def test_json_lines_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"s": "a\u2028b"}\r\n{"s": "c"}\n', encoding="utf-8")
    assert read_rows(str(tmp_path / "x.jsonl")) == [{"s": "a\u2028b"}, {"s": "c"}]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "jsonl"])
def test_files_that_cannot_be_written(kind, tmp_path):
    with pytest.raises(InputError) as caught:
        write_table(answers(2), str(tmp_path / "none" / f"x.{kind}"))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["missing.parquet", "bad.parquet", "bad.arrow", "bad.json", "bad.jsonl", "x.xlsx"])
def test_files_that_cannot_be_read(name, tmp_path):
    if not name.startswith("missing"):
        (tmp_path / name).write_text("{nonsense")
    with pytest.raises(InputError) as caught:
        read_table(str(tmp_path / name))
    assert name in caught.value.message
