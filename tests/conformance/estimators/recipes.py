"""Every estimator of scikit-learn that answers for new rows of a table, fitted; and the others, with the reason."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_regressor
from sklearn.utils import all_estimators
from tests.conformance.estimators import made
from tests.conformance.estimators.data import DATA

_REASONS = {
    "groups only the rows it was fitted on: it has no predict": (
        "AgglomerativeClustering DBSCAN HDBSCAN OPTICS SpectralBiclustering SpectralClustering SpectralCoclustering"
    ),
    "places only the rows it was fitted on: it has no transform": "ClassicalMDS MDS SpectralEmbedding TSNE",
    "estimates a covariance: it has neither predict nor transform": (
        "EmpiricalCovariance GraphicalLasso GraphicalLassoCV LedoitWolf MinCovDet OAS ShrunkCovariance"
    ),
    "estimates a density: it has neither predict nor transform": "KernelDensity",
    "finds neighbours of a row: it has neither predict nor transform": "NearestNeighbors",
    "encodes targets, not rows of a table": "LabelBinarizer LabelEncoder MultiLabelBinarizer",
    "cuts images into patches: it gives more rows than it takes": "PatchExtractor",
}
NO_TABLE = {name: reason for reason, group in _REASONS.items() for name in group.split()}
"""The estimators that do not answer for new rows of a table, each with the reason."""


@dataclass(frozen=True)
class Recipe:
    """A fitted estimator, rows to describe it with, and rows it has never seen."""

    model: Any
    example: Any
    held_out: Any


def names() -> list[str]:
    """Every estimator that answers for new rows of a table."""
    return [name for name, _ in all_estimators() if name not in NO_TABLE]


def recipe(name: str) -> Recipe:
    """The fitted estimator of this name."""
    kind: Any = dict(all_estimators())[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in made.RECIPES:
            return Recipe(*made.RECIPES[name](kind))
        model = made.seeded(kind())
        target = DATA.number if is_regressor(model) else DATA.classes
        model.fit(DATA.rows, target)
    return Recipe(model, DATA.rows, DATA.held_out)
