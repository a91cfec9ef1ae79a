"""``monorail fit``: a pipeline of a file, fitted, written, saved; and what is asked wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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

def boosted():
    from lightgbm import LGBMClassifier

    print("made")
    return make_pipeline(prepare, LGBMClassifier(n_estimators=2, verbose=1))
"""


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


def test_a_value_that_made_its_column_text_is_told(monorail: Any, rows: Path) -> None:
    lines = [f"{row / 7},x,{row % 2}" for row in range(500)]
    lines[300] = "n/a,x,0"
    Path("rows.csv").write_text("\n".join(["a,s,late", *lines]) + "\n")
    ran = monorail("fit", "program_of_a_test.py:pipeline", "rows.csv", "--target", "late", "--save", "m")
    assert (ran.status, ran.out) == (1, "")
    assert "column 'a' is string" in ran.err
    assert "file 'rows.csv', row 300, column 'a': expected a number, got 'n/a'" in ran.err
    assert "rows.csv, row 300 (line 302): column 'a' has 'n/a'" in ran.err
