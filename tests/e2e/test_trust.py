"""Code that is part of a model runs only where somebody said so, or the registry is this user's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tests.support.process import ServerProcess

import monorail as mr
from monorail import errors

DATA = pd.DataFrame({"x": [1.0, 2.0, 3.0]})


class Marking:
    """Leaves a mark wherever it is opened, so that opening it can be seen."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __setstate__(self, state):
        self.__dict__ |= state
        with open(self.mark, "a") as file:
            file.write("opened\n")

    def predict(self, frame: pd.DataFrame):
        return frame["x"] * 2


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def registry(tmp_path: Path, mark: Path) -> Path:
    """A registry of this user's with one model that has code."""
    folder = tmp_path / "here"
    mr.save(Marking(mark), "m", example=DATA, registry=folder, quiet=True)
    assert folder.stat().st_mode & 0o777 == 0o700
    mark.unlink(missing_ok=True)
    return folder


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monorail.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_users_own_registry_is_trusted(registry, mark):
    assert mr.load("m", registry=registry).predict(DATA)["prediction"].tolist() == [2.0, 4.0, 6.0]
    assert mark.exists()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777])
def test_a_registry_that_others_may_enter_is_not(registry, mark, mode):
    registry.chmod(mode)
    for attempt in (lambda: mr.load("m", registry=registry), lambda: mr.serve("m", registry=registry, port=0)):
        with pytest.raises(errors.TrustError) as caught:
            attempt()
        assert caught.value.code == "untrusted"
    assert not mark.exists(), "nothing of it was opened"
    assert mr.load("m", registry=registry, trust=True).predict({"x": 4.0}) == {"prediction": 8.0}
    assert mark.exists()


def test_what_only_reads_needs_no_trust(registry, mark):
    registry.chmod(0o755)
    assert mr.Registry(registry).version("m").engine == "worker"
    shown = command("show", "m", "--registry", registry)
    assert shown.returncode == 0
    assert "it is a Python class" in shown.stdout
    assert not mark.exists()


def test_a_bundle_unpacked_into_a_folder_of_ones_own_is_not_trusted(registry, mark, tmp_path):
    """Its registry would be the folder around it; but a path names no registry."""
    shutil.copytree(registry, tmp_path / "unpacked")
    (tmp_path / "unpacked").chmod(0o700)
    path = tmp_path / "unpacked" / "m" / "1"
    for reference in (path, str(path)):
        with pytest.raises(errors.TrustError):
            mr.load(reference)
    assert not mark.exists()
    assert mr.load(path, trust=True).predict({"x": 1.0}) == {"prediction": 2.0}
    # The same folder as a registry that the user names is.
    assert mr.load("m", registry=tmp_path / "unpacked").engine == "worker"


def test_a_version_is_trusted_with_its_registry(registry):
    version = mr.Registry(registry).version("m")
    assert mr.load(version).predict({"x": 1.0}) == {"prediction": 2.0}
    registry.chmod(0o755)
    with pytest.raises(errors.TrustError):
        mr.load(version)


def test_commands_take_the_flag(registry, mark, tmp_path):
    registry.chmod(0o755)
    (tmp_path / "rows.json").write_text('[{"x": 5.0}]')
    for words in (["predict", "m", tmp_path / "rows.json"], ["prove", "m"], ["serve", "m", "--port", "0"]):
        refused = command(*words, "--registry", registry)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "--trust" in refused.stderr
        assert not mark.exists()
    done = command("predict", "m", tmp_path / "rows.json", "--registry", registry, "--trust")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"prediction": 10.0})
    assert command("prove", "m", "--registry", registry, "--trust").returncode == 0
    with ServerProcess(registry, "m", trust=True) as server:
        assert server.predict("m", {"x": 5.0}).json()["predictions"] == [{"prediction": 10.0}]


def test_a_graph_needs_no_trust(tmp_path):
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(DATA, DATA["x"])
    mr.save(model, "plain", example=DATA, registry=tmp_path / "here", quiet=True)
    (tmp_path / "here").chmod(0o755)
    assert mr.load("plain", registry=tmp_path / "here").engine == "native"
