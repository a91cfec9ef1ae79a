"""``monorail fit``: a pipeline of a file, fitted, written, saved; and what is asked wrongly."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monorail.errors import InputError
from monorail.fit.storing import write_model

PROGRAM = """
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

prepare = make_column_transformer((OneHotEncoder(), ["s"]), (StandardScaler(), ["a"]))
pipeline = make_pipeline(prepare, LogisticRegression())

def forest():
    return make_pipeline(prepare, RandomForestClassifier(3, random_state=0))

def broken():
    return boosted.nothing

def asks(more):
    return pipeline

def boosted():
    from lightgbm import LGBMClassifier

    print("made")
    return make_pipeline(prepare, LGBMClassifier(n_estimators=2, verbose=1))
"""

#: Where it raises.
BROKEN = PROGRAM.splitlines().index("    return boosted.nothing") + 1


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows and a program in the working folder."""
    random = np.random.default_rng(0)
    a = random.normal(size=500)
    table = pa.table({"a": a, "s": random.choice(["x", "y"], 500), "late": a + random.normal(size=500) > 0})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "program_of_a_test.py").write_text(PROGRAM)
    return tmp_path / "rows.parquet"


def test_fit_and_save(monorail: Any, rows: Path) -> None:
    ran = monorail("fit", "program_of_a_test.py:pipeline", "rows.parquet", "--target", "late", "--save", "late")
    assert (ran.status, ran.out) == (0, "late@1\n"), ran.err
    assert "500 rows" in ran.err
    assert "pipeline.columntransformer.standardscaler" in ran.err
    assert monorail("predict", "late", str(rows)).status == 1  # `late` is no column of the model
    assert monorail("predict", "late", str(rows), "--ignore-unknown-columns").status == 0


def test_what_the_program_and_its_steps_print_is_no_answer(monorail: Any, rows: Path) -> None:
    ran = monorail(
        "fit", "program_of_a_test.py:boosted", "rows.parquet", "--target", "late", "--save", "late", "--json"
    )
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["name"] == "late"
    assert "made\n" in ran.err
    assert "[LightGBM]" in ran.err


