"""LightGBM: raw scores in float64 from its own text, then what its objective makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import labels
from ..columns import Cell, Matrix
from ..graph import Tensor
from ..registry import Context, Output, converter
from ..trees import tree_sums
from .categories import with_codes
from .linear import linear_sums
from .text import ZERO, BoosterText, read_booster

_DOUBLE = np.dtype(np.float64)
_IDENTITY = frozenset(
    (
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "quantile",
        "mape",
        "lambdarank",
        "rank_xendcg",
        "custom",
        "none",
    )
)


def _to_float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def raw_scores(context: Context, booster: Any, matrix: Matrix) -> tuple[Tensor, BoosterText]:
    """The booster's raw scores, `[rows, outputs]`, and its text.

    Args:
        context: the step being compiled.
        booster: a `lightgbm.Booster`; its best iteration counts, as in its own `predict`.
        matrix: its features.
    """
    text = read_booster(booster.model_to_string())
    if text.features != matrix.width:
        raise context.refuse(booster, f"it was trained on {text.features} features and is given {matrix.width}")
    # Arrays of integers are made float32 by LightGBM, tables are not.
    rounding = _to_float32 if matrix.dtype is not None and matrix.dtype.kind != "f" else None
    matrix = with_codes(context, booster, matrix, text)
    compared = _zeros_missing(context, matrix, text.zero_missing) if text.zero_missing else matrix
    if text.linear:
        scores = linear_sums(context, matrix, compared, text, rounding)
    else:
        scores = tree_sums(context, compared, text.trees, text.outputs, rounding=rounding)
    if text.average:
        count = context.graph.constant(float(len(text.trees) // text.outputs))
        scores = context.graph.arithmetic("Div", scores, count, scores)
    return scores, text


def _zeros_missing(context: Context, matrix: Matrix, which: frozenset[int]) -> Matrix:
    """NaN in place of every zero of the features where zero means missing."""
    graph = context.graph
    numbers = sorted(which)
    dense = context.reader.dense(matrix.select(numbers), _DOUBLE)
    width = dense.tensor.width
    size = graph.node("Abs", [dense.tensor], _DOUBLE, width)
    zero = graph.node("LessOrEqual", [size, graph.constant(ZERO)], np.bool_, width)
    tensor = graph.node("Where", [zero, graph.constant(np.nan), dense.tensor], _DOUBLE, width)
    features = list(matrix.features)
    for number, position in zip(numbers, dense.positions, strict=True):
        features[number] = replace(features[number], source=Cell(tensor, position), nullable=True, origin=None)
    return replace(matrix, features=tuple(features))


def _parameter(objective: list[str], name: str, default: float) -> float:
    for word in objective[1:]:
        key, _, value = word.partition(":")
        if key == name:
            return float(value)
    return default


def predictions(context: Context, booster: Any, matrix: Matrix) -> tuple[Tensor, Tensor, str]:
    """Raw scores, what `Booster.predict` answers, and the objective's name."""
    raw, text = raw_scores(context, booster, matrix)
    name = text.objective[0] if text.objective else "none"
    link = _LINKS.get(name)
    if name in _IDENTITY:
        link = _squared if "sqrt" in text.objective else _same
    if link is None:
        raise context.refuse(booster, f"its objective `{name}` is not known")
    return raw, link(context, raw, text.objective), name


def _same(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    return raw


def _squared(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    size = context.graph.node("Abs", [raw], _DOUBLE, raw.width)
    return context.graph.arithmetic("Mul", raw, size, raw)


def _exponential(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    return context.graph.node("Exp", [raw], _DOUBLE, raw.width)


def _sigmoid(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    steepness = _parameter(objective, "sigmoid", 1.0)
    if steepness != 1.0:
        raw = context.graph.arithmetic("Mul", raw, context.graph.constant(steepness), raw)
    return labels.sigmoid(context, raw)


def _softmax(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    return labels.softmax(context, raw)


def _log_of_one_more(context: Context, raw: Tensor, objective: list[str]) -> Tensor:
    graph = context.graph
    power = graph.node("Exp", [raw], _DOUBLE, raw.width)
    return graph.node("Log", [graph.arithmetic("Add", power, graph.constant(1.0), raw)], _DOUBLE, raw.width)


_LINKS: dict[str, Callable[[Context, Tensor, list[str]], Tensor]] = {
    "binary": _sigmoid,
    "multiclassova": _sigmoid,
    "cross_entropy": _sigmoid,
    "multiclass": _softmax,
    "poisson": _exponential,
    "gamma": _exponential,
    "tweedie": _exponential,
    "cross_entropy_lambda": _log_of_one_more,
}


def _check_parameters(context: Context, model: Any) -> None:
    """Refuses parameters that change answers; estimators hand theirs on to every prediction."""
    if model.get_params().get("pred_early_stop"):
        raise context.refuse(model, "pred_early_stop answers before all trees were asked")


@converter("lightgbm.sklearn.LGBMClassifier")
def lightgbm_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label, probability, and the raw score."""
    if callable(model.objective_):
        raise context.refuse(model, "a Python objective leaves it without probabilities")
    _check_parameters(context, model)
    values = labels.class_values(context, model, model.classes_)
    names = [str(value) for value in model.classes_]
    raw, answer, _ = predictions(context, model.booster_, matrix)
    probability = labels.both_probabilities(context, answer) if answer.width == 1 else answer
    return {
        "label": labels.label_of_largest(context, values, probability),
        "probability": Output(probability, "float64", names),
        "score": Output(raw, "float64", names if raw.width > 1 else None),
    }


@converter("lightgbm.sklearn.LGBMRegressor", "lightgbm.sklearn.LGBMRanker", "lightgbm.sklearn.LGBMModel")
def lightgbm_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """What the booster predicts."""
    _check_parameters(context, model)
    _, answer, _ = predictions(context, model.booster_, matrix)
    return {"prediction": Output(answer, "float64")}


@converter("lightgbm.basic.Booster")
def booster(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """What the booster predicts; several numbers a row for several classes."""
    raw, answer, _ = predictions(context, model, matrix)
    names = None if answer.width == 1 else [str(number) for number in range(answer.width)]
    return {"prediction": Output(answer, "float64", names), "score": Output(raw, "float64", names)}
