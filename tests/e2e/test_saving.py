"""Several processes save at once, some are killed: versions are distinct, none is lost, none is half there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.process import ServerProcess
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

#: Publishes versions one after the other and prints each; waits for a line on stdin before it begins.
SAVER = """
import sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from tests.support.bundles import publish_scorer
registry, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("here", flush=True)
sys.stdin.readline()
for number in range(count):
    folder = publish_scorer(registry, name, golden=True, shift=float(number))
    print(folder.name, flush=True)
"""
ROOT = str(Path(__file__).parents[2])


class Saver:
    """A process that saves."""

    def __init__(self, registry: Path, name: str, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(registry), name, str(count), ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "here\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def versions(self) -> list[int]:
        """What it has saved when it ends."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode in (0, -signal.SIGKILL), err
        return [int(line) for line in out.splitlines()]


def published(registry: Path, name: str) -> list[int]:
    return next((sorted(entry.versions) for entry in mr.Registry(registry).list() if entry.name == name), [])


@pytest.mark.parametrize("names", [("m", "m"), ("m", "m", "m"), ("a", "b")])
def test_processes_that_save_at_once(tmp_path, names):
    count, registry = 12, tmp_path / "here"
    savers = [Saver(registry, name, count) for name in names]
    for saver in savers:
        saver.go()
    saved = [saver.versions() for saver in savers]
    for versions in saved:
        assert versions == sorted(versions)
        assert len(versions) == count
    for name in set(names):
        mine = [version for versions, of in zip(saved, names, strict=True) if of == name for version in versions]
        assert sorted(mine) == list(range(1, count * names.count(name) + 1)), "distinct, and none skipped"
        assert published(registry, name) == sorted(mine)
        for version in mine:
            manifest = mr.Registry(registry).version(f"{name}@{version}")
            assert (manifest.name, manifest.version) == (name, version)
        assert mr.load(name, registry=registry).check_golden()["matched"]
    assert (registry.stat().st_mode & 0o777) == 0o700


def test_a_server_reads_while_others_save(tmp_path):
    registry = tmp_path / "here"
    first = Saver(registry, "m", 1)
    first.go()
    first.versions()
    savers = [Saver(registry, "m", 6) for _ in range(2)]
    for saver in savers:
        saver.go()
    while any(saver.process.poll() is None for saver in savers):
        # Whatever is newest now is whole.
        assert mr.load("m", registry=registry).check_golden()["matched"]
    for saver in savers:
        saver.versions()


def test_killed_while_saving(tmp_path):
    """At any moment: what is listed is whole, the next save gets a number of its own, and aliases stay."""
    registry, rng = tmp_path / "here", random.Random(7)
    done: set[int] = set()
    for _ in range(5):
        saver = Saver(registry, "m", 1_000)
        saver.go()
        assert saver.process.stdout is not None
        done.add(int(saver.process.stdout.readline()))
        time.sleep(rng.uniform(0, 0.02))  # the moment of the kill, nothing that is waited for
        saver.process.kill()
        done.update(saver.versions())
        listed = published(registry, "m")
        assert done <= set(listed), "what save had returned is there"
        assert len(set(listed) - done) <= 1, "the one that was about to return may be"
        done.update(listed)
        for version in listed:
            mr.Registry(registry).version(f"m@{version}")
        assert mr.load("m", registry=registry).version.version == max(listed)
    with ServerProcess(registry, "m") as server:
        assert server.get("/models").json()["models"][0]["versions"] == [max(done)]


