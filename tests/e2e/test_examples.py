"""Every example runs, alone, in an empty folder, without a warning; and so do the benchmarks' command lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
#: Those of `tests/neural`, whose frameworks are not here.
NEURAL = [path for path in EXAMPLES if path.stem.startswith(("keras_", "tensorflow_", "torch_"))]
#: Words that the name of each framework's example begins with.
FRAMEWORKS = {
    "sklearn", "lightgbm", "xgboost", "catboost", "torch", "keras", "tensorflow", "onnx", "mlflow", "skops", "python",
    "pandas",
}  # fmt: skip


def test_all_examples_are_listed():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert EXAMPLES
    assert all(f"[{path.name}]({path.name})" in text for path in EXAMPLES)


def test_every_framework_has_one():
    assert {path.stem.partition("_")[0] for path in EXAMPLES} >= FRAMEWORKS


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path not in NEURAL], ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".http_single_row", ".predict_flights", ".startup"])
def test_benchmark_says_what_it_takes(name):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks{name}", "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
