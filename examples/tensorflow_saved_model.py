"""TensorFlow: a SavedModel, the folder that TensorFlow Serving takes, on the patients that scikit-learn ships.

Run it: python examples/tensorflow_saved_model.py
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_diabetes

import monorail as mr


class Linear(tf.Module):
    """Least squares, and how far off it is on average."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        weights = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)[0].astype(np.float32)
        self.weights, self.shift = tf.Variable(tf.constant(weights[:-1, None])), tf.Variable(tf.constant(weights[-1]))

    def answer(self, patients: Any) -> dict[str, Any]:
        return {"prediction": tf.matmul(patients, self.weights)[:, 0] + self.shift}


def main() -> None:
    data: Any = load_diabetes()
    X = data.data.astype(np.float32)
    model = Linear(X, data.target)

    with tempfile.TemporaryDirectory() as folder:
        place, registry = Path(folder) / "saved_model", Path(folder) / "registry"
        given = tf.TensorSpec([None, X.shape[1]], tf.float32, name="patients")
        serving = tf.function(model.answer).get_concrete_function(given)
        tf.saved_model.save(model, str(place), signatures={"serving_default": serving})
        # TensorFlow runs what its operations say, files included: such a folder is opened only with trust.
        version = mr.save(place, "diabetes", example=X, trust=True, registry=registry)
        print(version.proof)
        with mr.serve("diabetes", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("diabetes", X)

    print(answers[:5])
    assert version.engine == "native"
    np.testing.assert_allclose(answers, serving(patients=X)["prediction"], rtol=1e-5)


if __name__ == "__main__":
    main()
