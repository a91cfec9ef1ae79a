"""A function of the user's own as a step: read where it is made of array operations, else refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..columns import Matrix
from ..graph import TEXT
from ..registry import Context, converter
from ..tracing import trace


@converter("sklearn.preprocessing._function_transformer.FunctionTransformer")
def function_transformer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """What the function makes of the features; without a function, the features."""
    if model.validate and matrix.common() != TEXT:
        # The check makes one array of a table.
        matrix = replace(matrix, dtype=matrix.common())
    if model.func is None:
        return matrix
    table = hasattr(model, "feature_names_in_") and not model.validate
    if not table and matrix.common() == TEXT:
        raise context.refuse(model, "its function is given text")
    if table and not all(feature.name for feature in matrix.features):
        raise context.refuse(model, "its function is given a table whose names are not known here")
    return trace(context, model, model.func, model.kw_args or {}, matrix, table)
