"""What all tests share: a small model in a registry, and no setting or registry of the machine."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest

import monorail as mr

# A shell that starts a job in the background has it ignore interrupts, and what that starts does so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("default", deadline=None, max_examples=100)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty folder, without ``MONORAIL_*`` in the environment."""
    for name in list(os.environ):
        if name.startswith("MONORAIL_") and name != "MONORAIL_ORT_LIB":
            monkeypatch.delenv(name)
    # What is made for workers stays with the test.
    monkeypatch.setenv("MONORAIL_CACHE", str(tmp_path / "monorail-cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """Rows of mixed columns, with missing values in ``dep`` and ``wind``."""
    random = np.random.default_rng(0)
    rows = 400
    return pd.DataFrame(
        {
            "carrier": random.choice(["UA", "B6", "DL"], rows),
            "dep": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "distance": random.integers(17, 4983, rows),
            "wind": pd.Series(random.choice(["N", "S"], rows), dtype=object).where(random.random(rows) > 0.1, None),
        }
    )


@pytest.fixture(scope="session")
def model(frame: pd.DataFrame) -> Any:
    """A fitted pipeline over them: a classifier of two classes."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    late = (frame.dep.fillna(0) + (frame.carrier == "UA") + frame.distance / 5_000 > 0.9).map(
        {True: "late", False: "ok"}
    )
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["dep", "distance"]),
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, late)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, model: Any, frame: pd.DataFrame) -> Path:
    """A registry with ``flights``: version 1 is ``champion``, version 2 is the newest."""
    folder = tmp_path_factory.mktemp("registry") / "here"
    for number in (1, 2):
        mr.save(model, "flights", example=frame, registry=folder, metrics={"auc": 0.5 + number / 10}, quiet=True)
    mr.Registry(folder).set_alias("flights", "champion", 1)
    return folder
