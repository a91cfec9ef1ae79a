"""PyTorch modules to graphs by `torch.export` and `torch.onnx.export`, with a batch of any size."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...adapters.base import framework
from ...adapters.torch import Entry, asking
from ...errors import CompileError
from ..build import Compiled
from ..columns import Column
from ..graph import TEXT
from ..onnx.adopt import adopt

_ROWS = 2


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
    frame = {column["name"]: _sample(column) for column in signature_inputs}
    arrays = entry.feed(frame)
    names = list(arrays)
    with _on_processor(entry), asking(entry.module):
        given = _tensors(arrays)
        try:
            found = entry(names, given)
        except Exception as error:  # the module's own code
            raise _cannot(f"the module fails on a batch of zeros: {_reason(error)}") from error
        graph = _export(entry, names, given)
    ours = list(found)
    theirs = [output.name for output in graph.graph.output]
    for port, name in zip(graph.graph.input, names, strict=True):
        _rename(graph, port.name, name)
    return adopt(graph, signature_inputs, dict(zip(ours, theirs, strict=True)), outputs=outputs)


def _sample(entry: Mapping[str, Any]) -> np.ndarray:
    """Rows of zeros as the module would get them."""
    column = Column.of(entry)
    if column.dtype == TEXT:
        return np.full(_ROWS, "", object)
    return np.zeros((_ROWS, *(entry.get("shape") or ())), column.dtype)


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
    with _silence():
        try:
            program = torch.onnx.export(wrapped, tuple(given), dynamo=True, dynamic_shapes=shapes, verbose=False)
            return program.model_proto
        except Exception as error:  # torch raises errors of many kinds, all about the module
            raise _cannot(f"torch cannot export the module: {_reason(error)}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's talk, which is about itself."""
    logging.disable(logging.CRITICAL)
    try:
        talk = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _rename(model: Any, old: str, new: str) -> None:
    """Gives a graph input the name of the parameter that it is."""
    if old == new:
        return
    taken = {entry.name for entry in model.graph.input}
    taken |= {name for node in model.graph.node for name in (*node.input, *node.output)}
    if new in taken:
        return
    for entry in model.graph.input:
        if entry.name == old:
            entry.name = new
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _reason(error: Exception) -> str:
    """The deepest cause's first line: torch wraps it several times."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0][:300]}" if lines else type(cause).__name__


def _cannot(reason: str) -> CompileError:
    return CompileError(
        reason, code="cannot_compile", hint="see torch.export's rules for code that depends on the values of tensors"
    )
