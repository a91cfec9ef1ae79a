"""Monorail: one rail from raw data to live predictions, in Python, at native speed.

::

    import monorail as mr

    model = mr.fit(pipeline, "s3://lake/*.parquet", target="late")   # data of any size
    version = mr.save(model, "flights", example=X)     # compile, prove, store
    flights = mr.load("flights")                       # the serving engine, in this process
    flights.predict(df)                                # the same kind of data out
    with mr.serve("flights", port=0) as server:        # HTTP
        mr.Client(server.url).predict("flights", df)

Importing it is quick and silent: each name below loads what it needs on first use.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors
    from ._core import __version__
    from .bundle.registry import Registry
    from .bundle.save import save
    from .bundle.version import Proof, Version
    from .client import Client
    from .engine import Model, load
    from .fit.api import fit
    from .score import spark
    from .score.api import score
    from .serve import Server, serve
    from .signature import Signature

__all__ = [
    "Client",
    "Model",
    "Proof",
    "Registry",
    "Server",
    "Signature",
    "Version",
    "__version__",
    "errors",
    "fit",
    "load",
    "save",
    "score",
    "serve",
    "spark",
]

#: Where each public name is.
_HOMES = {
    "Client": ".client",
    "Model": ".engine",
    "Proof": ".bundle.version",
    "Registry": ".bundle.registry",
    "Server": ".serve",
    "Signature": ".signature",
    "Version": ".bundle.version",
    "__version__": "._core",
    "fit": ".fit.api",
    "load": ".engine",
    "save": ".bundle.save",
    "score": ".score.api",
    "serve": ".serve",
}

#: Public names that are modules.
_MODULES = {"errors": ".errors", "spark": ".score.spark"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _MODULES:
        return importlib.import_module(_MODULES[name], __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """This package. Importing the subpackage ``serve`` does not hide the function ``serve``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
