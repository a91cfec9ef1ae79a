"""Models whose framework writes the graph itself: recognised by a base class, exported, and adopted as they are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..adapters.base import class_modules
from ..errors import CompileError
from .registry import qualified_name

if TYPE_CHECKING:
    from .build import Compiled

#: Which module exports what, by a class among the object's bases.
_EXPORTERS = {
    "onnx.onnx_ml_pb2.ModelProto": "onnx.file",
    "torch.nn.modules.module.Module": "torch.export",
    "torch.export.exported_program.ExportedProgram": "torch.export",
    "keras.src.models.model.Model": "keras.export",
    "monorail.adapters.tensorflow.SavedModel": "tensorflow.export",
}


def adopt_model(
    model: Any, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled | None:
    """The native stage of a model whose framework exports graphs; None for any other.

    Raises:
        CompileError: `cannot_compile`: the framework cannot export it, or the graph cannot be adopted.
    """
    for name in class_modules(model):
        if name in _EXPORTERS:
            module = importlib.import_module(f".{_EXPORTERS[name]}", __package__)
            try:
                return module.compile_exported(model, signature_inputs, outputs)
            except CompileError as error:
                # A model that its framework cannot export is a step that does not compile.
                place = {"code": "cannot_compile", "path": "model", "got": qualified_name(model)}
                error.details = error.details or [place]
                raise
    return None
