"""What a fit remembers goes into the signature, so that `mr.save` needs no example; what is stored forgets it."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalSubscript=false, reportOptionalMemberAccess=false

from __future__ import annotations

import joblib
import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import monorail as mr
from monorail.bundle.pickling import pickle_model
from monorail.bundle.source import opened
from monorail.errors import InputError
from monorail.signature import infer

ROWS = 6_000


def data() -> pa.Table:
    random = np.random.default_rng(7)
    rare = random.random(ROWS) < 0.001
    rare[ROWS - 1] = True
    return pa.table(
        {
            "distance": pa.array(random.normal(800, 300, ROWS), mask=rare),
            "hour": random.integers(0, 24, ROWS),
            "carrier": pa.array(random.choice(["AA", "BB", "CC"], ROWS)),
            "delay": random.normal(size=ROWS),
        }
    )


def pipeline() -> Pipeline:
    numbers = Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())])
    steps = [("numbers", numbers, ["distance", "hour"]), ("words", OneHotEncoder(), ["carrier"])]
    return Pipeline([("prepare", ColumnTransformer(steps)), ("model", LinearRegression())])


@pytest.fixture(scope="module")
def fitted():
    return mr.fit(pipeline(), data(), target="delay", quiet=True)


def test_a_fitted_model_is_saved_without_an_example(fitted, tmp_path):
    version = mr.save(fitted, "flights", registry=tmp_path, quiet=True)
    assert version.engine == "native"
    wanted = infer(data().drop(["delay"]))
    assert [column.name for column in version.signature.inputs] == [column.name for column in wanted.inputs]
    for column, whole in zip(version.signature.inputs, wanted.inputs, strict=True):
        assert (column.type, column.nullable) == (whole.type, whole.nullable)
        seen, known = dict(column.seen), dict(whole.seen)
        # The last bit of a double may be lost where JSON is read.
        assert seen.pop("quantiles", []) == pytest.approx(known.pop("quantiles", []), rel=1e-15)
        assert seen == known
    rows = data().drop(["delay"]).slice(0, 100)
    answers = mr.load(version).predict(rows).column("prediction").to_numpy()
    np.testing.assert_allclose(answers, fitted.predict(rows.to_pandas()), rtol=1e-9)
    # The user's object still has what it remembers.
    assert fitted.fit_report_.rows == ROWS


def test_an_example_and_a_reference_of_ones_own_come_first(fitted, tmp_path):
    rows = data().drop(["delay"]).slice(0, 50)
    version = mr.save(fitted, "flights", example=rows, registry=tmp_path, quiet=True)
    assert version.signature.column("hour").seen["max"] == 23
    assert sum(count for _, count in version.signature.column("carrier").seen["categories"]) == ROWS
    version = mr.save(fitted, "flights", example=rows, reference=rows, registry=tmp_path, quiet=True)
    assert sum(count for _, count in version.signature.column("carrier").seen["categories"]) == 50


def test_a_model_file_brings_what_its_fit_remembers(fitted, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(fitted, path)
    version = mr.save(path, "flights", registry=tmp_path / "registry", trust=True, quiet=True)
    assert sum(count for _, count in version.signature.column("carrier").seen["categories"]) == ROWS


def test_what_is_stored_for_a_worker_does_not_remember(fitted):
    given = opened(fitted, None, trust=False)
    assert given.remembered is fitted.fit_report_
    assert given.example.num_rows == len(fitted.fit_report_.example)
    stored = pickle_model(given.model)
    assert b"FitReport" not in stored.data
    assert "monorail" not in stored.distributions


def test_a_model_that_remembers_nothing_still_needs_an_example(tmp_path):
    rows = data().to_pandas().dropna()
    model = pipeline().fit(rows.drop(columns="delay"), rows["delay"])
    with pytest.raises(InputError, match="no example"):
        mr.save(model, "flights", registry=tmp_path, quiet=True)
