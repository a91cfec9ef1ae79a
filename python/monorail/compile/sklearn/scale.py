"""Scalers: each feature by its own constants, in the original's order of operations and element types."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Cell, Feature, Matrix
from ..graph import Tensor
from ..registry import Context, converter

_NUMPY = {"Sub": np.subtract, "Div": np.divide, "Mul": np.multiply, "Add": np.add}


def elementwise(context: Context, matrix: Matrix, steps: list[tuple[str, Any]]) -> Matrix:
    """Applies operators with one constant a feature, as numpy does in place: computed in the wider type, cast back.

    Args:
        context: the step being compiled.
        matrix: numeric features.
        steps: `(operator, constants)`; "Clip" takes a pair of scalars.
    """
    kept = matrix.floating()
    dense = context.reader.dense(matrix, kept)
    tensor = dense.tensor
    for operator, constants in steps:
        tensor = _apply(context, tensor, operator, constants, dense.positions)
    features = []
    for number, (feature, position) in enumerate(zip(matrix.features, dense.positions, strict=True)):
        origin = feature.origin
        if origin is not None and _keeps_order(steps, number):
            origin = origin.then(lambda raw, number=number: _compute(raw.astype(kept), steps, number))
        else:
            origin = None
        features.append(replace(feature, source=Cell(tensor, position), dtype=kept, origin=origin))
    return Matrix(tuple(features), kept, matrix.sparse)


def _apply(context: Context, tensor: Tensor, operator: str, constants: Any, positions: list[int]) -> Tensor:
    graph, dtype = context.graph, tensor.dtype
    if operator == "Clip":
        low, high = (graph.constant(value, dtype) for value in constants)
        return graph.node("Clip", [tensor, low, high], dtype, tensor.width)
    values = np.asarray(constants)
    arranged = np.empty(tensor.width, values.dtype)
    arranged[:] = 1
    arranged[positions] = values
    wide = np.result_type(dtype, values.dtype)
    widened = graph.cast(tensor, wide)
    result = graph.arithmetic(operator, widened, graph.constant(arranged, wide), widened)
    return graph.cast(result, dtype)


def _compute(values: np.ndarray, steps: list[tuple[str, Any]], number: int) -> np.ndarray:
    dtype = values.dtype
    for operator, constants in steps:
        if operator == "Clip":
            values = np.clip(values, np.asarray(constants[0], dtype), np.asarray(constants[1], dtype))
        else:
            values = _NUMPY[operator](values, np.asarray(constants)[number]).astype(dtype)
    return values


def _keeps_order(steps: list[tuple[str, Any]], number: int) -> bool:
    factors = [np.asarray(constants)[number] for operator, constants in steps if operator in ("Mul", "Div")]
    return all(np.isfinite(factor) and factor > 0 for factor in factors)


def _divided(matrix: Matrix, scale: Any) -> tuple[str, Any]:
    """Division by a scale; a sparse matrix is multiplied by the reciprocal instead."""
    return ("Mul", 1.0 / np.asarray(scale)) if matrix.sparse else ("Div", scale)


@converter("sklearn.preprocessing._data.StandardScaler")
def standard_scaler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`(x - mean) / scale`, with the constants in the type of the data."""
    kept = matrix.floating()
    steps: list[tuple[str, Any]] = []
    if model.with_mean:
        steps.append(("Sub", np.asarray(model.mean_).astype(kept)))
    if model.with_std and model.scale_ is not None:
        operator, scale = _divided(matrix, model.scale_)
        steps.append((operator, np.asarray(scale).astype(kept)))
    return elementwise(context, matrix, steps)


@converter("sklearn.preprocessing._data.MinMaxScaler")
def min_max_scaler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`x * scale + min`, clipped if asked."""
    steps: list[tuple[str, Any]] = [("Mul", model.scale_), ("Add", model.min_)]
    if model.clip:
        steps.append(("Clip", tuple(model.feature_range)))
    return elementwise(context, matrix, steps)


@converter("sklearn.preprocessing._data.MaxAbsScaler")
def max_abs_scaler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`x / scale`, clipped if asked."""
    steps = [_divided(matrix, model.scale_)]
    if getattr(model, "clip", False):
        steps.append(("Clip", (-1.0, 1.0)))
    return elementwise(context, matrix, steps)


@converter("sklearn.preprocessing._data.RobustScaler")
def robust_scaler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`(x - center) / scale`."""
    steps: list[tuple[str, Any]] = []
    if model.with_centering and not matrix.sparse:
        steps.append(("Sub", model.center_))
    if model.with_scaling:
        steps.append(_divided(matrix, model.scale_))
    return elementwise(context, matrix, steps)


def cells(tensor: Tensor, features: list[Feature] | None = None) -> tuple[Feature, ...]:
    """The columns of a tensor as features without an origin."""
    nullable = features is None or any(feature.nullable for feature in features)
    return tuple(Feature(Cell(tensor, index), tensor.dtype, nullable) for index in range(tensor.width))
