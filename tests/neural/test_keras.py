"""Keras 3 models and TensorFlow SavedModels as graphs."""

# pyright: reportMissingImports=false

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

import monorail as mr
from monorail.adapters.files import open_model
from monorail.adapters.tensorflow import SavedModel
from monorail.errors import CompileError, InputError, TrustError

CLOSE = 1e-5
# Keras and TensorFlow are older than this rule of NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


def dense() -> Any:
    return keras.Sequential(
        [layers.Input((4,)), layers.Dense(8, "gelu"), layers.Dropout(0.5), layers.Dense(3, "softmax")]
    )


def two_inputs(outputs: str = "one") -> Any:
    """A sequence and some numbers, by LSTM and dense layers."""
    numbers, steps = keras.Input((5,), name="numbers"), keras.Input((7, 1), name="steps")
    hidden = layers.LSTM(6)(steps)
    answer = layers.Dense(1)(layers.Concatenate()([hidden, layers.Dense(3)(numbers)]))
    made: Any = {"one": answer, "list": [answer, hidden], "dict": {"late": answer, "hidden": hidden}}[outputs]
    return keras.Model({"numbers": numbers, "steps": steps} if outputs == "one" else [steps, numbers], made)


@pytest.mark.parametrize("form", ["array", "frame"])
def test_sequential_that_was_never_called(saved, random, form):
    X: Any = random.normal(size=(100, 4)).astype(np.float32)
    network = dense()
    frame = X if form == "array" else pd.DataFrame(X.astype(np.float64), columns=list("abcd"))
    answers = saved(network, frame).predict(frame)
    answers = answers if form == "array" else np.stack(answers["prediction"])
    np.testing.assert_allclose(answers, network(X, training=False), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [("one", ["prediction"]), ("list", ["prediction", "output_1"]), ("dict", ["hidden", "late"])],
)
def test_functional_with_several_inputs_and_outputs(saved, random, outputs, names):
    data = {"steps": random.normal(size=(40, 7, 1)), "numbers": random.normal(size=(40, 5))}
    data = {name: values.astype(np.float32) for name, values in data.items()}
    network = two_inputs(outputs)
    model = saved(network, data)
    assert [output.name for output in model.signature.outputs] == names
    given: Any = data if outputs == "one" else list(data.values())
    expected = network(given, training=False)
    late = {"one": lambda: expected, "list": lambda: expected[0], "dict": lambda: expected["late"]}[outputs]()
    found = model.predict(data)["late" if outputs == "dict" else "prediction"]
    np.testing.assert_allclose(found, late[:, 0], rtol=CLOSE, atol=CLOSE)


def test_images_and_attention(saved, random):
    images = random.random((20, 8, 8, 1), dtype=np.float32)
    network = keras.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(3, 3), layers.BatchNormalization()])
    network.add(layers.MaxPooling2D())
    np.testing.assert_allclose(
        saved(network, images).predict(images), np.reshape(network(images), (20, -1)), rtol=CLOSE, atol=CLOSE
    )
    tokens = random.normal(size=(20, 6, 8)).astype(np.float32)
    given = keras.Input((6, 8))
    network = keras.Model(given, layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(given, given)))
    np.testing.assert_allclose(saved(network, tokens).predict(tokens), network(tokens), rtol=CLOSE, atol=CLOSE)


class Own(keras.Model):
    """A class of its own, not built before it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.layer(inputs)


def test_class_of_its_own(saved, random):
    X = random.normal(size=(30, 3)).astype(np.float32)
    network = Own()
    np.testing.assert_allclose(saved(network, X).predict(X), network(X), rtol=CLOSE, atol=CLOSE)


def test_an_example_of_another_shape_is_refused(saved, random):
    with pytest.raises(CompileError, match=r"takes rows of shape \[4\]"):
        saved(dense(), random.normal(size=(30, 3)).astype(np.float32))


def test_keras_file(saved, random):
    X = random.normal(size=(30, 4)).astype(np.float32)
    network = dense()
    network.save("model.keras")
    np.testing.assert_allclose(saved("model.keras", X).predict(X), network(X), rtol=CLOSE, atol=CLOSE)
    keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * 2)]).save("code.keras")
    with pytest.raises(InputError, match=r"cannot be opened: .*safe"):
        open_model("code.keras")
    assert open_model("code.keras", trust=True)(X[:1]).shape == (1, 4)


def test_saved_model(saved, random):
    X = random.normal(size=(30, 4)).astype(np.float32)
    network = dense()
    network.export("model", format="tf_saved_model", verbose=False)
    with pytest.raises(TrustError, match="is a SavedModel"):
        open_model("model")
    np.testing.assert_allclose(saved("model", X, trust=True).predict(X), network(X), rtol=CLOSE, atol=CLOSE)


def test_saved_model_with_a_signature_of_its_own(saved, random):
    class Module(tf.Module):
        def __init__(self) -> None:
            self.weights = tf.Variable(random.normal(size=(4, 2)).astype(np.float32))

        def answer(self, values: Any) -> dict[str, Any]:
            scores = values @ self.weights
            return {"score": scores, "label": tf.argmax(scores, 1)}

    module = Module()
    given = tf.TensorSpec([None, 4], tf.float32, name="values")
    function = tf.function(module.answer).get_concrete_function(given)
    tf.saved_model.save(module, "model", signatures={"serving_default": function})
    X = random.normal(size=(30, 4)).astype(np.float32)
    model = saved(SavedModel("model"), X)
    assert [output.name for output in model.signature.outputs] == ["label", "score"]
    assert list(model.predict(X)["label"]) == list((X @ module.weights.numpy()).argmax(axis=1))


def test_a_worker_has_its_own_copy_of_a_saved_model(random, tmp_path):
    X = random.normal(size=(30, 4)).astype(np.float32)
    network = dense()
    network.export("model", format="tf_saved_model", verbose=False)
    version = mr.save("model", "m", example=X, engine="worker", trust=True, registry=tmp_path / "r", quiet=True)
    assert "files/saved_model.pb" in version.manifest["stages"][0]["files"]
    shutil.rmtree("model")
    np.testing.assert_allclose(mr.load(version).predict(X), network(X), rtol=CLOSE, atol=CLOSE)


def test_what_is_no_saved_model():
    Path("model").mkdir()
    Path("model/saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="model cannot be opened"):
        open_model("model", trust=True).function  # noqa: B018


def test_mlflow_folder(saved, random, tmp_path):
    X = random.normal(size=(30, 4)).astype(np.float32)
    network = dense()
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    network.save(folder / "data" / "model.keras")
    (folder / "MLmodel").write_text("flavors: {keras: {data: data}}")
    np.testing.assert_allclose(saved(folder, X).predict(X), network(X), rtol=CLOSE, atol=CLOSE)


def test_on_torch_as_its_backend(tmp_path):
    """A process of its own: Keras takes its backend once."""
    program = """
import keras, numpy as np
from keras import layers
import monorail as mr
from monorail.adapters import find_adapter
X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
network = keras.Sequential([layers.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
assert find_adapter(network).framework == "keras"
version = mr.save(network, "m", example=X, quiet=True, engine="native")
expected = keras.ops.convert_to_numpy(network(X))
np.testing.assert_allclose(mr.load("m").predict(X), expected, rtol=1e-5, atol=1e-5)
print(keras.backend.backend(), version.proof.passed)
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:monorail", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"KERAS_BACKEND": "torch", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert ran.stdout == "torch True\n", ran.stderr
