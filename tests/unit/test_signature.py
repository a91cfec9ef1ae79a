"""Inferring a signature from every kind of example, by the Values rules."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from monorail.data import to_arrow
from monorail.errors import SignatureError
from monorail.signature import MAX_CATEGORIES, QUANTILES, Column, Output, Signature, infer


def types_of(example, **options):
    return {c.name: (c.describe(), c.nullable) for c in infer(to_arrow(example), **options).inputs}


def test_pandas_types():
    frame = pd.DataFrame(
        {
            "b": [True, False],
            "i8": np.array([1, 2], np.int8),
            "u64": np.array([1, 2], np.uint64),
            "f32": np.array([1, 2], np.float32),
            "f": [1.0, np.nan],
            "text": ["a", "b"],
            "objects": pd.Series(["a", None], dtype=object),
            "category": pd.Categorical(["a", None]),
            "nullable_int": pd.array([1, None], dtype="Int64"),
            "nullable_bool": pd.array([True, False], dtype="boolean"),
            "day": pd.Series([dt.date(2013, 1, 1), dt.date(2013, 1, 2)], dtype=object),
            "when": pd.to_datetime(["2013-01-01", None]),
            "offset": pd.Series(["2013-01-01T00:00:00+05:00"] * 2).pipe(pd.to_datetime),
            "zoned": pd.to_datetime(["2013-01-01", "2013-01-02"]).tz_localize("America/New_York"),
        }
    )
    assert types_of(frame) == {
        "b": ("bool", False),
        "i8": ("int8", False),
        "u64": ("uint64", False),
        "f32": ("float32", False),
        "f": ("float64", True),
        "text": ("string", False),
        "objects": ("string", True),
        "category": ("dictionary", True),
        "nullable_int": ("int64", True),
        "nullable_bool": ("bool", False),
        "day": ("date32", False),
        "when": ("timestamp", True),
        "offset": ("timestamp[+05:00]", False),
        "zoned": ("timestamp[America/New_York]", False),
    }


def test_polars_types():
    frame = pl.DataFrame(
        {
            "i": pl.Series([1, None], dtype=pl.UInt8),
            "f": [1.0, float("nan")],
            "s": ["a", "b"],
            "c": pl.Series(["x", None], dtype=pl.Categorical),
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
            "d": [dt.date(2013, 1, 1), dt.date(2013, 1, 2)],
            "t": pl.Series([dt.datetime(2013, 1, 1)] * 2, dtype=pl.Datetime("ms", "UTC")),
            "a": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)),
        }
    )
    assert types_of(frame) == {
        "i": ("uint8", True),
        "f": ("float64", True),
        "s": ("string", False),
        "c": ("dictionary", True),
        "e": ("dictionary", False),
        "d": ("date32", False),
        "t": ("timestamp[UTC]", False),
        "a": ("tensor[float32, 2]", False),
    }


class OnlyStream:
    """Something that speaks the Arrow PyCapsule interface and nothing else."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def test_arrow_and_whatever_speaks_its_interface():
    table = pa.table({"s": pa.array(["a"], pa.string_view()), "l": pa.array(["a"], pa.large_string()), "i": [1]})
    expected = {"s": ("string", False), "l": ("string", False), "i": ("int64", False)}
    assert types_of(table) == expected
    assert types_of(table.to_batches()[0]) == expected
    assert types_of(OnlyStream(table)) == expected
    assert types_of(table.to_reader()) == expected


def test_a_numpy_array_is_one_tensor():
    assert types_of(np.zeros((5, 30))) == {"input": ("tensor[float64, 30]", False)}
    assert types_of(np.zeros((5, 2, 3), np.uint8)) == {"input": ("tensor[uint8, 2, 3]", False)}
    assert types_of(np.array([[1.0, np.nan]])) == {"input": ("tensor[float64, 2]", True)}


