"""CatBoost: its estimators, and the plain model that loads them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import CompileError
from .base import Adapter, Description, class_modules, plain, quietly, versions
from .sklearn import default_outputs, place_names


class CatBoostAdapter(Adapter):
    """`CatBoostClassifier`, `CatBoostRegressor`, `CatBoostRanker` and `CatBoost`."""

    framework = "catboost"

    def recognises(self, model: object) -> bool:
        """Whether CatBoost's own model is among its bases."""
        return "catboost.core.CatBoost" in class_modules(model)

    def describe(self, model: Any) -> Description:
        """Kind, classes, columns and versions."""
        if not model.is_fitted():
            raise CompileError(
                f"this {type(model).__qualname__} is not fitted", code="unknown_framework", hint="call fit on it first"
            )
        classifier = hasattr(model, "predict_proba")
        kind = "classifier" if classifier else "regressor"
        offers = ("label", "probability", "score") if classifier else ("prediction", "score")
        classes = tuple(np.asarray(model.classes_).tolist()) if classifier else ()
        names = tuple(str(name) for name in model.feature_names_)
        # Features without names have their numbers for names.
        names = () if names == tuple(str(number) for number in range(len(names))) else names
        return Description(kind, default_outputs(kind, offers), offers, classes, versions("catboost", "numpy"), names)

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, `predict_proba` and raw values, as asked for."""
        frame = _readable(frame)
        asked = {
            "label": lambda: model.predict(frame),
            "prediction": lambda: model.predict(frame),
            "probability": lambda: model.predict_proba(frame),
            "score": lambda: _raw(model, frame),
        }
        return {name: plain(quietly(asked[name])) for name in outputs}

    def names(self, model: Any, output: str, width: int) -> list[str]:
        """Classes for probabilities and scores, else numbers."""
        return place_names(model, output, width)


def _readable(frame: Any) -> Any:
    """The frame with Polars' categories as text, the same to CatBoost, which crashes on them as they are."""
    if type(frame).__module__.partition(".")[0] != "polars":
        return frame
    import polars

    names = [name for name, kind in frame.schema.items() if kind in (polars.Categorical, polars.Enum)]
    return frame.with_columns(polars.col(names).cast(polars.String)) if names else frame


def _raw(model: Any, frame: Any) -> Any:
    """The sums of the trees; a ranker has no other answer."""
    if "catboost.core.CatBoostRanker" in class_modules(model):
        return model.predict(frame)
    return model.predict(frame, prediction_type="RawFormulaVal")
