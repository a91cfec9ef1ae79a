"""``mr.save``: what ends up in the bundle, and what is refused before anything is stored."""

import copy
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import monorail as mr
from monorail import errors


def test_what_a_version_says(model, frame, tmp_path):
    version = mr.save(
        model,
        "flights",
        example=frame.head(50),
        reference=frame,
        nullable=["distance"],
        outputs=["score"],
        metrics={"auc": np.float64(0.69), "rows": 400},
        tags={"owner": "me"},
        registry=tmp_path / "r",
        quiet=True,
    )
    assert str(version) == "flights@1"
    assert version.path == tmp_path / "r" / "flights" / "1"
    assert {c.name: c.nullable for c in version.signature.inputs} == {
        "carrier": False,
        "dep": True,
        "distance": True,
        "wind": True,
    }
    assert [o.name for o in version.signature.outputs] == ["label", "probability", "score"]
    assert version.signature.outputs[1].names == ("late", "ok")
    assert dict(version.metrics) == {"auc": 0.69, "rows": 400}
    assert dict(version.tags) == {"owner": "me"}
    assert version.engine == "native"
    assert version.proof.passed
    assert not version.proof.unproven
    assert version.proof.rows == 50
    assert version.proof.hard_rows > 0
    assert version.manifest["data"]["rows"] == 50
    assert version.manifest["frameworks"]["scikit-learn"]
    # A graph needs no packages.
    assert version.manifest["environment"]["packages"] == {}
    assert version.reason == ""
    assert set(version.manifest["files"]) == {"graph.onnx", "golden.arrow"}
    assert mr.Registry(tmp_path / "r").version("flights").manifest == version.manifest


def test_it_says_which_columns_are_not_nullable(model, frame, capsys, tmp_path):
    mr.save(model, "m", example=frame, registry=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("engine native: the whole model is a graph, and needs no Python to run\n")
    assert "not nullable (a null is refused; nullable=[...] allows it): carrier, distance\n" in captured.err
    mr.save(model, "m", example=frame, registry=tmp_path, quiet=True)
    assert capsys.readouterr().err == ""


def test_one_output_may_be_a_word(model, frame, tmp_path):
    version = mr.save(model, "m", example=frame, outputs="score", registry=tmp_path, quiet=True)
    assert [o.name for o in version.signature.outputs] == ["label", "probability", "score"]


def test_golden_rows_are_kept_or_not(model, frame, tmp_path):
    version = mr.save(model, "m", example=frame, registry=tmp_path, golden_rows=7, quiet=True)
    assert version.golden_inputs().num_rows == 7
    assert version.golden_inputs().column_names == list(frame.columns)
    version = mr.save(model, "m", example=frame, registry=tmp_path, golden_rows=0, quiet=True)
    assert version.manifest["golden"] is None
    assert version.golden_inputs().num_rows == 0
    assert not (version.path / "golden.arrow").exists()


def test_the_same_rows_have_the_same_digest(model, frame, tmp_path):
    first, second = (mr.save(model, "m", example=frame, registry=tmp_path, quiet=True) for _ in range(2))
    assert first.manifest["data"] == second.manifest["data"]
    other = mr.save(model, "m", example=frame.head(100), registry=tmp_path, quiet=True)
    assert first.manifest["data"] != other.manifest["data"]


def liar(model):
    """The same model, whose own answers are a little off what it was fitted to."""
    wrong = copy.deepcopy(model)
    last = wrong.steps[-1][1]
    last.coef_ = last.coef_.copy()
    honest = wrong.predict_proba
    object.__setattr__(wrong, "predict_proba", lambda rows: honest(rows) + 1e-3)
    return wrong


def test_a_model_that_is_not_proven_is_not_stored(model, frame, tmp_path):
    with pytest.raises(errors.ProofError) as caught:
        mr.save(liar(model), "m", example=frame, registry=tmp_path, engine="native", quiet=True)
    assert caught.value.code == "not_proven"
    assert caught.value.details
    assert [entry.versions for entry in mr.Registry(tmp_path).list()] in ([], [{}])


def test_unproven_is_stored_and_says_so(model, frame, tmp_path):
    version = mr.save(liar(model), "m", example=frame, registry=tmp_path, unproven=True, quiet=True)
    assert not version.proof.passed
    assert version.proof.unproven
    assert str(version.proof).startswith("NOT PROVEN")
    proven = mr.save(model, "m", example=frame, registry=tmp_path, unproven=True, quiet=True)
    assert proven.proof.passed
    assert not proven.proof.unproven


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"golden_rows": 257}, "out_of_range"),
        ({"golden_rows": -1}, "out_of_range"),
        ({"golden_rows": 1.5}, "wrong_type"),
        ({"golden_rows": None}, "wrong_type"),
        ({"name": None, "model": object()}, "name_invalid"),
        ({"name": 5, "model": object()}, "name_invalid"),
        ({"name": "a/b", "model": object()}, "name_invalid"),
        ({"example": pd.Series([1.0, 2.0], name="dep")}, "wrong_shape"),
        ({"example": pl.Series("dep", [1.0, 2.0])}, "wrong_shape"),
        ({"example": pd.DataFrame({"dep": np.ones(3, dtype=np.longdouble)})}, "unsupported_column"),
        ({"metrics": {"auc": "high"}}, "wrong_type"),
        ({"metrics": {"auc": float("nan")}}, "not_finite"),
        ({"nullable": ["none"]}, "signature_invalid"),
        ({"outputs": ["none"]}, "cannot_compile"),
        ({"name": "a b"}, "name_invalid"),
        ({"model": object()}, "unknown_framework"),
        ({"model": LogisticRegression()}, "unknown_framework"),
        ({"example": pd.DataFrame({"carrier": [1, "x"]})}, "unsupported_column"),
        ({"example": pa.table({"carrier": pa.array([], pa.string())})}, "signature_invalid"),
    ],
)
def test_what_is_refused_stores_nothing(model, frame, tmp_path, options, code):
    arguments = {"model": model, "name": "m", "example": frame, "registry": tmp_path, "quiet": True} | options
    with pytest.raises(errors.MonorailError) as caught:
        mr.save(arguments.pop("model"), arguments.pop("name"), **arguments)
    assert caught.value.code == code
    assert not list(tmp_path.rglob("bundle.json"))


