"""Many classes or many answers out of simple estimators: one against the rest, one against one, codes, chains."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import row_sum
from ..registry import Context, Output, converter
from .compose import stack
from .scale import cells
from .submodels import (
    answers,
    binary_response,
    binary_threshold,
    column,
    has,
    response,
    several_labels,
    several_probabilities,
    shares,
    side_by_side,
    total,
)

_CLASS, _OUTPUT = "sklearn.multiclass", "sklearn.multioutput"
_INDEX = np.dtype(np.int64)
_DOUBLE = np.dtype(np.float64)
_Inner = list[tuple[Any, dict[str, Output]]]


def _inner(context: Context, model: Any, matrix: Matrix) -> _Inner:
    return [
        (estimator, answers(context, f"estimators_[{number}]", estimator, matrix))
        for number, estimator in enumerate(model.estimators_)
    ]


@converter(f"{_CLASS}.OneVsRestClassifier")
def one_vs_rest(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The surest of the classes' own estimators; with several labels a row, every one that is sure enough."""
    inner = _inner(context, model, matrix)
    values = labels.class_values(context, model, model.classes_)
    names = labels.class_names(np.asarray(model.classes_))
    sure = side_by_side(context, [binary_response(context, estimator, made) for estimator, made in inner])
    kind, graph = model.label_binarizer_.y_type_, context.graph
    if kind == "multiclass":
        result = {"label": labels.label_of_largest(context, values, sure)}
    else:
        limit = graph.constant(binary_threshold(model.estimators_[0]), sure.dtype)
        above = graph.node("Greater", [sure, limit], np.bool_, sure.width)
        if model.multilabel_:
            result = {"label": Output(graph.cast(above, _INDEX), "int64", names)}
        else:
            result = {"label": labels.label_of_test(context, values, above)}
    if has(model, "predict_proba"):
        chances = [response(context, one, made, ("predict_proba",))[0] for one, made in inner]
        result["probability"] = _rest_probability(context, model, chances, names)
    if has(model, "decision_function"):
        scores = [response(context, one, made, ("decision_function",))[0] for one, made in inner]
        score = side_by_side(context, scores)
        result["score"] = Output(score, score.dtype.name, names if score.width > 1 else None)
    return result


def _rest_probability(context: Context, model: Any, chances: list[Tensor], names: list[str]) -> Output:
    second = side_by_side(context, [context.graph.gather(tensor, [1]) for tensor in chances])
    if second.width == 1:
        second = labels.both_probabilities(context, second)
    if not model.multilabel_:
        # A row of zeros stays one.
        second = shares(context, second, 0.0)
    return Output(second, second.dtype.name, names)


