"""An MLflow model folder, read without MLflow; its input example says what the columns are.

Run it: python examples/mlflow_folder.py
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

import monorail as mr

#: As `mlflow.sklearn.save_model(model, folder, input_example=...)` writes it.
MLMODEL = """
flavors:
  python_function:
    loader_module: mlflow.sklearn
    model_path: model.skops
    predict_fn: predict
  sklearn:
    code: null
    pickled_model: model.skops
    serialization_format: skops
    sklearn_version: 1.9.1
model_uuid: 5d0b1a3a0a4f4b0b8a5b7c6d5e4f3a2b
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  type: dataframe
signature:
  inputs: '{inputs}'
"""


def write_folder(folder: Path, model: Any, example: Any) -> None:
    """What MLflow leaves behind."""
    folder.mkdir()
    inputs = [{"type": "double", "name": name, "required": True} for name in example.columns]
    (folder / "MLmodel").write_text(MLMODEL.format(inputs=json.dumps(inputs)))
    (folder / "input_example.json").write_text(example.to_json(orient="split", index=False))
    skops.io.dump(model, folder / "model.skops")


def main() -> None:
    patients: Any = load_diabetes(as_frame=True, scaled=False)
    X, y = patients.data, patients.target
    ridge = make_pipeline(SplineTransformer(), Ridge())
    model = TransformedTargetRegressor(ridge, func=np.log, inverse_func=np.exp).fit(X, y)

    with tempfile.TemporaryDirectory() as place:
        folder, registry = Path(place) / "model", Path(place) / "registry"
        write_folder(folder, model, X)
        # No example: the folder has its own.
        version = mr.save(folder, "diabetes", registry=registry)
        print(version.proof)
        with mr.serve("diabetes", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("diabetes", X)

    print(answers.head())
    assert version.engine == "native"
    np.testing.assert_allclose(answers["prediction"], np.ravel(model.predict(X)), rtol=1e-9)


if __name__ == "__main__":
    main()
