"""``mr.load`` and ``Model.predict``: every kind of data, and the same answers as the original."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import monorail as mr
from monorail import errors
from monorail.engine import runtime_library


@pytest.fixture(scope="module")
def flights(registry):
    return mr.load("flights", registry=registry)


def test_what_a_model_says(flights):
    assert repr(flights) == "Model('flights@2', engine='native')"
    assert (flights.name, flights.version.version, flights.engine) == ("flights", 2, "native")
    assert [c.name for c in flights.signature.inputs] == ["carrier", "dep", "distance", "wind"]


def test_references(registry):
    assert mr.load("flights@1", registry=registry).version.version == 1
    assert mr.load("flights@champion", registry=registry).version.version == 1
    version = mr.Registry(registry).version("flights@champion")
    assert mr.load(version).version.version == 1
    assert mr.load(str(version.path)).version.version == 1
    assert mr.load(version.path).version == version
    assert {version: "kept"}[mr.Registry(registry).version(version.path)] == "kept"


@pytest.mark.parametrize("reference", [7, None, b"flights"])
def test_references_of_no_known_kind(registry, reference):
    with pytest.raises(errors.InputError) as caught:
        mr.load(reference, registry=registry)
    assert caught.value.code == "wrong_type"


@pytest.mark.parametrize(
    ("reference", "code"),
    [("none", "unknown_model"), ("flights@9", "unknown_version"), ("flights@x", "unknown_version")],
)
def test_unknown_references(registry, reference, code):
    with pytest.raises(errors.NotFoundError) as caught:
        mr.load(reference, registry=registry)
    assert caught.value.code == code


def test_a_folder_without_a_bundle(tmp_path):
    with pytest.raises(errors.BundleError):
        mr.load(str(tmp_path))


def test_pandas(flights, model, frame):
    shuffled = frame.sample(frac=1, random_state=1)
    answers = flights.predict(shuffled)
    pd.testing.assert_index_equal(answers.index, shuffled.index)
    assert (answers["label"] == model.predict(shuffled)).all()
    np.testing.assert_allclose(np.stack(answers["probability"].tolist()), model.predict_proba(shuffled), rtol=1e-9)


def test_every_kind_answers_the_same(flights, frame):
    rows = frame.head(20)
    expected = flights.predict(rows)
    records = rows.astype(object).where(rows.notna(), None).to_dict("records")
    columns = {name: [row[name] for row in records] for name in rows.columns}
    table = pa.Table.from_pandas(rows, preserve_index=False)
    labels, probabilities = expected["label"].tolist(), [cell.tolist() for cell in expected["probability"]]
    as_rows = [{"label": a, "probability": b} for a, b in zip(labels, probabilities, strict=True)]
    as_columns = {"label": labels, "probability": probabilities}
    assert flights.predict(records) == as_rows
    assert flights.predict(records[0]) == as_rows[0]
    assert flights.predict(columns) == as_columns
    assert flights.predict(table).to_pydict() == as_columns
    assert flights.predict(table.to_batches()[0]).to_pydict() == as_columns
    assert flights.predict(table.to_reader()).read_all().to_pydict() == as_columns
    assert flights.predict(pl.from_arrow(table)).to_dict(as_series=False) == as_columns
    assert flights.predict(table.select(["wind", "distance", "dep", "carrier"])).to_pydict() == as_columns
    assert flights.predict([]) == []


@pytest.mark.parametrize("size", [1, 7, 128])
def test_the_answer_does_not_depend_on_the_batch(flights, frame, size):
    whole, parts = flights.predict(frame), flights.predict(frame, max_batch_rows=size)
    assert (whole["label"] == parts["label"]).all()
    np.testing.assert_allclose(
        np.stack(whole["probability"].tolist()), np.stack(parts["probability"].tolist()), atol=1e-12, rtol=0
    )


def test_a_pandas_categorical_is_text(flights, frame):
    rows = frame.head(10)
    pd.testing.assert_frame_equal(
        flights.predict(rows.assign(carrier=rows.carrier.astype("category"))), flights.predict(rows)
    )


RIGHT = {"carrier": "UA", "dep": 1.0, "distance": 100, "wind": "N"}


@pytest.mark.parametrize("road", ["record", "rows", "columns", "pandas", "arrow"])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"carrier": None}, "null_not_allowed"),
        ({"distance": 1.5}, "wrong_type"),
        ({"distance": "far"}, "wrong_type"),
        ({"carrier": 5}, "wrong_type"),
        ({"dep": float("inf")}, "not_finite"),
        ({"more": 1}, "unknown_column"),
        ({"carrier": ...}, "missing_column"),
    ],
)
def test_faults_are_the_same_on_every_road(flights, road, change, code):
    record = {name: value for name, value in (RIGHT | change).items() if value is not ...}
    columns = {name: [value] for name, value in record.items()}
    data = {
        "record": lambda: record,
        "rows": lambda: [record],
        "columns": lambda: columns,
        "pandas": lambda: pd.DataFrame(columns),
        "arrow": lambda: pa.table(columns),
    }[road]()
    with pytest.raises(errors.InputError) as caught:
        flights.predict(data)
    assert caught.value.code == code
    assert caught.value.details[0]["column"] == next(iter(change))


def test_unknown_columns_can_be_ignored(registry):
    lenient = mr.load("flights", registry=registry, unknown_columns="ignore")
    assert lenient.predict(RIGHT | {"more": 1}) == lenient.predict(RIGHT)


def test_a_nullable_column_may_be_absent(flights):
    without = {"carrier": "UA", "distance": 100}
    assert flights.predict(without) == flights.predict(without | {"dep": None, "wind": None})
    assert flights.predict(without) == flights.predict(without | {"dep": float("nan")})


@pytest.mark.parametrize("number", [-1, 1.5, "x", None])
def test_counts_that_are_none(flights, number):
    with pytest.raises(errors.InputError):
        flights.predict([RIGHT], max_batch_rows=number)
    with pytest.raises(errors.SettingError) as caught:
        mr.load(flights.version, threads=number)
    assert caught.value.code == "setting_invalid"


def test_columns_of_polars_series(flights, frame):
    rows = pl.from_pandas(frame.head(5))
    assert flights.predict({s.name: s for s in rows}) == flights.predict(rows).to_dict(as_series=False)
    assert flights.predict({s.name: s.to_arrow() for s in rows}) == flights.predict(rows).to_dict(as_series=False)


def test_a_row_that_is_no_dict_is_named(flights):
    with pytest.raises(errors.InputError, match="row 1 is of type int, not a dict") as caught:
        flights.predict([RIGHT, 5])
    assert caught.value.details[0]["row"] == 1


def test_whole_numbers_that_pandas_made_floats(flights):
    with pytest.raises(errors.InputError) as caught:
        flights.predict(pd.DataFrame([RIGHT | {"distance": 1.5}]))
    assert "frame['distance'].astype('Int64')" in str(caught.value.hint)


def test_golden_rows_match(flights):
    report = flights.check_golden()
    assert report["matched"]
    assert report["rows"] > 0


CODE = """
import sys
sys.modules.update(dict.fromkeys(["sklearn", "pandas", "polars", "lightgbm"]))  # importing them fails
import monorail as mr
model = mr.load("flights", registry=sys.argv[1])
print(model.predict({"carrier": "UA", "distance": 100})["label"])
assert "onnxruntime" not in sys.modules
"""


def test_no_framework_is_needed(registry):
    done = subprocess.run([sys.executable, "-c", CODE, str(registry)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("late", "ok")


def test_the_runtime_is_found_without_importing_it():
    assert "libonnxruntime" in runtime_library()
