"""One adapter per framework: who made this fitted object, what is it, and what does it answer.

Adapters are found by the entry point group ``monorail.adapters``, so that any package can bring one. Those of others
are asked first. Ours stand in a table besides, for they must be found where Monorail is not installed: in a worker.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any

from ..errors import CompileError
from .base import Adapter, Description
from .frames import Form

__all__ = ["GROUP", "Adapter", "Description", "Form", "adapters", "find_adapter"]

#: The entry point group, each entry a subclass of ``Adapter`` that is made without arguments.
GROUP = "monorail.adapters"
#: Ours, in the order they are asked; the same as in pyproject.toml. The last knows whatever has ``predict``.
OURS = {
    "catboost": "monorail.adapters.catboost:CatBoostAdapter",
    "lightgbm": "monorail.adapters.lightgbm:LightGBMAdapter",
    "xgboost": "monorail.adapters.xgboost:XGBoostAdapter",
    "keras": "monorail.adapters.keras:KerasAdapter",
    "tensorflow": "monorail.adapters.tensorflow:TensorFlowAdapter",
    "torch": "monorail.adapters.torch:TorchAdapter",
    "onnx": "monorail.adapters.onnx:OnnxAdapter",
    "scikit-learn": "monorail.adapters.sklearn:SklearnAdapter",
    "python": "monorail.adapters.python:PythonAdapter",
}


@functools.cache
def adapters() -> tuple[Adapter, ...]:
    """All adapters in the order they are asked, found once a process.

    Raises:
        CompileError: `unknown_framework`: another package's adapter cannot be loaded, or is none.
    """
    entries = importlib.metadata.entry_points(group=GROUP)
    others = [entry for entry in entries if not entry.value.startswith(f"{__name__}.")]
    # The same package can be found twice where its folder is on the path twice.
    found = {(entry.name, entry.value): entry for entry in others}
    return (*(_load(entry) for _, entry in sorted(found.items())), *(_ours(place) for place in OURS.values()))


def find_adapter(model: object) -> Adapter:
    """The adapter for a fitted object.

    Raises:
        CompileError: `unknown_framework`.
    """
    for adapter in adapters():
        if adapter.recognises(model):
            return adapter
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    known = ", ".join(adapter.framework for adapter in adapters())
    raise CompileError(f"no adapter knows a {kind}", code="unknown_framework", hint=f"known frameworks: {known}")


def _ours(place: str) -> Adapter:
    module, _, name = place.partition(":")
    # Relative: in a worker this package is registered under its name without being installed.
    return getattr(importlib.import_module(f".{module.rpartition('.')[2]}", __name__), name)()


def _load(entry: importlib.metadata.EntryPoint) -> Adapter:
    """Another package's adapter; whatever is wrong with it is said with its name, since nothing else would show it."""
    owner = entry.dist.name if entry.dist is not None else entry.value
    try:
        adapter: Any = entry.load()()
    except Exception as error:  # another package's code may raise anything
        raise _broken(entry, owner, f"{type(error).__name__}: {error}") from error
    if not isinstance(adapter, Adapter):
        raise _broken(entry, owner, "it is not a monorail.adapters.Adapter")
    return adapter


def _broken(entry: importlib.metadata.EntryPoint, owner: str, reason: str) -> CompileError:
    return CompileError(
        f"the adapter `{entry.name}` of the package {owner} cannot be used: {reason}",
        code="unknown_framework",
        hint=f"update {owner}, or uninstall it",
    )
