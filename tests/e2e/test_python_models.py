"""Plain Python classes: saved with their files, proven in a worker process, served, and asked over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from tests.support.process import ServerProcess
from tests.support.workers import wait_gone

import monorail as mr
from monorail import errors

ORDERS = pd.DataFrame(
    {
        "country": ["NO", "SE", None, "NO"],
        "net": [100.0, 50.0, 10.0, np.nan],
        "items": [1, 2, 3, 4],
        "at": pd.to_datetime(["2024-01-01 10:00", "2024-02-29 23:59", "2024-03-01 00:00", "2024-12-31 20:00"]),
    }
)


class Prices:
    """Rates from a file, answers of several columns."""

    def load(self, path):
        self.rates = json.loads((Path(path) / "tables" / "rates.json").read_text())
        self.ready = False

    def warmup(self):
        self.ready = True

    def predict(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self.ready
        countries, net = batch.column("country").to_pylist(), batch.column("net").to_pylist()
        rates = [self.rates.get(country, 0.0) for country in countries]
        gross = [None if price is None else price * (1 + rate) for price, rate in zip(net, rates, strict=True)]
        words = [f"{country or '?'}{rate:.2f}" for country, rate in zip(countries, rates, strict=True)]
        return pa.record_batch({"gross": pa.array(gross, pa.float64()), "tariff": words})


class Features:
    """pandas in, one column out."""

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def predict(self, frame: pd.DataFrame) -> pd.Series:
        busy = frame["at"].dt.hour.between(9, 17) & (frame["at"].dt.day_of_week < 5)
        return frame["net"].fillna(0.0) * self.weight + frame["items"] + busy


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "rates.json").write_text('{"NO": 0.25, "SE": 0.25}')
    return folder


def test_a_class_with_files(tmp_path, files, capfd):
    version = mr.save(Prices, "prices", example=ORDERS, files=files, registry=tmp_path / "here")
    assert "engine worker: it runs in Python processes, because it is a Python class" in capfd.readouterr().err
    assert (version.engine, version.reason) == ("worker", "it is a Python class")
    assert version.coverage == {"worker": ["Prices"], "native": []}
    assert [(output.name, output.type) for output in version.signature.outputs] == [
        ("gross", "float64"),
        ("tariff", "string"),
    ]
    assert version.proof.passed
    assert version.proof.hard_rows > 0
    # The folder is copied: what happens to it later changes nothing.
    (files / "tables" / "rates.json").write_text("{}")
    with ServerProcess(tmp_path / "here", "prices") as server:
        one = {"country": "NO", "net": 8.0, "items": 1, "at": "2024-01-01T00:00:00"}
        assert server.predict("prices", one).json()["predictions"] == [{"gross": 10.0, "tariff": "NO0.25"}]
        other = one | {"country": None, "net": None}
        assert server.predict("prices", [one, other]).json()["predictions"][1] == {"gross": None, "tariff": "?0.00"}
        assert server.get("/models/prices").json()["engine"] == "worker"


def test_an_instance_that_takes_frames(tmp_path):
    version = mr.save(Features(2.0), "features", example=ORDERS, registry=tmp_path, quiet=True)
    assert [(output.name, output.type) for output in version.signature.outputs] == [("prediction", "float64")]
    model = mr.load(version)
    assert model.engine == "worker"
    answer = model.predict(ORDERS)
    assert answer["prediction"].tolist() == [202.0, 102.0, 23.0, 4.0]
    # A batch of other length, and a record.
    assert model.predict(ORDERS.head(1))["prediction"].tolist() == [202.0]
    record = {"country": None, "net": 10.0, "items": 3, "at": "2024-03-01T00:00:00"}
    assert model.predict(record) == {"prediction": 23.0}
    assert model.check_golden()["matched"]


def test_one_file_and_outputs_that_are_chosen(tmp_path):
    class Vocabulary:
        def load(self, path):
            [file] = Path(path).iterdir()
            self.words: list[str] = file.read_text().split()

        def predict(self, batch):
            texts: list[list[str]] = [str(text or "").split() for text in batch.column(0).to_pylist()]
            counts = np.array([[text.count(word) for word in self.words] for text in texts], dtype=np.int64)
            return {"counts": counts, "total": counts.sum(axis=1), "unwanted": counts[:, 0]}

    (tmp_path / "words.txt").write_text("red green")
    texts = pa.table({"text": ["red red blue", "green", None]})
    version = mr.save(
        Vocabulary,
        "words",
        example=texts,
        files=tmp_path / "words.txt",
        outputs=["total", "counts"],
        registry=tmp_path / "here",
        quiet=True,
    )
    assert [(o.name, o.type, o.size) for o in version.signature.outputs] == [
        ("total", "int64", None),
        ("counts", "int64", 2),
    ]
    answers = mr.load(version).predict([{"text": "green red green"}, {"text": None}])
    assert answers == [{"total": 3, "counts": [1, 2]}, {"total": 0, "counts": [0, 0]}]


def test_rows_that_depend_on_their_company_are_found_out_or_declared(tmp_path):
    class Centred:
        def predict(self, frame: pd.DataFrame):
            return frame["net"] - frame["net"].mean()

    class Declared:
        row_wise = False
        idempotent = True

        def predict(self, frame: pd.DataFrame):
            return frame["items"]

    example = ORDERS[["net", "items"]].head(3)
    assert not mr.save(Centred, "c", example=example, registry=tmp_path, unproven=True, quiet=True).manifest["row_wise"]
    declared = mr.save(Declared, "d", example=example, registry=tmp_path, quiet=True).manifest
    assert not declared["row_wise"]
    assert declared["stages"][0]["idempotent"]


def test_what_predict_raises_reaches_the_caller_by_type_and_text(tmp_path):
    class Picky:
        def predict(self, batch):
            values = batch.column("x").to_pylist()
            if any(value > 1e6 for value in values):
                raise ValueError("too large for me")
            return values

    version = mr.save(Picky, "picky", example={"x": [1.0, 2.0]}, registry=tmp_path, quiet=True)
    assert version.proof.refused_by_original > 0
    model = mr.load(version)
    with pytest.raises(errors.EngineError, match=r"ValueError.*too large for me") as caught:
        model.predict({"x": [1e7]})
    assert caught.value.code == "worker_failed"
    assert model.predict({"x": [3.0]}) == {"prediction": [3.0]}


def test_mlflow_python_function_is_asked_with_its_context(tmp_path):
    class Adder:
        def load_context(self, context: Any) -> None:
            self.more = float(Path(context.artifacts["more"]).read_text())
            self.lock = threading.Lock()

        def predict(self, context: Any, frame: Any, params: Any = None) -> Any:
            return frame["a"] + self.more + len(list(Path(context.artifacts["words"]).iterdir()))

    function: dict[str, Any] = {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}
    function["artifacts"] = {
        "more": {"path": "artifacts/more.txt", "uri": "file:///etc/passwd"},
        "words": {"path": "artifacts/words"},
    }
    folder = tmp_path / "model"
    (folder / "artifacts" / "words").mkdir(parents=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": function}}))
    (folder / "artifacts" / "words" / "one").write_text("one")
    (folder / "artifacts" / "more.txt").write_text("0.5")
    (folder / "python_model.pkl").write_bytes(cloudpickle.dumps(Adder()))
    with pytest.raises(errors.TrustError):
        mr.save(folder, "adder", example=ORDERS, registry=tmp_path / "registry")
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    version = mr.save(folder, "adder", example=frame, trust=True, registry=tmp_path / "registry", quiet=True)
    # The bundle has them: what becomes of the folder is all the same.
    shutil.rmtree(folder)
    assert mr.load(version).predict(frame)["prediction"].tolist() == [2.5, 3.5]


def test_no_process_is_left_when_a_save_fails(tmp_path):
    class OnlyHere:
        here = os.getpid()

        def predict(self, batch):
            if os.getpid() != self.here:
                (tmp_path / "worker").write_text(str(os.getpid()))
                raise ValueError("not in a worker")
            return batch.column("x")

    with pytest.raises(errors.EngineError, match="not in a worker") as caught:
        mr.save(OnlyHere, "here", example={"x": [1.0]}, registry=tmp_path / "r", quiet=True)
    # The error is still held here, and with it every frame that it went through.
    wait_gone(int((tmp_path / "worker").read_text()))
    assert caught.value.__traceback__ is not None


@pytest.mark.parametrize(
    ("model", "options", "code"),
    [
        (type("Raises", (), {"predict": lambda self, batch: 1 / 0}), {}, "cannot_compile"),
        (type("Ends", (), {"predict": lambda self, batch: sys.exit(3)}), {}, "cannot_compile"),
        (type("Short", (), {"predict": lambda self, batch: [1.0]}), {}, "cannot_compile"),
        (type("Odd", (), {"predict": lambda self, batch: {"x": [{}] * batch.num_rows}}), {}, "unsupported_column"),
        (Features, {"engine": "native"}, "cannot_compile"),
        (Features, {"engine": "fast"}, "wrong_type"),
        (Features, {"files": "no/such/folder"}, "wrong_type"),
        (Features, {"outputs": ["other"]}, "cannot_compile"),
    ],
)
def test_what_is_refused_stores_nothing(tmp_path, model, options, code):
    with pytest.raises(errors.MonorailError) as caught:
        mr.save(model, "m", example=ORDERS, registry=tmp_path, quiet=True, **options)
    assert caught.value.code == code
    assert not list(tmp_path.rglob("bundle.json"))
    assert not list(tmp_path.rglob("model.pkl"))


SCRIPT = """
import sys