def test_fit_into_a_file(monorail: Any, rows: Path) -> None:
    ran = monorail(
        "fit", "program_of_a_test.py:forest", "rows.parquet", "--target", "late", "--sample-rows", "200",
        "--filter", "a > 0", "--out", "model.joblib", "--json", "--quiet",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    assert answer["out"] == "model.joblib"
    assert answer["steps"][-1]["how"] == "sampled"
    assert ran.err == ""
    model = joblib.load("model.joblib")
    assert model.fit_report_.rows == answer["rows"] < 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.py:pipeline", "rows.parquet", "--save", "m"], "nothing.py does not exist"),
        (["program_of_a_test.py", "rows.parquet", "--save", "m"], "not FILE.py:NAME"),
        (["program_of_a_test.py:none", "rows.parquet", "--save", "m"], "has no none"),
        (["program_of_a_test.py:pipeline", "rows.parquet"], "--save NAME"),
        (["program_of_a_test.py:pipeline", "rows.parquet", "--out", "model.pkl"], "model.pkl cannot be written"),
        (["program_of_a_test.py:pipeline", "rows.parquet", "--save", "m", "--target", "b"], "'b'"),
        (["program_of_a_test.py:forest", "rows.parquet", "--save", "m", "--target", "late"], "randomforestclassifier"),
        (["program_of_a_test.py:pipeline", "rows.parquet", "--save", "m", "--sample-rows", "x=y"], "--sample-rows"),
    ],
)
def test_what_is_asked_wrongly(monorail: Any, rows: Path, arguments: list[str], words: str) -> None:
    ran = monorail("fit", *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err


@pytest.mark.parametrize(
    ("program", "name", "words"),
    [
        (PROGRAM, "broken", f"program.py, line {BROKEN}: AttributeError: 'function' object has no attribute"),
        (PROGRAM, "asks", "program.py: TypeError: asks() missing"),
        ("import nothing_that_is_there", "x", "program.py, line 1: ModuleNotFoundError"),
        ("x = 1\ndef (", "x", "program.py: SyntaxError"),
        ("import sys\nsys.exit(3)", "x", "program.py, line 2: SystemExit: 3"),
    ],
)
def test_a_program_that_raises_is_the_users_to_mend(
    monorail: Any, rows: Path, program: str, name: str, words: str
) -> None:
    Path("program.py").write_text(program)
    ran = monorail("fit", f"program.py:{name}", "rows.parquet", "--target", "late", "--out", "m.joblib")
    assert (ran.status, ran.out) == (1, "")
    assert f"error: {words}" in ran.err
    # The lines that are shown are the program's, not ours.
    assert "monorail" not in ran.err.partition("error:")[0]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (["--save", "no name"], '"no name" is not a model name'),
        (["--save", "m", "--registry", "closed/registry"], "registry cannot be written to"),
        (["--out", "closed/model.joblib"], "closed/model.joblib cannot be written: "),
        (["--out", ""], "'' cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_program_runs(
    monorail: Any, rows: Path, place: list[str], words: str
) -> None:
    # Closed to root, too.
    Path("closed").symlink_to("/proc/self/task")
    Path("program.py").write_text("raise SystemExit('it ran')")
    ran = monorail("fit", "program.py:x", "rows.parquet", *place)
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert "it ran" not in ran.err


@contextlib.contextmanager
def little_room(limit_bytes: int) -> Iterator[None]:
    """A limit on the size of files: a write over it fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_model_that_there_is_no_room_for_leaves_nothing(tmp_path: Path) -> None:
    with little_room(100_000), pytest.raises(InputError, match=r"model.joblib cannot be written: File too large"):
        write_model(np.zeros(100_000), str(tmp_path / "model.joblib"))
    assert not list(tmp_path.iterdir())


def test_no_room_for_temporary_files_is_the_users_to_mend(monorail: Any, rows: Path) -> None:
    with little_room(1_000):
        ran = monorail("fit", "program_of_a_test.py:pipeline", "rows.parquet", "--target", "late", "--out", "m.joblib")
    assert (ran.status, ran.out) == (1, "")
    assert "File too large" in ran.err
    assert "TMPDIR" in ran.err
    assert "Traceback" not in ran.err


def test_a_target_of_one_class_is_told_as_it_is_in_the_data(monorail: Any, rows: Path) -> None:
    ran = monorail(
        "fit", "program_of_a_test.py:pipeline", "rows.parquet", "--target", "s", "--out", "m.joblib",
        "--filter", "s = x",
    )  # fmt: skip
    assert ran.status == 1
    assert "'s'" in ran.err
    one = pq.read_table("rows.parquet").set_column(2, "late", pa.array([True] * 500))
    pq.write_table(one, "rows.parquet")
    ran = monorail("fit", "program_of_a_test.py:pipeline", "rows.parquet", "--target", "late", "--out", "m.joblib")
    assert ran.status == 1
    assert "the target is always True" in ran.err


def test_a_store_that_cannot_be_reached_is_no_damaged_file(
    monorail: Any, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    ran = monorail("fit", "program_of_a_test.py:pipeline", "s3://b/x.parquet", "--target", "late", "--out", "m.joblib")
    assert (ran.status, ran.out) == (1, "")
    assert "s3://b/x.parquet cannot be read: " in ran.err
    assert "hint: check the address" in ran.err


def test_a_value_that_made_its_column_text_is_told(monorail: Any, rows: Path) -> None:
    lines = [f"{row / 7},x,{row % 2}" for row in range(500)]
    lines[300] = "n/a,x,0"
    Path("rows.csv").write_text("\n".join(["a,s,late", *lines]) + "\n")
    ran = monorail("fit", "program_of_a_test.py:pipeline", "rows.csv", "--target", "late", "--save", "m")
    assert (ran.status, ran.out) == (1, "")
    assert "column 'a' is string" in ran.err
    assert "file 'rows.csv', row 300, column 'a': expected a number, got 'n/a'" in ran.err
    assert "rows.csv, row 300 (line 302): column 'a' has 'n/a'" in ran.err
