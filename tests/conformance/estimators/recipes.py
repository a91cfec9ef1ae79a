"""Every estimator of scikit-learn that answers for new rows of a table, fitted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_regressor
from sklearn.utils import all_estimators
from tests.conformance.estimators import made
from tests.conformance.estimators.data import DATA
from tests.conformance.estimators.left_out import NO_TABLE


@dataclass(frozen=True)
class Recipe:
    """A fitted estimator, rows to describe it with, and rows it has never seen."""

    model: Any
    example: Any
    held_out: Any


#: What `sklearn.experimental` adds where something has asked for it.
_EXPERIMENTAL = {"HalvingGridSearchCV", "HalvingRandomSearchCV", "IterativeImputer"}


def everything() -> set[str]:
    """Every estimator that scikit-learn has without being asked for more."""
    return {name for name, _ in all_estimators()} - _EXPERIMENTAL


def names() -> list[str]:
    """Every estimator that answers for new rows of a table."""
    return sorted(everything() - set(NO_TABLE))


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
