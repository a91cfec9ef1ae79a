"""Pipelines with the author's own pandas code in front: cut, proven, served, and shown."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from tests.support.process import ServerProcess

import monorail as mr
from monorail import errors

RANDOM = np.random.default_rng(11)
ROWS = 400
TRIPS = pd.DataFrame(
    {
        "when": pd.date_range("2024-01-01", periods=ROWS, freq="7h"),
        "km": np.where(RANDOM.random(ROWS) < 0.1, np.nan, RANDOM.gamma(2.0, 3.0, ROWS)),
        "city": pd.Series(RANDOM.choice(np.array(["a", "b", "c", None], dtype=object), ROWS), dtype=object),
        "stops": RANDOM.integers(0, 9, ROWS),
    }
)
SIZES = ["none", "few", "many"]
LATE = pd.Series(np.where((TRIPS["km"].fillna(0) + TRIPS["stops"]) > 9, "late", "on time"))


def own_features(frame: pd.DataFrame) -> pd.DataFrame:
    """What people write: dates, ratios, bins, text, joined with a table of their own."""
    out = frame.drop(columns="when")
    out["hour"] = frame["when"].dt.hour
    out["weekend"] = frame["when"].dt.day_of_week >= 5
    out["per_stop"] = frame["km"] / (frame["stops"] + 1)
    out["size"] = pd.Series(pd.cut(frame["stops"], [-np.inf, 0.5, 4.5, np.inf], labels=SIZES)).astype(object)
    out["city"] = frame["city"].str.upper()
    return out


def trips_model(last: object) -> Pipeline:
    return Pipeline(
        [
            ("features", FunctionTransformer(own_features)),
            (
                "columns",
                make_column_transformer(
                    (OneHotEncoder(handle_unknown="ignore"), ["city", "size"]),
                    (make_pipeline(SimpleImputer(), StandardScaler()), ["km", "per_stop", "hour", "stops"]),
                    ("passthrough", ["weekend"]),
                ),
            ),
            ("last", last),
        ]
    ).fit(TRIPS, LATE if hasattr(last, "predict_proba") else TRIPS["stops"])


@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(20, random_state=0), Ridge()])
def test_the_authors_code_runs_in_python_and_the_rest_in_a_graph(tmp_path, last, capfd):
    model = trips_model(last)
    version = mr.save(model, "trips", example=TRIPS, registry=tmp_path / "here", rtol=1e-9, atol=1e-9)
    said = capfd.readouterr().err
    assert said.startswith(
        "engine mixed: features in Python processes, columns, last in the graph, because `features` (Fu"
    )
    assert version.engine == "mixed"
    assert version.coverage == {"worker": ["features"], "native": ["columns", "last"]}
    assert version.proof.passed
    assert version.proof.label_mismatches == 0
    # Also where the graph's own thresholds lie, on columns that no caller has.
    assert version.proof.generators["in the graph"] > (10_000 if isinstance(last, RandomForestClassifier) else ROWS)
    assert {"graph.onnx", "model.pkl", "worker.json", "requirements.txt"} < set(version.manifest["files"])
    fresh = TRIPS.sample(50, random_state=1)
    with ServerProcess(tmp_path / "here", "trips") as server:
        rows = json.loads(str(fresh.to_json(orient="records", date_format="iso", date_unit="us")))
        for row in rows:
            row["when"] = row["when"].removesuffix("Z")
        answers = server.predict("trips", rows).json()["predictions"]
    if hasattr(model, "predict_proba"):
        assert [answer["label"] for answer in answers] == model.predict(fresh).tolist()
        got = [answer["probability"] for answer in answers]
        np.testing.assert_allclose(got, model.predict_proba(fresh), rtol=1e-9, atol=1e-12)
    else:
        np.testing.assert_allclose([answer["prediction"] for answer in answers], model.predict(fresh), rtol=1e-9)


class Ratios(TransformerMixin, BaseEstimator):
    """A transformer of somebody's own; gives an array."""

    def fit(self, X, y=None):
        self.means_ = np.nanmean(X[["km", "stops"]].to_numpy(), axis=0)
        return self

    def transform(self, X):
        values = X[["km", "stops"]].to_numpy()
        return np.column_stack([values, values / self.means_])


