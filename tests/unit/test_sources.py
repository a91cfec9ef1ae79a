"""Data of every kind as a source: the same rows, in order, from fragments that can be read again, and elsewhere."""

from __future__ import annotations

import copy
import os
import pickle
import random
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from monorail.data.source import open_source
from monorail.data.sources import parquet
from monorail.data.sources.sending import Sent, sending
from monorail.errors import InputError

ROWS = 5_000


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Rows of mixed columns with nulls."""
    numbers = np.random.default_rng(0).normal(size=ROWS)
    return pa.table(
        {
            "a": np.arange(ROWS),
            "b": pa.array([None if row % 7 == 0 else f"v{row % 13}" for row in range(ROWS)], pa.string()),
            "c": pa.array([None if row % 5 == 0 else value for row, value in enumerate(numbers)]),
            "d": pa.array([row % 2 == 0 for row in range(ROWS)]),
        }
    )


def rows_of(data: Any, columns: list[str] | None = None, filters: Any = None, *, max_rows: int = 1_000) -> pa.Table:
    """All rows of a source, from fragments that travelled; what all sources promise is checked on the way."""
    with open_source(data, filters=filters) as source:
        wanted = columns or source.schema.names
        kinds = pa.schema([source.schema.field(name) for name in wanted])
        batches: list[pa.RecordBatch] = []
        for fragment in pickle.loads(pickle.dumps(source.fragments)):
            before = sum(batch.num_rows for batch in batches)
            assert fragment.start in (before, -1)
            held = list(fragment.batches(columns, max_rows=max_rows))
            assert all(0 < batch.num_rows <= max_rows for batch in held)
            assert all(batch.schema.equals(kinds) for batch in held)
            if fragment.rows is not None and filters is None:
                assert fragment.rows == sum(batch.num_rows for batch in held)
            again = list(fragment.batches(columns, max_rows=max_rows))
            assert str(again) == str(held)
            batches += held
        found = pa.Table.from_batches(batches, kinds)
        assert source.rows in (None, len(found))
        return found


def write(table: pa.Table, path: Path, **options: Any) -> str:
    """A table in a file, by its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, **options)
    elif path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        maker = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as sink, maker(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=700)
    return str(path)


