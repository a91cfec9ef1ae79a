"""An ONNX file as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...adapters.onnx import named_outputs, zip_maps
from ..build import Compiled
from .adopt import adopt


def compile_exported(
    model: Any, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled:
    """Adopts a `ModelProto`; classes name the places of its probabilities where the file lists them."""
    names = named_outputs(model)
    maps = zip_maps(model)
    places = {ours: [str(word) for word in maps[theirs]] for ours, theirs in names.items() if theirs in maps}
    return adopt(model, signature_inputs, names, outputs=outputs, places=places)
