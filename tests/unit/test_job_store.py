"""Where a server keeps its jobs: what the setting says, against what Rust is told."""

from pathlib import Path

import pytest

from monorail.errors import SettingError
from monorail.serve.jobs import job_store


@pytest.mark.parametrize("said", [None, "auto"])
def test_it_is_in_the_registry(said, tmp_path):
    assert job_store(said, tmp_path) == f"auto:{tmp_path}/jobs"


@pytest.mark.parametrize("said", [None, "auto"])
def test_no_registry_is_made_for_it(said, tmp_path):
    assert job_store(said, tmp_path / "none") == "off"
    assert not (tmp_path / "none").exists()


def test_it_is_off(tmp_path):
    assert job_store("off", tmp_path) == "off"


def test_a_path_is_made_absolute(tmp_path, monkeypatch):
    # The working folder is the test's own.
    assert job_store("kept/here", tmp_path) == f"{Path.cwd()}/kept/here"
    assert job_store("/var/jobs", tmp_path) == "/var/jobs"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert job_store("~/jobs", tmp_path) == f"{tmp_path}/jobs"


def test_a_relative_registry(tmp_path):
    (tmp_path / "here").mkdir()
    assert job_store("auto", Path("here")) == f"auto:{tmp_path}/here/jobs"


@pytest.mark.parametrize("said", ["", "  "])
def test_no_folder_is_refused(said, tmp_path):
    with pytest.raises(SettingError) as caught:
        job_store(said, tmp_path)
    assert (caught.value.code, bool(caught.value.hint)) == ("setting_invalid", True)