KINDS = {
    "parquet": lambda table, at: write(table, at / "x.parquet", row_group_size=700),
    "path": lambda table, at: Path(write(table, at / "x.parquet")),
    "arrow file": lambda table, at: write(table, at / "x.arrow"),
    "arrow stream": lambda table, at: write(table, at / "x.arrows"),
    "csv": lambda table, at: write(table, at / "x.csv"),
    "pandas": lambda table, at: table.to_pandas(types_mapper={pa.float64(): pd.Float64Dtype()}.get),
    "polars": lambda table, at: pl.from_arrow(table),
    "lazy": lambda table, at: pl.DataFrame(table).lazy(),
    "table": lambda table, at: table,
    "batches": lambda table, at: table.to_batches(400),
    "iterator": lambda table, at: iter(table.to_batches(400)),
    "reader": lambda table, at: table.to_reader(333),
    "dataset": lambda table, at: ds.dataset(write(table, at / "x.parquet")),
    "dataset in memory": lambda table, at: ds.dataset(table),
    "filtered dataset": lambda table, at: ds.dataset(write(table, at / "x.parquet")).filter(pc.field("a") >= 0),
    "columns": lambda table, at: table.to_pydict(),
    "no extension": lambda table, at: os.rename(write(table, at / "x.parquet"), at / "x") or str(at / "x"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_of_every_kind(kind, table, tmp_path):
    found = rows_of(KINDS[kind](table, tmp_path), ["c", "b", "a"])
    assert found.cast(table.select(["c", "b", "a"]).schema).equals(table.select(["c", "b", "a"]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_kept_of_every_kind(kind, table, tmp_path):
    found = rows_of(KINDS[kind](table, tmp_path), ["b"], [("a", ">", 4_000), ("c", "<", 0.5)])
    kept = table.filter((pc.field("a") > 4_000) & (pc.field("c") < 0.5)).select(["b"])
    assert found.cast(kept.schema).equals(kept)


def test_daft_is_streamed(table):
    daft = pytest.importorskip("daft")
    with open_source(daft.from_arrow(table)) as source:
        assert source.rows == ROWS
    assert rows_of(daft.from_arrow(table).where(daft.col("a") < 100), ["a"])["a"].to_pylist() == list(range(100))


@hypothesis.settings(max_examples=30, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    group=st.integers(1, 30),
    fragment=st.integers(1, 60),
    most=st.integers(1, 50),
    low=st.integers(-5, 300),
    seed=st.integers(0, 100),
)
def test_any_cut_into_files_row_groups_and_batches_gives_the_same(sizes, group, fragment, most, low, seed, tmp_path):
    rng = random.Random(seed)
    whole = pa.table(
        {
            "a": pa.array(range(sum(sizes)), pa.int64()),
            "s": pa.array([rng.choice(["x", "y", None]) for _ in range(sum(sizes))]),
        }
    )
    paths, start = [], 0
    for number, size in enumerate(sizes):
        paths.append(write(whole.slice(start, size), tmp_path / f"{number}.parquet", row_group_size=group))
        start += size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "FRAGMENT_ROWS", fragment)
        assert rows_of(paths, max_rows=most).equals(whole)
        assert rows_of(paths, ["s"], [("a", ">", low)], max_rows=most).equals(
            whole.filter(pc.field("a") > low).select(["s"])
        )


def test_row_groups_that_statistics_exclude_are_not_read(table, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "FRAGMENT_ROWS", 1)
    path = write(table, tmp_path / "x.parquet", row_group_size=500)
    with open_source(path, filters=[("a", ">=", 4_400)]) as source:
        assert [fragment.name.rpartition(" ")[2] for fragment in source.fragments] == ["8", "9"]
        assert source.rows is None
    with open_source(path, filters=pc.field("a") < 0) as source:
        assert source.fragments == []


def test_text_may_come_in_codes(tmp_path):
    table = pa.table({"few": ["x", "y"] * 5_000, "many": [f"ticket {row:050}" for row in range(10_000)]})
    # A dictionary this small is given up for the second.
    path = write(table, tmp_path / "x.parquet", dictionary_pagesize_limit=1_000)
    with open_source(path) as source:
        (fragment,) = source.fragments
        batches = list(fragment.batches(coded=True))
    assert pa.types.is_dictionary(batches[0].schema.field("few").type)
    assert batches[0].schema.field("many").type == pa.string()
    assert pa.Table.from_batches(batches).cast(table.schema).equals(table)


def test_folders_spell_columns(table, tmp_path):
    for month in (1, 2, 10):
        for kind in ("u", "__HIVE_DEFAULT_PARTITION__", "x%20y"):
            write(table.slice(month, 3), tmp_path / f"rows/month={month}/kind={kind}/x.parquet")
    (tmp_path / "rows/_SUCCESS").touch()
    (tmp_path / "rows/.hidden.parquet").touch()
    (tmp_path / "rows/readme.txt").touch()
    found = rows_of(tmp_path / "rows")
    assert found.schema.field("month").type == pa.int64()
    assert sorted(set(zip(found["month"].to_pylist(), found["kind"].to_pylist(), strict=True)), key=str) == sorted(
        [(month, kind) for month in (1, 2, 10) for kind in ("u", None, "x y")], key=str
    )
    for pattern in ("rows/*", "rows/month=*/*/x.parquet", "rows/**/*.parquet", "rows/month=*"):
        assert rows_of(str(tmp_path / pattern), ["a", "month", "kind"]).equals(found.select(["a", "month", "kind"]))
    with open_source(tmp_path / "rows", filters=[("month", ">", 2), ("kind", "in", ["u"])]) as source:
        assert len(source.fragments) == 1
    assert rows_of(tmp_path / "rows", ["kind"], [("month", "=", 10)])["kind"].to_pylist().count("u") == 3
    # Who names a folder below has no such column.
    assert "month" not in rows_of(tmp_path / "rows/month=1", ["a", "kind"]).schema.names
    assert rows_of(tmp_path / "rows", ["month"]).num_rows == 27


def test_types_are_widened_and_it_is_said(tmp_path):
    one = pa.table({"n": pa.array([1, 2], pa.int32()), "x": pa.array([0.5, 1], pa.float32()), "z": pa.nulls(2)})
    other = pa.table({"z": pa.array(["a", "b"]), "x": [1.5, 2.5], "n": pa.array([2**40, 3], pa.int64())})
    paths = [write(one, tmp_path / "1.parquet"), write(other, tmp_path / "2.parquet")]
    with open_source(paths) as source:
        assert [str(kind) for kind in source.schema.types] == ["int64", "double", "string"]
        assert len(source.notes) == 3
        assert "column 'n' is read as int64" in source.notes[0]
    found = rows_of(paths)
    assert found["n"].to_pylist() == [1, 2, 2**40, 3]
    assert found["x"].to_pylist() == [0.5, 1.0, 1.5, 2.5]
    assert found["z"].to_pylist() == [None, None, "a", "b"]


def test_a_number_that_the_wider_type_cannot_hold_is_refused_with_its_place(tmp_path):
    one = write(pa.table({"n": [2**60 + 1]}), tmp_path / "1.parquet")
    other = write(pa.table({"n": [0.5]}), tmp_path / "2.parquet")
    with pytest.raises(InputError, match="cannot hold") as caught:
        rows_of([one, other])
    assert caught.value.code == "wrong_type"
    assert caught.value.details[0]["file"] == one
    assert caught.value.details[0]["column"] == "n"


def faulty(tmp_path: Path) -> dict[str, Any]:
    """Data that cannot be opened, by what is said of it."""
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    good = write(table, tmp_path / "good.parquet")
    (tmp_path / "nothing.parquet").touch()
    (tmp_path / "cut.parquet").write_bytes(Path(good).read_bytes()[:-20])
    (tmp_path / "foreign.parquet").write_text("a,b\n1,2\n")
    (tmp_path / "foreign.arrow").write_text("a,b\n1,2\n")
    (tmp_path / "cut.arrow").write_bytes(Path(write(table, tmp_path / "good.arrow")).read_bytes()[:-40])
    (tmp_path / "nothing.csv").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "hollow").mkdir()
    write(pa.table({"a": ["1"], "b": ["x"]}), tmp_path / "text.parquet")
    write(pa.table({"a": [1]}), tmp_path / "fewer.parquet")
    write(pa.table({"a": [1], "b": ["x"], "c": [1]}), tmp_path / "more.parquet")
    write(table, tmp_path / "hive/m=1/x.parquet")
    write(table, tmp_path / "hive/x.parquet")
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    return {
        "does not exist": [str(tmp_path / "none.parquet")],
        "holds no file": [str(tmp_path / "none*.parquet"), str(tmp_path / "hollow")],
        "is empty": [str(tmp_path / "nothing.parquet"), str(tmp_path / "nothing.csv")],
        "cannot be read": [
            str(tmp_path / name) for name in ("cut.parquet", "foreign.parquet", "foreign.arrow", "cut.arrow")
        ],
        "of a kind that is not read": [str(tmp_path / "notes.txt")],
        "kind of address": ["http://example.com/x.parquet"],
        "different kinds": [[good, str(tmp_path / "good.arrow")]],
        "has string in column 'a'": [[good, str(tmp_path / "text.parquet")]],
        "has no column 'b'": [[good, str(tmp_path / "fewer.parquet")]],
        "has a column 'c'": [[good, str(tmp_path / "more.parquet")]],
        "has two columns 'a'": [write(twice, tmp_path / "twice.parquet")],
        "is there twice": [twice],
        "lies in no folder m=": [str(tmp_path / "hive")],
        "no column names": [np.zeros((2, 2))],
        "is not a table": [3],
        "iterator is empty": [iter([])],
    }


def test_what_cannot_be_opened_is_refused_by_name(tmp_path):
    for text, examples in faulty(tmp_path).items():
        for example in examples:
            with pytest.raises(InputError, match=text) as caught:
                open_source(example)
            named = example[-1] if isinstance(example, list) else example
            assert caught.value.hint
            if isinstance(named, str) and text != "lies in no folder m=":
                assert named in str(caught.value)


@pytest.mark.parametrize("filters", [[("zz", "=", 1)], [("a", "=", "text")], "a > 3", [("a", "~", 3)]])
def test_filters_that_cannot_be_applied_are_refused(filters, table, tmp_path):
    for data in (table, write(table, tmp_path / "x.parquet"), table.to_reader()):
        with pytest.raises(InputError):
            open_source(data, filters=filters)


def test_a_file_without_rows_is_no_rows(table, tmp_path):
    empty = write(table.slice(0, 0), tmp_path / "0.parquet")
    full = write(table, tmp_path / "1.parquet")
    assert rows_of(empty).num_rows == 0
    assert rows_of([empty, full, empty]).equals(table)
    assert rows_of(table.slice(0, 0)).num_rows == 0
    assert rows_of(table.slice(0, 0).to_reader()).num_rows == 0


def test_a_file_that_changes_while_it_is_read_is_noticed(table, tmp_path):
    path = write(table, tmp_path / "x.parquet")
    with open_source(path) as source:
        write(table.slice(1), tmp_path / "x.parquet")
        with pytest.raises(InputError, match="was changed"):
            list(source.fragments[0].batches())
        os.remove(path)
        with pytest.raises(InputError, match="cannot be read"):
            list(source.fragments[0].batches())


def test_a_damaged_row_group_is_an_error_with_its_place(table, tmp_path):
    path = Path(write(table, tmp_path / "x.parquet", compression="zstd", use_dictionary=False))
    content = bytearray(path.read_bytes())
    content[2_000:9_000] = bytes(7_000)
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(InputError, match="cannot be read") as caught:
        list(source.fragments[0].batches())
    assert caught.value.details[0]["file"] == str(path)
    assert caught.value.details[0]["row_group"] == 0


def test_a_stream_is_spooled_and_removed(table, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_source(table.to_reader(100)) as source:
        assert source.rows == ROWS
        (folder,) = tmp_path.glob("monorail-*")
    assert not folder.exists()

    def broken():
        yield table.to_batches()[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_source(broken())
    assert not list(tmp_path.glob("monorail-*"))


def test_dictionaries_of_a_stream_may_change(tmp_path):
    parts = [pa.array(values).dictionary_encode() for values in (["x", "y"], ["y", None, "z"], ["x", "q"])]
    schema = pa.schema([pa.field("s", parts[0].type)])
    batches = [pa.record_batch([part], schema=schema) for part in parts for _ in range(2)]
    found = rows_of(iter(batches))
    assert found["s"].cast(pa.string()).to_pylist() == ["x", "y", "x", "y", *["y", None, "z"] * 2, "x", "q", "x", "q"]
    assert pa.types.is_dictionary(found.schema.field("s").type)


def test_rows_in_memory_are_sent_once(table):
    kept = []

    class Far:
        def __init__(self, content):
            self.content = content

        def buffer(self):
            return self.content

    def send(key, owner, read):
        kept.append(key)
        return Far(read())

    for data in (table, table.to_reader()):
        with open_source(data) as source:
            (fragment,) = source.fragments
            with sending(send):
                there = copy.copy(fragment)
            assert isinstance(there, Sent)
            assert pa.Table.from_batches(there.batches()).equals(table)
    assert len(kept) == 2
    # By itself a slice carries its own rows and no more.
    small = table.slice(10, 5)
    with open_source(small) as source:
        assert len(pickle.dumps(source.fragments)) < 5_000


def test_an_index_that_pandas_stored_is_no_column(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]}, index=[5, 7])
    frame.to_parquet(tmp_path / "x.parquet")
    assert rows_of(tmp_path / "x.parquet").schema.names == ["a"]
