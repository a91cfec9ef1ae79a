"""Support vector machines with kernels: libsvm's pairs of classes, its votes, regression and one class."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .. import labels, pairwise
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context, Output, converter
from .coupling import coupled

_DOUBLE = np.dtype(np.float64)
_SVM = "sklearn.svm._classes"
_FAR = 1e6
"""Support vectors further apart than this are compared feature by feature: a product could leave the numbers."""
_FINE = 1e-12


def _kernel(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """The kernel between rows and support vectors, `[rows, n]`."""
    x, points = context.reader.ordered(matrix, _DOUBLE), points_of(model.support_vectors_)
    name, gamma = model.kernel, float(model._gamma)
    if callable(name) or name == "precomputed":
        raise context.refuse(
            model,
            "its kernel is not one of a table's columns"
            if name == "precomputed"
            else "its kernel is a Python function",
        )
    if len(points) == 0:
        raise context.refuse(model, "it has no support vectors")
    if name == "rbf":
        return apply(context, "Exp", scaled(context, "Mul", _squared(context, x, points, gamma), -gamma))
    degree, coef0 = int(model.degree), float(model.coef0)
    return pairwise.kernel(context, x, points, name, gamma=gamma, degree=degree, coef0=coef0)


def _squared(context: Context, x: Tensor, points: np.ndarray, gamma: float) -> Tensor:
    """Squared distances: by one product around the middle of the points where that is as exact, else by differences."""
    middle = points.mean(axis=0)
    around = points - middle
    spread = float(np.abs(around).max(initial=0.0))
    error = gamma * float(np.einsum("ij,ij->i", around, around).max()) * points.shape[1] * np.finfo(_DOUBLE).eps
    if spread < _FAR and error < _FINE:
        return pairwise.squared_by_product(context, scaled(context, "Sub", x, middle), around)
    return pairwise.squared_differences(context, x, points)


def _dual(model: Any) -> np.ndarray:
    return points_of(model._dual_coef_)


def _single(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """The one decision value of a regressor or a one-class machine, `[rows, 1]`."""
    graph, bias = context.graph, np.asarray(model._intercept_, _DOUBLE).ravel()[:1]
    if model.kernel == "linear":
        weights = _dual(model) @ points_of(model.support_vectors_)
        made = pairwise.products(context, context.reader.ordered(matrix, _DOUBLE), weights)
    else:
        kernel = _kernel(context, model, matrix)
        made = graph.node("MatMul", [kernel, graph.constant(_dual(model).T)], _DOUBLE, 1)
    return scaled(context, "Add", made, bias)


@converter(f"{_SVM}.SVR", f"{_SVM}.NuSVR")
def support_vector_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The sum over the support vectors."""
    return {"prediction": Output(_single(context, model, matrix), "float64")}


