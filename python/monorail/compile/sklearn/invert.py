"""Targets that were transformed before the fit: the prediction goes back through the inverse."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, scaled
from ..registry import Context, Output, converter, qualified_name, transform
from ..special import erf
from .isotonic import isotonic_regression
from .maths import log1p, where
from .scale import cells, elementwise
from .submodels import answers, column, side_by_side

_DOUBLE = np.dtype(np.float64)
_EDGE = 1e-7
"""How near to 0 or 1 a normal number's share counts as the end."""
_DATA = "sklearn.preprocessing._data"


@converter("sklearn.compose._target.TransformedTargetRegressor")
def transformed_target(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The inner regressor's prediction on the target's own scale."""
    made = answers(context, "regressor_", model.regressor_, matrix)
    predicted = column(context, made["prediction"].tensor)
    back = _inverse(context.at("transformer_"), model.transformer_, Matrix(cells(predicted), predicted.dtype))
    tensor = context.reader.ordered(back)
    names = None if tensor.width == 1 else [str(number) for number in range(tensor.width)]
    return {"prediction": Output(tensor, tensor.dtype.name, names)}


def _inverse(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The transformer's `inverse_transform`."""
    make = _INVERSES.get(qualified_name(model))
    if make is None:
        raise context.refuse(model, "its inverse has no compiled form")
    return make(context, model, matrix)


def _standard(context: Context, model: Any, matrix: Matrix) -> Matrix:
    steps: list[tuple[str, Any]] = [("Mul", model.scale_)] if model.with_std else []
    return elementwise(context, matrix, [*steps, ("Add", model.mean_)] if model.with_mean else steps)


def _min_max(context: Context, model: Any, matrix: Matrix) -> Matrix:
    return elementwise(context, matrix, [("Sub", model.min_), ("Div", model.scale_)])


def _max_abs(context: Context, model: Any, matrix: Matrix) -> Matrix:
    return elementwise(context, matrix, [("Mul", model.scale_)])


def _robust(context: Context, model: Any, matrix: Matrix) -> Matrix:
    steps: list[tuple[str, Any]] = [("Mul", model.scale_)] if model.with_scaling else []
    return elementwise(context, matrix, [*steps, ("Add", model.center_)] if model.with_centering else steps)


def _power(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Undoes the scaling, then Box-Cox or Yeo-Johnson with each column's lambda."""
    if model.standardize:
        matrix = _standard(context, model._scaler, matrix)
    tensor = context.reader.ordered(matrix, _DOUBLE)
    lambdas = np.asarray(model.lambdas_, _DOUBLE)
    back = _from_box_cox if model.method == "box-cox" else _from_yeo_johnson
    columns = [
        back(context, context.graph.gather(tensor, [place]), float(power)) for place, power in enumerate(lambdas)
    ]
    return Matrix(cells(side_by_side(context, columns)), _DOUBLE)


def _from_box_cox(context: Context, x: Tensor, power: float) -> Tensor:
    if power == 0:
        return apply(context, "Exp", x)
    return apply(context, "Exp", scaled(context, "Div", log1p(context, scaled(context, "Mul", x, power)), power))


def _from_yeo_johnson(context: Context, x: Tensor, power: float) -> Tensor:
    limit = float(np.spacing(1.0))
    if abs(power) < limit:
        above = scaled(context, "Sub", apply(context, "Exp", x), 1.0)
    else:
        above = scaled(context, "Sub", _powered(context, x, power, 1 / power), 1.0)
    if abs(power - 2) > limit:
        below = _powered(context, x, power - 2, 1 / (2 - power))
    else:
        below = apply(context, "Exp", apply(context, "Neg", x))
    below = context.graph.arithmetic("Sub", context.graph.constant(1.0), below, below)
    positive = context.graph.node("GreaterOrEqual", [x, context.graph.constant(0.0)], np.bool_, 1)
    return where(context, positive, above, below, x)


def _powered(context: Context, x: Tensor, factor: float, power: float) -> Tensor:
    """`(x * factor + 1) ** power`."""
    return scaled(context, "Pow", scaled(context, "Add", scaled(context, "Mul", x, factor), 1.0), power)


def _quantile(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """From a share, or a normal number's share, back to the value between the fitted quantiles."""
    graph, tensor = context.graph, context.reader.ordered(matrix, _DOUBLE)
    normal = model.output_distribution == "normal"
    if normal:
        curve = erf(context, scaled(context, "Div", tensor, float(np.sqrt(2))))
        tensor = scaled(context, "Mul", scaled(context, "Add", curve, 1.0), 0.5)
    columns = []
    for place, values in enumerate(np.asarray(model.quantiles_, _DOUBLE).T):
        share = graph.gather(tensor, [place])
        line = SimpleNamespace(X_thresholds_=model.references_, y_thresholds_=values, out_of_bounds="clip")
        back = isotonic_regression(context, line, Matrix(cells(share), _DOUBLE))["prediction"].tensor
        if normal:
            under = graph.node("Less", [scaled(context, "Sub", share, _EDGE), graph.constant(0.0)], np.bool_, 1)
            over = graph.node("Greater", [scaled(context, "Add", share, _EDGE), graph.constant(1.0)], np.bool_, 1)
            back = where(context, under, float(values[0]), where(context, over, float(values[-1]), back, back), back)
        columns.append(back)
    return Matrix(cells(side_by_side(context, columns)), _DOUBLE)


def _pipeline(context: Context, model: Any, matrix: Matrix) -> Matrix:
    for name, step in reversed(model.steps):
        if step is not None and not isinstance(step, str):
            matrix = _inverse(context.at(name), step, matrix)
    return matrix


def _function(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """A function's inverse is compiled as a function is; without one the values stay."""
    forward = type(model)(func=model.inverse_func, kw_args=model.inv_kw_args)
    return transform(context, forward, matrix)


_INVERSES: dict[str, Callable[[Context, Any, Matrix], Matrix]] = {
    f"{_DATA}.StandardScaler": _standard,
    f"{_DATA}.MinMaxScaler": _min_max,
    f"{_DATA}.MaxAbsScaler": _max_abs,
    f"{_DATA}.RobustScaler": _robust,
    f"{_DATA}.PowerTransformer": _power,
    f"{_DATA}.QuantileTransformer": _quantile,
    "sklearn.pipeline.Pipeline": _pipeline,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _function,
}
