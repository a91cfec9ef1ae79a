"""Which learner fits which step, which trainer which estimator: by class name, so that no framework is imported."""

from __future__ import annotations

import importlib
from typing import Any

from .learning import Learner
from .training import Trainer

#: Modules whose ``LEARNERS`` and ``TRAINERS`` (dicts by qualified class name) are looked into, in turn.
MODULES = (
    "monorail.fit.sklearn.scale",
    "monorail.fit.sklearn.impute",
    "monorail.fit.sklearn.discretize",
    "monorail.fit.sklearn.select",
    "monorail.fit.sklearn.expand",
    "monorail.fit.sklearn.decompose",
    "monorail.fit.sklearn.encode",
    "monorail.fit.sklearn.target",
    "monorail.fit.sklearn.text",
    "monorail.fit.sklearn.function",
    "monorail.fit.sklearn.linear",
    "monorail.fit.sklearn.logistic",
    "monorail.fit.sklearn.incremental",
    "monorail.fit.lightgbm",
    "monorail.fit.xgboost",
)


def learner_for(step: Any) -> type[Learner] | None:
    """The learner of a step's class; a subclass of a known class is not known, since it may override anything."""
    return _found("LEARNERS", step)


def trainer_for(estimator: Any) -> type[Trainer] | None:
    """The trainer of a final estimator's class."""
    return _found("TRAINERS", estimator)


def _found(table: str, step: Any) -> Any:
    kind = type(step)
    name = f"{kind.__module__}.{kind.__qualname__}"
    for module in MODULES:
        found = getattr(importlib.import_module(module), table, {})
        if name in found:
            return found[name]
    return None
