"""The Java example runs exported graphs and answers as the serving engine does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

import monorail as mr

EXAMPLE = Path(__file__).parents[2] / "examples" / "java"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built."""
    folder = tmp_path_factory.mktemp("java") / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("target"))
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=folder, check=True, timeout=300)
    return folder


def answers(project: Path, version: mr.Version, rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What the program prints for these rows."""
    _, described = version.export(folder / "model.onnx")
    (folder / "rows.json").write_text(json.dumps(rows))
    command = ["java", "-jar", str(project / "target" / "score.jar"), str(described), str(folder / "rows.json")]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(got) == len(expected) > 0
    for mine, his in zip(got, expected, strict=True):
        assert mine.keys() == his.keys()
        assert mine["label"] == his["label"]
        assert np.allclose(mine["probability"], his["probability"], rtol=1e-12, atol=1e-12)


def test_a_table_with_text_and_missing_values(project: Path, registry: Path, frame: pd.DataFrame, tmp_path: Path):
    rows = json.loads(str(frame.head(100).to_json(orient="records")))
    assert any(row["dep"] is None for row in rows)
    version = mr.Registry(registry).version("flights")
    expected = mr.load(version).predict(rows)
    compare(answers(project, version, rows, tmp_path), expected)


def test_trees_over_an_array(project: Path, tmp_path: Path):
    X = np.random.default_rng(0).normal(size=(200, 4))
    model = RandomForestClassifier(10, random_state=0).fit(X, np.asarray(["no", "yes"])[(X[:, 0] > 0).astype(int)])
    version = mr.save(model, "forest", example=X, registry=tmp_path / "registry", quiet=True)
    rows = [{"input": row} for row in X.tolist()]
    compare(answers(project, version, rows, tmp_path), mr.load(version).predict(rows))
