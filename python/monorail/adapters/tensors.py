"""Models that take tensors: which columns of a signature go to which of their inputs, for graph and original alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CompileError

#: Names that say what an output is, whoever chose them.
_KNOWN = {
    "label": "label",
    "output_label": "label",
    "probability": "probability",
    "probabilities": "probability",
    "output_probability": "probability",
    "score": "score",
    "scores": "score",
    "features": "features",
    "prediction": "prediction",
    "predictions": "prediction",
}


@dataclass(frozen=True)
class Port:
    """One input of a model.

    Attributes:
        name: as the model calls it.
        dtype: element type (`object` is text), None where the model does not say.
        shape: dimensions of one row, None for one that is free; None altogether where the model does not say.
    """

    name: str
    dtype: np.dtype | None = None
    shape: tuple[int | None, ...] | None = None


def arrange(ports: Sequence[Port], columns: Sequence[str]) -> list[list[str]]:
    """Which columns each input takes.

    By name where every input is named like a column; all columns in one input, side by side, where there is one input;
    else one after the other, as both stand.

    Raises:
        CompileError: `cannot_compile`: neither names nor numbers fit.
    """
    if all(port.name in columns for port in ports):
        return [[port.name] for port in ports]
    if len(ports) == 1:
        return [list(columns)]
    if len(ports) == len(columns):
        return [[column] for column in columns]
    wanted = ", ".join(port.name for port in ports)
    raise CompileError(
        f"the model takes {len(ports)} inputs ({wanted}) and the example has the columns {', '.join(columns)}",
        code="cannot_compile",
        hint="give the example as a dict of arrays, named as the inputs are",
    )


def feed(ports: Sequence[Port], frame: Any) -> dict[str, np.ndarray]:
    """The arrays of a frame of kind "arrays" for each input, of its element type and shape."""
    columns: Mapping[str, np.ndarray] = {"input": frame} if isinstance(frame, np.ndarray) else frame
    fed = {}
    for port, names in zip(ports, arrange(ports, list(columns)), strict=True):
        fed[port.name] = _fit(port, [columns[name] for name in names])
    return fed


def _fit(port: Port, arrays: Sequence[np.ndarray]) -> np.ndarray:
    values = np.column_stack(arrays) if len(arrays) > 1 else arrays[0]
    if port.dtype is not None and values.dtype != port.dtype:
        with np.errstate(all="ignore"):
            values = values.astype(port.dtype)
    return np.ascontiguousarray(values.reshape(len(values), *row_shape(port, values.shape[1:])))


def row_shape(port: Port, given: Sequence[int]) -> tuple[int, ...]:
    """The shape of one row of an input, given the shape of one row of the data.

    Raises:
        CompileError: `cannot_compile`: the data has another number of elements.
    """
    given = tuple(given)
    if port.shape is None or len(port.shape) == len(given):
        fits = port.shape is None or all(a is None or a == b for a, b in zip(port.shape, given, strict=True))
        shape = given
    else:
        free = [place for place, size in enumerate(port.shape) if size is None]
        known = int(np.prod([size for size in port.shape if size is not None], dtype=np.int64))
        elements = int(np.prod(given, dtype=np.int64))
        fits = len(free) <= 1 and elements % max(known, 1) == 0 and (bool(free) or elements == known)
        shape = tuple(elements // max(known, 1) if size is None else size for size in port.shape)
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in port.shape or ())
        raise CompileError(
            f"the input `{port.name}` takes rows of shape [{wanted}], and the example has rows of shape {list(given)}",
            code="cannot_compile",
            hint="give the example in the shape that the model takes, rows first",
        )
    return shape


def output_names(names: Sequence[str], *, chosen: bool = False) -> list[str]:
    """What the outputs of a model are called: words that say what they are, else `prediction` for the first.

    Args:
        names: as the model calls them.
        chosen: whether the author gave the names, as keys of a dict, and wants them kept.
    """
    known = [_KNOWN.get(name.lower().partition(":")[0], "") for name in names]
    if not any(known) and not chosen:
        known[0] = "prediction"
    made: list[str] = []
    for number, (name, word) in enumerate(zip(names, known, strict=True)):
        ours = word if word and word not in made else name.partition(":")[0] or f"output_{number}"
        while ours in made:
            ours += "_"
        made.append(ours)
    return made


def flat(values: Any) -> np.ndarray:
    """An answer as `[rows]` or `[rows, size]`."""
    array = np.asarray(values)
    array = array.reshape(len(array), -1)
    return array[:, 0] if array.shape[1] == 1 else array


def chosen(found: Mapping[str, np.ndarray], outputs: Sequence[str], rows: int) -> dict[str, np.ndarray]:
    """Of a model's answers those asked for, flat; where none is named, all that have a row for every record.

    Raises:
        CompileError: `cannot_compile`: one that is asked for is not there.
    """
    absent = [name for name in outputs if name not in found]
    if absent:
        raise CompileError(
            f"the model has no output `{absent[0]}`", code="cannot_compile", hint=f"it offers {', '.join(found)}"
        )
    names = outputs or [name for name, values in found.items() if values.ndim and len(values) == rows]
    return {name: flat(found[name]) for name in names}