def test_an_array_between_the_parts(tmp_path):
    model = make_pipeline(Ratios(), SimpleImputer(), Ridge()).fit(TRIPS, TRIPS["stops"])
    version = mr.save(model, "ratios", example=TRIPS, registry=tmp_path, quiet=True)
    assert version.coverage == {"worker": ["ratios"], "native": ["simpleimputer", "ridge"]}
    [column] = version.manifest["stages"][0]["columns"]
    assert (column["name"], column["shape"]) == ("features", [4])
    answer = mr.load(version).predict(TRIPS)
    np.testing.assert_allclose(answer["prediction"], model.predict(TRIPS), rtol=1e-9)


def test_where_nothing_compiles_behind_it_the_whole_model_goes_to_the_worker(tmp_path):
    class OwnRidge(Ridge):
        pass

    model = make_pipeline(FunctionTransformer(own_features), Ratios(), SimpleImputer(), OwnRidge()).fit(
        TRIPS, TRIPS.stops
    )
    version = mr.save(model, "own", example=TRIPS, registry=tmp_path, quiet=True)
    assert version.engine == "worker"
    assert "OwnRidge" in version.reason
    assert "graph.onnx" not in version.manifest["files"]
    np.testing.assert_allclose(mr.load(version).predict(TRIPS)["prediction"], model.predict(TRIPS), rtol=1e-12)


def test_a_graph_or_a_worker_when_asked_for(tmp_path):
    model = trips_model(LogisticRegression())
    with pytest.raises(errors.CompileError) as caught:
        mr.save(model, "trips", example=TRIPS, registry=tmp_path, engine="native", quiet=True)
    assert caught.value.details[0]["path"] == "model.features"
    version = mr.save(model, "trips", example=TRIPS, registry=tmp_path, engine="worker", outputs="score", quiet=True)
    assert (version.engine, version.reason) == ("worker", "engine='worker' was asked for")
    assert [(o.name, o.type, o.names) for o in version.signature.outputs] == [
        ("label", "string", None),
        ("probability", "float64", ("late", "on time")),
        ("score", "float64", None),
    ]
    answers = mr.load(version).predict(TRIPS)
    assert answers["label"].tolist() == model.predict(TRIPS).tolist()


def test_a_model_whose_graph_is_not_proven_runs_in_python(tmp_path, capfd):
    """Its own answers are not what its parameters say, which only the proof finds out."""

    class Lying(Ridge):
        def predict(self, X):
            return super().predict(X) + (np.asarray(X)[:, 0] > 5)

    X = TRIPS[["km"]].dropna()
    model = Lying().fit(X, X["km"] * 2)
    Lying.__module__, Lying.__qualname__ = Ridge.__module__, Ridge.__qualname__
    version = mr.save(model, "lying", example=X, registry=tmp_path)
    assert version.engine == "worker"
    assert version.reason.startswith("its graph differs from the original on ")
    assert version.proof.passed
    assert "differs from the original" in capfd.readouterr().err
    np.testing.assert_allclose(mr.load(version).predict(X)["prediction"], model.predict(X), rtol=1e-12)


def test_show_says_where_it_was_cut_and_what_it_needs(tmp_path, monorail):
    version = mr.save(trips_model(Ridge()), "trips", example=TRIPS, registry=tmp_path, quiet=True)
    lines = {line.split("  ")[0]: line for line in monorail("show", "trips", "--registry", tmp_path).splitlines()}
    assert lines["engine"].endswith("mixed: 2 of 3 steps in the graph, 1 in Python processes")
    assert lines["cut after"].startswith("cut after    features, which gives ")
    assert lines["cut after"].endswith(" and 2 more")
    assert "FunctionTransformer" in lines["because"]
    packages = version.manifest["environment"]["packages"]
    assert f"scikit-learn {packages['scikit-learn']}" in lines["environment"]
    assert {"pandas", "numpy", "pyarrow", "cloudpickle"} < set(packages)
    assert "lightgbm" not in packages
    table = monorail("prove", "trips", "--registry", tmp_path, "--rows", "3").splitlines()
    assert len(table) == 5
    assert "0 label mismatches" in table[0]
