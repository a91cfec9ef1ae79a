"""Gaussian processes: kernels composed of kernels, means, deviations, and Laplace's approximation of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import labels, pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, row_sum, scaled
from ..registry import Context, Output, RefusalError, convert, converter, qualified_name
from ..special import erf
from .linear import regression_output

_DOUBLE = np.dtype(np.float64)
_MODULE = "sklearn.gaussian_process"
_FACTORS = (0.41, 0.4, 0.37, 0.44, 0.39)
_WEIGHTS = (-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654)
"""Widths and weights of the error functions that stand for a sigmoid (C. K. I. Williams and D. Barber, 1998)."""

_Value = Tensor | float
"""A kernel's values `[rows, n]` or `[rows, 1]`, or one number that all of them are."""


def _joined(context: Context, operator: str, left: _Value, right: _Value) -> _Value:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return context.graph.arithmetic(operator, left, right, left)
    if isinstance(left, Tensor):
        return scaled(context, operator, left, right)
    if isinstance(right, Tensor):
        return scaled(context, operator, right, left)
    return left + right if operator == "Add" else left * right


def _distances(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    """Squared distances in units of the kernel's length scale."""
    scale = np.squeeze(np.asarray(kernel.length_scale, _DOUBLE))
    return pairwise.squared_differences(context, scaled(context, "Div", x, scale), points / scale)


def _radial(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    return apply(context, "Exp", scaled(context, "Mul", _distances(context, kernel, x, points), -0.5))


def _matern(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    graph = context.graph
    distance = apply(context, "Sqrt", _distances(context, kernel, x, points))
    if kernel.nu == 0.5:
        return apply(context, "Exp", apply(context, "Neg", distance))
    if kernel.nu == np.inf:
        squared = graph.arithmetic("Mul", distance, distance, distance)
        return apply(context, "Exp", scaled(context, "Div", apply(context, "Neg", squared), 2.0))
    if kernel.nu not in (1.5, 2.5):
        raise context.refuse(kernel, f"nu={kernel.nu} takes Bessel functions")
    distance = scaled(context, "Mul", distance, float(np.sqrt(2 * kernel.nu)))
    factor = scaled(context, "Add", distance, 1.0)
    if kernel.nu == 2.5:
        third = scaled(context, "Div", graph.arithmetic("Mul", distance, distance, distance), 3.0)
        factor = graph.arithmetic("Add", factor, third, factor)
    return graph.arithmetic("Mul", factor, apply(context, "Exp", apply(context, "Neg", distance)), factor)


def _rational(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    squared = pairwise.squared_differences(context, x, points)
    share = scaled(context, "Div", squared, float(2 * kernel.alpha * kernel.length_scale**2))
    return scaled(context, "Pow", scaled(context, "Add", share, 1.0), -float(kernel.alpha))


def _periodic(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    distance = apply(context, "Sqrt", pairwise.squared_differences(context, x, points))
    turned = apply(context, "Sin", scaled(context, "Mul", distance, float(np.pi / kernel.periodicity)))
    share = scaled(context, "Div", turned, float(kernel.length_scale))
    return apply(context, "Exp", scaled(context, "Mul", context.graph.arithmetic("Mul", share, share, share), -2.0))


def _dot(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    return scaled(context, "Add", pairwise.products(context, x, points), float(kernel.sigma_0) ** 2)


def _pairwise(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> Tensor:
    parameters = dict(kernel.pairwise_kernels_kwargs or {}) | {"gamma": kernel.gamma}
    return pairwise.kernel(context, x, points, kernel.metric, **parameters)


_KERNELS: dict[str, Callable[[Context, Any, Tensor, np.ndarray], _Value]] = {
    "RBF": _radial,
    "Matern": _matern,
    "RationalQuadratic": _rational,
    "ExpSineSquared": _periodic,
    "DotProduct": _dot,
    "PairwiseKernel": _pairwise,
    "ConstantKernel": lambda context, kernel, x, points: float(kernel.constant_value),
    "WhiteKernel": lambda context, kernel, x, points: 0.0,
}


def _name(context: Context, kernel: Any) -> str:
    module, _, name = qualified_name(kernel).rpartition(".")
    if module != f"{_MODULE}.kernels":
        raise context.refuse(kernel, "its kernel is of a class of its own")
    return name


def kernel_values(context: Context, kernel: Any, x: Tensor, points: np.ndarray) -> _Value:
    """A kernel between rows and points, in the original's order of operations."""
    name = _name(context, kernel)
    if name in ("Sum", "Product"):
        left, right = (kernel_values(context, part, x, points) for part in (kernel.k1, kernel.k2))
        return _joined(context, "Add" if name == "Sum" else "Mul", left, right)
    if name == "Exponentiation":
        return _raised(context, kernel_values(context, kernel.kernel, x, points), float(kernel.exponent))
    if name not in _KERNELS:
        raise context.refuse(kernel, "its kernel has no compiled form")
    return _KERNELS[name](context, kernel, x, points)


def _raised(context: Context, value: _Value, exponent: float) -> _Value:
    return scaled(context, "Pow", value, exponent) if isinstance(value, Tensor) else value**exponent


def kernel_diagonal(context: Context, kernel: Any, x: Tensor) -> _Value:
    """A kernel between each row and itself."""
    name = _name(context, kernel)
    if name in ("Sum", "Product"):
        left, right = (kernel_diagonal(context, part, x) for part in (kernel.k1, kernel.k2))
        return _joined(context, "Add" if name == "Sum" else "Mul", left, right)
    if name == "Exponentiation":
        return _raised(context, kernel_diagonal(context, kernel.kernel, x), float(kernel.exponent))
    if name == "DotProduct":
        return scaled(context, "Add", pairwise.squared_norms(context, x), float(kernel.sigma_0) ** 2)
    if name == "ConstantKernel":
        return float(kernel.constant_value)
    if name == "WhiteKernel":
        return float(kernel.noise_level)
    if name == "PairwiseKernel":
        raise context.refuse(kernel, "the deviation of a pairwise kernel has no compiled form")
    return 1.0


def _spread(context: Context, value: _Value, x: Tensor, width: int) -> Tensor:
    """A value as a tensor."""
    if isinstance(value, Tensor):
        return value
    zero = scaled(context, "Mul", context.graph.gather(x, [0]), 0.0)
    return context.graph.node("Add", [zero, context.graph.constant(np.full((1, width), value))], _DOUBLE, width)


def _squared_lengths(context: Context, values: Tensor, turn: np.ndarray) -> Tensor:
    """The squared length of `turn @ values` for each row."""
    turned = pairwise.products(context, values, turn)
    return row_sum(context, context.graph.arithmetic("Mul", turned, turned, turned))


@converter(f"{_MODULE}._gpr.GaussianProcessRegressor")
def process_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The mean of the process given the training rows, and on request its deviation."""
    graph = context.graph
    if not hasattr(model, "X_train_"):
        raise context.refuse(model, "it was not fitted on any row")
    if model.kernel is not None and not model.kernel.requires_vector_input:
        raise context.refuse(model, "its kernel takes no rows of numbers")
    x, points = context.reader.ordered(matrix, _DOUBLE), points_of(model.X_train_)
    values = _spread(context, kernel_values(context, model.kernel_, x, points), x, len(points))
    dual = np.asarray(model.alpha_, _DOUBLE).reshape(len(points), -1)
    mean = graph.node("MatMul", [values, graph.constant(dual)], _DOUBLE, dual.shape[1])
    scale = np.broadcast_to(np.asarray(model._y_train_std, _DOUBLE).ravel(), (dual.shape[1],))
    mean = scaled(context, "Add", scaled(context, "Mul", mean, scale), np.asarray(model._y_train_mean, _DOUBLE).ravel())
    made = {"prediction": regression_output(mean)}
    try:
        diagonal = _spread(context, kernel_diagonal(context, model.kernel_, x), x, 1)
    except RefusalError:
        return made
    turn = np.linalg.inv(np.asarray(model.L_, _DOUBLE))
    variance = graph.arithmetic("Sub", diagonal, _squared_lengths(context, values, turn), diagonal)
    variance = scaled(context, "Max", variance, 0.0)
    variance = graph.node("Mul", [variance, graph.constant(scale**2)], _DOUBLE, len(scale))
    return made | {"deviation": regression_output(apply(context, "Sqrt", variance))}


@converter(f"{_MODULE}._gpc._BinaryGaussianProcessClassifierLaplace")
def binary_process(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The sign of the latent mean, and the mean of a sigmoid over the latent distribution."""
    graph = context.graph
    x, points = context.reader.ordered(matrix, _DOUBLE), points_of(model.X_train_)
    values = _spread(context, kernel_values(context, model.kernel_, x, points), x, len(points))
    residual = (np.asarray(model.y_train_, _DOUBLE) - np.asarray(model.pi_, _DOUBLE)).reshape(-1, 1)
    mean = graph.node("MatMul", [values, graph.constant(residual)], _DOUBLE, 1)
    turn = np.linalg.solve(np.asarray(model.L_, _DOUBLE), np.diag(np.asarray(model.W_sr_, _DOUBLE)))
    diagonal = _spread(context, kernel_diagonal(context, model.kernel_, x), x, 1)
    variance = graph.arithmetic("Sub", diagonal, _squared_lengths(context, values, turn), diagonal)
    classes = labels.class_values(context, model, model.classes_)
    chance = _mean_of_sigmoid(context, mean, variance)
    return {
        "label": labels.label_of_test(context, classes, labels.positive(context, mean)),
        "probability": Output(labels.both_probabilities(context, chance), "float64", labels.class_names(classes)),
    }


def _mean_of_sigmoid(context: Context, mean: Tensor, variance: Tensor) -> Tensor:
    """The mean of a sigmoid of a normal variable, `[rows, 1]`."""
    graph, count = context.graph, len(_FACTORS)
    factors = np.asarray(_FACTORS)
    alpha = graph.arithmetic("Div", graph.constant(1.0), scaled(context, "Mul", variance, 2.0), variance)
    gamma = graph.node("Mul", [mean, graph.constant(factors)], _DOUBLE, count)
    below = graph.node("Add", [alpha, graph.constant(factors**2)], _DOUBLE, count)
    share = apply(context, "Sqrt", graph.node("Div", [alpha, below], _DOUBLE, count))
    curve = erf(context, graph.arithmetic("Mul", gamma, share, gamma))
    root = apply(context, "Sqrt", graph.arithmetic("Div", graph.constant(np.pi), alpha, alpha))
    product = graph.node("Mul", [root, curve], _DOUBLE, count)
    whole = scaled(context, "Mul", scaled(context, "Mul", variance, 2.0), np.pi)
    integral = graph.node("Div", [product, scaled(context, "Mul", apply(context, "Sqrt", whole), 2.0)], _DOUBLE, count)
    weighed = scaled(context, "Mul", integral, np.asarray(_WEIGHTS))
    total: Tensor = graph.gather(weighed, [0])
    for place in range(1, count):
        total = graph.arithmetic("Add", total, graph.gather(weighed, [place]), total)
    return scaled(context, "Add", total, 0.5 * float(np.sum(np.asarray(_WEIGHTS))))


@converter(f"{_MODULE}._gpc.GaussianProcessClassifier")
def process_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One process for two classes; one against the rest or one against one for more."""
    if model.kernel is not None and not model.kernel.requires_vector_input:
        raise context.refuse(model, "its kernel takes no rows of numbers")
    made = convert(context.at("base_estimator_"), model.base_estimator_, matrix)
    if model.n_classes_ > 2 and model.multi_class == "one_vs_one":
        made.pop("probability", None)
    return {name: made[name] for name in ("label", "probability") if name in made}
