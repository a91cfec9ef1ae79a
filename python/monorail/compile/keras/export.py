"""Keras models to graphs: by tf2onnx on TensorFlow, by `model.export(format="onnx")` on other backends."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...adapters.base import framework
from ...adapters.keras import arrays_for, call, named, ports
from ...errors import CompileError
from ..build import Compiled
from ..onnx.adopt import adopt
from ..onnx.exporting import cannot, sample, silence
from ..tensorflow.export import convert


def compile_exported(
    model: Any, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled:
    """Exports a model and adopts its graph.

    Raises:
        CompileError: `cannot_compile`: Keras cannot export it, with Keras' reason.
        MissingExtraError: the package that Keras writes ONNX with is not installed.
    """
    backend = framework("keras", "keras", "to export a Keras model").backend.backend()
    with silence():
        framework("onnxscript" if backend == "torch" else "tf2onnx", "keras", "to export a Keras model")
        given = arrays_for(model, sample(signature_inputs))
        try:
            # Keras exports only a model that was called once, a functional one too.
            found = named(call(model, given))
        except CompileError:
            raise
        except Exception as error:  # the model's own code
            raise cannot("the model fails on a batch of zeros", error) from error
        graph = _traced(model, given) if backend == "tensorflow" else _export(model)
    theirs = [output.name for output in graph.graph.output]
    if len(theirs) != len(found):
        raise CompileError(
            f"Keras exported {len(theirs)} outputs of {len(found)}", code="cannot_compile", hint="name its outputs"
        )
    return adopt(graph, signature_inputs, dict(zip(found, theirs, strict=True)), outputs=outputs)


def _traced(model: Any, given: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """On TensorFlow: Keras' own way leaves constants of a model, those of Normalization for one, as inputs."""
    tensorflow = framework("tensorflow", "keras", "to export a Keras model")
    names = list(given)

    def positional(*tensors: Any) -> Any:
        answers = named(call(model, dict(zip(names, tensors, strict=True)))).values()
        return [tensorflow.identity(answer) for answer in answers]

    specs = []
    for port, values in zip(ports(model, names), given.values(), strict=True):
        shape = values.shape[1:] if port.shape is None else port.shape
        specs.append(tensorflow.TensorSpec([None, *shape], values.dtype, name=port.name))
    return convert(positional, specs)


def _export(model: Any) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            model.export(str(path), format="onnx", verbose=False)
        except Exception as error:  # Keras and its backends raise errors of many kinds, all about the model
            raise cannot("Keras cannot export the model", error) from error
        return onnx.load(path)
