"""What the end-to-end tests share: a server of jobs, clients, ``tests.support`` importable anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import monorail as mr

if TYPE_CHECKING:
    from tests.support.process import ServerProcess
    from tests.support.raw import Raw

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


def pytest_report_header() -> list[str]:
    """Which brokers the tests of queues run against, in the servers' own words."""
    from tests.support.brokers import versions

    return [f"broker: {version}" for version in versions()]


@pytest.fixture(scope="session")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that takes jobs for ``scorer``, for ``echo``, which answers ``x`` as ``y``, and for ``slow``, alike."""
    from tests.support.bundles import publish_scorer, publish_slow
    from tests.support.process import ServerProcess

    folder = tmp_path_factory.mktemp("jobs") / "here"
    publish_scorer(folder, "scorer")
    publish_slow(folder, "echo", busy_ms=0)
    publish_slow(folder, "slow", busy_ms=500)
    with ServerProcess(folder, "scorer", "echo", "slow", threads=2) as server:
        yield server
        assert server.get("/health/ready").status == 200


@pytest.fixture(scope="module")
def client(server) -> Iterator[mr.Client]:
    """A client of the module's ``server``."""
    with mr.Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def http(server) -> Iterator[httpx.Client]:
    """HTTP by hand, to the module's ``server``."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


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
