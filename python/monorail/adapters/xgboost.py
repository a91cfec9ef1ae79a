"""XGBoost: its scikit-learn estimators and its native booster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import CompileError
from .base import Adapter, Description, class_modules, plain, quietly, versions
from .sklearn import default_outputs, fitted_names, place_names

_DISTRIBUTIONS = ("xgboost", "xgboost-cpu")
_CATEGORICAL = ("CategoricalDtype", "Categorical", "Enum")
"""Names of the element types of categories, in pandas and in Polars."""


class XGBoostAdapter(Adapter):
    """`XGBClassifier`, `XGBRegressor`, `XGBRanker`, the random forests of both kinds, and `Booster`."""

    framework = "xgboost"

    def recognises(self, model: object) -> bool:
        """Whether one of XGBoost's own classes is among its bases."""
        return any(name in ("xgboost.core.Booster", "xgboost.sklearn.XGBModel") for name in class_modules(model))

    def describe(self, model: Any) -> Description:
        """Kind, classes, columns and versions."""
        needed = versions(*_DISTRIBUTIONS, "numpy")
        if _is_booster(model):
            names = tuple(str(name) for name in model.feature_names or ())
            return Description("regressor", ("prediction",), ("prediction", "score"), (), needed, names)
        if getattr(model, "_Booster", None) is None:
            raise CompileError(
                f"this {type(model).__qualname__} is not fitted", code="unknown_framework", hint="call fit on it first"
            )
        needed |= versions("scikit-learn")
        classifier = hasattr(model, "predict_proba")
        kind = "classifier" if classifier else "regressor"
        offers = ("label", "probability", "score") if classifier else ("prediction", "score")
        classes = tuple(np.asarray(model.classes_).tolist()) if classifier else ()
        return Description(kind, default_outputs(kind, offers), offers, classes, needed, fitted_names(model))

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, `predict_proba` and margins, as asked for.

        Raises:
            ValueError: a category that training did not see. XGBoost 3 means to refuse those, and does so only for one
                that sorts behind all it knows; for another it would answer as for the next one it knows.
        """
        _check_categories(model if _is_booster(model) else model.get_booster(), frame)
        if _is_booster(model):
            data = quietly(_data, model, frame)
            asked = {
                "prediction": lambda: model.predict(data),
                "score": lambda: model.predict(data, output_margin=True),
            }
        else:
            asked = {
                "label": lambda: model.predict(frame),
                "prediction": lambda: model.predict(frame),
                "probability": lambda: model.predict_proba(frame),
                "score": lambda: model.predict(frame, output_margin=True),
            }
        return {name: plain(quietly(asked[name])) for name in outputs}

    def names(self, model: Any, output: str, width: int) -> list[str]:
        """Classes for probabilities and scores, else numbers."""
        return place_names(model, output, width)


def _is_booster(model: Any) -> bool:
    return "xgboost.core.Booster" in class_modules(model)


def _check_categories(booster: Any, frame: Any) -> None:
    if not hasattr(frame, "dtypes") or not hasattr(booster, "get_categories"):
        return
    kinds = dict(zip(frame.columns, (type(dtype).__name__ for dtype in frame.dtypes), strict=True))
    if not any(kind in _CATEGORICAL for kind in kinds.values()):
        return
    for name, known in booster.get_categories(export_to_arrow=True).to_arrow():
        if known is None or kinds.get(name) not in _CATEGORICAL:
            continue
        try:
            strange = _met(frame[name]) - set(known.to_pylist())
        except UnicodeDecodeError:
            # It cuts names outside ASCII at the wrong places, and nothing can be compared with the pieces.
            continue
        if strange:
            word = min(map(str, strange))
            raise ValueError(f"category {word!r} of column {name!r} is not in the training set")


def _met(series: Any) -> set[Any]:
    """The categories that a pandas or Polars series holds."""
    if hasattr(series, "cat") and hasattr(series.cat, "codes"):
        return set(series.cat.categories[np.unique(series.cat.codes[series.cat.codes >= 0])])
    return set(series.drop_nulls().unique().to_list())


def _data(model: Any, frame: Any) -> Any:
    """The form in which a native booster takes data; an array has no types of its own."""
    import xgboost

    if isinstance(frame, np.ndarray) and frame.dtype.kind == "f":
        # XGBoost says so itself, but takes many times as long to.
        with np.errstate(over="ignore"):
            if np.isinf(frame.astype(np.float32)).any():
                raise ValueError("the input holds infinity or a value too large for float32")
    types = model.feature_types if isinstance(frame, np.ndarray) else None
    names = model.feature_names if isinstance(frame, np.ndarray) else None
    return xgboost.DMatrix(frame, feature_names=names, feature_types=types, enable_categorical=True, nthread=1)
