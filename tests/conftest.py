"""What all tests share: no setting or registry of the machine reaches them."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None, max_examples=100)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder, without ``MONORAIL_*`` in the environment."""
    for name in list(os.environ):
        if name.startswith("MONORAIL_") and name != "MONORAIL_ORT_LIB":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
