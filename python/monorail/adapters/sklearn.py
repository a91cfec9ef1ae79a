"""scikit-learn: estimators and pipelines, whatever their steps come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import CompileError
from .base import Adapter, Description, class_modules, plain, quietly, versions

_METHODS = {
    "label": "predict",
    "prediction": "predict",
    "probability": "predict_proba",
    "score": "decision_function",
    "features": "transform",
}
_STEPS_OF = {"lightgbm": "lightgbm", "xgboost": "xgboost", "catboost": "catboost"}


class SklearnAdapter(Adapter):
    """Anything that derives from scikit-learn's `BaseEstimator`."""

    framework = "scikit-learn"

    def recognises(self, model: object) -> bool:
        """Whether `BaseEstimator` is among its bases and it is not another framework's own estimator."""
        names = class_modules(model)
        return "sklearn.base.BaseEstimator" in names and not names[0].startswith(("lightgbm.", "xgboost.", "catboost."))

    def describe(self, model: Any) -> Description:
        """Kind, classes, columns and versions."""
        kind = estimator_kind(model)
        offers = tuple(name for name, method in _METHODS.items() if _offers(model, kind, name, method))
        if not offers:
            raise CompileError(
                f"{type(model).__qualname__} neither predicts nor transforms new rows",
                code="unknown_framework",
                hint="save a fitted estimator that has predict or transform",
            )
        classes = tuple(np.asarray(model.classes_).tolist()) if kind == "classifier" and _plain_classes(model) else ()
        needed = {"scikit-learn", "numpy", *(_STEPS_OF[part] for part in _frameworks(model) if part in _STEPS_OF)}
        return Description(
            kind, default_outputs(kind, offers), offers, classes, versions(*sorted(needed)), fitted_names(model)
        )

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, `predict_proba`, `decision_function` and `transform`, as asked for."""
        return {name: plain(quietly(getattr(model, _METHODS[name]), frame)) for name in outputs}


def estimator_kind(model: Any) -> str:
    """Classifier, regressor, clusterer or transformer.

    Raises:
        CompileError: `unknown_framework` if it is not fitted.
    """
    from sklearn.base import is_classifier, is_clusterer, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise CompileError(
            f"this {type(model).__qualname__} is not fitted", code="unknown_framework", hint="call fit on it first"
        ) from error
    for name, test in (("classifier", is_classifier), ("regressor", is_regressor), ("clusterer", is_clusterer)):
        if test(model):
            return name
    return "transformer"


def default_outputs(kind: str, offers: Sequence[str]) -> tuple[str, ...]:
    """The outputs a model of a kind gives without being asked."""
    if kind == "classifier":
        second = next((name for name in ("probability", "score") if name in offers), None)
        return ("label",) if second is None else ("label", second)
    return {"regressor": ("prediction",), "clusterer": ("label",), "transformer": ("features",)}[kind]


def fitted_names(model: Any) -> tuple[str, ...]:
    """The columns an estimator was fitted on, if they had names."""
    try:
        return tuple(str(name) for name in model.feature_names_in_)
    except AttributeError:
        return ()


def _offers(model: Any, kind: str, name: str, method: str) -> bool:
    if name == "label" and kind not in ("classifier", "clusterer"):
        return False
    if name == "prediction" and kind != "regressor":
        return False
    if name == "features" and kind in ("classifier", "regressor", "clusterer"):
        return False
    return hasattr(model, method)


def _plain_classes(model: Any) -> bool:
    return hasattr(model, "classes_") and not isinstance(model.classes_, list)


def _frameworks(model: Any) -> set[str]:
    """First names of the modules of all nested estimators."""
    found = {type(model).__module__.partition(".")[0]}
    try:
        inside = model.get_params(deep=True).values()
    except (AttributeError, TypeError, ValueError):
        inside = ()
    return found | {type(value).__module__.partition(".")[0] for value in inside}
