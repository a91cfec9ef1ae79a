"""Models that answer the same for every row, whatever it holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..registry import Context, Output, converter
from ..rows import constant_rows
from .submodels import several_labels, several_probabilities


@converter("sklearn.dummy.DummyRegressor")
def dummy_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The constant it was fitted to; its deviation is zero."""
    values = np.asarray(model.constant_).ravel()
    values = values.astype(np.int64) if values.dtype.kind in "iu" else values
    names = None if len(values) == 1 else [str(number) for number in range(len(values))]
    return {
        "prediction": Output(constant_rows(context, matrix, values), values.dtype.name, names),
        "deviation": Output(constant_rows(context, matrix, np.zeros(len(values))), "float64", names),
    }


@converter("sklearn.dummy.DummyClassifier")
def dummy_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One label and its probabilities; random answers have no compiled form."""
    strategy = model._strategy
    if strategy in ("stratified", "uniform"):
        raise context.refuse(model, f"its answers are random (strategy {strategy!r})")
    several = model.n_outputs_ > 1
    groups = model.classes_ if several else [model.classes_]
    priors = model.class_prior_ if several else [model.class_prior_]
    constants = np.atleast_1d(np.asarray(model.constant, dtype=object).squeeze()) if strategy == "constant" else []
    answers, chances = [], []
    for number, (classes, prior) in enumerate(zip(groups, priors, strict=True)):
        values = labels.class_values(context, model, classes)
        place = int(np.argmax(prior))
        if strategy == "constant":
            place = int(np.flatnonzero(np.asarray(classes) == constants[number])[0])
        chosen = constant_rows(context, matrix, values[place : place + 1], flat=True)
        answers.append(Output(chosen, labels.type_name(values)))
        row = np.asarray(prior, np.float64) if strategy == "prior" else np.eye(len(values))[place]
        chances.append(constant_rows(context, matrix, row))
    if several:
        probability = several_probabilities(context, groups, chances)
        return {"label": several_labels(context, model, answers), "probability": probability}
    names = labels.class_names(np.asarray(groups[0]))
    return {"label": answers[0], "probability": Output(chances[0], "float64", names)}


@converter("sklearn.multiclass._ConstantPredictor")
def constant_predictor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """What stands in for a classifier that saw one class only: its number, 0 or 1."""
    value = np.asarray(model.y_).ravel()[:1]
    number = value.astype(np.float64)
    return {
        "label": Output(constant_rows(context, matrix, value.astype(np.int64), flat=True), "int64"),
        "score": Output(constant_rows(context, matrix, number), "float64"),
        "probability": Output(constant_rows(context, matrix, np.hstack([1 - number, number])), "float64", ["0", "1"]),
    }