def test_killed_in_the_middle_of_the_real_save(tmp_path, frame, model):
    """``mr.save`` held up in its proof and killed there: no version, and the next save works."""
    registry = tmp_path / "here"
    script = """
import sys, time, joblib
import monorail as mr
model, frame = joblib.load(sys.argv[2])
class Held(type(model)):
    def predict_proba(self, X):
        print("proving", flush=True)
        time.sleep(600)
model.__class__ = Held
mr.save(model, "m", example=frame, registry=sys.argv[1], quiet=True)
"""
    import joblib

    joblib.dump((model, frame), tmp_path / "model.joblib")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(registry), str(tmp_path / "model.joblib")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    if line:
        drafts = [path for path in (registry / "m").iterdir() if path.is_dir()]
        assert drafts, "it had claimed a version"
    assert published(registry, "m") == []
    with pytest.raises(errors.NotFoundError):
        mr.load("m", registry=registry)
    version = mr.save(model, "m", example=frame, registry=registry, quiet=True)
    assert published(registry, "m") == [version.version]
    assert mr.load("m", registry=registry).check_golden()["matched"]


class TestRefused:
    """What save refuses leaves nothing."""

    @pytest.fixture
    def lying(self, frame: pd.DataFrame):
        """A model whose original does not answer what its parameters say."""
        from sklearn.linear_model import LinearRegression

        X = frame[["distance"]].astype(float)
        fitted = LinearRegression().fit(X, X["distance"] * 2)

        class Lying(LinearRegression):
            def predict(self, X):
                return super().predict(X) + (np.asarray(X)[:, 0] > 1_000)

        Lying.__module__, Lying.__qualname__ = LinearRegression.__module__, LinearRegression.__qualname__
        fitted.__class__ = Lying
        return fitted, X

    def test_a_model_that_is_not_proven(self, tmp_path, lying):
        model, X = lying
        with pytest.raises(errors.ProofError) as caught:
            mr.save(model, "m", example=X, registry=tmp_path / "here", engine="native", quiet=True)
        assert caught.value.code == "not_proven"
        assert caught.value.details
        assert published(tmp_path / "here", "m") == []

    def test_unless_it_is_wanted_and_then_the_manifest_says_so(self, tmp_path, lying):
        model, X = lying
        version = mr.save(model, "m", example=X, registry=tmp_path / "here", unproven=True, quiet=True)
        assert version.proof.unproven
        manifest = json.loads((version.path / "bundle.json").read_text())
        assert (manifest["proof"]["passed"], manifest["proof"]["unproven"]) == (False, True)

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "../x", "a/b", "-a", ".a", "a b", "é", "a@1", "x" * 129, "a\n", "a\0"]
    )
    def test_a_name_that_is_none(self, tmp_path, frame, model, name):
        with pytest.raises(errors.RegistryError) as caught:
            mr.save(model, name, example=frame, registry=tmp_path / "here", quiet=True)
        assert caught.value.code == "name_invalid"
        assert not (tmp_path / "here").exists() or mr.Registry(tmp_path / "here").list() == []
        assert not (tmp_path / "x").exists()

    def test_names_that_differ_only_in_case(self, tmp_path, frame, model):
        mr.save(model, "Flights", example=frame, registry=tmp_path / "here", quiet=True)
        with pytest.raises(errors.RegistryError) as caught:
            mr.save(model, "flights", example=frame, registry=tmp_path / "here", quiet=True)
        assert caught.value.code == "name_conflict"
        assert [entry.name for entry in mr.Registry(tmp_path / "here").list()] == ["Flights"]

    def test_a_folder_that_cannot_be_written(self, tmp_path, frame, model):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(errors.RegistryError) as caught:
            mr.save(model, "m", example=frame, registry=tmp_path / "file", quiet=True)
        assert caught.value.code == "registry_unusable"


def test_a_number_is_never_given_out_twice(tmp_path, frame, model):
    """Not even after its version was deleted."""
    import shutil

    registry = tmp_path / "here"
    first = mr.save(model, "m", example=frame, registry=registry, quiet=True)
    second = mr.save(model, "m", example=frame, registry=registry, quiet=True)
    shutil.rmtree(second.path)
    third = mr.save(model, "m", example=frame, registry=registry, quiet=True)
    assert (first.version, second.version, third.version) == (1, 2, 3)
    wait_until("both are listed", lambda: published(registry, "m") == [1, 3])
