"""``monorail demo``: what it finds, what it prints, what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import monorail as mr
from monorail.cli.demo import chosen_registry
from monorail.cli.demo.rail import curl
from monorail.cli.demo.report import summary


@dataclasses.dataclass(frozen=True)
class DemoRun:
    """What ``monorail demo --json`` did, once for all tests: it takes half a minute, so they are in one file.

    Attributes:
        out: stdout.
        err: stderr.
        scratch: The folder it was given for temporary files.
    """

    out: str
    err: str
    scratch: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo, run in full."""
    scratch = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "monorail.cli", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stderr
    return DemoRun(done.stdout, done.stderr, scratch)


def test_json_is_one_object_and_nothing_else(demo):
    result = json.loads(demo.out)
    assert demo.out.count("\n") == 1
    assert list(result) == ["rows", "auc", "proof", "serving", "scoring"]
    assert set(result["proof"]) == {"rows", "hard_rows", "label_mismatches", "worst_difference"}
    assert set(result["serving"]) == {"requests_per_s", "p50_ms", "p99_ms", "mean_batch_rows", "errors", "ready_ms"}
    assert set(result["scoring"]) == {"rows_per_s"}


def test_what_it_finds(demo):
    result = json.loads(demo.out)
    assert result["rows"] == 336_776
    assert 0.68 < result["auc"] < 0.71
    assert result["proof"]["rows"] == 336_776
    assert result["proof"]["hard_rows"] >= 10_000
    assert result["proof"]["label_mismatches"] == 0
    assert result["proof"]["worst_difference"] < 1e-6
    assert result["serving"]["errors"] == 0
    assert result["serving"]["requests_per_s"] > 0
    assert 0 < result["serving"]["p50_ms"] <= result["serving"]["p99_ms"]
    assert result["serving"]["mean_batch_rows"] > 1
    assert result["serving"]["ready_ms"] > 0
    assert result["scoring"]["rows_per_s"] > 0


def test_it_says_where_the_registry_is_and_removes_it(demo):
    assert f"registry: {demo.scratch}/" in demo.err
    assert list(demo.scratch.iterdir()) == []


def test_it_shows_the_request_and_the_answer(demo):
    lines = demo.err.splitlines()
    [place] = [i for i, line in enumerate(lines) if line.startswith("curl ")]
    assert "-H 'Content-Type: application/json'" in lines[place]
    answer = json.loads(lines[place + 1])
    assert (answer["model"], answer["version"], len(answer["predictions"])) == ("flights", 1, 1)


def test_the_summary_shows_every_number(demo):
    text = summary(json.loads(demo.out))
    assert "336,776 flights and " in text
    assert "AUC on October to December" in text
    assert " rows a second" in text
    assert max(len(line) for line in text.splitlines()) <= 90


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_can_be_pasted(registry, frame):
    record = {**frame.iloc[0].to_dict(), "carrier": 'it\'s $HOME; "ça va"'}
    record["dep"] = None
    with mr.serve("flights", port=0, registry=registry) as server:
        line = curl(f"{server.url}/models/flights/predict", json.dumps(record, ensure_ascii=False))
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"] == [mr.load("flights", registry=registry).predict(record)]


def test_a_registry_that_is_named_stays(tmp_path):
    with chosen_registry(str(tmp_path / "kept")) as (scratch, registry):
        assert registry == tmp_path / "kept"
        assert scratch.is_dir()
    assert not scratch.exists()
    with chosen_registry(None) as (scratch, registry):
        assert registry.parent == scratch


@pytest.mark.parametrize("package", ["pandas", "sklearn", "lightgbm"])
def test_a_missing_package_names_the_extra(package, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; from monorail.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: the demo needs packages that are not installed: {package}\nhint: pip install 'monorail[demo]'\n"
    )


def test_make_demo_is_the_demo(demo):
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo: setup .*\n\t@\$\(VENV\)/bin/monorail demo$", makefile, re.MULTILINE)
    assert demo.out.startswith('{"rows": 336776, ')