@converter(f"{_CLASS}.OneVsOneClassifier")
def one_vs_one(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The class that wins most of its pairs; how sure the winners were settles a draw."""
    if model.pairwise_indices_ is not None:
        raise context.refuse(model, "its estimators take kernels instead of columns")
    graph, inner = context.graph, _inner(context, model, matrix)
    values = labels.class_values(context, model, model.classes_)
    count = len(values)
    sure, votes = [], []
    for (first, second), (estimator, made) in zip(combinations(range(count), 2), inner, strict=True):
        one = graph.cast(binary_response(context, estimator, made), _DOUBLE)
        for_second = np.eye(count)[second] - np.eye(count)[first]
        sign = graph.constant(for_second[None, :])
        sure.append(graph.node("Mul", [one, sign], _DOUBLE, count))
        label = graph.cast(column(context, made["label"].tensor), _DOUBLE)
        won = graph.node("Equal", [label, graph.constant(1.0)], np.bool_, 1)
        hers, his = graph.constant(np.eye(count)[second][None, :]), graph.constant(np.eye(count)[first][None, :])
        votes.append(graph.node("Where", [won, hers, his], _DOUBLE, count))
    scores = graph.arithmetic("Add", total(context, votes), _between_thirds(context, total(context, sure)), sure[0])
    if count == 2:
        second_score = graph.gather(scores, [1])
        limit = graph.constant(binary_threshold(model.estimators_[0]))
        above = graph.node("Greater", [second_score, limit], np.bool_, 1)
        return {
            "label": labels.label_of_test(context, values, above),
            "score": Output(second_score, "float64"),
        }
    return {
        "label": labels.label_of_largest(context, values, scores),
        "score": Output(scores, "float64", labels.class_names(np.asarray(model.classes_))),
    }


def _between_thirds(context: Context, sums: Tensor) -> Tensor:
    """`x / (3 (|x| + 1))`: keeps the order, and never outweighs a vote."""
    graph = context.graph
    size = graph.node("Abs", [sums], _DOUBLE, sums.width)
    size = graph.arithmetic("Add", size, graph.constant(1.0), size)
    size = graph.arithmetic("Mul", size, graph.constant(3.0), size)
    return graph.arithmetic("Div", sums, size, sums)


@converter(f"{_CLASS}.OutputCodeClassifier")
def output_code(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The class whose code is nearest to what the estimators say; the first of equals."""
    graph = context.graph
    values = labels.class_values(context, model, model.classes_)
    inner = _inner(context, model, matrix)
    sure = side_by_side(context, [binary_response(context, one, made) for one, made in inner], _DOUBLE)
    book = np.asarray(model.code_book_, np.float64)
    count = len(book)
    own = row_sum(context, graph.arithmetic("Mul", sure, sure, sure))
    product = graph.constant(np.ascontiguousarray(-2.0 * book.T))
    across = graph.node("MatMul", [sure, product], _DOUBLE, count)
    # The row's own square changes no order until rounding does: then it makes equals, and the first of them is taken.
    apart = graph.arithmetic("Add", own, across, across)
    apart = graph.arithmetic("Add", apart, graph.constant((book * book).sum(axis=1)), apart)
    apart = graph.arithmetic("Max", apart, graph.constant(0.0), apart)
    unknown = graph.node("IsNaN", [apart], np.bool_, count)
    apart = graph.node("Where", [unknown, graph.constant(np.inf), apart], _DOUBLE, count)
    nearest = graph.node("ArgMin", [apart], _INDEX, 0, attributes={"axis": 1, "keepdims": 0})
    return {"label": labels.label_of_index(context, values, nearest)}


@converter(f"{_OUTPUT}.MultiOutputRegressor")
def multi_output_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One estimator a target."""
    tensor = side_by_side(context, [made["prediction"].tensor for _, made in _inner(context, model, matrix)])
    return {"prediction": Output(tensor, tensor.dtype.name, [str(number) for number in range(tensor.width)])}


@converter(f"{_OUTPUT}.MultiOutputClassifier")
def multi_output_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One estimator an answer."""
    inner = _inner(context, model, matrix)
    result = {"label": several_labels(context, model, [made["label"] for _, made in inner])}
    if has(model, "predict_proba"):
        chances = [response(context, one, made, ("predict_proba",))[0] for one, made in inner]
        result["probability"] = several_probabilities(context, model.classes_, chances)
    return result


@converter(f"{_OUTPUT}.RegressorChain")
def regressor_chain(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Each estimator sees the predictions of those before it."""
    return {"prediction": _chain(context, model, matrix, {"prediction": "predict"})["prediction"]}


@converter(f"{_OUTPUT}.ClassifierChain")
def classifier_chain(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Each estimator sees what those before it said; labels are numbers here."""
    wanted = {"label": "predict", "probability": "predict_proba", "score": "decision_function"}
    return _chain(context, model, matrix, {name: how for name, how in wanted.items() if has(model, how)})


def _chain(context: Context, model: Any, matrix: Matrix, wanted: dict[str, str]) -> dict[str, Output]:
    """Every wanted answer of every link, in the order of the targets."""
    graph, method = context.graph, getattr(model, "chain_method_", "predict")
    before: list[Tensor] = []
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for number, estimator in enumerate(model.estimators_):
        widened = matrix
        if before:
            said = graph.concat(before)
            widened = stack([matrix, Matrix(cells(said), _DOUBLE)], matrix.sparse)
        made = answers(context, f"estimators_[{number}]", estimator, widened)
        before.append(_link(context, estimator, made, method))
        for name, how in wanted.items():
            found[name].append(_link(context, estimator, made, how))
    order = np.argsort(np.asarray(model.order_))
    names = [str(number) for number in range(len(order))]
    return {name: Output(graph.concat([parts[p] for p in order]), "float64", names) for name, parts in found.items()}


def _link(context: Context, estimator: Any, made: dict[str, Output], method: str) -> Tensor:
    """One link's answer as one number a row."""
    tensor, used = response(context, estimator, made, [method] if isinstance(method, str) else method)
    if used == "predict_proba" and tensor.width == 2:
        tensor = context.graph.gather(tensor, [1])
    if tensor.width != 1 or tensor.dtype.kind not in "iufb":
        raise context.refuse(estimator, "a link of a chain with other answers than yes and no, or numbers")
    return context.graph.cast(tensor, _DOUBLE)
