"""Versions side by side under numbers and aliases, and a running server that only control could change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.bundles import publish_scorer, scorer_answers
from tests.support.process import ServerProcess

import monorail as mr

ROW = {"a": 1.0, "b": 2.0, "c": 3.0, "amount": "4"}
#: What tells the versions apart, by version.
SHIFTS = {1: 0.0, 2: 0.5, 3: 1.0}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Versions 1 to 3; ``champion`` is 1, ``v3`` is 3, and ``next`` is 3 too."""
    folder = tmp_path / "here"
    for shift in SHIFTS.values():
        publish_scorer(folder, "scorer", golden=True, shift=shift)
    publish_scorer(folder, "other")
    for alias, version in (("champion", 1), ("v3", 3), ("next", 3)):
        mr.Registry(folder).set_alias("scorer", alias, version)
    return folder


def probability(version: int) -> list[float]:
    return scorer_answers(np.array([[1.0, 2.0, 3.0, 4.0]]), SHIFTS[version])[1][0].tolist()


def version_of(server: ServerProcess, name: str) -> int:
    """The version that answered, by what it says and by its answer."""
    answer = server.predict(name, ROW)
    assert answer.status == 200, answer.body
    said = answer.json()["version"]
    assert answer.json()["model"] == "scorer"
    assert answer.json()["predictions"][0]["probability"] == pytest.approx(probability(said), abs=1e-12)
    return said


def code_of(server: ServerProcess, name: str) -> str:
    answer = server.predict(name, ROW)
    assert answer.status == 404
    return answer.error["code"]


def test_several_versions_side_by_side(registry):
    with ServerProcess(registry, "scorer@3", "scorer@champion", "scorer@2", "other") as server:
        assert [version_of(server, f"scorer@{number}") for number in (1, 2, 3)] == [1, 2, 3]
        assert version_of(server, "scorer@champion") == 1
        assert version_of(server, "scorer@v3") == version_of(server, "scorer@next") == 3
        assert version_of(server, "scorer") == 3, "the newest loaded, not the first or last named"
        models = {model["name"]: model for model in server.get("/models").json()["models"]}
        assert models["scorer"]["versions"] == [1, 2, 3]
        assert models["scorer"]["aliases"] == {"champion": 1, "v3": 3, "next": 3}
        assert models["other"]["versions"] == [1]
        for reference, version in (("scorer", 3), ("scorer@2", 2), ("scorer@champion", 1), ("scorer%40champion", 1)):
            described = server.get(f"/models/{reference}").json()
            assert (described["name"], described["version"]) == ("scorer", version)
        metrics = server.metrics()
        for number, requests in ((1, 2), (2, 1), (3, 4)):
            assert (
                metrics.value("monorail_requests_total", model="scorer", version=str(number), status="200") == requests
            )


def test_a_bare_name_is_the_newest_loaded(registry):
    with ServerProcess(registry, "scorer@1", "scorer@2") as server:
        assert version_of(server, "scorer") == 2
        assert code_of(server, "scorer@3") == "unknown_version"
        assert code_of(server, "scorer@v3") == "unknown_version", "its alias points at a version that is not loaded"
        assert code_of(server, "other") == "unknown_model", "it is in the registry, not in this server"
    with ServerProcess(registry, "scorer") as server:
        assert version_of(server, "scorer") == 3
        assert code_of(server, "scorer@1") == "unknown_version"


def test_one_version_named_twice_is_loaded_once(registry):
    with ServerProcess(registry, "scorer@1", "scorer@champion", str(registry / "scorer" / "1")) as server:
        assert server.get("/models").json()["models"][0]["versions"] == [1]
        assert version_of(server, "scorer@champion") == 1


def test_saving_and_moving_aliases_changes_no_running_server(registry):
    with ServerProcess(registry, "scorer@champion", "scorer@2") as server:
        before = server.get("/models").body
        assert version_of(server, "scorer@champion") == 1
        publish_scorer(registry, "scorer", golden=True, shift=5.0)
        mr.Registry(registry).set_alias("scorer", "champion", 2)
        mr.Registry(registry).set_alias("scorer", "fresh", 2)
        mr.Registry(registry).remove_alias("scorer", "v3")
        assert version_of(server, "scorer@champion") == 1
        assert version_of(server, "scorer") == 2
        assert code_of(server, "scorer@fresh") == "unknown_version"
        assert code_of(server, "scorer@4") == "unknown_version"
        # Not even the registry's end: what was loaded is in memory.
        shutil.rmtree(registry)
        assert [version_of(server, name) for name in ("scorer@1", "scorer@2", "scorer")] == [1, 2, 2]
        assert server.get("/models").body == before


def test_a_new_server_has_what_the_registry_has_now(registry):
    mr.Registry(registry).set_alias("scorer", "champion", 2)
    with ServerProcess(registry, "scorer@champion") as server:
        assert version_of(server, "scorer@champion") == 2
    assert mr.load("scorer@champion", registry=registry).version.version == 2
    assert mr.load("scorer", registry=registry).predict(ROW)["probability"] == pytest.approx(probability(3))


def test_a_bundle_by_its_path(registry, tmp_path):
    """Copied out of any registry, it is served under its own name and number."""
    copy = Path(shutil.copytree(registry / "scorer" / "2", tmp_path / "elsewhere"))
    with ServerProcess(tmp_path / "no_registry", str(copy)) as server:
        assert version_of(server, "scorer") == version_of(server, "scorer@2") == 2
    assert mr.load(str(copy)).predict(ROW)["probability"] == pytest.approx(probability(2))


def test_settings_of_one_model(registry, tmp_path):
    """``[models.NAME]`` reaches that model alone."""
    config = tmp_path / "settings.toml"
    config.write_text("[serve]\nlimit_rows = 3\n[models.scorer]\nlimit_rows = 1\n")
    with ServerProcess(registry, "scorer", "other", config=config) as server:
        assert server.predict("scorer", [ROW] * 2).error["code"] == "too_many_rows"
        assert server.predict("other", [ROW] * 2).status == 200
        assert server.predict("other", [ROW] * 4).error["code"] == "too_many_rows"


def test_descriptions_hold_what_the_design_promises(registry):
    with ServerProcess(registry, "scorer") as server:
        described = server.get("/models/scorer").json()
    assert {"name", "version", "versions", "aliases", "engine", "signature", "row_wise", "proof"} <= set(described)
    assert described["signature"] == {
        "inputs": [{"name": n, "type": "float64", "nullable": False} for n in "abc"]
        + [{"name": "amount", "type": "string", "nullable": False}],
        "outputs": json.loads((registry / "scorer" / "3" / "bundle.json").read_text())["signature"]["outputs"],
    }
