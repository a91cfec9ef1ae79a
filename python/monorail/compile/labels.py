"""The outputs of classifiers and regressors: labels of the classes' own type, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .graph import TEXT, Tensor
from .reductions import largest, numpy_sum
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
    """The logistic function, in the scores' own precision; the runtime's own loses the tail below -30."""
    graph = context.graph
    one = graph.constant(1, scores.dtype)
    fading = graph.node("Exp", [graph.node("Neg", [scores], scores.dtype, scores.width)], scores.dtype, scores.width)
    return graph.arithmetic("Div", one, graph.arithmetic("Add", fading, one, scores), scores)


def softmax(context: Context, scores: Tensor) -> Tensor:
    """Softmax over the columns, in the scores' own precision."""
    return context.graph.node("Softmax", [scores], scores.dtype, scores.width, attributes={"axis": 1})


def outlier_outputs(
    context: Context, score: Tensor, *, strict: bool = False, dtype: type = np.int64
) -> dict[str, Output]:
    """Label 1 for scores of 0 and more (`strict`: above 0), else -1, and the score."""
    operator = "Greater" if strict else "GreaterOrEqual"
    inside = context.graph.node(operator, [score, context.graph.constant(0.0)], np.bool_, 1)
    label = label_of_test(context, np.asarray([-1, 1], dtype), inside)
    return {"label": label, "score": Output(score, "float64")}


def discriminant_outputs(context: Context, values: np.ndarray, scores: Tensor) -> dict[str, Output]:
    """Probability and decision score from one log-likelihood a class, as discriminant classifiers make them."""
    graph, names = context.graph, class_names(values)
    logs = graph.arithmetic("Sub", scores, largest(context, scores), scores)
    shares = graph.node("Exp", [logs], scores.dtype, scores.width)
    total = graph.node("Log", [numpy_sum(context, shares)], scores.dtype, 1)
    probability = graph.node("Exp", [graph.arithmetic("Sub", logs, total, logs)], scores.dtype, scores.width)
    score = Output(scores, "float64", names)
    if len(values) == 2:
        first, second = graph.gather(scores, [0]), graph.gather(scores, [1])
        score = Output(graph.arithmetic("Sub", second, first, first), "float64")
    return {"probability": Output(probability, "float64", names), "score": score}


def side_by_side(context: Context, model: object, outputs: Sequence[Output]) -> Output:
    """Labels of several outputs as one list a row.

    Raises:
        RefusalError: they are of several types.
    """
    graph = context.graph
    if len({output.type for output in outputs}) > 1:
        raise context.refuse(model, "its labels are of several types")
    columns = [
        output.tensor
        if output.tensor.width
        else graph.node("Unsqueeze", [output.tensor, graph.constant([1], _INDEX)], output.tensor.dtype, 1)
        for output in outputs
    ]
    return Output(graph.concat(columns), outputs[0].type, [str(place) for place in range(len(outputs))])
