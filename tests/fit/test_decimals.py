"""Decimal numbers are learnt from and scored as float64, and pass through scoring as they are."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightgbm import LGBMRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import monorail as mr
from monorail.data.decimals import as_floats
from monorail.errors import InputError

from ..support.learning import same_attributes

KINDS = [pa.decimal128(12, 2), pa.decimal256(50, 2)]


def rows(kind: pa.DataType, *, gaps: bool = True) -> tuple[pa.Table, pa.Table]:
    """The same rows with decimal numbers and with floats."""
    random = np.random.default_rng(0)
    price, other = random.normal(100, 9, 400).round(2), random.normal(size=400)
    hole = np.arange(400) % 50 == (3 if gaps else 99)
    decimals = [None if gone else Decimal(f"{value:.2f}") for value, gone in zip(price, hole, strict=True)]
    due = (2 * price + other).round(2)
    return (
        pa.table(
            {"price": pa.array(decimals, kind), "other": other, "due": pa.array(map(Decimal, map(str, due)), kind)}
        ),
        pa.table({"price": pa.array(price, mask=hole), "other": other, "due": due}),
    )


@pytest.mark.parametrize(
    "kind", [pa.decimal128(12, 2), pa.decimal128(38, 2), pa.decimal128(15, 0), pa.decimal256(60, 12)], ids=str
)
def test_every_number_is_the_nearest_float(kind: pa.DataType) -> None:
    random = np.random.default_rng(0)
    values: list[Any] = [
        Decimal(int(value)).scaleb(-min(kind.scale, 6)) for value in random.integers(-(10**9), 10**9, 999)
    ]
    values[10] = values[500] = None
    column = pa.array([Decimal(0), *values, Decimal(1)], kind).slice(1, 999)
    batch = as_floats(pa.record_batch({"a": column, "b": column}), {"a"})
    assert batch["a"].to_pylist() == [None if value is None else float(value) for value in values]
    assert batch["b"].equals(column)
    assert as_floats(batch.slice(0, 0), {"b"}).schema.field("b").type == pa.float64()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("place", ["table", "files"])
def test_a_fit_on_decimals_is_the_fit_on_floats(tmp_path: Path, kind: pa.DataType, place: str) -> None:
    decimals, floats = rows(kind)
    data: Any = decimals
    if place == "files":
        pq.write_table(decimals, tmp_path / "rows.parquet", row_group_size=100)
        data = tmp_path
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge())
    ours, plain = (mr.fit(model, each, target="due", quiet=True) for each in (data, floats))
    for step, expected in zip(ours, plain, strict=True):
        same_attributes(step, expected)
    assert ours.fit_report_.example.schema.field("price").type == pa.float64()


@pytest.mark.parametrize(
    "model",
    [LGBMRegressor(n_estimators=2, verbosity=-1), GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, cv=2)],
    ids=["lightgbm", "search"],
)
def test_boosters_and_searches_take_them_too(model: Any) -> None:
    ours, plain = (mr.fit(model, each, target="due", quiet=True) for each in rows(KINDS[0], gaps=False))
    features = rows(KINDS[0], gaps=False)[1].drop_columns(["due"]).to_pandas()
    np.testing.assert_array_equal(ours.predict(features), plain.predict(features))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_scoring_reads_them_as_floats_and_passes_them_through_as_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    decimals, floats = rows(kind, gaps=False)
    model = mr.fit(make_pipeline(StandardScaler(), Ridge()), floats, target="due", quiet=True)
    mr.save(model, "due", registry=tmp_path / "registry")
    pq.write_table(decimals, tmp_path / "rows.parquet")
    mr.score("due", tmp_path / "rows.parquet", out=tmp_path / "out", columns=["price"], registry=tmp_path / "registry")
    (part,) = (tmp_path / "out").glob("part-*")
    found = pq.read_table(part)
    assert found["price"].to_pylist() == decimals["price"].to_pylist()
    expected = model.predict(floats.drop_columns(["due"]).to_pandas())
    np.testing.assert_allclose(found["prediction"].to_numpy(), expected, rtol=1e-9)


def test_decimals_for_a_column_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    whole = pa.table({"price": np.arange(50), "due": np.arange(50.0)})
    model = mr.fit(make_pipeline(StandardScaler(), Ridge()), whole, target="due", quiet=True)
    mr.save(model, "due", registry=tmp_path)
    with pytest.raises(InputError, match="price should be int64, not a column of Decimal128"):
        mr.score("due", rows(KINDS[0])[0], out=tmp_path / "out", registry=tmp_path)