def test_a_fixed_shape_tensor_of_arrow():
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((3, 2, 4), np.float32))
    assert types_of(pa.table({"x": array})) == {"x": ("tensor[float32, 2, 4]", False)}


def test_dicts():
    expected = {"a": ("int64", False), "b": ("string", False)}
    assert types_of({"a": 1, "b": "x"}) == expected
    assert types_of({"a": [1, 2], "b": ["x", "y"]}) == expected
    assert types_of([{"a": 1, "b": "x"}, {"b": "y", "a": 2}]) == expected
    assert types_of([{"a": 1}, {"b": "y"}]) == {"a": ("int64", True), "b": ("string", True)}
    assert types_of({"x": [[1.0, 2.0], [3.0, 4.0]]}) == {"x": ("tensor[float64, 2]", False)}


@pytest.mark.parametrize(
    ("column", "got"),
    [
        (["a", 1], "int"),
        ([1, "a"], "str"),
        ([b"x", b"y"], "bytes"),
        (pd.to_timedelta([1, 2]), "duration"),
        ([None, None], "null"),
        (np.array([1, 2], np.float16), "halffloat"),
        ([1 + 2j, 1j], "complex"),
        (pd.period_range("2013", periods=2), "period"),
        ([{"a": 1}, {"a": 2}], "dict"),
    ],
)
def test_other_types_are_refused_by_column(column, got):
    frame = pd.DataFrame({"fine": [1, 2]})
    frame["bad"] = pd.Series(column, dtype=object) if isinstance(column, list) and None not in column else column
    with pytest.raises(SignatureError) as caught:
        infer(to_arrow(frame))
    assert caught.value.code == "unsupported_column"
    assert [detail["column"] for detail in caught.value.details] == ["bad"]
    assert got in caught.value.details[0]["got"]


def test_categories_that_are_numbers_come_in_as_those_numbers():
    frame = pd.DataFrame({"whole": pd.Categorical([3, 1, 3]), "part": pd.Categorical([0.5, None, 0.5])})
    assert types_of(frame) == {"whole": ("int64", False), "part": ("float64", True)}


def test_a_mixed_column_is_refused_with_its_row():
    with pytest.raises(SignatureError) as caught:
        to_arrow(pd.DataFrame({"m": pd.Series(["a", None, "b", 3], dtype=object)}))
    assert caught.value.details == [
        {"code": "unsupported_column", "column": "m", "row": 3, "expected": "str", "got": "int"}
    ]


def test_all_bad_columns_are_listed():
    table = pa.table({"a": pa.array([1], pa.duration("s")), "b": [1], "c": pa.nulls(1)})
    with pytest.raises(SignatureError) as caught:
        infer(table)
    assert [detail["column"] for detail in caught.value.details] == ["a", "c"]


