"""What every source file keeps to: a subject in its first lines, and a size a reader can hold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "monorail"
FILES = sorted(PACKAGE.rglob("*.py"))
RUST = sorted(path for path in (ROOT / "crates").glob("*/src/**/*.rs"))
MOST_LINES = 500
MOST_FUNCTION_LINES = 60


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_says_its_subject(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", RUST, ids=name)
def test_rust_says_its_subject(path):
    assert path.read_text(encoding="utf-8").startswith("//! ")


@pytest.mark.parametrize("path", [*FILES, *RUST], ids=name)
def test_is_not_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_are_not_too_long(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # The docstring and the signature are not what a reader has to hold in mind.
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert (node.end_lineno or 0) - first.lineno < MOST_FUNCTION_LINES, node.name


def test_no_file_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [name(path) for path in PACKAGE.rglob("*") if path.stem.lstrip("_") in drawers]


def test_one_version_number():
    from monorail import __version__

    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    assert re.search(rf'^version = "{re.escape(__version__)}"$', manifest, re.MULTILINE)
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
