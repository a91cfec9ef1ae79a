"""MLflow model folders, read without MLflow: `MLmodel` says which flavour lies in which file.

The first flavour in our order that the folder has is taken; `python_function`, which is any Python, comes last. What a
folder says about trusted types or how its files are to be opened is never followed.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .base import framework
from .inside import inside
from .joblib import refusal

_LIMIT_BYTES = 1 << 22
#: For each flavour the field that names its file or folder, and what MLflow writes where the field is missing.
_FLAVOURS = {
    "sklearn": ("pickled_model", "model.pkl"),
    "lightgbm": ("data", "model.lgb"),
    "xgboost": ("data", "model.xgb"),
    "catboost": ("data", "model.cb"),
    "onnx": ("data", "model.onnx"),
    "keras": ("data", "data"),
    "pytorch": ("model_data", "data"),
    "tensorflow": ("saved_model_dir", "data"),
}
_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
    "datetime": "datetime64[us]",
}
Opener = Callable[[Path, bool], Any]


def is_folder(path: Path) -> bool:
    """Whether it is an MLflow model."""
    return (path / "MLmodel").is_file()


def open_folder(path: Path, trust: bool, opener: Opener) -> Any:
    """The object in an MLflow model folder.

    Args:
        path: the folder.
        trust: whether code in it may run.
        opener: opens the file that the flavour names.

    Raises:
        TrustError: `untrusted`: a path leads out of the folder, or opening the model runs code and nobody trusts it.
        InputError: `malformed_request`: it is not as MLflow writes it, or of a flavour that is not known.
    """
    flavours = _read(path).get("flavors")
    flavours = flavours if isinstance(flavours, Mapping) else {}
    for name, (field, default) in _FLAVOURS.items():
        if name in flavours:
            flavour = flavours[name] if isinstance(flavours[name], Mapping) else {}
            file = inside(path, flavour.get(field) or default, "MLmodel")
            return _open(name, path, file, flavour, trust, opener)
    function = flavours.get("python_function")
    if isinstance(function, Mapping) and function.get("python_model"):
        return _python_function(path, inside(path, function["python_model"], "MLmodel"), function, trust)
    known = ", ".join(sorted(flavours)) or "none"
    raise InputError(
        f"{path} has the MLflow flavours {known}; none of them is read",
        code="malformed_request",
        hint=f"read are {', '.join(_FLAVOURS)} and python_function",
    )


def example_of(path: Path) -> Any:
    """The input example of a folder, in the types of its signature; None where it has none."""
    described = _read(path)
    info = described.get("saved_input_example_info")
    if not isinstance(info, Mapping) or not info.get("artifact_path"):
        return None
    file = inside(path, info["artifact_path"], "MLmodel")
    try:
        held = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _odd(path, f"its input example is no JSON: {error}") from error
    return _example(held, _signature(described), path)


def _open(name: str, folder: Path, file: Path, flavour: Mapping[str, Any], trust: bool, opener: Opener) -> Any:
    if name in ("keras", "tensorflow") and file.is_dir() and not (file / "saved_model.pb").is_file():
        for inner in ("model.keras", "model"):
            if (file / inner).exists():
                file = inside(folder, (file / inner).relative_to(folder).as_posix(), "MLmodel")
                break
    if name == "pytorch" and file.is_dir():
        file = next((found for found in (file / "model.pth", file / "model.pt2") if found.is_file()), file)
        file = inside(folder, file.relative_to(folder).as_posix(), "MLmodel")
    if name == "sklearn" and flavour.get("serialization_format") == "skops" and file.suffix != ".skops":
        raise _odd(folder, f"{file.name} is said to be a skops file and is not called so")
    return opener(file, trust)


def _python_function(folder: Path, file: Path, function: Mapping[str, Any], trust: bool) -> Any:
    """A Python model, which is a pickle, with the files that belong to it."""
    if not trust:
        raise refusal(file)
    from .joblib import open_file

    held = function.get("artifacts") or {}
    artifacts = {}
    for name, entry in held.items() if isinstance(held, Mapping) else ():
        artifacts[str(name)] = inside(folder, entry.get("path") if isinstance(entry, Mapping) else None, "MLmodel")
    return PythonFunction(open_file(file, trust), artifacts)


class PythonFunction:
    """MLflow's Python model as a class that predicts a frame.

    Args:
        model: an `mlflow.pyfunc.PythonModel`.
        artifacts: the files and folders it loads, by name.
    """

    def __init__(self, model: Any, artifacts: Mapping[str, Path]) -> None:
        self.model = model
        self.model_config: dict[str, Any] = {}
        folders = [path if path.is_dir() else path.parent for path in artifacts.values()]
        self.folder = Path(os.path.commonpath(folders)) if folders else None
        self._places = {name: path.relative_to(self.folder) for name, path in artifacts.items() if self.folder}
        self.artifacts: dict[str, str] = {}

    def load(self, path: str) -> None:
        """Take the artifacts from a folder, which is a copy of `folder`."""
        self.artifacts = {name: str(Path(path) / place) for name, place in self._places.items()}
        # A copy: what the model opens is not stored with it.
        self.model = copy.copy(self.model)
        if hasattr(self.model, "load_context"):
            self.model.load_context(self)

    def predict(self, batch: pandas.DataFrame) -> Any:  # type: ignore[name-defined]  # noqa: F821
        """What the Python model answers; its context is this object, which has `artifacts`."""
        return self.model.predict(self, batch)


def _read(path: Path) -> Mapping[str, Any]:
    """`MLmodel`, as plain values."""
    yaml = framework("yaml", "mlflow", "to read an MLflow folder")
    file = inside(path, "MLmodel", "the folder")
    if file.stat().st_size > _LIMIT_BYTES:
        raise _odd(path, f"MLmodel has {file.stat().st_size:,} bytes")
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _odd(path, f"MLmodel is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, Mapping):
        raise _odd(path, "MLmodel holds no fields")
    return found


def _signature(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The signature's inputs; none where there is no signature."""
    signature = described.get("signature")
    try:
        inputs = json.loads(signature["inputs"]) if isinstance(signature, Mapping) else []
    except (KeyError, TypeError, ValueError):
        return []
    return [entry for entry in inputs if isinstance(entry, Mapping)] if isinstance(inputs, list) else []


def _example(held: Any, inputs: list[Mapping[str, Any]], path: Path) -> Any:
    try:
        if isinstance(held, dict) and "data" in held:
            import pandas

            frame = pandas.DataFrame(held["data"], columns=held.get("columns"))
            if frame.columns.dtype.kind == "i":
                # Columns without names: the model was given an array.
                return frame.to_numpy()
            kinds = {str(entry.get("name")): _TYPES.get(str(entry.get("type")), "") for entry in inputs}
            return frame.astype({name: kind for name, kind in kinds.items() if kind and name in frame.columns})
        tensors = [entry["tensor-spec"]["dtype"] for entry in inputs if "tensor-spec" in entry]
        held = held["inputs"] if isinstance(held, dict) and set(held) == {"inputs"} else held
        if isinstance(held, dict):
            names = [str(entry.get("name")) for entry in inputs]
            kinds = dict(zip(names, tensors, strict=False))
            return {name: np.asarray(values, kinds.get(name)) for name, values in held.items()}
        return np.asarray(held, tensors[0] if tensors else None)
    except (KeyError, TypeError, ValueError) as error:
        raise _odd(path, f"its input example is not as its signature says: {error}") from error


def _odd(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is not a model folder as MLflow writes it: {what}",
        code="malformed_request",
        hint="pass example=, or save the model again",
    )
