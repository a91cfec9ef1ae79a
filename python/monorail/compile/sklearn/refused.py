"""Estimators that have no compiled form for a reason: it is said instead of "no converter is known"."""

from __future__ import annotations

from typing import Any, NoReturn

from ..columns import Matrix
from ..registry import Context, converter, qualified_name

_REASONS = {
    "sklearn.decomposition._nmf.NMF": "it solves a problem anew for all the rows it is given together",
    "sklearn.decomposition._nmf.MiniBatchNMF": "it solves a problem anew for all the rows it is given together",
    "sklearn.decomposition._lda.LatentDirichletAllocation": "it repeats until all the rows it is given have settled",
    "sklearn.kernel_approximation.PolynomialCountSketch": "it multiplies by Fourier transforms, which graphs lack",
    "sklearn.feature_extraction._hash.FeatureHasher": "it hashes names and words, which graphs cannot",
    "sklearn.feature_extraction.text.HashingVectorizer": "it hashes words, which graphs cannot",
}


@converter(*_REASONS)
def refused(context: Context, model: Any, matrix: Matrix) -> NoReturn:
    """Always refuses."""
    del matrix
    raise context.refuse(model, _REASONS[qualified_name(model)])
