"""What all frameworks that write their own graph share: rows to trace with, silence, and a reason in one line."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CompileError
from ..columns import Column
from ..graph import TEXT

_ROWS = 2


def sample(signature_inputs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Two rows of zeros, and of empty text, as a frame of kind "arrays"."""
    frame = {}
    for entry in signature_inputs:
        column = Column.of(entry)
        fill: Any = "" if column.dtype == TEXT else 0
        frame[column.name] = np.full((_ROWS, *(entry.get("shape") or ())), fill, column.dtype)
    return frame


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without the exporters' talk, which is about themselves."""
    talk = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def cannot(what: str, error: BaseException) -> CompileError:
    """The refusal of a model that its framework cannot export, with the deepest cause: it is wrapped several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    return CompileError(f"{what}: {reason}", code="cannot_compile", hint="it can run in a worker process")


def rename_input(model: Any, old: str, new: str) -> None:
    """Gives a graph input the name that the model has for it, unless something else in the graph has it."""
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
