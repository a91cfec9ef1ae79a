"""Every estimator of scikit-learn, saved and served: as the table says, and with the original's answers.

``python -m tests.conformance.estimators --write`` writes the table anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.estimators import harness, left_out, recipes
from tests.support.process import ServerProcess

from monorail import Client

NAMES = recipes.names()
WORKERS = ("worker", "mixed")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimators") / "registry"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def saved() -> dict[str, harness.Saved]:
    """What the tests before have saved."""
    return {}


@pytest.fixture(scope="module")
def server(registry: Path, saved: dict[str, harness.Saved]) -> Iterator[ServerProcess]:
    """One server of every model saved."""
    with ServerProcess(registry, *saved, threads=1, ready_s=110) as server:
        yield server


@pytest.mark.parametrize("name", NAMES)
def test_saved(name: str, registry: Path, saved: dict[str, harness.Saved]) -> None:
    found = harness.save(name, registry)
    if found.rows is not None:
        saved[name] = found
    outcome, listed = found.outcome, harness.listed().get(name)
    assert listed is not None, "not in the table: write it anew"
    assert (outcome.kind, outcome.engine, outcome.reason) == (listed.kind, listed.engine, listed.reason)
    # Another processor adds in another order; a difference of another size is another model.
    assert outcome.differs <= max(100 * listed.differs, 1e-12)
    assert outcome.engine != "refused"


@pytest.mark.parametrize("name", NAMES)
def test_served(name: str, server: ServerProcess, saved: dict[str, harness.Saved]) -> None:
    found = saved.get(name)
    assert found is not None, "it was not saved"
    assert found.rows is not None
    assert found.expected is not None
    with Client(server.url) as client:
        assert client.model(name)["engine"] == found.outcome.engine
        harness.compare(name, client.predict(name, found.rows), found.expected)


def test_none_is_left_out() -> None:
    everything = recipes.everything()
    assert set(left_out.NO_TABLE) <= everything
    assert set(harness.listed()) == everything - set(left_out.NO_TABLE)


def test_most_are_native() -> None:
    engines = Counter(outcome.engine for outcome in harness.listed().values())
    assert engines["native"] >= 150
    assert engines["refused"] == 0
    for outcome in harness.listed().values():
        assert (outcome.reason != "") == (outcome.engine in WORKERS)
