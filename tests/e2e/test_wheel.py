"""The wheel in an empty environment serves a bundle in which no framework can be imported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import monorail as mr

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("sklearn", "pandas", "lightgbm", "polars")
RIGHT = '{"carrier": "UA", "dep": null, "distance": 100, "wind": "N"}'
SCORE = f"""
import importlib.util, json, sys
assert not [name for name in {FRAMEWORKS!r} if importlib.util.find_spec(name)]
import monorail as mr
assert "site-packages" in mr.__file__, mr.__file__
model = mr.load("flights", registry=sys.argv[1])
print(json.dumps(model.predict(json.loads(sys.argv[2]))))
with mr.Client(sys.argv[3]) as client:
    assert client.predict("flights", json.loads(sys.argv[2])) == model.predict(json.loads(sys.argv[2]))
"""


def run(*arguments: object, **options) -> str:
    """Run a program; what it prints."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, cwd="/", **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and its dependencies, of the versions in the lock, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    maturin = Path(sys.executable).with_name("maturin")
    run(
        maturin,
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--out",
        folder,
        "-m",
        ROOT / "crates" / "py" / "Cargo.toml",
    )
    wheel = next(folder.glob("*.whl"))
    assert re.search(r"-cp311-abi3-", wheel.name)
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".pyc")], "what Python kept here"
    run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    lines = (ROOT / "locks" / "dev.txt").read_text(encoding="utf-8").splitlines()
    versions = [line.removesuffix(" \\") for line in lines if "==" in line]
    (folder / "versions.txt").write_text("\n".join(versions), encoding="utf-8")
    python = folder / "venv" / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--python", python, wheel, "--constraint", folder / "versions.txt")
    return folder / "venv" / "bin"


def test_it_serves_and_scores_without_a_framework(environment: Path, registry: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    arguments = [environment / "monorail", "serve", "flights", "--port", "0", "--registry", registry]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        answer = run(environment / "python", "-c", SCORE, registry, RIGHT, url, env=clean)
        server.terminate()
    assert server.returncode == 0
    assert json.loads(answer) == mr.load("flights", registry=registry).predict(json.loads(RIGHT))
