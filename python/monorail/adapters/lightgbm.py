"""LightGBM: its scikit-learn estimators and its native booster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Adapter, Description, class_modules, plain, quietly, versions
from .sklearn import default_outputs, fitted_names, place_names


class LightGBMAdapter(Adapter):
    """`LGBMClassifier`, `LGBMRegressor`, `LGBMRanker` and `Booster`."""

    framework = "lightgbm"

    def recognises(self, model: object) -> bool:
        """Whether one of LightGBM's own classes is among its bases."""
        return any(name in ("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMModel") for name in class_modules(model))

    def describe(self, model: Any) -> Description:
        """Kind, classes, columns and versions."""
        needed = versions("lightgbm", "numpy")
        if _is_booster(model):
            names = tuple(str(name) for name in model.feature_name())
            return Description("regressor", ("prediction",), ("prediction", "score"), (), needed, names)
        needed |= versions("scikit-learn")
        classifier = hasattr(model, "predict_proba")
        kind = "classifier" if classifier else "regressor"
        offers = ("label", "probability", "score") if classifier else ("prediction",)
        classes = tuple(np.asarray(model.classes_).tolist()) if classifier else ()
        return Description(kind, default_outputs(kind, offers), offers, classes, needed, fitted_names(model))

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, `predict_proba` and raw scores, as asked for."""
        asked = {
            "label": lambda: model.predict(frame),
            "prediction": lambda: model.predict(frame),
            "probability": lambda: model.predict_proba(frame),
            "score": lambda: model.predict(frame, raw_score=True),
        }
        return {name: plain(quietly(asked[name])) for name in outputs}

    def names(self, model: Any, output: str, width: int) -> list[str]:
        """Classes for probabilities and scores, else numbers."""
        return place_names(model, output, width)


def _is_booster(model: Any) -> bool:
    return "lightgbm.basic.Booster" in class_modules(model)
