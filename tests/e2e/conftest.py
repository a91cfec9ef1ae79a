"""What the end-to-end tests share: one demo run, a raw connection, ``tests.support`` importable from any folder."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.raw import Raw

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@dataclasses.dataclass(frozen=True)
class DemoRun:
    """What ``monorail demo --json`` did, once for all tests.

    Attributes:
        out: stdout.
        err: stderr.
        scratch: The folder it was given for temporary files.
    """

    out: str
    err: str
    scratch: Path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo, run in full."""
    scratch = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "monorail.cli", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stderr
    return DemoRun(done.stdout, done.stderr, scratch)


@pytest.fixture
def raw(server) -> Iterator[Raw]:
    """One connection to the module's ``server``."""
    from tests.support.raw import Raw

    with Raw(server.address) as raw:
        yield raw


@pytest.fixture
def monorail():
    """Runs a command that must succeed; gives its stdout."""

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "monorail.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