import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import beside
import monorail as mr
from beside import Base

SCALE = 10


class Model(Base):
    def predict(self, frame: pd.DataFrame):
        return beside.shifted(frame["x"]) * SCALE + self.offset()


def features(frame):
    return frame.assign(day=frame["at"].dt.day_of_week, shifted=beside.shifted(frame["x"]))[["day", "shifted"]]


rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "at": pd.date_range("2024-01-01", periods=3)})
mr.save(Model, "own", example=rows[["x"]], registry=sys.argv[1], quiet=True)
fitted = make_pipeline(FunctionTransformer(features), LinearRegression()).fit(rows, rows["x"])
version = mr.save(fitted, "trip", example=rows, registry=sys.argv[1], quiet=True)
print(version.engine, fitted.predict(rows).tolist())
"""


def test_a_script_and_the_module_beside_it_travel_by_value(tmp_path):
    """Saved by one process from its own folder; served by another that has neither file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "script.py").write_text(SCRIPT)
    (tmp_path / "work" / "beside.py").write_text(
        "class Base:\n    def offset(self):\n        return 0.5\n\n\ndef shifted(values):\n    return values + 1\n"
    )
    script = [sys.executable, "script.py", str(tmp_path / "here")]
    done = subprocess.run(script, cwd=tmp_path / "work", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    engine, _, answers = done.stdout.strip().partition(" ")
    assert engine == "mixed"
    (tmp_path / "work" / "beside.py").unlink()
    (tmp_path / "work" / "script.py").unlink()
    with ServerProcess(tmp_path / "here", "own", "trip") as server:
        assert server.predict("own", [{"x": 1.0}]).json()["predictions"] == [{"prediction": 20.5}]
        rows = [{"x": float(day), "at": f"2024-01-0{day}T00:00:00"} for day in (1, 2, 3)]
        got = [answer["prediction"] for answer in server.predict("trip", rows).json()["predictions"]]
    np.testing.assert_allclose(got, json.loads(answers), rtol=1e-9)
