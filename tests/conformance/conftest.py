"""Bundles that give back what they were given, one server for all tests, and ``tests.support`` importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from tests.support.echo import publish_echoes  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402


@pytest.fixture(scope="session")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with ``strict``, ``loose``, ``odd``, ``logs`` and ``matrix``."""
    folder = tmp_path_factory.mktemp("echoes") / "here"
    publish_echoes(folder)
    return folder


@pytest.fixture(scope="session")
def server(echoes: Path) -> Iterator[ServerProcess]:
    """A server of all of them that refuses unknown columns."""
    with ServerProcess(echoes, "strict", "loose", "odd", "logs", "matrix", limit_rows=1_000) as server:
        yield server


@pytest.fixture(scope="session")
def ignoring(echoes: Path) -> Iterator[ServerProcess]:
    """The same, ignoring unknown columns."""
    with ServerProcess(echoes, "strict", "loose", unknown_columns="ignore") as server:
        yield server