def test_names_must_be_strings_and_unique():
    with pytest.raises(SignatureError, match="must be strings"):
        to_arrow(pd.DataFrame({1: [1]}))
    with pytest.raises(SignatureError, match="same name"):
        infer(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(SignatureError, match="no columns"):
        infer(pa.table({}))


def test_nullable_from_reference_and_argument():
    example, reference = pa.table({"a": [1], "b": [1]}), pa.table({"b": [1, None], "a": [1, 2], "more": [1, 2]})
    assert [c.nullable for c in infer(example, reference).inputs] == [False, True]
    assert [c.nullable for c in infer(example, nullable=["a"]).inputs] == [True, False]
    assert [c.nullable for c in infer(example, nullable="a").inputs] == [True, False]
    assert [c.nullable for c in infer(example, nullable=True).inputs] == [True, True]
    with pytest.raises(SignatureError, match="'z'"):
        infer(example, nullable=["z"])


def test_integer_tensors_cannot_be_nullable():
    table = to_arrow(np.zeros((2, 3), np.int64))
    assert not infer(table, nullable=True).inputs[0].nullable
    with pytest.raises(SignatureError, match="only tensors of floats"):
        infer(table, nullable=["input"])


def test_the_reference_must_go_with_the_example():
    with pytest.raises(SignatureError, match="lacks"):
        infer(pa.table({"a": [1]}), pa.table({"b": [1]}))
    with pytest.raises(SignatureError, match="int64 in the example"):
        infer(pa.table({"a": [1]}), pa.table({"a": ["x"]}))


def test_seen_numbers():
    values = list(range(1_000)) + [None] * 250
    seen = infer(pa.table({"i": pa.array(values, pa.int64())})).inputs[0].seen
    assert seen is not None
    assert (seen["null_share"], seen["min"], seen["max"]) == (0.2, 0, 999)
    assert len(seen["quantiles"]) == QUANTILES
    assert seen["quantiles"] == sorted(seen["quantiles"])
    assert (seen["quantiles"][0], seen["quantiles"][-1]) == (0, 999)
    assert all(type(value) is int for value in seen["quantiles"])


def test_seen_keeps_infinity_apart():
    seen = infer(pa.table({"f": [1.0, float("inf"), float("nan"), 2.0]})).inputs[0].seen
    assert seen is not None
    assert (seen["infinity"], seen["min"], seen["max"], seen["null_share"]) == (True, 1.0, 2.0, 0.25)
    assert "infinity" not in (infer(pa.table({"f": [1.0]})).inputs[0].seen or {})
    only = infer(pa.table({"f": [float("nan")]})).inputs[0].seen
    assert only == {"null_share": 1.0}


def test_seen_strings_are_sorted_by_frequency():
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        seen = infer(pa.table({"s": pa.array(["b", "a", "b", None, "c"], pa.string()).cast(kind)})).inputs[0].seen
        assert seen == {"null_share": 0.2, "distinct": 3, "categories": [["b", 2], ["a", 1], ["c", 1]]}


def test_seen_keeps_the_most_frequent_categories():
    words = [f"w{i:05}" for i in range(MAX_CATEGORIES + 500)] + ["often"] * 3
    seen = infer(pa.table({"s": words})).inputs[0].seen
    assert seen is not None
    assert seen["distinct"] == MAX_CATEGORIES + 501
    assert len(seen["categories"]) == MAX_CATEGORIES
    assert seen["categories"][0] == ["often", 3]


def test_seen_dates_and_times_as_numbers():
    day = pa.array([dt.date(1970, 1, 2), dt.date(1970, 1, 4)])
    time = pa.array([dt.datetime(1970, 1, 1, 0, 0, 1)] * 2, pa.timestamp("ns", "UTC"))
    first, second = infer(pa.table({"d": day, "t": time})).inputs
    assert first.seen is not None
    assert second.seen is not None
    assert (first.seen["min"], first.seen["max"]) == (1, 3)
    assert (second.seen["min"], second.seen["max"]) == (1_000_000, 1_000_000)


def test_an_empty_example_has_types_but_saw_nothing():
    column = infer(pa.table({"a": pa.array([], pa.float64())})).inputs[0]
    assert column == Column("a", "float64", seen={"null_share": 0.0})


def test_json_round_trip():
    signature = Signature(
        (
            Column("a", "int64"),
            Column("t", "timestamp", True, zone="UTC"),
            Column("x", "tensor", dtype="float32", shape=(2, 3)),
        ),
        (Output("label", "int64"), Output("probability", "float64", 2, ("no", "yes"))),
    )
    assert Signature.from_json(signature.to_json()) == signature


def test_as_text_it_is_a_table():
    signature = infer(pa.table({"carrier": ["UA", "B6", None], "day": pa.array([0, 1, 2], pa.date32())}))
    text = str(signature.with_outputs([Output("probability", "float64", 2, ("0", "1"))]))
    assert text == (
        "carrier        string            nullable  2 values: B6, UA, 33.3 % null\n"
        "day            date32                      1970-01-01 to 1970-01-03\n"
        "→ probability  list[float64, 2]            0, 1"
    )
