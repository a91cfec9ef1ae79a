"""Keras 3 models on any backend: called as their author calls them, not as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .base import Adapter, Description, class_modules, quietly, versions
from .tensors import Port, chosen, feed, output_names

_MODEL = "keras.src.models.model.Model"


class KerasAdapter(Adapter):
    """`keras.Model`: sequential, functional or a class of its own."""

    framework = "keras"

    def recognises(self, model: object) -> bool:
        """Whether Keras 3's `Model` is among its bases."""
        return _MODEL in class_modules(model)

    def describe(self, model: Any) -> Description:
        """The outputs that a functional model says it has; those of a class of its own only a call tells."""
        names = tuple(_declared(model))
        needed = versions("keras", "numpy", "tensorflow", "tensorflow-cpu", "torch", "jax")
        return Description("regressor", names, names, (), needed, (), "arrays")

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """What the model gives, by name; all that has a row a record where no name is given."""
        import keras  # pyright: ignore[reportMissingImports]

        fed = arrays_for(model, frame)
        found = named(quietly(lambda: call(model, fed)))
        plain = {name: np.asarray(keras.ops.convert_to_numpy(tensor)) for name, tensor in found.items()}
        return chosen(plain, outputs, len(next(iter(fed.values()))))


def arrays_for(model: Any, frame: Any) -> dict[str, np.ndarray]:
    """The arrays of a frame for each input of the model."""
    return feed(ports(model, list(frame)), frame)


def ports(model: Any, columns: Sequence[str]) -> list[Port]:
    """The inputs a model declares; for a class of its own one for every column, in its own element type."""
    declared = _inputs(model)
    if declared:
        return [Port(t.name, np.dtype(t.dtype), tuple(t.shape[1:])) for t in declared]
    return [Port(name, np.dtype(model.variable_dtype)) for name in columns]


def call(model: Any, fed: Mapping[str, np.ndarray]) -> Any:
    """Calls a model with its inputs in the structure it was built with."""
    structure = getattr(model, "input", None) if _inputs(model) else None
    if isinstance(structure, Mapping):
        given: Any = {key: fed[tensor.name] for key, tensor in structure.items()}
    elif len(fed) == 1:
        given = next(iter(fed.values()))
    elif isinstance(structure, list | tuple):
        given = [fed[tensor.name] for tensor in structure]
    else:
        given = dict(fed)
    return model(given, training=False)


def named(answer: Any) -> dict[str, Any]:
    """The tensors of an answer by name, in the order in which Keras lays them out."""
    if isinstance(answer, Mapping):
        keys = sorted(answer)
        return dict(zip(output_names(keys, chosen=True), (answer[key] for key in keys), strict=True))
    if isinstance(answer, list | tuple):
        return dict(zip(output_names([f"output_{i}" for i in range(len(answer))]), answer, strict=True))
    return {"prediction": answer}


def _declared(model: Any) -> list[str]:
    """Output names before a call."""
    structure = getattr(model, "output", None) if _inputs(model) else None
    return [] if structure is None else list(named(structure))


def _inputs(model: Any) -> list[Any] | None:
    """The declared inputs; a model that is not built yet, or a class of its own, has none."""
    return getattr(model, "inputs", None) if model.built else None
