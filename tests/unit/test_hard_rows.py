"""Hard rows: what each generator makes, of which types, how many, and that both sides of every split are there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monorail.compile import ColumnSplits
from monorail.compile.hard_rows import arrow_type, make_hard_rows

INPUTS = [
    {"name": "city", "type": "string", "nullable": True},
    {"name": "kind", "type": "dictionary", "nullable": False},
    {"name": "flag", "type": "bool", "nullable": True},
    {"name": "small", "type": "int8", "nullable": False},
    {"name": "count", "type": "uint16", "nullable": True},
    {"name": "ratio", "type": "float64", "nullable": True},
    {"name": "narrow", "type": "float32", "nullable": False},
    {"name": "day", "type": "date32", "nullable": True},
    {"name": "when", "type": "timestamp", "zone": "UTC", "nullable": False},
]


def example() -> pa.Table:
    return pa.table(
        {
            "city": ["Bonn", None, "Köln", ""],
            "kind": pa.array(["a", "b", "a", "b"]).dictionary_encode(),
            "flag": [True, None, False, True],
            "small": pa.array([-5, 3, 100, 7], pa.int8()),
            "count": pa.array([1, None, 3, 65535], pa.uint16()),
            "ratio": [0.5, None, float("nan"), 2.0],
            "narrow": pa.array([0.5, 1.0, 2.0, -3.0], pa.float32()),
            "day": pa.array([0, None, 20_000, 5], pa.int32()).cast(pa.date32()),
            "when": pa.array([0, 1, 2, 3], pa.int64()).cast(pa.timestamp("us", "UTC")),
        }
    )


def splits() -> list[ColumnSplits]:
    ratio = np.asarray([0.25, 1.5, 1.75])
    return [
        ColumnSplits("ratio", 0, ratio, np.nextafter(ratio, np.inf)),
        ColumnSplits("small", 0, np.asarray([3], np.int8), np.asarray([4], np.int8)),
        ColumnSplits("count", 0, np.asarray([2.5]), np.nextafter([2.5], np.inf)),
    ]


def test_types_counts_and_repetition() -> None:
    hard = make_hard_rows(INPUTS, example(), splits(), least_rows=500)
    assert hard.table.schema.types == [arrow_type(entry) for entry in INPUTS]
    assert len(hard.table) == len(hard.generators) == sum(hard.counts.values()) == 500
    assert list(hard.counts) == ["null", "unseen_category", "empty_string", "non_ascii", "range", "threshold"]
    assert make_hard_rows(INPUTS, example(), splits(), least_rows=500).table.equals(hard.table)


def test_nulls_alone_and_together_and_nowhere_else() -> None:
    hard = make_hard_rows(INPUTS, example(), least_rows=0)
    rows = hard.table.filter(pa.array(hard.generators == "null"))
    nullable = [entry["name"] for entry in INPUTS if entry["nullable"]]
    for entry in INPUTS:
        assert bool(rows[entry["name"]].null_count) == entry["nullable"]
        assert entry["nullable"] or hard.table[entry["name"]].null_count == 0
    together = [all(row[name] is None for name in nullable) for row in rows.to_pylist()]
    assert any(together)


def test_both_sides_of_every_split() -> None:
    hard = make_hard_rows(INPUTS, example(), splits(), least_rows=0)
    rows = hard.table.filter(pa.array(hard.generators == "threshold"))
    ratio = set(rows["ratio"].to_pylist())
    for value in (0.25, 1.5, 1.75):
        assert {value, float(np.nextafter(value, np.inf))} <= ratio
    assert {3, 4} <= set(rows["small"].to_pylist())
    assert {2, 3} <= set(rows["count"].to_pylist())
    assert len(rows) == 6, "several splits share a row"


def test_strings_and_ranges() -> None:
    hard = make_hard_rows(INPUTS, example(), least_rows=0)
    city = hard.table["city"].to_pylist()
    assert "" in city
    assert "東京" in city
    assert "never seen" in city
    assert {-128, 127} <= set(hard.table["small"].to_pylist())
    assert {0, 65535} <= set(hard.table["count"].to_pylist())
    assert {1e300, -1e300} <= set(hard.table["ratio"].to_pylist())


def test_tensor() -> None:
    inputs = [{"name": "input", "type": "tensor", "dtype": "float64", "shape": [3], "nullable": True}]
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 3)
    at = np.asarray([4.5])
    found = [ColumnSplits("input", 1, at, np.nextafter(at, np.inf))]
    hard = make_hard_rows(inputs, pa.table({"input": values}), found, least_rows=0)
    assert hard.table.schema.types == [pa.list_(pa.float64(), 3)]
    assert {4.5, float(np.nextafter(4.5, np.inf))} <= {row[1] for row in hard.table["input"].to_pylist()}
    assert any(np.isnan(row).any() for row in hard.table["input"].to_pylist())


def test_more_splits_than_rows_allowed_are_taken_evenly() -> None:
    at = np.arange(1000.0)
    many = [ColumnSplits("ratio", 0, at, np.nextafter(at, np.inf))]
    hard = make_hard_rows(INPUTS, example(), many, least_rows=0, most_rows=50)
    ratios = hard.table.filter(pa.array(hard.generators == "threshold"))["ratio"].to_pylist()
    assert len(ratios) == 50
    assert min(ratios) < 1
    assert max(ratios) > 998


def test_example_without_rows() -> None:
    with pytest.raises(ValueError, match="none"):
        make_hard_rows(INPUTS, example().slice(0, 0))
