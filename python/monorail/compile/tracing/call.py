"""Calls a function once with a traced array, and gives back what it made as features of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..columns import Cell, Feature, Matrix
from ..registry import Context
from . import reductions as _reductions  # noqa: F401  (registers itself)
from .frame import Frame, Series
from .modules import Numpy, with_numpy
from .values import Array, Recorder, Store, TraceError, Turned

NOT_ROWS = "gives back something other than an array of rows"


def trace(
    context: Context, model: Any, function: Any, options: Mapping[str, Any], matrix: Matrix, table: bool
) -> Matrix:
    """The features that a function makes of a matrix.

    Args:
        context: the step being compiled.
        model: the step, for a refusal.
        function: takes an array, or a table, and keyword arguments.
        options: the keyword arguments.
        matrix: what it is given.
        table: whether the original gives it a table with named columns.

    Raises:
        RefusalError: the function does something that cannot be read.
    """
    recorder = Recorder(context)
    given = Frame(recorder, {f.name: f for f in matrix.features}) if table else _array(recorder, matrix)
    nullable = any(feature.nullable for feature in matrix.features)
    try:
        with np.errstate(all="ignore"):
            result = with_numpy(function, Numpy(recorder, given))(given, **options)
        if recorder.reason:
            recorder.fail(recorder.reason)
        return made_matrix(recorder, result, nullable)
    except TraceError as error:
        raise context.refuse(model, f"its function {error}") from error
    except Exception as error:
        raise context.refuse(model, f"its function cannot be read: {type(error).__name__}: {error}") from error


def _array(recorder: Recorder, matrix: Matrix) -> Array:
    """A matrix as one array of the type that numpy gives its columns together."""
    dtype = matrix.common()
    origins = [
        None if feature.origin is None else feature.origin.then(lambda raw: raw.astype(dtype), feature.origin.null)
        for feature in matrix.features
    ]
    store = Store(recorder.context.reader.ordered(matrix, dtype), True, origins)
    return Array(recorder, store, tuple(range(matrix.width)), 2)


def made_matrix(recorder: Recorder, result: Any, nullable: bool) -> Matrix:
    """What a function gave back."""
    if isinstance(result, Frame):
        return result.matrix()
    if isinstance(result, Series):
        return result.to_frame().matrix()
    if isinstance(result, Turned) or not isinstance(result, Array) or result.traced_mask is not None:
        recorder.fail(NOT_ROWS)
    tensor = result.traced_tensor
    nullable = nullable or tensor.dtype.kind == "f"
    features = [
        Feature(Cell(tensor, number), tensor.dtype, nullable, origin)
        for number, origin in enumerate(result.traced_origins)
    ]
    return Matrix(tuple(features), tensor.dtype)
