"""Voting and stacking: the answers of several estimators averaged, counted, or handed to a last one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from .compose import stack
from .scale import cells
from .submodels import (
    answers,
    average,
    column,
    encoded_label,
    flat,
    relabelled,
    response,
    several_labels,
    side_by_side,
    total,
)

_VOTING, _STACKING = "sklearn.ensemble._voting", "sklearn.ensemble._stacking"
_INDEX = np.dtype(np.int64)
_DOUBLE = np.dtype(np.float64)


def _inner(context: Context, model: Any, matrix: Matrix) -> list[tuple[Any, dict[str, Output]]]:
    """Every inner estimator that was not dropped, with its outputs."""
    names = [name for name, estimator in model.estimators if not _dropped(estimator)]
    return [
        (estimator, answers(context, name, estimator, matrix))
        for name, estimator in zip(names, model.estimators_, strict=True)
    ]


def _dropped(estimator: Any) -> bool:
    return isinstance(estimator, str) and estimator == "drop"


def _weights(context: Context, model: Any) -> Any:
    weights = model._weights_not_none
    if weights is not None and np.min(weights) < 0:
        raise context.refuse(model, "it has a negative weight")
    return weights


@converter(f"{_VOTING}.VotingRegressor")
def voting_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The weighted mean of the predictions, which are its features."""
    parts = [column(context, made["prediction"].tensor) for _, made in _inner(context, model, matrix)]
    mean = average(context, parts, model._weights_not_none)
    features = side_by_side(context, parts)
    return {"prediction": Output(mean, mean.dtype.name), "features": Matrix(cells(features), features.dtype)}


@converter(f"{_VOTING}.VotingClassifier")
def voting_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """Soft: the weighted mean of the probabilities. Hard: the class with most votes."""
    values = labels.class_values(context, model, model.classes_)
    inner = _inner(context, model, matrix)
    if model.voting == "soft":
        return _soft(context, model, values, inner)
    votes = [context.graph.cast(column(context, made["label"].tensor), _INDEX) for _, made in inner]
    features = side_by_side(context, votes)
    counted = _counted(context, votes, len(values), _weights(context, model))
    return {
        "label": labels.label_of_largest(context, values, counted),
        "features": Matrix(cells(features), _INDEX),
    }


def _soft(
    context: Context, model: Any, values: np.ndarray, inner: list[tuple[Any, dict[str, Output]]]
) -> dict[str, Any]:
    parts = [response(context, estimator, made, ("predict_proba",))[0] for estimator, made in inner]
    mean = average(context, parts, model._weights_not_none)
    result: dict[str, Any] = {
        "label": labels.label_of_largest(context, values, mean),
        "probability": Output(mean, mean.dtype.name, labels.class_names(np.asarray(model.classes_))),
    }
    if model.flatten_transform:
        features = side_by_side(context, parts)
        result["features"] = Matrix(cells(features), features.dtype)
    return result


def _counted(context: Context, votes: list[Tensor], classes: int, weights: Any) -> Tensor:
    """For each class the weight of those who voted for it, added in their order."""
    graph = context.graph
    numbers = graph.constant(np.arange(classes)[None, :], _INDEX)
    parts = []
    for number, vote in enumerate(votes):
        weight = 1.0 if weights is None else float(weights[number])
        chosen = graph.node("Equal", [vote, numbers], np.bool_, classes)
        one, none = graph.constant(weight, _DOUBLE), graph.constant(0.0, _DOUBLE)
        parts.append(graph.node("Where", [chosen, one, none], _DOUBLE, classes))
    return total(context, parts)


def _stacked(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """What the last estimator is given: the answers of the others, and the original features where it asks."""
    graph = context.graph
    tensors = []
    inner = _inner(context, model, matrix)
    for (estimator, made), method in zip(inner, model.stack_method_, strict=True):
        tensor, _ = response(context, estimator, made, (method,))
        classes = getattr(estimator, "classes_", None)
        if method == "predict_proba" and isinstance(classes, list) and tensor.width == sum(map(len, classes)):
            # One array of probabilities an answer: of each, all classes but the first.
            starts = np.cumsum([0, *(len(group) for group in classes[:-1])])
            tensor = graph.gather(tensor, [place for place in range(tensor.width) if place not in starts])
        elif method == "predict_proba" and tensor.width > 1 and len(model.classes_) == 2:
            tensor = graph.gather(tensor, list(range(1, tensor.width)))
        tensors.append(tensor)
    features = side_by_side(context, tensors)
    made_of = Matrix(cells(features), features.dtype)
    return stack([made_of, matrix], matrix.sparse) if model.passthrough else made_of


@converter(f"{_STACKING}.StackingRegressor")
def stacking_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The last estimator's prediction."""
    features = _stacked(context, model, matrix)
    made = answers(context, "final_estimator_", model.final_estimator_, features)
    return {**made, "features": features}


@converter(f"{_STACKING}.StackingClassifier")
def stacking_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Any]:
    """The last estimator's answers; its labels are numbers of the classes."""
    features = _stacked(context, model, matrix)
    made = answers(context, "final_estimator_", model.final_estimator_, features)
    if isinstance(model._label_encoder, list):
        return {**_several(context, model, made), "features": features}
    values = labels.class_values(context, model, model.classes_)
    made = relabelled(made, labels.class_names(np.asarray(model.classes_)))
    return {**made, "label": encoded_label(context, values, made["label"].tensor), "features": features}


def _several(context: Context, model: Any, made: dict[str, Output]) -> dict[str, Output]:
    """Several labels a row; as a probability the original gives that of each answer's first class."""
    graph, numbers = context.graph, made["label"].tensor
    columns = []
    for place, classes in enumerate(model.classes_):
        values = labels.class_values(context, model, classes)
        columns.append(encoded_label(context, values, flat(context, graph.gather(numbers, [place]))))
    result = {"label": several_labels(context, model, columns)}
    inner = getattr(model.final_estimator_, "classes_", None)
    if "probability" in made and isinstance(inner, list):
        chances = made["probability"].tensor
        if chances.width == sum(map(len, inner)):
            firsts = graph.gather(chances, np.cumsum([0, *(len(group) for group in inner[:-1])]).tolist())
            names = [str(number) for number in range(firsts.width)]
            result["probability"] = Output(firsts, firsts.dtype.name, names)
    return result
