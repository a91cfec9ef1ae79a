"""One adapter per framework: who made this fitted object, what is it, and what does it answer."""

from __future__ import annotations

from ..errors import CompileError
from .base import Adapter, Description
from .frames import Form
from .lightgbm import LightGBMAdapter
from .python import PythonAdapter
from .sklearn import SklearnAdapter

__all__ = ["Adapter", "Description", "Form", "find_adapter"]

_ADAPTERS: tuple[Adapter, ...] = (LightGBMAdapter(), SklearnAdapter(), PythonAdapter())


def find_adapter(model: object) -> Adapter:
    """The adapter for a fitted object.

    Raises:
        CompileError: `unknown_framework`.
    """
    for adapter in _ADAPTERS:
        if adapter.recognises(model):
            return adapter
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    known = ", ".join(adapter.framework for adapter in _ADAPTERS)
    raise CompileError(f"no adapter knows a {kind}", code="unknown_framework", hint=f"known frameworks: {known}")
