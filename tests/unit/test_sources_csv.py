"""CSV as a source: types are settled once over all files, and a value that has none is told by row, line and column."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monorail.data.source import open_source
from monorail.errors import InputError


def rows_of(data: Any, **options: Any) -> pa.Table:
    """All rows of a source, from fragments that travelled."""
    with open_source(data, **options) as source:
        fragments = pickle.loads(pickle.dumps(source.fragments))
        return pa.Table.from_batches([batch for each in fragments for batch in each.batches()], source.schema)


def many(path: Path, rows: int, first: str = "", last: str = "") -> Path:
    """A file of more than one block: whole numbers and texts, with other lines before and behind."""
    path.write_text("a,b\n" + first + "".join(f"{row},x\n" for row in range(rows)) + last)
    return path


def refused(data: Any, **options: Any) -> InputError:
    """What reading all of it is refused with."""
    with pytest.raises(InputError) as caught:
        rows_of(data, **options)
    return caught.value


def test_csv_has_one_type_a_column_over_files(tmp_path):
    (tmp_path / "1.csv").write_text('a,b,c,d\n1,x,,2024-01-02\n,"y\nz",,2024-01-03\n')
    with gzip.open(tmp_path / "2.csv.gz", "wt") as file:
        file.write("a,b,c,d\n1.5,,7,2024-01-04\n")
    found = rows_of([str(tmp_path / "1.csv"), str(tmp_path / "2.csv.gz")])
    assert [str(kind) for kind in found.schema.types] == ["double", "string", "int64", "date32[day]"]
    assert found["a"].to_pylist() == [1.0, None, 1.5]
    assert found["b"].to_pylist() == ["x", "y\nz", None]
    assert found["c"].to_pylist() == [None, None, 7]


def test_csv_types_of_columns_that_begin_empty_are_found_later(tmp_path):
    lines = [f"{row},,{'' if row < 400_000 else row / 2}\n" for row in range(400_010)]
    (tmp_path / "x.csv").write_text("a,none,late\n" + "".join(lines))
    found = rows_of(tmp_path / "x.csv")
    assert [str(kind) for kind in found.schema.types] == ["int64", "string", "double"]
    assert found["late"].null_count == 400_000


def test_a_value_behind_the_first_block_is_refused_with_its_place(tmp_path):
    path = many(tmp_path / "x.csv", 400_000, last="oops,x\n")
    error = refused(path)
    place = {"file": str(path), "column": "a", "row": 400_000, "expected": "int64", "got": "'oops'"}
    assert error.details == [{"code": "wrong_type", **place}]
    assert error.message == f"{path}, row 400000 (line 400002): column 'a' has 'oops', which is not int64"


@pytest.mark.parametrize("last", ['5,"3\n4",oops\n', "5,3,oops\n"])
def test_line_ends_in_values_and_blank_lines_do_not_spoil_the_place(last, tmp_path):
    text = 'a,b,c\n1,"x\n\ny",2\n\n\r\n4,z,"5"\n' + last
    with gzip.open(tmp_path / "x.csv.gz", "wt") as file:
        file.write(text)
    error = refused(tmp_path / "x.csv.gz", types={"c": pa.int64()})
    assert error.details[0]["row"] == 2
    assert "row 2 (line 8): column 'c' has 'oops'" in error.message
    tabs = tmp_path / "x.tsv"
    tabs.write_text(text.replace(",", "\t"))
    assert "row 2 (line 8): column 'c' has 'oops'" in refused(tabs, types={"c": pa.int64()}).message


def test_a_row_of_another_width_is_refused_with_its_place(tmp_path):
    for path in (many(tmp_path / "1.csv", 9, last="1,x,y\n"), many(tmp_path / "2.csv", 400_000, last="1,x,y\n")):
        error = refused(path)
        row = 9 if path.name == "1.csv" else 400_000
        assert error.details == [{"code": "malformed_request", "file": str(path), "row": row}]
        assert error.message == f"{path}, row {row} (line {row + 2}): expected 2 columns, got 3"


@pytest.mark.parametrize("bad", ["1.csv", "2.csv"])
def test_a_value_that_makes_a_column_text_in_one_file_is_told(bad, tmp_path):
    for name in ("1.csv", "2.csv"):
        many(tmp_path / name, 10, first='0.5,"y\ny"\n', last="n/a,x\n" if name == bad else "")
    error = refused(tmp_path)
    place = {"file": str(tmp_path / bad), "column": "a", "row": 11, "expected": "double", "got": "'n/a'"}
    assert error.details == [{"code": "wrong_type", **place}]
    other = tmp_path / ("2.csv" if bad == "1.csv" else "1.csv")
    assert f"row 11 (line 14): column 'a' has 'n/a', which is not double, as in {other}" in error.message


def test_types_that_are_known_need_no_agreement(tmp_path):
    (tmp_path / "1.csv").write_text("a\n007\n")
    (tmp_path / "2.csv").write_text("a\nx\n")
    assert rows_of(tmp_path, types={"a": pa.string()})["a"].to_pylist() == ["007", "x"]


def test_a_column_that_is_text_by_a_slip_is_known(tmp_path):
    path = many(tmp_path / "x.csv", 100, last="oops,x\n")
    with open_source(path) as source:
        assert source.schema.field("a").type == pa.string()
        (column,) = source.slips
        assert source.slips[column].details[0]["row"] == 100
    with open_source(path, types={"a": pa.string()}) as source:
        assert not source.slips
    (tmp_path / "x.csv").write_text("a\n" + "1\nA\n" * 50)
    with open_source(path) as source:
        assert not source.slips
