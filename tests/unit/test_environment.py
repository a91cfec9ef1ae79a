"""The environment a bundle keeps: names and versions as installed."""

import importlib.metadata
import platform
import sys

import pytest

from monorail import errors
from monorail.bundle.environment import _hashed, environment, installed_versions, lock, locked_versions


def test_dependencies_are_followed():
    versions = installed_versions(["scikit_learn"])
    assert versions["scikit-learn"] == importlib.metadata.version("scikit-learn")
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert "scipy" in versions
    assert list(versions) == sorted(versions)


def test_extras_and_strangers_are_left_out():
    assert "pytest" not in installed_versions(["scikit-learn"])
    assert installed_versions(["no-such-distribution-anywhere"]) == {}


def test_python_and_platform():
    described = environment([])
    assert described["python"] == platform.python_version()
    assert described["platform"].count("-") == 1
    assert described["packages"] == {}


def test_extras_that_are_asked_for_are_followed():
    plain, more = installed_versions(["hypothesis"]), installed_versions(["hypothesis[numpy]"])
    assert "numpy" not in plain
    assert more["numpy"] == importlib.metadata.version("numpy")


def test_a_lock_has_hashes_of_what_is_installed_here():
    locked = lock(["threadpoolctl"])
    assert locked.hashed, locked.note
    assert set(locked.versions) == {"threadpoolctl", "numpy", "pyarrow", "cloudpickle"}
    assert locked_versions(locked.text) == locked.versions
    assert locked.text.count("--hash=sha256:") >= len(locked.versions)
    # It names no address.
    assert "://" not in locked.text


def test_without_uv_it_is_locked_without_hashes_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    _hashed.cache_clear()
    locked = lock([])
    assert (locked.hashed, locked_versions(locked.text)) == (False, locked.versions)
    assert "monorail[worker]" in locked.note
    monkeypatch.undo()
    assert lock([]).hashed, "the next model has them, where uv is there again"


def test_a_lock_of_other_versions_than_those_here_is_none(tmp_path, monkeypatch):
    """What a project tells uv to install instead is not what the model was proven with."""
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\noverride-dependencies = ["cloudpickle==3.0.0"]\n')
    monkeypatch.chdir(tmp_path)
    _hashed.cache_clear()
    locked = lock([])
    _hashed.cache_clear()
    assert (locked.hashed, locked_versions(locked.text)) == (False, locked.versions)
    assert f"another version than cloudpickle {importlib.metadata.version('cloudpickle')}" in locked.note


def test_a_package_installed_from_a_folder_is_refused_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "own_rates-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own-rates\nVersion: 1.0\n")
    (folder / "direct_url.json").write_text('{"url": "file:///home/me/rates", "dir_info": {"editable": true}}')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(errors.CompileError, match="own-rates"):
        lock(["own-rates"])


def test_monorail_itself_is_not_locked(tmp_path, monkeypatch):
    """Another package's adapter depends on it; a worker has its code without that."""
    folder = tmp_path / "own_adapter-1.0.dist-info"
    folder.mkdir()
    text = "Metadata-Version: 2.1\nName: own-adapter\nVersion: 1.0\nRequires-Dist: monorail\nRequires-Dist: iniconfig\n"
    (folder / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(installed_versions(["own-adapter"])) == {"own-adapter", "iniconfig"}
