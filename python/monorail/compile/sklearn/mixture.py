"""Gaussian mixtures: weighted log-densities of the components, the likeliest one, and each one's share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import labels, pairwise, reductions
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import scaled
from ..registry import Context, Output, converter

_DOUBLE = np.dtype(np.float64)


def _distances(context: Context, model: Any, x: Tensor) -> Tensor:
    """Squared Mahalanobis distances to the components' means, in the original's expansion of them."""
    graph, kind = context.graph, model.covariance_type
    means, factors = np.asarray(model.means_), np.asarray(model.precisions_cholesky_)
    if kind in ("full", "tied"):
        parts = []
        for number, mean in enumerate(means):
            factor = factors[number] if kind == "full" else factors
            turned = graph.node("MatMul", [x, graph.constant(factor, x.dtype)], x.dtype, factor.shape[1])
            apart = scaled(context, "Sub", turned, mean @ factor)
            parts.append(reductions.numpy_sum(context, graph.arithmetic("Mul", apart, apart, apart)))
        return graph.concat(parts)
    precisions = factors**2
    squared = graph.arithmetic("Mul", x, x, x)
    if kind == "diag":
        crossed = scaled(context, "Mul", pairwise.products(context, x, means * precisions), 2.0)
        constant = np.sum(means**2 * precisions, axis=1)
        last = pairwise.products(context, squared, precisions)
    else:
        crossed = scaled(context, "Mul", pairwise.products(context, x, means), precisions)
        crossed = scaled(context, "Mul", crossed, 2.0)
        constant = np.sum(means**2, axis=1) * precisions
        norm = pairwise.row_sum(context, squared)
        last = graph.node("Mul", [norm, graph.constant(precisions, x.dtype)], x.dtype, len(means))
    first = graph.arithmetic("Sub", graph.constant(constant, x.dtype), crossed, crossed)
    return graph.arithmetic("Add", first, last, first)


def _log_determinants(model: Any, features: int) -> np.ndarray:
    factors = np.asarray(model.precisions_cholesky_, _DOUBLE)
    if model.covariance_type == "full":
        return np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    if model.covariance_type == "tied":
        return np.sum(np.log(np.diagonal(factors)))
    if model.covariance_type == "diag":
        return np.sum(np.log(factors), axis=1)
    return features * np.log(factors)


def _bayesian_terms(model: Any, features: int) -> np.ndarray:
    """What the variational mixture adds to each component's log-density."""
    from scipy.special import digamma

    freedom = np.asarray(model.degrees_of_freedom_, _DOUBLE)
    spread = digamma(0.5 * (freedom - np.arange(features)[:, None])).sum(axis=0) + features * math.log(2.0)
    return 0.5 * (spread - features / np.asarray(model.mean_precision_)) - 0.5 * features * np.log(freedom)


@converter(
    "sklearn.mixture._gaussian_mixture.GaussianMixture",
    "sklearn.mixture._bayesian_mixture.BayesianGaussianMixture",
)
def gaussian_mixture(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The likeliest component, every component's share, and the log-density of the row."""
    x = context.reader.ordered(matrix, np.result_type(matrix.floating(), model.means_.dtype))
    features = matrix.width
    summed = scaled(context, "Add", _distances(context, model, x), features * math.log(2 * math.pi))
    logs = scaled(context, "Add", scaled(context, "Mul", summed, -0.5), _log_determinants(model, features))
    if hasattr(model, "degrees_of_freedom_"):
        logs = scaled(context, "Add", logs, _bayesian_terms(model, features))
    logs = scaled(context, "Add", logs, np.asarray(model._estimate_log_weights(), _DOUBLE))
    values = np.arange(logs.width)
    shares, density = (
        context.graph.cast(tensor, _DOUBLE)
        for tensor in (reductions.shares_of_logs(context, logs), reductions.log_of_sum(context, logs))
    )
    # Where numbers overflow, what is not a number counts as the largest, as it does to numpy.
    unknown = context.graph.node("IsNaN", [logs], np.bool_, logs.width)
    top = context.graph.constant(np.inf, logs.dtype)
    ranked = context.graph.node("Where", [unknown, top, logs], logs.dtype, logs.width)
    return {
        "label": labels.label_of_largest(context, values, ranked),
        "probability": Output(shares, "float64", labels.class_names(values)),
        "sample_score": Output(density, "float64"),
    }
