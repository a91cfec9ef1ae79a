"""Linear models: one product in float64, then what each makes of its scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..registry import Context, Output, convert, converter

_DOUBLE = np.dtype(np.float64)
_BASE, _RIDGE, _CD = (
    "sklearn.linear_model._base",
    "sklearn.linear_model._ridge",
    "sklearn.linear_model._coordinate_descent",
)
_LARS, _SGD = "sklearn.linear_model._least_angle", "sklearn.linear_model._stochastic_gradient"


def linear_scores(context: Context, matrix: Matrix, coefficients: Any, intercept: Any) -> Tensor:
    """`[rows, k]`: `X @ coefficients.T + intercept`, computed in float64.

    Where the original computes in float32, so does the rounding of its result; its own product is less exact.
    """
    weights = np.atleast_2d(np.asarray(coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients))
    dense = context.reader.dense(matrix, _DOUBLE)
    arranged = np.zeros((dense.tensor.width, weights.shape[0]), _DOUBLE)
    for feature, position in enumerate(dense.positions):
        arranged[position] += weights[:, feature]
    bias = np.broadcast_to(np.asarray(intercept, _DOUBLE).ravel(), (weights.shape[0],))
    graph = context.graph
    result = graph.node(
        "Gemm", [dense.tensor, graph.constant(arranged), graph.constant(bias)], _DOUBLE, weights.shape[0]
    )
    kept = np.result_type(matrix.common(), weights.dtype, np.asarray(intercept).dtype)
    return graph.cast(graph.cast(result, np.float32), _DOUBLE) if kept == np.dtype(np.float32) else result


@converter(
    f"{_BASE}.LinearRegression",
    f"{_RIDGE}.Ridge",
    f"{_RIDGE}.RidgeCV",
    *(f"{_CD}.{name}" for name in ("Lasso", "LassoCV", "ElasticNet", "ElasticNetCV")),
    *(
        f"{_CD}.{name}"
        for name in ("MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV")
    ),
    *(f"{_LARS}.{name}" for name in ("Lars", "LarsCV", "LassoLars", "LassoLarsCV", "LassoLarsIC")),
    "sklearn.linear_model._bayes.BayesianRidge",
    "sklearn.linear_model._bayes.ARDRegression",
    "sklearn.linear_model._huber.HuberRegressor",
    "sklearn.linear_model._theil_sen.TheilSenRegressor",
    "sklearn.linear_model._omp.OrthogonalMatchingPursuit",
    "sklearn.linear_model._omp.OrthogonalMatchingPursuitCV",
    "sklearn.linear_model._quantile.QuantileRegressor",
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor",
    f"{_SGD}.SGDRegressor",
    "sklearn.svm._classes.LinearSVR",
)
def linear_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The scores themselves."""
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    return {"prediction": regression_output(scores)}


@converter("sklearn.linear_model._ransac.RANSACRegressor")
def consensus_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The regressor fitted on the rows that agree."""
    return convert(context.at("estimator_"), model.estimator_, matrix)


def regression_output(scores: Tensor) -> Output:
    """One number a row, or a list where there are several targets."""
    return Output(scores, "float64", None if scores.width == 1 else [str(i) for i in range(scores.width)])


@converter(
    "sklearn.linear_model._glm.glm.PoissonRegressor",
    "sklearn.linear_model._glm.glm.GammaRegressor",
    "sklearn.linear_model._glm.glm.TweedieRegressor",
)
def generalised_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The inverse link of the scores."""
    link = type(model._base_loss.link).__name__
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    if link == "LogLink":
        scores = context.graph.node("Exp", [scores], scores.dtype, scores.width)
    elif link != "IdentityLink":
        raise context.refuse(model, f"its link is {link}")
    return {"prediction": regression_output(scores)}


def score_outputs(context: Context, model: Any, scores: Tensor) -> dict[str, Output]:
    """Label and decision score of a classifier whose sign or largest column decides."""
    values = labels.class_values(context, model, model.classes_)
    if scores.width == 1:
        label = labels.label_of_test(context, values, labels.positive(context, scores))
        return {"label": label, "score": Output(scores, "float64")}
    label = labels.label_of_largest(context, values, scores)
    return {"label": label, "score": Output(scores, "float64", labels.class_names(values))}


@converter(
    f"{_RIDGE}.RidgeClassifier",
    f"{_RIDGE}.RidgeClassifierCV",
    "sklearn.svm._classes.LinearSVC",
    "sklearn.linear_model._perceptron.Perceptron",
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier",
)
def score_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label and score; there is no probability."""
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    if getattr(getattr(model, "_label_binarizer", None), "y_type_", "").startswith("multilabel"):
        names = [str(place) for place in range(scores.width)]
        label = context.graph.cast(labels.positive(context, scores), np.int64)
        return {"label": Output(label, "int64", names), "score": Output(scores, "float64", names)}
    return score_outputs(context, model, scores)


@converter("sklearn.linear_model._logistic.LogisticRegression", "sklearn.linear_model._logistic.LogisticRegressionCV")
def logistic_regression(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Sigmoid of the score for two classes, softmax of the scores for more."""
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    outputs = score_outputs(context, model, scores)
    if scores.width == 1:
        probability = labels.both_probabilities(context, labels.sigmoid(context, scores))
    else:
        probability = labels.softmax(context, scores)
    return outputs | {"probability": Output(probability, "float64", [str(c) for c in model.classes_])}


@converter(f"{_SGD}.SGDClassifier")
def sgd_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """As a score classifier, with probabilities for the losses that have them."""
    scores = linear_scores(context, matrix, model.coef_, model.intercept_)
    outputs = score_outputs(context, model, scores)
    names = [str(c) for c in model.classes_]
    if model.loss == "log_loss":
        probability = labels.sigmoid(context, scores)
    elif model.loss == "modified_huber":
        probability = _modified_huber(context, scores)
    else:
        return outputs
    if scores.width == 1:
        probability = labels.both_probabilities(context, probability)
    else:
        probability = _shares(context, probability)
    return outputs | {"probability": Output(probability, "float64", names)}


def _modified_huber(context: Context, scores: Tensor) -> Tensor:
    graph = context.graph
    low, one, two = (graph.constant(value, _DOUBLE) for value in (-1.0, 1.0, 2.0))
    clipped = graph.node("Clip", [scores, low, one], _DOUBLE, scores.width)
    return graph.arithmetic("Div", graph.arithmetic("Add", clipped, one, scores), two, scores)


def _shares(context: Context, values: Tensor) -> Tensor:
    """Each column's share of the row's sum; equal shares where all are zero."""
    graph = context.graph
    axes = graph.constant([1], np.dtype(np.int64))
    total = graph.node("ReduceSum", [values, axes], _DOUBLE, 1, attributes={"keepdims": 1})
    none = graph.node("Equal", [total, graph.constant(0.0)], np.bool_, 1)
    values = graph.node("Where", [none, graph.constant(1.0), values], _DOUBLE, values.width)
    total = graph.node("Where", [none, graph.constant(float(values.width)), total], _DOUBLE, 1)
    return graph.arithmetic("Div", values, total, values)
