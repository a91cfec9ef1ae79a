"""A model as a pickle for its worker, and which packages that pickle needs. Nothing is ever unpickled here.

What is of ``__main__``, a notebook or a module that lies beside the user's script goes in by value: a worker has only
installed packages.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import json
import pickletools
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import CompileError, MissingExtraError

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_PUTS = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}


@dataclass(frozen=True)
class Pickled:
    """A pickled model.

    Attributes:
        data: The pickle.
        distributions: The installed distributions whose modules it names, by normal name.
        by_value: Modules whose code is inside it.
    """

    data: bytes
    distributions: tuple[str, ...]
    by_value: tuple[str, ...]


def pickle_model(model: Any) -> Pickled:
    """Pickle a model with the code that no package brings.

    Raises:
        MissingExtraError: cloudpickle is not installed.
        CompileError: ``cannot_compile``: it holds what no pickle holds, or a module that is in no package and cannot
            go in by value.
    """
    cloudpickle = _cloudpickle()
    registered: list[types.ModuleType] = []
    try:
        while True:
            data = _dumped(cloudpickle, model)
            named = named_modules(data)
            fresh = [sys.modules[name] for name in named if _is_local(name) and sys.modules[name] not in registered]
            if not fresh:
                break
            for module in fresh:
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)
    by_value = {name for module in registered if (name := module.__name__)}
    needed = {name for name in named if not any(_within(name, local) for local in by_value)}
    return Pickled(data, tuple(sorted(distributions_of(needed))), tuple(sorted(by_value)))


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        raise MissingExtraError(
            "a model that needs Python is stored with cloudpickle, which is not installed",
            code="missing_extra",
            hint="pip install 'monorail[worker]'",
        ) from None
    return cloudpickle


def _dumped(cloudpickle: Any, model: Any) -> bytes:
    try:
        return cloudpickle.dumps(model)
    except Exception as error:
        raise CompileError(
            f"the model cannot be stored: {type(error).__name__}: {error}",
            code="cannot_compile",
            hint="keep connections, locks, open files and generators out of it; make them in load(self, path)",
        ) from error


def named_modules(data: bytes) -> set[str]:
    """The modules that a pickle would import, read from its operations; nothing is run.

    Beside those it names for classes and functions, modules are taken that code inside the pickle may import: words in
    it that are modules of this process. One too many costs a line of the lock.
    """
    found: set[str] = set()
    words: set[str] = set()
    has_code = False
    for module, name, strings in _globals(data):
        found.add(module)
        words |= strings
        has_code = has_code or (module.startswith("cloudpickle") and name in ("_make_function", "_builtin_type"))
    if has_code:
        found |= {word for word in words if word in sys.modules}
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names and name != "__main__"}


def _globals(data: bytes) -> Iterator[tuple[str, str, set[str]]]:
    """Module and name of every global of a pickle, with the strings that came before it since the last one."""
    stack: list[str | None] = []
    memo: dict[int, str | None] = {}
    strings: set[str] = set()
    argument: Any
    for code, argument, _ in pickletools.genops(data):
        if code.name in _STRINGS:
            stack.append(str(argument))
            strings.add(str(argument))
        elif code.name in _PUTS:
            memo[len(memo) if argument is None else int(argument)] = stack[-1] if stack else None
        elif code.name in _GETS:
            stack.append(memo.get(int(argument)))
        elif code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield module, name, strings
            strings = set()
            stack.append(None)
        elif code.name == "STACK_GLOBAL":
            pair = stack[-2:]
            if len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str):
                yield pair[0], pair[1], strings
                strings = set()
            stack.append(None)
        elif code.name not in ("FRAME", "PROTO", "MARK"):
            stack.append(None)
    yield "builtins", "object", strings


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _is_local(name: str) -> bool:
    """Whether a module of this process is in no installed package, so that only its code itself can travel."""
    module = sys.modules.get(name)
    top = name.partition(".")[0]
    if module is None or top == "monorail" or top in sys.builtin_module_names:
        return False
    owners = _owners().get(top, ())
    if any(not is_editable(owner) for owner in owners):
        return False
    file = getattr(module, "__file__", None)
    if file is not None and file.endswith(_EXTENSIONS):
        raise CompileError(
            f"the model needs the compiled module {name}, which no installed package brings",
            code="cannot_compile",
            hint=f"install the package of {file} as a wheel",
        )
    return file is not None


def _owners() -> dict[str, list[str]]:
    """The distributions that bring each top module."""
    return _owners_on(tuple(sys.path))


@functools.cache
def _owners_on(path: tuple[str, ...]) -> dict[str, list[str]]:
    # Every installed file's name is looked at for this.
    return {top: list(names) for top, names in importlib.metadata.packages_distributions().items()}


def distributions_of(modules: Iterable[str]) -> set[str]:
    """The installed distributions that bring these modules."""
    owners = _owners()
    return {owner for name in modules for owner in owners.get(name.partition(".")[0], ())} - {"monorail"}


def is_editable(distribution: str) -> bool:
    """Whether a distribution is a folder of somebody's, used where it lies."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        return bool(text) and bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
