"""scikit-learn: estimators and pipelines, whatever their steps come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
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
    "sample_score": "score_samples",
    "deviation": "predict",
}
_STEPS_OF = {"lightgbm": "lightgbm", "xgboost": "xgboost", "catboost": "catboost"}
_FIRST: dict[str, str] = {
    "sklearn.feature_extraction.text.CountVectorizer": "series",
    "sklearn.feature_extraction.text.TfidfVectorizer": "series",
    "sklearn.feature_extraction.text.HashingVectorizer": "series",
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": "records",
    "sklearn.feature_extraction._hash.FeatureHasher": "records",
}


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
        if not set(offers) & {"label", "prediction", "features"}:
            raise CompileError(
                f"{type(model).__qualname__} neither predicts nor transforms new rows",
                code="unknown_framework",
                hint="save a fitted estimator that has predict or transform",
            )
        classes = tuple(np.asarray(model.classes_).tolist()) if kind == "classifier" and _plain_classes(model) else ()
        needed = {"scikit-learn", "numpy", *(_STEPS_OF[part] for part in _frameworks(model) if part in _STEPS_OF)}
        return Description(
            kind,
            default_outputs(kind, offers),
            offers,
            classes,
            versions(*sorted(needed)),
            fitted_names(model),
            takes=takes(model),
        )

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, `predict_proba`, `decision_function`, `transform` and the like, as asked for."""
        with one_thread():
            return {name: _answer(model, frame, name) for name in outputs}

    def names(self, model: Any, output: str, width: int) -> list[str]:
        """What the places of a list output are: classes, features, or numbers."""
        return place_names(model, output, width)


def one_thread() -> Any:
    """A context in which scikit-learn's own loops run on one thread.

    With several, which of equally near neighbours count depends on how many threads the machine has and on how many
    rows are asked at once.
    """
    from threadpoolctl import ThreadpoolController

    if not _controllers:
        _controllers.append(ThreadpoolController())
    return _controllers[0].limit(limits=1, user_api="openmp")


_controllers: list[Any] = []
"""What finds the loaded libraries, once: looking takes longer than many an answer."""


def _answer(model: Any, frame: Any, output: str) -> np.ndarray:
    """One output, `[rows]` or `[rows, size]`, in a type that outputs have."""
    method: Callable[..., Any] = getattr(model, _METHODS[output])
    if output == "deviation":
        return plain(quietly(lambda: method(frame, return_std=True)[1]))
    values = quietly(method, frame)
    if isinstance(values, list) and values and np.ndim(values[0]) == 2:
        # One array of probabilities for each of several answers.
        values = np.hstack(values)
    array = plain(_array(values))
    if array.ndim == 1 and array.size != len(frame):
        # Some transformers flatten the answer for a single row.
        array = array.reshape(len(frame), -1)
    return _typed(array)


def _array(values: Any) -> Any:
    """A frame of numbers as one array of the type they have together; else one of bools and floats is of objects."""
    kinds = getattr(values, "dtypes", None)
    if kinds is None or not all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in kinds):
        return values
    return np.column_stack([values[name].to_numpy() for name in values.columns])


def _typed(values: np.ndarray) -> np.ndarray:
    """Values as one of the types that outputs have: half floats as float32, small and unsigned integers as int64."""
    if values.dtype == np.dtype(np.float16):
        return values.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values.astype(np.int64) if values.dtype.kind in "iu" and values.dtype.itemsize != 4 else values


def place_names(model: Any, output: str, width: int) -> list[str]:
    """Names of a list output's places.

    Args:
        model: the fitted estimator.
        output: `label`, `probability`, `score`, `features` or another.
        width: places of the list.

    Returns:
        Classes for probabilities and scores (`OUTPUT:CLASS` where there are several answers a row), the estimator's
        own names for features, and numbers where nothing says more.
    """
    names: list[str] = []
    if output == "features":
        names = _feature_names(model)
    elif output in ("probability", "score"):
        classes = getattr(model, "classes_", ())
        if isinstance(classes, list) and width == sum(map(len, classes)) and output == "probability":
            names = [f"{number}:{name}" for number, group in enumerate(classes) for name in group]
        elif not isinstance(classes, list):
            names = [str(name) for name in classes]
    elif output == "label" and not isinstance(getattr(model, "classes_", []), list):
        names = [str(name) for name in model.classes_]
    return names if len(names) == width else [str(number) for number in range(width)]


def _feature_names(model: Any) -> list[str]:
    try:
        return [str(name) for name in model.get_feature_names_out()]
    except (AttributeError, ValueError, TypeError):
        return []


def estimator_kind(model: Any) -> str:
    """Classifier, regressor, outlier detector, clusterer or transformer.

    Raises:
        CompileError: `unknown_framework` if it is not fitted.
    """
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise CompileError(
            f"this {type(model).__qualname__} is not fitted", code="unknown_framework", hint="call fit on it first"
        ) from error
    if not hasattr(model, "predict"):
        return "transformer"
    tests = {
        "classifier": is_classifier,
        "regressor": is_regressor,
        "outlier_detector": is_outlier_detector,
        "clusterer": is_clusterer,
    }
    for name, test in tests.items():
        if test(model):
            return name
    return _kind_without_type(model)


def _kind_without_type(model: Any) -> str:
    """The kind of an estimator that predicts and does not say what it is: a mixture, or somebody's own class."""
    if hasattr(model, "classes_"):
        return "classifier"
    if hasattr(model, "predict_proba"):
        return "clusterer"
    return "transformer" if hasattr(model, "transform") else "regressor"


def takes(model: Any) -> str:
    """What the first step takes: "series" (one column of text), "records" (dicts), "" (a table or an array)."""
    first: Any = model
    while True:
        if getattr(first, "steps", None):
            first = next((step for _, step in first.steps if step not in (None, "passthrough")), None)
        elif hasattr(first, "best_estimator_"):
            first = first.best_estimator_
        else:
            break
    return _FIRST.get(f"{type(first).__module__}.{type(first).__qualname__}", "")


def default_outputs(kind: str, offers: Sequence[str]) -> tuple[str, ...]:
    """The outputs a model of a kind gives without being asked."""
    if kind in ("classifier", "clusterer", "outlier_detector"):
        # Only a classifier has a score in the place of a probability; a detector's score is its answer.
        names = ("probability",) if kind == "clusterer" else ("probability", "score")
        second = next((name for name in names if name in offers), None)
        return ("label",) if second is None else ("label", second)
    return ("prediction",) if kind == "regressor" else ("features",)


def fitted_names(model: Any) -> tuple[str, ...]:
    """The columns an estimator was fitted on, if they had names."""
    try:
        return tuple(str(name) for name in model.feature_names_in_)
    except AttributeError:
        return ()


def _offers(model: Any, kind: str, name: str, method: str) -> bool:
    if name == "label" and kind not in ("classifier", "clusterer", "outlier_detector"):
        return False
    if name in ("prediction", "deviation") and kind != "regressor":
        return False
    if not hasattr(model, method):
        return False
    return name != "deviation" or _gives_deviation(model)


def _gives_deviation(model: Any) -> bool:
    """Whether its `predict` also gives a standard deviation."""
    try:
        return "return_std" in inspect.signature(model.predict).parameters
    except (TypeError, ValueError):
        return False


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
