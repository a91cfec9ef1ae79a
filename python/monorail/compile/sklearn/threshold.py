"""Classifiers with a decision threshold of their own: the label follows it, the probabilities stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..registry import Context, Output, converter
from .submodels import answers, response

_MODULE = "sklearn.model_selection._classification_threshold"


@converter(f"{_MODULE}.FixedThresholdClassifier")
def fixed_threshold(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The threshold given; "auto" is that of the method."""
    return _thresholded(context, model, matrix, model.threshold, model.pos_label)


@converter(f"{_MODULE}.TunedThresholdClassifierCV")
def tuned_threshold(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The threshold found."""
    return _thresholded(context, model, matrix, float(model.best_threshold_), model._curve_scorer._get_pos_label())


def _thresholded(context: Context, model: Any, matrix: Matrix, threshold: Any, positive: Any) -> dict[str, Output]:
    inner = getattr(model, "estimator_", model.estimator)
    made = answers(context, "estimator_", inner, matrix)
    values = labels.class_values(context, model, model.classes_)
    if len(values) != 2:
        raise context.refuse(model, "it decides between two classes only")
    asked = model.response_method
    methods = ("predict_proba", "decision_function") if asked == "auto" else (asked,)
    scores, method = response(context, inner, made, methods)
    place = 1 if positive is None else int(np.flatnonzero(np.asarray(model.classes_) == positive)[0])
    graph = context.graph
    if method == "predict_proba":
        scores = graph.gather(scores, [place])
    elif place == 0:
        scores = graph.node("Neg", [scores], scores.dtype, 1)
    if threshold == "auto":
        threshold = 0.5 if method == "predict_proba" else 0.0
    above = graph.node("GreaterOrEqual", [scores, graph.constant(threshold, scores.dtype)], np.bool_, 1)
    second = above if place == 1 else graph.node("Not", [above], np.bool_, 1)
    return made | {"label": labels.label_of_test(context, values, second)}
