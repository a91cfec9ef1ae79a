"""Outlier detectors that draw one boundary: a linear one, and an ellipse."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels, pairwise
from ..columns import Matrix
from ..pairwise import apply, scaled
from ..registry import Context, Output, converter
from .linear import linear_scores

_DOUBLE = np.dtype(np.float64)


@converter("sklearn.linear_model._stochastic_gradient.SGDOneClassSVM")
def linear_boundary(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """One product less an offset."""
    offset = np.asarray(model.offset_, _DOUBLE).ravel()
    score = linear_scores(context, matrix, model.coef_, -offset)
    sample = scaled(context, "Add", score, offset)
    return labels.outlier_outputs(context, score, dtype=np.int32) | {"sample_score": Output(sample, "float64")}


@converter("sklearn.covariance._elliptic_envelope.EllipticEnvelope")
def elliptic_envelope(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Minus the squared Mahalanobis distance, less an offset."""
    graph = context.graph
    apart = scaled(context, "Sub", context.reader.ordered(matrix, _DOUBLE), model.location_)
    turned = pairwise.products(context, apart, np.asarray(model.get_precision(), _DOUBLE).T)
    # The original takes the root and squares it again.
    distance = apply(context, "Sqrt", pairwise.row_sum(context, graph.arithmetic("Mul", turned, apart, apart)))
    sample = apply(context, "Neg", graph.arithmetic("Mul", distance, distance, distance))
    score = scaled(context, "Sub", sample, float(model.offset_))
    return labels.outlier_outputs(context, score) | {"sample_score": Output(sample, "float64")}
