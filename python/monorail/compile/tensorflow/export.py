"""SavedModels to graphs by tf2onnx, from the serving signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...adapters.base import framework
from ...adapters.tensorflow import SavedModel, outputs_of
from ..build import Compiled
from ..onnx.adopt import adopt
from ..onnx.exporting import cannot, rename_input, silence

_OPSET = 18


def compile_exported(
    model: SavedModel, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled:
    """Converts the serving signature and adopts its graph.

    Raises:
        CompileError: `cannot_compile`: tf2onnx cannot convert it, with its reason.
        MissingExtraError: tf2onnx is not installed.
    """
    tensorflow = framework("tensorflow", "tensorflow", "to open a SavedModel")
    function, names = model.function, outputs_of(model)
    specs = function.structured_input_signature[1]
    wanted = list(names.values())

    def positional(*tensors: Any) -> Any:
        found = function(**dict(zip(specs, tensors, strict=True)))
        return [tensorflow.identity(found[name], name=f"monorail_{number}") for number, name in enumerate(wanted)]

    signature = [tensorflow.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    with silence():
        convert = framework("tf2onnx", "tensorflow", "to convert a SavedModel").convert
        try:
            graph, _ = convert.from_function(
                tensorflow.function(positional, input_signature=signature), input_signature=signature, opset=_OPSET
            )
        except Exception as error:  # tf2onnx raises errors of many kinds, all about the model
            raise cannot("tf2onnx cannot convert the SavedModel", error) from error
    for port, name in zip(graph.graph.input, specs, strict=True):
        rename_input(graph, port.name, name)
    theirs = [output.name for output in graph.graph.output]
    return adopt(graph, signature_inputs, dict(zip(names, theirs, strict=True)), outputs=outputs)
