"""Scoring CSV: types are the model's; values of no type are refused with their place, or set aside."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import monorail as mr
from monorail.errors import InputError

from ..support.scoring import assert_scored, parts_of, rows_of


def test_a_csv_has_the_models_types(score, tmp_path):
    rows = rows_of(50).set_column(5, "amount", pa.array(["007"] * 50))
    pyarrow.csv.write_csv(rows, tmp_path / "rows.csv", pyarrow.csv.WriteOptions(quoting_style="none"))
    score(tmp_path / "rows.csv", tmp_path / "out")
    assert_scored(parts_of(tmp_path / "out"), rows)


def test_files_whose_own_types_differ_have_the_models(home, tmp_path):
    rows = rows_of(50)
    for name, amount in (("1.csv", "007"), ("2.csv", "7e0f")):
        texts = rows.set_column(5, "amount", pa.array([amount] * 50))
        pyarrow.csv.write_csv(texts, tmp_path / name, pyarrow.csv.WriteOptions(quoting_style="none"))
    with mr.score("scorer", tmp_path, columns=["amount"], registry=home) as scored:
        assert scored.schema.field("amount").type == pa.string()


def csv_with(rows, path, marks):
    """Rows as a CSV with other texts in some places."""
    names = rows.column_names
    cells = [[str(value) for value in row.values()] for row in rows.to_pylist()]
    for row, column, text in marks:
        cells[row][names.index(column)] = text
    path.write_text("\n".join(",".join(line) for line in [names, *cells]) + "\n")
    return path


@pytest.mark.parametrize("first", [10, 59_990])
def test_quarantine_of_values_of_a_csv_that_are_of_no_type(score, tmp_path, first):
    rows = rows_of(60_000)
    marks = [(first, "a", "oops"), (first + 2, "id", "none"), (first + 2, "c", '"x\ny"'), (first + 5, "amount", "")]
    path = csv_with(rows, tmp_path / "rows.csv", marks)
    options = {"invalid": "quarantine"}
    if first == 10:
        # What the model does not take has the type of the first block: there that is text.
        rows = rows.set_column(0, "id", rows["id"].cast(pa.string()))
        marks = marks[:1] + marks[2:]
    report = score(path, tmp_path / "out", **options)
    wrong = sorted({row for row, _, _ in marks})
    assert (report.rows, report.invalid) == (60_000 - len(wrong), 3)
    kept = rows.filter(pa.array([row not in wrong for row in range(60_000)]))
    assert_scored(parts_of(tmp_path / "out"), kept)
    side = pq.read_table(report.invalid_folder).to_pylist()
    assert [line["monorail_row"] for line in side] == wrong
    assert {line["monorail_file"] for line in side} == {str(path)}
    assert side[0]["monorail_reason"] == "a: expected double, got 'oops' (wrong_type)"
    assert (side[0]["a"], side[0]["b"]) == (None, rows["b"][first].as_py())
    assert side[1]["monorail_column"] == ("c" if first == 10 else "id, c")
    assert side[2]["monorail_column"] == "amount"
    again = score(path, tmp_path / "out", **options)
    assert again.resumed_rows == 60_000


def test_what_of_a_csv_cannot_be_set_aside_is_told(score, tmp_path):
    path = csv_with(rows_of(50), tmp_path / "rows.csv", [(7, "a", "oops")])
    with pytest.raises(InputError, match=r"row 7 \(line 9\): column 'a' has 'oops'") as caught:
        score(path, tmp_path / "out")
    assert "quarantine" in str(caught.value)
    # Whether a row is wanted cannot be known where the column is unreadable that says so.
    with pytest.raises(InputError, match="column 'a' has 'oops'") as caught:
        score(path, tmp_path / "out", invalid="quarantine", filters=[("a", ">", 0)])
    assert "quarantine" not in str(caught.value)
    report = score(path, tmp_path / "out", invalid="quarantine", filters=[("id", ">", 5)])
    assert (report.rows, report.invalid) == (43, 1)
    csv_with(rows_of(50), path, [(7, "a", "1,2")])
    with pytest.raises(InputError, match=r"row 7 \(line 9\): expected 6 columns, got 7") as caught:
        score(path, tmp_path / "other", invalid="quarantine")
    assert "cannot be set aside" in str(caught.value)
    assert not list((tmp_path / "other").glob("part-*"))
