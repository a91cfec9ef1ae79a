"""Estimators inside estimators: their answers, and which of them the outer one reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, convert

_INDEX = np.dtype(np.int64)
_DOUBLE = np.dtype(np.float64)
_ANSWER = {"predict_proba": "probability", "decision_function": "score", "predict": ""}


def answers(context: Context, name: str, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The outputs of an inner predictor.

    Raises:
        RefusalError: it does not compile, or it is no predictor.
    """
    made = convert(context.at(name), model, matrix)
    if not isinstance(made, dict):
        raise context.at(name).refuse(model, "a transformer in the place of a predictor")
    return {key: output for key, output in made.items() if isinstance(output, Output)}


def is_kind(model: Any, kind: str) -> bool:
    """Whether an estimator says that it is a "classifier" or a "regressor"."""
    return getattr(model.__sklearn_tags__(), "estimator_type", None) == kind


def has(model: Any, method: str) -> bool:
    """Whether the original has a method; some say only when asked for it."""
    return hasattr(model, method)


def response(context: Context, model: Any, made: dict[str, Output], methods: Sequence[str]) -> tuple[Tensor, str]:
    """What an inner estimator's first method of several gives, and which that is; one value a row is `[rows, 1]`.

    Raises:
        RefusalError: the method has no compiled form.
    """
    method = next((method for method in methods if has(model, method)), None)
    if method is None:
        raise context.refuse(model, f"it has none of {', '.join(methods)}")
    name = _ANSWER[method] or ("label" if "label" in made else "prediction")
    if name not in made:
        raise context.refuse(model, f"its {method} has no compiled form")
    return column(context, made[name].tensor), method


def binary_response(context: Context, model: Any, made: dict[str, Output]) -> Tensor:
    """How sure a two-class estimator is of the second class, `[rows, 1]`: its score, else that class's probability."""
    if is_kind(model, "regressor"):
        return column(context, made["prediction"].tensor)
    tensor, method = response(context, model, made, ("decision_function", "predict_proba"))
    if method == "predict_proba":
        tensor = context.graph.gather(tensor, [1])
    return tensor


def binary_threshold(model: Any) -> float:
    """Above which of `binary_response` the second class is meant."""
    return 0.0 if has(model, "decision_function") and is_kind(model, "classifier") else 0.5


def column(context: Context, tensor: Tensor) -> Tensor:
    """The tensor as a matrix: `[rows]` becomes `[rows, 1]`."""
    if tensor.width:
        return tensor
    return context.graph.node("Unsqueeze", [tensor, context.graph.constant([1], _INDEX)], tensor.dtype, 1)


def flat(context: Context, tensor: Tensor) -> Tensor:
    """`[rows, 1]` as `[rows]`."""
    if not tensor.width:
        return tensor
    return context.graph.node("Squeeze", [tensor, context.graph.constant([1], _INDEX)], tensor.dtype, 0)


def side_by_side(context: Context, tensors: Sequence[Tensor], dtype: np.dtype | None = None) -> Tensor:
    """Columns next to each other, in the element type numpy gives them together, or in this one."""
    columns = [column(context, tensor) for tensor in tensors]
    target = dtype or np.result_type(*(tensor.dtype for tensor in columns))
    return context.graph.concat([context.graph.cast(tensor, target) for tensor in columns])


def total(context: Context, tensors: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, from the first to the last."""
    result = tensors[0]
    for tensor in tensors[1:]:
        result = context.graph.arithmetic("Add", result, tensor, result)
    return result


def average(context: Context, tensors: Sequence[Tensor], weights: Any) -> Tensor:
    """The mean of tensors of one shape, weighted where there are weights, as numpy computes it over the first axis."""
    graph = context.graph
    dtype = np.result_type(*(tensor.dtype for tensor in tensors))
    if weights is None:
        scale: Any = len(tensors)
        cast = [graph.cast(tensor, dtype) for tensor in tensors]
    else:
        factors = np.asarray(weights)
        dtype = np.result_type(dtype, factors.dtype, np.float64)
        scale = factors.reshape(-1, 1).sum(axis=0)[0]
        cast = [
            graph.arithmetic("Mul", graph.cast(tensor, dtype), graph.constant(weight, dtype), graph.cast(tensor, dtype))
            for tensor, weight in zip(tensors, factors, strict=True)
        ]
    summed = total(context, cast)
    return graph.arithmetic("Div", summed, graph.constant(scale, dtype), summed)


def shares(context: Context, values: Tensor, otherwise: float) -> Tensor:
    """Each column's share of its row's sum; `otherwise` where the sum is zero."""
    graph = context.graph
    axes = graph.constant([1], _INDEX)
    whole = graph.node("ReduceSum", [values, axes], values.dtype, 1, attributes={"keepdims": 1})
    none = graph.node("Equal", [whole, graph.constant(0.0, values.dtype)], np.bool_, 1)
    divided = graph.arithmetic("Div", values, whole, values)
    return graph.node("Where", [none, graph.constant(otherwise, values.dtype), divided], values.dtype, values.width)


def several_labels(context: Context, model: Any, columns: Sequence[Output]) -> Output:
    """Labels of several answers a row as one list.

    Raises:
        RefusalError: they are of several types.
    """
    if len({output.type for output in columns}) > 1:
        raise context.refuse(model, "its labels are of several types")
    tensor = side_by_side(context, [output.tensor for output in columns], columns[0].tensor.dtype)
    return Output(tensor, columns[0].type, [str(number) for number in range(tensor.width)])


def several_probabilities(context: Context, classes: Sequence[Any], parts: Sequence[Tensor]) -> Output:
    """The probabilities of several answers side by side, named `OUTPUT:CLASS`."""
    names = [f"{number}:{name}" for number, group in enumerate(classes) for name in group]
    tensor = side_by_side(context, parts)
    return Output(tensor, tensor.dtype.name, names)


def encoded_label(context: Context, values: np.ndarray, index: Tensor) -> Output:
    """The class whose number an inner classifier gave as its label."""
    return labels.label_of_index(context, values, context.graph.cast(flat(context, index), _INDEX))


def relabelled(outputs: dict[str, Output], names: list[str]) -> dict[str, Output]:
    """Outputs of an inner classifier whose places are the outer one's classes."""
    result = dict(outputs)
    for key in ("probability", "score"):
        if key in result and result[key].names is not None and len(result[key].names or ()) == len(names):
            result[key] = Output(result[key].tensor, result[key].type, names)
    return result
