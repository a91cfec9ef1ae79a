"""PyTorch modules to graphs by `torch.export` and `torch.onnx.export`, with a batch of any size."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...adapters.base import framework
from ...adapters.torch import Entry, asking
from ..build import Compiled
from ..onnx.adopt import adopt
from ..onnx.exporting import cannot, rename_input, sample, silence


def compile_exported(
    model: Any, signature_inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None
) -> Compiled:
    """Exports a module and adopts its graph.

    Raises:
        CompileError: `cannot_compile`: torch cannot export it, with torch's reason.
        MissingExtraError: onnxscript, which torch needs to export, is not installed.
    """
    framework("onnxscript", "torch", "to export a PyTorch module")
    entry = Entry(model)
    arrays = entry.feed(sample(signature_inputs))
    names = list(arrays)
    with _on_processor(entry), asking(entry.module):
        given = _tensors(arrays)
        try:
            found = entry(names, given)
        except Exception as error:  # the module's own code
            raise cannot("the module fails on a batch of zeros", error) from error
        graph = _export(entry, names, given)
    ours = list(found)
    theirs = [output.name for output in graph.graph.output]
    for port, name in zip(graph.graph.input, names, strict=True):
        rename_input(graph, port.name, name)
    return adopt(graph, signature_inputs, dict(zip(ours, theirs, strict=True)), outputs=outputs)


def _tensors(arrays: Mapping[str, np.ndarray]) -> list[Any]:
    import torch  # pyright: ignore[reportMissingImports]

    return [torch.from_numpy(values) for values in arrays.values()]


@contextlib.contextmanager
def _on_processor(entry: Entry) -> Iterator[None]:
    """A module whose parameters lie on an accelerator is exported from a copy."""
    if any(tensor.device.type != "cpu" for tensor in entry.module.parameters()):
        entry.module = copy.deepcopy(entry.module).cpu()
    yield


def _export(entry: Entry, names: Sequence[str], given: Sequence[Any]) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    class Positional(torch.nn.Module):
        """The module with its inputs by place and its outputs as a tuple."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = entry.module

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            return tuple(entry(names, inputs).values())

    wrapped = Positional()
    wrapped.training = False
    shapes = (tuple({0: torch.export.Dim.DYNAMIC} for _ in given),)
    with silence():
        try:
            program = torch.onnx.export(wrapped, tuple(given), dynamo=True, dynamic_shapes=shapes, verbose=False)
            return program.model_proto
        except Exception as error:  # torch raises errors of many kinds, all about the module
            raise cannot("torch cannot export the module", error) from error
