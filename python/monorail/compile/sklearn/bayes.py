"""Naive Bayes: joint log-likelihoods of the classes, the largest one's label, and shares of their exponentials."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels, pairwise, reductions
from ..columns import Feature, Matrix
from ..graph import Tensor
from ..pairwise import scaled
from ..registry import Context, Output, converter

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)
_BAYES = "sklearn.naive_bayes"


def likelihood_outputs(context: Context, model: Any, joint: Tensor) -> dict[str, Output]:
    """Label and probability from one joint log-likelihood a class."""
    values = labels.class_values(context, model, model.classes_)
    probability = context.graph.cast(reductions.shares_of_logs(context, joint), _DOUBLE)
    return {
        "label": labels.label_of_largest(context, values, joint),
        "probability": Output(probability, "float64", labels.class_names(values)),
    }


@converter(f"{_BAYES}.GaussianNB")
def gaussian(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Sums of squared deviations over variances, in the original's order."""
    kept = np.result_type(matrix.floating(), model.theta_.dtype)
    x = context.reader.ordered(matrix, kept)
    parts = []
    for mean, variance, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
        apart = scaled(context, "Sub", x, mean)
        squared = context.graph.arithmetic("Mul", apart, apart, apart)
        total = reductions.numpy_sum(context, scaled(context, "Div", squared, variance))
        constant = -0.5 * np.sum(np.log(2.0 * np.pi * variance))
        half = scaled(context, "Mul", total, 0.5)
        density = context.graph.arithmetic("Sub", context.graph.constant(np.asarray([constant], kept)), half, half)
        with np.errstate(divide="ignore"):
            parts.append(scaled(context, "Add", density, float(np.log(prior))))
    return likelihood_outputs(context, model, context.graph.concat(parts))


@converter(f"{_BAYES}.MultinomialNB", f"{_BAYES}.ComplementNB")
def counted(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One product; the complement's weights already hold all that matters but for a lone class."""
    x = context.reader.ordered(matrix, _DOUBLE)
    joint = pairwise.products(context, x, np.asarray(model.feature_log_prob_, _DOUBLE))
    if type(model).__name__ == "MultinomialNB" or len(model.classes_) == 1:
        joint = scaled(context, "Add", joint, model.class_log_prior_)
    return likelihood_outputs(context, model, joint)


@converter(f"{_BAYES}.BernoulliNB")
def bernoulli(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """As counted, over features that are 1 above a threshold, else 0."""
    kept = matrix.floating()
    x = context.reader.ordered(matrix, kept)
    if model.binarize is not None:
        threshold = context.graph.constant(model.binarize, kept)
        x = context.graph.node("Greater", [x, threshold], np.bool_, x.width)
        for feature in matrix.features:
            _note_threshold(context, feature, float(model.binarize))
    x = context.graph.cast(x, _DOUBLE)
    logs = np.asarray(model.feature_log_prob_, _DOUBLE)
    absent = np.log(1 - np.exp(logs))
    joint = pairwise.products(context, x, logs - absent)
    joint = scaled(context, "Add", joint, model.class_log_prior_ + absent.sum(axis=1))
    return likelihood_outputs(context, model, joint)


def _note_threshold(context: Context, feature: Feature, threshold: float) -> None:
    """Has the hard rows meet a threshold where the feature is a raw column."""
    origin = feature.origin
    if origin is not None and float(origin.forward(np.asarray([threshold], origin.column.dtype))[0]) == threshold:
        context.split(origin.column.name, origin.element, np.asarray([threshold]))


@converter(f"{_BAYES}.CategoricalNB")
def categorical(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One row of a table for each category, added feature by feature; the original refuses what it has not seen."""
    graph = context.graph
    x = graph.cast(context.reader.ordered(matrix, _DOUBLE), _INDEX)
    last = np.asarray([table.shape[1] - 1 for table in model.feature_log_prob_], _INDEX)
    low = graph.node("Max", [x, graph.constant(np.zeros(1, _INDEX))], _INDEX, x.width)
    codes = graph.node("Min", [low, graph.constant(last)], _INDEX, x.width)
    flat = graph.constant([-1], _INDEX)
    joint: Tensor | None = None
    for number, table in enumerate(model.feature_log_prob_):
        column = graph.node("Reshape", [graph.gather(codes, [number]), flat], _INDEX, 0)
        rows = graph.constant(np.ascontiguousarray(np.asarray(table, _DOUBLE).T))
        part = graph.node("Gather", [rows, column], _DOUBLE, table.shape[0], attributes={"axis": 0})
        joint = part if joint is None else graph.arithmetic("Add", joint, part, part)
    if joint is None:
        raise context.refuse(model, "it has no features")
    return likelihood_outputs(context, model, scaled(context, "Add", joint, model.class_log_prior_))