@converter(f"{_SVM}.OneClassSVM")
def one_class(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The side of the boundary a row is on; a row on it is an outlier."""
    score = _single(context, model, matrix)
    sample = scaled(context, "Add", score, float(np.asarray(model.offset_).ravel()[0]))
    return labels.outlier_outputs(context, score, strict=True) | {"sample_score": Output(sample, "float64")}


def _pair_values(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """Libsvm's decision value of every pair of classes `i < j`, `[rows, pairs]`; above zero is a vote for `i`."""
    graph, count = context.graph, len(model.classes_)
    dual = _dual(model)
    ends = np.concatenate([[0], np.cumsum(model.n_support_)]).astype(int)
    linear = model.kernel == "linear"
    points = points_of(model.support_vectors_)
    source = context.reader.ordered(matrix, _DOUBLE) if linear else _kernel(context, model, matrix)
    parts = []
    for number in range(count):
        # A product over one class's own vectors alone: zeros for the others would turn infinities to NaN.
        own = slice(ends[number], ends[number + 1])
        weights = dual[:, own] @ points[own] if linear else dual[:, own]
        part = source if linear else graph.gather(source, range(ends[number], ends[number + 1]))
        if weights.shape[1] == 0:
            raise context.refuse(model, "one of its classes has no support vectors")
        constant = graph.constant(np.ascontiguousarray(weights.T))
        parts.append(graph.node("MatMul", [part, constant], _DOUBLE, count - 1))
    both = graph.concat(parts)
    pairs = list(combinations(range(count), 2))
    first = graph.gather(both, [i * (count - 1) + j - 1 for i, j in pairs])
    second = graph.gather(both, [j * (count - 1) + i for i, j in pairs])
    total = graph.arithmetic("Add", first, second, first)
    return scaled(context, "Add", total, np.asarray(model._intercept_, _DOUBLE).ravel())


def _votes(context: Context, first: Tensor, count: int) -> Tensor:
    """How many pairs each class wins, where a bool tensor says that the first of a pair does."""
    graph, pairs = context.graph, list(combinations(range(count), 2))
    sides = np.zeros((len(pairs), count))
    base = np.zeros(count)
    for row, (i, j) in enumerate(pairs):
        sides[row, i], sides[row, j] = 1.0, -1.0
        base[j] += 1.0
    won = graph.node("MatMul", [graph.cast(first, _DOUBLE), graph.constant(sides)], _DOUBLE, count)
    return scaled(context, "Add", won, base)


def _one_for_each(context: Context, decision: Tensor, count: int) -> Tensor:
    """Votes with the sums of decisions as a fraction of one: the shape "ovr"."""
    graph, pairs = context.graph, list(combinations(range(count), 2))
    number = {pair: row for row, pair in enumerate(pairs)}
    total: Tensor | None = None
    for turn in range(count - 1):
        others = [other + (other >= own) for own, other in ((own, turn) for own in range(count))]
        columns = [number[min(own, other), max(own, other)] for own, other in enumerate(others)]
        signs = np.asarray([1.0 if own < other else -1.0 for own, other in enumerate(others)])
        part = scaled(context, "Mul", graph.gather(decision, columns), signs)
        total = part if total is None else graph.arithmetic("Add", total, part, part)
    if total is None:
        raise context.refuse(decision, "it has one class")
    below = graph.node("Less", [decision, graph.constant(0.0)], np.bool_, decision.width)
    first = graph.node("Not", [below], np.bool_, decision.width)
    size = scaled(context, "Mul", scaled(context, "Add", apply(context, "Abs", total), 1.0), 3.0)
    return graph.arithmetic("Add", _votes(context, first, count), graph.arithmetic("Div", total, size, total), total)


@converter(f"{_SVM}.SVC", f"{_SVM}.NuSVC")
def support_vector_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The class with most votes and the decision values in the shape asked for."""
    graph, values = context.graph, labels.class_values(context, model, model.classes_)
    count = len(values)
    decision = _pair_values(context, model, matrix)
    wins = graph.node("Greater", [decision, graph.constant(0.0)], np.bool_, decision.width)
    if count == 2:
        second = graph.node("Not", [wins], np.bool_, 1)
        score = Output(apply(context, "Neg", decision), "float64")
        label = labels.label_of_test(context, values, second)
    elif model.decision_function_shape == "ovr":
        scores = _one_for_each(context, decision, count)
        score = Output(scores, "float64", labels.class_names(values))
        label = labels.label_of_largest(context, values, scores if model.break_ties else _votes(context, wins, count))
    else:
        names = [f"{values[i]}:{values[j]}" for i, j in combinations(range(count), 2)]
        score = Output(decision, "float64", names)
        label = labels.label_of_largest(context, values, _votes(context, wins, count))
    outputs = {"label": label, "score": score}
    if model.probability is True and np.size(model._probA):
        probability = coupled(context, model, decision)
        outputs["probability"] = Output(probability, "float64", labels.class_names(values))
    return outputs
