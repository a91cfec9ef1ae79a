"""Functions of TensorFlow to graphs by tf2onnx, and SavedModels from their serving signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import numpy_helper

from ...adapters.base import framework
from ...adapters.tensorflow import SavedModel, outputs_of
from ..build import Compiled
from ..onnx.adopt import adopt
from ..onnx.exporting import cannot, rename_input, silence

_OPSET = 18


def compile_exported(
    model: SavedModel, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled:
    """Converts the serving signature and adopts its graph."""
    tensorflow = framework("tensorflow", "tensorflow", "to open a SavedModel")
    function, names = model.function, outputs_of(model)
    specs = function.structured_input_signature[1]
    wanted = list(names.values())

    def positional(*tensors: Any) -> Any:
        found = function(**dict(zip(specs, tensors, strict=True)))
        return [tensorflow.identity(found[name], name=f"monorail_{number}") for number, name in enumerate(wanted)]

    graph = convert(
        positional, [tensorflow.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    )
    theirs = [output.name for output in graph.graph.output]
    return adopt(graph, signature_inputs, dict(zip(names, theirs, strict=True)), outputs=outputs)


def convert(function: Callable[..., Any], specs: Sequence[Any]) -> Any:
    """Converts a function of tensors by tf2onnx.

    Args:
        function: takes a tensor for each spec, gives a list of tensors.
        specs: a named `TensorSpec` for each input.

    Returns:
        The `ModelProto`, with inputs named as the specs are.

    Raises:
        CompileError: `cannot_compile`: tf2onnx cannot convert it, with its reason.
        MissingExtraError: tf2onnx is not installed.
    """
    tensorflow = framework("tensorflow", "tensorflow", "to convert a model of TensorFlow")
    with silence():
        converter = framework("tf2onnx", "tensorflow", "to convert a model of TensorFlow").convert
        try:
            traced = tensorflow.function(function, input_signature=specs)
            graph, _ = converter.from_function(traced, input_signature=specs, opset=_OPSET)
            _hold(graph, traced.get_concrete_function(*specs))
        except Exception as error:  # tf2onnx and the model raise errors of many kinds, all about the model
            raise cannot("tf2onnx cannot convert the model", error) from error
    for port, spec in zip(graph.graph.input, specs, strict=True):
        rename_input(graph, port.name, spec.name)
    return graph


def _hold(graph: Any, traced: Any) -> None:
    """Tensors that the function was made around come as inputs; they are constants."""
    values = {inner.name: outer for outer, inner in traced.graph.captures if outer.dtype.name != "resource"}
    for entry in list(graph.graph.input):
        if entry.name in values:
            graph.graph.initializer.append(numpy_helper.from_array(values[entry.name].numpy(), entry.name))
            graph.graph.input.remove(entry)
