"""Bins: each feature's value becomes the number of the bin it lies in, or one column a bin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Cell, Feature, Indicator, Matrix
from ..registry import Context, converter
from .maths import count_below

_DOUBLE = np.dtype(np.float64)


@converter("sklearn.preprocessing._discretization.KBinsDiscretizer")
def k_bins_discretizer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The number of inner edges at or below the value; a bin starts at its lower edge."""
    dtype = matrix.floating() if model.dtype is None else np.dtype(model.dtype)
    matrix = replace(matrix, dtype=dtype)
    edges = [np.asarray(values, _DOUBLE)[1:-1] for values in model.bin_edges_]
    codes = count_below(context, matrix, edges, equal=True)
    if model.encode == "ordinal":
        tensor = context.graph.cast(codes, dtype)
        features = [
            replace(feature, source=Cell(tensor, number), dtype=dtype, origin=_binned(feature, edges[number], dtype))
            for number, feature in enumerate(matrix.features)
        ]
        return Matrix(tuple(features), dtype)
    features = []
    for number, bins in enumerate(model.n_bins_):
        column = context.graph.gather(codes, [number])
        features += [Feature(Indicator(column, code), dtype, False) for code in range(int(bins))]
    return Matrix(tuple(features), dtype, model.encode == "onehot")


def _binned(feature: Feature, edges: np.ndarray, dtype: np.dtype) -> Any:
    """The feature's origin with the binning as one more step: bins keep the order of values."""
    if feature.origin is None:
        return None
    return feature.origin.then(lambda raw: np.searchsorted(edges, raw.astype(dtype), side="right").astype(dtype))
