"""The outputs of classifiers and regressors: labels of the classes' own type, and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import TEXT, Tensor
from .registry import Context, Output

_INDEX = np.dtype(np.int64)


def class_values(context: Context, model: object, classes: Any) -> np.ndarray:
    """The classes as an array of a type an output can have.

    Raises:
        RefusalError: they are of another kind.
    """
    values = np.asarray(classes)
    if values.dtype.kind in "US":
        return values.astype(TEXT)
    if values.dtype.kind == "O":
        if all(isinstance(value, str) for value in values):
            return values
        if all(isinstance(value, bool | np.bool_) for value in values):
            return values.astype(np.bool_)
        raise context.refuse(model, "its classes are Python objects other than text")
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    return values if values.dtype == np.dtype(np.int32) else values.astype(np.int64)


def class_names(values: np.ndarray) -> list[str]:
    """The classes as text, in order."""
    return [str(value) for value in values]


def type_name(values: np.ndarray) -> str:
    """The signature's word for the type of these labels."""
    return "string" if values.dtype == TEXT else values.dtype.name


def label_of_index(context: Context, values: np.ndarray, index: Tensor) -> Output:
    """The label at a position among the classes (`index` is `[rows]`, int64)."""
    graph = context.graph
    if values.dtype == _INDEX and np.array_equal(values, np.arange(len(values))):
        return Output(index, "int64")
    chosen = graph.node("Gather", [graph.constant(values), index], values.dtype, 0, attributes={"axis": 0})
    return Output(chosen, type_name(values))


def label_of_test(context: Context, values: np.ndarray, second: Tensor) -> Output:
    """The second of two labels where a bool tensor is true, else the first."""
    graph = context.graph
    if values.dtype == np.dtype(np.bool_) and values.tolist() == [False, True]:
        return Output(second, "bool")
    if values.dtype.kind in "if" and values.tolist() == [0, 1]:
        return Output(graph.cast(second, values.dtype), type_name(values))
    first, other = graph.constant(values[:1]), graph.constant(values[1:])
    return Output(graph.node("Where", [second, other, first], values.dtype, second.width), type_name(values))


def label_of_largest(context: Context, values: np.ndarray, scores: Tensor) -> Output:
    """The label whose column is largest, the first of equals."""
    attributes = {"axis": 1, "keepdims": 0}
    index = context.graph.node("ArgMax", [scores], _INDEX, 0, attributes=attributes)
    return label_of_index(context, values, index)


def positive(context: Context, scores: Tensor) -> Tensor:
    """Whether a `[rows, 1]` score is above zero."""
    zero = context.graph.constant(np.zeros(1, scores.dtype))
    return context.graph.node("Greater", [scores, zero], np.bool_, scores.width)


def both_probabilities(context: Context, second: Tensor) -> Tensor:
    """`[1 - p, p]` from `[rows, 1]`."""
    one = context.graph.constant(np.ones(1, second.dtype))
    first = context.graph.arithmetic("Sub", one, second, second)
    return context.graph.concat([first, second])


def sigmoid(context: Context, scores: Tensor) -> Tensor:
    """The logistic function, in the scores' own precision."""
    return context.graph.node("Sigmoid", [scores], scores.dtype, scores.width)


def softmax(context: Context, scores: Tensor) -> Tensor:
    """Softmax over the columns, in the scores' own precision."""
    return context.graph.node("Softmax", [scores], scores.dtype, scores.width, attributes={"axis": 1})
