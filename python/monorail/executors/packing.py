"""A function and what it shares, as bytes for workers that have installed packages but not the user's folders."""

from __future__ import annotations

import functools
import io
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


def packed(cloudpickle: Any, content: Any, named: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle it; code that no installed package brings goes in by value.

    Args:
        cloudpickle: The module that pickles.
        content: Anything that can be pickled.
        named: What an object is called instead of being pickled (``persistent_id`` of the standard library); None for
            those that are pickled.
    """
    registered: list[types.ModuleType] = []

    class Packer(cloudpickle.CloudPickler):
        def persistent_id(self, obj: Any) -> Any:
            return None if named is None else named(obj)

        def reducer_override(self, obj: Any) -> Any:
            module = obj if isinstance(obj, types.ModuleType) else _module_of(obj)
            if module is not None and module not in registered and is_own(module):
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
            return super().reducer_override(obj)

    sink = io.BytesIO()
    try:
        Packer(sink, protocol=5).dump(content)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
    return sink.getvalue()


def is_own(module: types.ModuleType) -> bool:
    """Whether a module is the user's own: Python that lies in no folder of installed packages."""
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None)
    if file is None or top in {"monorail", "__main__"} or top in sys.stdlib_module_names or not file.endswith(".py"):
        return False
    return not any(folder in Path(file).parents for folder in _installed())


def _module_of(content: Any) -> types.ModuleType | None:
    """The module that a function or class is of."""
    if isinstance(content, types.FunctionType | type):
        return sys.modules.get(content.__module__ or "")
    return None


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("purelib", "platlib", "stdlib", "platstdlib")
    folders = {Path(sysconfig.get_path(name)) for name in names if sysconfig.get_path(name)}
    return tuple(folders | {Path(place) for place in sys.path if place.endswith(("site-packages", "dist-packages"))})
