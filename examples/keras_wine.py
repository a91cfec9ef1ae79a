"""Keras: a network with two inputs, on the wines that scikit-learn ships.

Run it: python examples/keras_wine.py
"""

import tempfile
from typing import Any

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
from keras import layers  # pyright: ignore[reportMissingImports]
from sklearn.datasets import load_wine

import monorail as mr


def network(taste: np.ndarray, look: np.ndarray) -> Any:
    """Normalised inputs, a hidden layer each, one answer."""
    keras.utils.set_random_seed(0)
    inputs, hidden = {}, []
    for name, values in (("taste", taste), ("look", look)):
        inputs[name] = keras.Input(values.shape[1:], name=name)
        scale = layers.Normalization(mean=values.mean(axis=0), variance=values.var(axis=0))
        hidden.append(layers.Dense(16, activation="relu")(scale(inputs[name])))
    answer = layers.Dense(3, activation="softmax")(layers.Concatenate()(hidden))
    return keras.Model(inputs, answer)


def main() -> None:
    wines: Any = load_wine()
    rows = wines.data.astype(np.float32)
    data = {"taste": rows[:, :9], "look": rows[:, 9:]}
    model = network(**data)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, wines.target, epochs=40, verbose=0)

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "wine", example=data, registry=registry)
        print(version.signature)
        print(version.proof)
        with mr.serve("wine", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("wine", data)

    probability = np.stack(answers["prediction"])
    print(f"{np.mean(probability.argmax(axis=1) == wines.target):.1%} of {len(rows)} wines are told right")
    assert version.engine == "native"
    np.testing.assert_allclose(probability, model.predict(data, verbose=0), rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    main()
