"""Calls a function once with a traced array, and gives back what it made as features of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..columns import Cell, Feature, Matrix
from ..registry import Context
from .modules import Numpy, with_numpy
from .values import Array, Recorder, Store, TraceError, Turned

NOT_ROWS = "gives back something other than an array of rows"


def trace(context: Context, model: Any, function: Any, options: Mapping[str, Any], matrix: Matrix) -> Matrix:
    """The features that a function makes of a matrix.

    Args:
        context: the step being compiled.
        model: the step, for a refusal.
        function: takes an array and keyword arguments.
        options: the keyword arguments.
        matrix: what it is given, as one array.

    Raises:
        RefusalError: the function does something that cannot be read.
    """
    dtype = matrix.common()
    recorder = Recorder(context)
    origins = [
        None if feature.origin is None else feature.origin.then(lambda raw: raw.astype(dtype), feature.origin.null)
        for feature in matrix.features
    ]
    store = Store(context.reader.ordered(matrix, dtype), True, origins)
    array = Array(recorder, store, tuple(range(matrix.width)), 2)
    nullable = any(feature.nullable for feature in matrix.features)
    try:
        with np.errstate(all="ignore"):
            result = with_numpy(function, Numpy(recorder, array))(array, **options)
        if recorder.reason:
            recorder.fail(recorder.reason)
        return made_matrix(recorder, result, nullable)
    except TraceError as error:
        raise context.refuse(model, f"its function {error}") from error
    except Exception as error:
        raise context.refuse(model, f"its function cannot be read: {type(error).__name__}: {error}") from error


def made_matrix(recorder: Recorder, result: Any, nullable: bool) -> Matrix:
    """What a function gave back."""
    if isinstance(result, Turned) or not isinstance(result, Array) or result.traced_mask is not None:
        recorder.fail(NOT_ROWS)
    tensor = result.traced_tensor
    nullable = nullable or tensor.dtype.kind == "f"
    features = [
        Feature(Cell(tensor, number), tensor.dtype, nullable, origin)
        for number, origin in enumerate(result.traced_origins)
    ]
    return Matrix(tuple(features), tensor.dtype)
