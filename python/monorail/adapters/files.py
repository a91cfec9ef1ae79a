"""Model files of every framework, by ending and content: opened where that runs no code of the file, or with trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, MonorailError, TrustError
from . import joblib, mlflow, skops
from .base import framework, quietly
from .inside import check_archive
from .pickles import imports_of, unusual

#: What is read, for people.
KINDS = (
    ".onnx, .skops, .pkl, .pickle, .joblib, .keras, .pt, .pth, .pt2, LightGBM's .txt, XGBoost's .json and .ubj, "
    "CatBoost's .cbm, and the folders of MLflow models and SavedModels"
)
_TEXT_BYTES = 256


def open_model(path: Path | str, trust: bool = False) -> Any:
    """The object in a model file or folder.

    Args:
        path: see `KINDS`.
        trust: whether code in it may run.

    Raises:
        TrustError: `untrusted`: opening it would run code, and nobody said it may.
        InputError: `malformed_request`: there is no such file, it is of no known kind, or it cannot be opened.
        MissingExtraError: the framework that it was made with is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", code="malformed_request", hint="name a file that does")
    opener = _opener(path)
    if opener is None:
        raise InputError(f"{path} is of a kind that is not read", code="malformed_request", hint=f"give {KINDS}")
    try:
        return opener(path, trust)
    except MonorailError:
        raise
    except Exception as error:  # frameworks raise errors of many kinds for files that are not as they should be
        first = (str(error).splitlines() or [""])[0][:300]
        raise InputError(
            f"{path} cannot be opened: {type(error).__name__}: {first}",
            code="malformed_request",
            hint="check that the file is whole, and made with the versions installed here",
        ) from error


def announcement(path: Path | str) -> str:
    """What a file that runs code when it is opened would import, as a sentence; "" for any other file."""
    path = Path(path)
    if path.suffix.lower() not in joblib.ENDINGS or not path.is_file():
        return ""
    names, stopped = imports_of(path)
    rest = ", and what cannot be told" if stopped else ""
    return f"opening {path}, which imports {', '.join(unusual(names)) or 'nothing'}{rest}"


def example_of(path: Path | str) -> Any:
    """The example that a model folder brings, as a frame or arrays; None where there is none."""
    path = Path(path)
    return mlflow.example_of(path) if mlflow.is_folder(path) else None


def _opener(path: Path) -> Callable[[Path, bool], Any] | None:
    if path.is_dir():
        if mlflow.is_folder(path):
            return lambda path, trust: mlflow.open_folder(path, trust, open_model)
        return _saved_model if (path / "saved_model.pb").is_file() else None
    return _BY_ENDING.get(path.suffix.lower())


def _onnx(path: Path, trust: bool) -> Any:
    del trust
    from .onnx import open_file

    return open_file(path)


def _saved_model(path: Path, trust: bool) -> Any:
    from .tensorflow import SavedModel

    if not trust:
        raise _needs_trust(path, "a SavedModel", "runs operations that may read and write files")
    return SavedModel(path)


def _keras(path: Path, trust: bool) -> Any:
    check_archive(path)
    keras = framework("keras", "keras", "to open a Keras file")
    # Without trust, Keras refuses layers that hold Python code.
    return quietly(lambda: keras.saving.load_model(str(path), compile=False, safe_mode=not trust))


def _torch(path: Path, trust: bool) -> Any:
    if not trust:
        raise _needs_trust(path, "a PyTorch file", "opens a pickle, which can run any code")
    torch = framework("torch", "torch", "to open a PyTorch file")
    found = torch.load(path, map_location="cpu", weights_only=False)
    if not hasattr(found, "forward"):
        raise InputError(
            f"{path} holds a {type(found).__name__}, not a module",
            code="malformed_request",
            hint="save the module itself, torch.save(module, path), or an exported program, torch.export.save",
        )
    return found


def _program(path: Path, trust: bool) -> Any:
    check_archive(path)
    if not trust:
        raise _needs_trust(path, "an exported program", "opens pickles, which can run any code")
    framework("torch", "torch", "to open an exported program")
    return framework("torch.export", "torch", "to open an exported program").load(str(path))


def _lightgbm(path: Path, trust: bool) -> Any:
    del trust
    with path.open("rb") as stream:
        first = stream.read(_TEXT_BYTES)
    if not first.startswith(b"tree\n"):
        raise InputError(f"{path} is not a model of LightGBM", code="malformed_request", hint=f"give {KINDS}")
    return framework("lightgbm", "lightgbm", "to open its model").Booster(model_file=str(path))


def _xgboost(path: Path, trust: bool) -> Any:
    """A booster, or the estimator it was saved from; a JSON file may also be CatBoost's."""
    if path.suffix.lower() == ".json" and "oblivious_trees" in _keys(path):
        return _catboost(path, trust)
    xgboost = framework("xgboost", "xgboost", "to open its model")
    booster = xgboost.Booster(model_file=str(path))
    kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
    estimator = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}.get(kind)
    if estimator is None:
        return booster
    model = getattr(xgboost, estimator)()
    model.load_model(str(path))
    return model


def _catboost(path: Path, trust: bool) -> Any:
    """A classifier where it was fitted as one."""
    del trust
    catboost = framework("catboost", "catboost", "to open its model")
    form = "json" if path.suffix.lower() == ".json" else "cbm"
    model = catboost.CatBoost().load_model(str(path), format=form)
    if not len(model.classes_):
        return model
    return catboost.CatBoostClassifier().load_model(str(path), format=form)


def _keys(path: Path) -> set[str]:
    """The keys of a JSON file's object."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return set()
    return set(found) if isinstance(found, dict) else set()


def _needs_trust(path: Path, what: str, why: str) -> TrustError:
    return TrustError(
        f"{path} is {what}: opening it {why}",
        code="untrusted",
        hint="add --trust if you know where it comes from (in Python trust=True), or save the fitted object itself",
    )


_BY_ENDING: dict[str, Callable[[Path, bool], Any]] = {
    ".onnx": _onnx,
    ".skops": skops.open_file,
    ".keras": _keras,
    ".pt": _torch,
    ".pth": _torch,
    ".pt2": _program,
    ".txt": _lightgbm,
    ".lgb": _lightgbm,
    ".json": _xgboost,
    ".ubj": _xgboost,
    ".xgb": _xgboost,
    ".cbm": _catboost,
    ".cb": _catboost,
    **dict.fromkeys(joblib.ENDINGS, joblib.open_file),
}
