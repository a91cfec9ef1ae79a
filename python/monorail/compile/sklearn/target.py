"""Target encoding: each category becomes the mean of the target it was seen with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Cell, Feature, Matrix
from ..registry import Context, converter
from .encode import category_codes

_DOUBLE = np.dtype(np.float64)


@converter("sklearn.preprocessing._target_encoder.TargetEncoder")
def target_encoder(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """One number a feature, or one a class of the target; unknown categories get the target's mean."""
    means = np.atleast_1d(np.asarray(model.target_mean_, _DOUBLE))
    classes = len(means)
    features: list[Feature] = []
    for number, feature in enumerate(matrix.features):
        categories = list(model.categories_[number])
        encodings = model.encodings_[number * classes : (number + 1) * classes]
        for encoding, mean in zip(encodings, means, strict=True):
            values = [float(value) for value in encoding]
            codes = category_codes(context, feature, categories, values, float(mean))
            features.append(Feature(Cell(codes, 0), _DOUBLE, bool(np.isnan([*values, mean]).any())))
    return Matrix(tuple(features), _DOUBLE)
