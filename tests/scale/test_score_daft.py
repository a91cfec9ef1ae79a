"""Predictions as a lazy Daft frame, and data out of Daft: nothing is scored before Daft is asked for rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import monorail as mr
from monorail.errors import InputError

from ..support.bundles import publish_scorer
from ..support.scoring import assert_scored, files_of, rows_of


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "registry"
    publish_scorer(folder, "scorer")
    return folder


def test_a_lazy_frame(home, tmp_path):
    files_of(tmp_path / "in", [700, 500])
    frame = mr.score("scorer", tmp_path / "in", columns=["id"], registry=home).to_daft()
    assert frame.column_names == ["id", "label", "probability", "single"]
    assert_scored(frame.to_arrow(), pq.read_table(tmp_path / "in").combine_chunks())
    few: Any = frame["id"]
    assert frame.where(few < 10).select("id").to_pydict() == {"id": list(range(10))}


def test_it_is_lazy(home, tmp_path):
    rows = rows_of(100)
    pq.write_table(rows.set_column(2, "a", pa.nulls(100, pa.float64())), tmp_path / "rows.parquet")
    frame = mr.score("scorer", tmp_path / "rows.parquet", registry=home).to_daft()
    with pytest.raises(Exception, match="null_not_allowed"):
        frame.collect()


def test_data_out_of_daft(home):
    import daft

    rows = rows_of(300)
    with mr.score("scorer", daft.from_arrow(rows), columns=["id"], registry=home) as scored:
        assert_scored(scored.to_table(), rows)
    with pytest.raises(InputError):
        mr.score("scorer", daft.from_arrow(rows.drop_columns(["a"])), registry=home)
