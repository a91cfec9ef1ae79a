"""Environments of workers: the lock in the bundle, this interpreter where it fits, else one that uv makes."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from tests.support.process import ServerProcess

import monorail as mr
from monorail import errors
from monorail.bundle.environment import find_uv, lock, locked_versions
from monorail.serve.environments import interpreter, worker_command

DATA = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
HERE = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"


class Where:
    """Says which interpreter and which packages it runs with."""

    def predict(self, batch):
        import importlib.metadata
        import sys

        try:
            extra = importlib.metadata.version("toolz")
        except importlib.metadata.PackageNotFoundError:
            extra = "none"
        return {"python": [sys.executable] * batch.num_rows, "toolz": [extra] * batch.num_rows}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MONORAIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def saved(tmp_path: Path):
    return mr.save(Where, "where", example=DATA, registry=tmp_path / "here", golden_rows=0, quiet=True)


def with_lock(version: mr.Version, text: str) -> mr.Version:
    """The bundle with another lock, as if it had been saved elsewhere: digest and all."""
    (version.path / "requirements.txt").write_text(text)
    manifest = json.loads((version.path / "bundle.json").read_text())
    entry = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text.encode())}
    manifest["files"]["requirements.txt"] = entry
    (version.path / "bundle.json").write_text(json.dumps(manifest))
    return mr.Registry(version.path.parents[1]).version(version.name)


def and_toolz(text: str) -> str:
    """A lock with one package more, which this environment does not have."""
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("toolz")
    uv = str(find_uv())
    command = [uv, "pip", "compile", "-q", "--generate-hashes", "--no-deps", "--no-header", "--no-annotate", "-"]
    made = subprocess.run(command, input="toolz==1.0.0\n", capture_output=True, text=True, check=True)
    return text + made.stdout


def test_the_bundle_keeps_versions_hashes_and_python(saved):
    text = (saved.path / "requirements.txt").read_text()
    assert set(locked_versions(text)) == {"cloudpickle", "numpy", "pyarrow"}
    assert text.count("--hash=sha256:") >= 3
    assert saved.manifest["environment"]["packages"] == locked_versions(text)
    assert saved.manifest["environment"]["python"] == HERE
    assert saved.manifest["stages"][0]["lock"] == "requirements.txt"


def test_this_interpreter_is_used_where_it_has_exactly_that(saved, cache):
    assert mr.load(saved).predict(DATA)["python"].tolist() == [sys.executable] * 3
    assert not cache.exists()


def test_another_lock_gets_an_environment_of_its_own(saved, cache):
    moved = with_lock(saved, and_toolz((saved.path / "requirements.txt").read_text()))
    answer = mr.load(moved).predict(DATA)
    [made] = [path for path in cache.iterdir() if path.is_dir()]
    assert set(answer["python"]) == {str(made / "bin" / "python")}
    assert set(answer["toolz"]) == {"1.0.0"}
    # Nothing but what is locked, and not Monorail.
    script = "import importlib.metadata as m; print(sorted(d.name for d in m.distributions()))"
    done = subprocess.run([made / "bin" / "python", "-I", "-c", script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == ["cloudpickle", "numpy", "pyarrow", "toolz"]
    # The second time it is there.
    before = made.stat().st_mtime_ns
    assert set(mr.load(moved).predict(DATA)["toolz"]) == {"1.0.0"}
    assert made.stat().st_mtime_ns == before
    assert [path for path in cache.iterdir() if path.is_dir()] == [made]


def test_isolated_is_always_an_environment_of_its_own(saved, cache, tmp_path):
    assert set(mr.load(saved, worker_environment="isolated").predict(DATA)["python"]) != {sys.executable}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    with ServerProcess(tmp_path / "here", "where", worker_environment="isolated") as server:
        [answer] = server.predict("where", {"x": 1.0}).json()["predictions"]
    assert answer["python"].startswith(str(cache))


def test_a_package_that_cannot_be_had_is_named_at_start(saved, cache, tmp_path):
    text = (saved.path / "requirements.txt").read_text()
    gone = re.sub(r"cloudpickle==[^\s\\]+", "cloudpickle==3.1.999", text)
    moved = with_lock(saved, gone)
    with pytest.raises(errors.EngineError, match=r"cloudpickle 3\.1\.999 cannot be had") as caught:
        mr.load(moved)
    assert caught.value.code == "environment_unavailable"
    server = subprocess.run(
        [sys.executable, "-m", "monorail.cli", "serve", "where", "--port", "0", "--registry", str(tmp_path / "here")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (server.returncode, server.stdout) == (1, "")
    assert "cloudpickle 3.1.999" in server.stderr
    assert not [path for path in cache.iterdir() if path.is_dir()], "nothing half made is left"


def test_a_package_that_is_not_the_locked_one_is_refused():
    text = re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", lock([]).text)
    with pytest.raises(errors.EngineError, match="cannot be had") as caught:
        interpreter(text, HERE, isolated=True)
    assert caught.value.code == "environment_unavailable"
    assert re.search(r"(cloudpickle|numpy|pyarrow) \d", caught.value.message)


def test_without_hashes_only_the_same_versions_will_do():
    text = "".join(f"{name}=={version}\n" for name, version in lock([]).versions.items())
    assert interpreter(text, HERE) == sys.executable
    with pytest.raises(errors.EngineError, match=r"numpy 1\.0 is needed and \S+ is installed"):
        interpreter(re.sub(r"numpy==\S+", "numpy==1.0", text), HERE)
    with pytest.raises(errors.EngineError, match=r"toolz 1\.0\.0 is needed and not installed"):
        interpreter(text + "toolz==1.0.0\n", HERE)
    with pytest.raises(errors.EngineError, match=r"Python 3\.10\.1 is needed"):
        interpreter(text, "3.10.1")


def test_many_at_once_make_it_once(cache):
    text = and_toolz("")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(interpreter(text, HERE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_one_whose_python_is_gone_is_made_again(cache):
    text = and_toolz("")
    program = Path(interpreter(text, HERE))
    program.unlink()
    program.symlink_to(cache / "no" / "python")
    left = cache / f".making-{program.parents[1].name}-of-one-that-was-killed"
    left.mkdir()
    assert interpreter(text, HERE) == str(program)
    assert program.exists()
    assert [path for path in cache.iterdir() if path.is_dir()] == [program.parents[1]], "nothing else is left"


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_cache_that_others_can_write_to_is_not_run_from(cache, mode):
    text = and_toolz("")
    program = interpreter(text, HERE)
    cache.chmod(mode)
    with pytest.raises(errors.EngineError, match="written by others") as caught:
        interpreter(text, HERE)
    assert caught.value.code == "environment_unavailable"
    cache.chmod(0o755)
    assert interpreter(text, HERE) == program


def test_a_changed_lock_is_refused_before_it_is_used(saved):
    (saved.path / "requirements.txt").write_text("numpy==1.0\n")
    with pytest.raises(errors.MonorailError) as caught:
        mr.load(saved)
    assert caught.value.code == "bundle_damaged"
    with pytest.raises(errors.EngineError, match="was changed"):
        worker_command(saved.path, saved.manifest)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MONORAIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(errors.EngineError, match="cannot be written") as caught:
        interpreter(lock([]).text, HERE, isolated=True)
    assert "MONORAIL_CACHE" in str(caught.value.hint)


def test_without_the_index_it_is_saved_all_the_same(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))

    class NeedsMore(Where):
        def predict(self, batch):
            import iniconfig

            return [iniconfig.__name__] * batch.num_rows

    version = mr.save(NeedsMore, "more", example=DATA, registry=tmp_path / "here")
    assert "it runs only where exactly these versions are installed" in capfd.readouterr().err
    text = (version.path / "requirements.txt").read_text()
    assert "--hash" not in text
    # The package that only the code inside names is in it.
    assert locked_versions(text)["iniconfig"] == importlib.metadata.version("iniconfig")
    assert mr.load(version).predict({"x": 1.0}) == {"prediction": "iniconfig"}
    with pytest.raises(errors.EngineError, match="has no hashes") as caught:
        mr.load(version, worker_environment="isolated")
    assert caught.value.code == "environment_unavailable"
    with pytest.raises(errors.SettingError):
        mr.load(version, worker_environment="other")
