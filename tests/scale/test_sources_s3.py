"""Files of an object store: found, read, pruned and refused as those of a disk are."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from monorail.data.source import open_source
from monorail.data.sources import parquet
from monorail.data.sources.places import Store, file_system
from monorail.errors import InputError
from monorail.executors import open_executor

TABLE = pa.table({"a": np.arange(4_000), "b": [None if row % 3 else f"v{row % 5}" for row in range(4_000)]})


@pytest.fixture
def lake(s3):
    """A bucket with the same rows as Parquet in folders, as CSV and as Arrow, and with a file that is broken."""
    system = file_system(Store("s3", os.environ["AWS_ENDPOINT_URL"], "us-east-1"))
    bucket = s3.removeprefix("s3://")
    for month in (1, 2):
        with system.open_output_stream(f"{bucket}/lake/month={month}/x.parquet") as sink:
            pq.write_table(TABLE.slice(2_000 * (month - 1), 2_000), sink, row_group_size=500)
    with system.open_output_stream(f"{bucket}/lake/_SUCCESS") as sink:
        sink.write(b"done")
    with system.open_output_stream(f"{bucket}/x.csv") as sink:
        csv.write_csv(TABLE, sink)
    with system.open_output_stream(f"{bucket}/x.arrow") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=900)
    with system.open_output_stream(f"{bucket}/cut.parquet") as sink:
        sink.write(b"PAR1 and then nothing")
    return s3


def rows_of(source):
    """All rows of the two columns."""
    return pa.Table.from_batches([batch for part in source.fragments for batch in part.batches(["a", "b"])])


@pytest.mark.parametrize(
    "name",
    ["lake", "lake/", "lake/*", "lake/*/*.parquet", "lake/**", "lake/month=[12]/x.parquet", "x.csv", "x.arrow", "x.c*"],
)
def test_rows_of_folders_patterns_and_files(name, lake):
    with open_source(f"{lake}/{name}") as source:
        assert rows_of(source).equals(TABLE)
        assert ("month" in source.schema.names) == name.startswith("lake")
        assert all(part.name.startswith(lake) for part in source.fragments)


def test_several_names(lake):
    with open_source([f"{lake}/lake/month=2", f"{lake}/lake/month=1/x.parquet"]) as source:
        assert source.rows == 4_000
        assert rows_of(source)["a"][0].as_py() == 2_000


def test_row_groups_and_folders_that_a_filter_excludes_are_not_read(lake, monkeypatch):
    monkeypatch.setattr(parquet, "FRAGMENT_ROWS", 1)
    with open_source(f"{lake}/lake", filters=[("month", "=", 2), ("a", ">", 3_600)]) as source:
        assert [part.name for part in source.fragments] == [f"{lake}/lake/month=2/x.parquet, row group 3"]
        assert rows_of(source)["a"].to_pylist() == list(range(3_601, 4_000))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cut.parquet", "cannot be read"),
        ("none.parquet", "does not exist"),
        ("none*.parquet", "holds no file"),
        ("lake/month=1/x", "does not exist"),
    ],
)
def test_what_cannot_be_opened_is_refused_by_name(name, text, lake):
    with pytest.raises(InputError, match=text) as caught:
        open_source(f"{lake}/{name}")
    assert f"{lake}/{name}" in caught.value.message


def test_a_bucket_that_is_not_there(lake):
    with pytest.raises(InputError, match="no-such-bucket-here"):
        open_source("s3://no-such-bucket-here/x.parquet")


def test_workers_of_a_cluster_read_the_store(cluster, lake):
    def total(secrets, part):
        # What a machine of a real cluster has of its own.
        os.environ.update(secrets)
        return sum(batch.column(0).to_numpy().sum() for batch in part.batches(["a"]))

    secrets = {
        name: value for name, value in os.environ.items() if name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_EC2"))
    }
    with open_executor("ray") as executor, open_source(f"{lake}/lake") as source:
        assert sum(executor.map(total, source.fragments, shared=secrets)) == TABLE["a"].to_numpy().sum()
