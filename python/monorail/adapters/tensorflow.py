"""TensorFlow SavedModels: a folder, opened by TensorFlow and asked through its serving signature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CompileError, InputError
from .base import Adapter, Description, framework, quietly, versions
from .tensors import Port, feed, flat, output_names

#: The signature that TensorFlow Serving asks by default.
SIGNATURE = "serving_default"


class SavedModel:
    """A SavedModel, opened when it is first asked.

    Opening it runs operations of its author's choosing, among which there are such as read and write files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._loaded: Any = None

    @property
    def function(self) -> Any:
        """The serving signature.

        Raises:
            InputError: `malformed_request`: TensorFlow cannot open the folder.
            CompileError: `cannot_compile`: it has no such signature.
        """
        if self._loaded is None:
            tensorflow = framework("tensorflow", "tensorflow", "to open a SavedModel")
            try:
                self._loaded = quietly(tensorflow.saved_model.load, str(self.path))
            except (OSError, ValueError, tensorflow.errors.OpError) as error:
                raise InputError(
                    f"{self.path} cannot be opened: {error}",
                    code="malformed_request",
                    hint="give the folder that tf.saved_model.save or model.export made",
                ) from error
        signatures = self._loaded.signatures
        name = SIGNATURE if SIGNATURE in signatures else next(iter(signatures), None)
        if name is None:
            raise CompileError(
                f"{self.path} has no signature",
                code="cannot_compile",
                hint="save it with one: tf.saved_model.save(model, path, signatures=function)",
            )
        return signatures[name]

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker opens the folder itself, its own copy of it."""
        return type(self), (str(self.path),)


class TensorFlowAdapter(Adapter):
    """`SavedModel`."""

    framework = "tensorflow"

    def recognises(self, model: object) -> bool:
        """Whether it is one of ours."""
        return isinstance(model, SavedModel)

    def describe(self, model: SavedModel) -> Description:
        """Outputs as the signature has them."""
        names = tuple(outputs_of(model))
        needed = versions("tensorflow", "tensorflow-cpu", "numpy")
        return Description("regressor", names, names, (), needed, (), "arrays")

    def answers(self, model: SavedModel, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """What the signature gives."""
        tensorflow = framework("tensorflow", "tensorflow", "to ask a SavedModel")
        function, theirs = model.function, outputs_of(model)
        fed = {name: tensorflow.constant(values) for name, values in feed(ports(model), frame).items()}
        found = quietly(lambda: function(**fed))
        return {name: flat(found[theirs[name]].numpy()) for name in outputs}

    def folder(self, model: SavedModel) -> Path:
        """The SavedModel itself."""
        return model.path

    def moved(self, model: SavedModel, folder: Path) -> SavedModel:
        """Opened from elsewhere."""
        del model
        return SavedModel(folder)


def ports(model: SavedModel) -> list[Port]:
    """What the signature takes, in the order of names."""
    specs = model.function.structured_input_signature[1]
    return [
        Port(name, np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape.as_list()[1:])) for name, spec in specs.items()
    ]


def outputs_of(model: SavedModel) -> dict[str, str]:
    """The signature's outputs by the names that ours gives them."""
    theirs = sorted(model.function.structured_outputs)
    chosen = not (len(theirs) == 1 or all(name.startswith("output_") for name in theirs))
    return dict(zip(output_names(theirs, chosen=chosen), theirs, strict=True))