def test_a_name_that_differs_only_in_case(model, frame, tmp_path):
    mr.save(model, "Flights", example=frame, registry=tmp_path, quiet=True)
    with pytest.raises(errors.RegistryError) as caught:
        mr.save(model, "flights", example=frame, registry=tmp_path, quiet=True)
    assert caught.value.code == "name_conflict"


def test_the_registry_is_made_in_the_working_folder_and_found_upwards(model, frame, tmp_path, monkeypatch):
    version = mr.save(model, "m", example=frame, quiet=True)
    assert version.path == tmp_path / ".monorail" / "m" / "1"
    assert (tmp_path / ".monorail").stat().st_mode & 0o777 == 0o700
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert mr.save(model, "m", example=frame, quiet=True).path == tmp_path / ".monorail" / "m" / "2"
    monkeypatch.setenv("MONORAIL_REGISTRY", str(tmp_path / "other"))
    assert mr.save(model, "m", example=frame, quiet=True).path == tmp_path / "other" / "m" / "1"


def test_a_numpy_model(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 3))
    model = LinearRegression().fit(X, X @ [1.0, 2.0, 3.0])
    version = mr.save(model, "m", example=X, registry=tmp_path, quiet=True)
    assert [c.describe() for c in version.signature.inputs] == ["tensor[float64, 3]"]
    np.testing.assert_allclose(mr.load(version).predict(X), model.predict(X), rtol=1e-9)


SAVE = """
import sys, numpy as np, monorail as mr
from sklearn.linear_model import LinearRegression
X = np.arange(12.0).reshape(4, 3)
model = LinearRegression().fit(X, X[:, 0])
print(*(mr.save(model, "m", example=X, registry=sys.argv[1], quiet=True).version for _ in range(5)))
"""


def test_two_processes_saving_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", SAVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    numbers = [int(number) for process in processes for number in process.communicate()[0].split()]
    assert sorted(numbers) == list(range(1, 11))
    for number in numbers:
        manifest = json.loads((tmp_path / "m" / str(number) / "bundle.json").read_text())
        assert manifest["version"] == number
