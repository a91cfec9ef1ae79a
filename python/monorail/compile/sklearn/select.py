"""Feature selection: some columns of the matrix, for no node at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import TEXT
from ..registry import Context, convert, converter

_MODULE = "sklearn.feature_selection"
_UNIVARIATE = ("SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect")


@converter(
    *(f"{_MODULE}._univariate_selection.{name}" for name in _UNIVARIATE),
    f"{_MODULE}._variance_threshold.VarianceThreshold",
    f"{_MODULE}._from_model.SelectFromModel",
    f"{_MODULE}._sequential.SequentialFeatureSelector",
)
def selector(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The chosen columns, as one array of one type."""
    del context
    common = matrix.common()
    chosen = matrix.select(int(position) for position in np.flatnonzero(model.get_support()))
    return replace(chosen, dtype=None if common == TEXT else common)


@converter(f"{_MODULE}._rfe.RFE", f"{_MODULE}._rfe.RFECV")
def recursive_elimination(context: Context, model: Any, matrix: Matrix) -> Any:
    """The estimator's answers on the chosen columns; before another step, the columns themselves."""
    chosen = selector(context, model, matrix)
    answers = convert(context.at("estimator_"), model.estimator_, chosen)
    return {**answers, "features": chosen} if isinstance(answers, dict) else chosen
