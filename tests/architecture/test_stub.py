"""The hand-written stub of the Rust module says what the built module has."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from monorail import _core

STUB = ast.parse((Path(__file__).parents[2] / "python" / "monorail" / "_core.pyi").read_text(encoding="utf-8"))
#: In the stub for types alone.
TYPES_ONLY = {"ArrowStream"}


def public(names) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def stub_functions(body) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef) if node.name not in TYPES_ONLY}
FUNCTIONS = stub_functions(STUB.body)
METHODS = [(c, m) for c, node in CLASSES.items() for m in stub_functions(node.body) if m != "__new__"]


def test_the_module_has_what_the_stub_says_and_nothing_else():
    assert public(vars(_core)) - {"__version__"} == set(CLASSES) | set(FUNCTIONS)
    assert isinstance(_core.__version__, str)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_members(name):
    built = public(vars(getattr(_core, name)))
    assert built == public(stub_functions(CLASSES[name].body))


def parameters(node: ast.FunctionDef) -> list[tuple[str, str, bool]]:
    """Name, kind and whether there is a default, of each parameter in the stub."""
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults = [False] * (len(plain) - len(args.defaults)) + [True] * len(args.defaults)
    found = [(arg.arg, "plain", default) for arg, default in zip(plain, defaults, strict=True)]
    found += [(a.arg, "keyword", d is not None) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return [entry for entry in found if entry[0] not in ("self", "cls")]


def built_parameters(function) -> list[tuple[str, str, bool]]:
    """The same of the built function."""
    kinds = {inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return [
        (p.name, kinds.get(p.kind, "plain"), p.default is not inspect.Parameter.empty)
        for p in inspect.signature(function).parameters.values()
        if p.name not in ("self", "cls")
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_same(name):
    assert built_parameters(getattr(_core, name)) == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_take_the_same(name):
    if "__new__" in stub_functions(CLASSES[name].body):
        assert built_parameters(getattr(_core, name)) == parameters(stub_functions(CLASSES[name].body)["__new__"])


@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_methods_take_the_same(kind, method):
    built, stub = vars(getattr(_core, kind))[method], stub_functions(CLASSES[kind].body)[method]
    if any(isinstance(d, ast.Name) and d.id == "property" for d in stub.decorator_list):
        assert inspect.isdatadescriptor(built)
    else:
        assert built_parameters(built) == parameters(stub)
