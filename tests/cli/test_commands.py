"""Whole commands: exit status and both streams, with what differs from run to run filtered out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import monorail as mr


def filtered(text: str, *folders: object) -> str:
    """Text without times, paths and the last digits."""
    for folder in folders:
        text = text.replace(str(folder), "DIR")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\d(\.\d+)?e-\d\d", "TINY", text)
    return re.sub(r"\d+\.\d+\.\d+", "VERSION", text)


@pytest.fixture
def files(model, frame, tmp_path):
    """A pickled model and its rows, in the working folder."""
    joblib.dump(model, tmp_path / "model.joblib")
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "rows.parquet")
    frame.head(3).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


def test_list(monorail, registry):
    ran = monorail("list", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    assert filtered(ran.out) == (
        "name     newest  versions  saved                 aliases\nflights       2         2  TIME  champion=1\n"
    )
    listed = json.loads(monorail("list", "--registry", registry, "--json").out)
    assert [(entry["name"], entry["aliases"]) for entry in listed] == [("flights", {"champion": 1})]


def test_list_of_nothing(monorail, tmp_path):
    ran = monorail("list")
    assert (ran.status, ran.out, ran.err) == (0, "", f"no models in {tmp_path}/.monorail\n")


def test_show(monorail, registry):
    ran = monorail("show", "flights@champion", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    head, _, table = ran.out.partition("\n\n")
    proof = mr.Registry(registry).version("flights@1").proof
    assert filtered(head, registry) == filtered(
        "flights@1  (native, saved TIME)\n"
        "path         DIR/flights/1\n"
        "frameworks   numpy VERSION, scikit-learn VERSION\n"
        "engine       native: the whole model is a graph\n"
        f"proof        {proof}\n"
        "environment  needs no Python packages\n"
        "metric       auc = 0.6"
    )
    assert table.splitlines()[0].split() == ["carrier", "string", "3", "values:", *table.splitlines()[0].split()[4:]]
    manifest = json.loads(monorail("show", "flights@champion", "--registry", registry, "--json").out)
    assert (manifest["format"], manifest["version"]) == (1, 1)


def test_show_where_stdout_has_few_letters(registry):
    arguments = [sys.executable, "-m", "monorail.cli", "show", "flights", "--registry", str(registry)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "? label" in ran.stdout


def test_show_of_what_is_not_there(monorail, registry):
    ran = monorail("show", "none", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert "\nhint: " in ran.err


def test_alias(monorail, model, frame, tmp_path):
    for _ in range(2):
        mr.save(model, "m", example=frame, registry=tmp_path / "r", quiet=True)
    ran = monorail("alias", "m@1", "best", "--registry", "r")
    assert (ran.status, ran.out, ran.err) == (0, "", "m@best is now version 1\n")
    ran = monorail("alias", "m", "best", "--registry", "r")
    assert ran.err == "m@best is now version 2\n"
    ran = monorail("alias", "m", "best", "--remove", "--registry", "r")
    assert (ran.status, ran.err) == (0, "removed m@best\n")
    assert monorail("alias", "m", "best", "--remove", "--registry", "r").status == 1
    assert monorail("alias", "m@1", "7", "--registry", "r").status == 1


def test_prove(monorail, registry):
    ran = monorail("prove", "flights", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    first, head, *rows = filtered(ran.out).splitlines()
    assert re.fullmatch(r"flights@2: \d+ golden rows, 0 label mismatches, worst difference (TINY|0)", first)
    assert head.split() == ["row", "values", "original", "here", "difference"]
    assert len(rows) == 5
    assert all("carrier=" in row and row.count("label=") == 2 for row in rows)
    report = json.loads(monorail("prove", "flights", "--registry", registry, "--json", "--rows", "2").out)
    assert report["matched"]
    assert report["engine"] == "native"
    worst = report["worst"]
    assert [row["difference"] for row in worst] == [report["worst_difference"], worst[1]["difference"]]
    assert worst[0]["expected"]["label"] == worst[0]["got"]["label"]


def test_predict(monorail, registry, files, frame):
    ran = monorail("predict", "flights", "rows.csv", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    labels = mr.load("flights", registry=registry).predict(frame)["label"].tolist()
    assert [json.loads(line)["label"] for line in ran.out.splitlines()] == labels[:3]
    ran = monorail("predict", "flights", "rows.parquet", "-o", "out.parquet", "--registry", registry)
    assert (ran.status, ran.out, ran.err) == (0, "", f"{len(frame)} predictions in out.parquet\n")
    assert pq.read_table("out.parquet").column("label").to_pylist() == labels


@pytest.mark.parametrize(
    "text",
    [
        '[{"carrier": "UA", "dep": 1, "distance": 100.0, "wind": "N"}, {"carrier": "B6", "dep": 0.5, "distance": 7}]',
        '{"rows": [{"carrier": "UA", "dep": 1, "distance": 1e2, "wind": "N"},'
        ' {"carrier": "B6", "dep": 0.5, "distance": 7}]}',
        '{"columns": {"carrier": ["UA", "B6"], "dep": [1, 0.5], "distance": [100, 7.0], "wind": ["N", null]}}',
        '{"carrier": ["UA", "B6"], "dep": [1, 0.5], "distance": [100, 7], "wind": ["N", null]}',
    ],
)
def test_predict_judges_json_as_a_server_does(monorail, registry, text):
    records = [{"carrier": "UA", "dep": 1, "distance": 100, "wind": "N"}, {"carrier": "B6", "dep": 0.5, "distance": 7}]
    Path("rows.json").write_text(text)
    ran = monorail("predict", "flights", "rows.json", "--registry", registry)
    assert (ran.status, ran.err) == (0, "")
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert answers == mr.load("flights", registry=registry).predict(records)


def test_predict_of_one_record_and_of_none(monorail, registry):
    Path("one.json").write_text('{"carrier": "UA", "dep": 1, "distance": 100}')
    assert len(monorail("predict", "flights", "one.json", "--registry", registry).out.splitlines()) == 1
    Path("none.jsonl").write_text("")
    ran = monorail("predict", "flights", "none.jsonl", "--registry", registry)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    ran = monorail("predict", "flights", "none.jsonl", "-o", "out.parquet", "--registry", registry)
    assert (ran.status, pq.read_table("out.parquet").column_names) == (0, ["label", "probability"])


def test_predict_names_the_value_of_mixed_columns(monorail, registry):
    Path("bad.jsonl").write_text('{"carrier": "UA", "distance": 1}\n{"carrier": 5, "distance": 2}\n')
    ran = monorail("predict", "flights", "bad.jsonl", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert "row 1, column 'carrier': expected string, got " in ran.err


def test_predict_to_where_nothing_can_be_written(monorail, registry, files):
    ran = monorail("predict", "flights", "rows.csv", "-o", "none/out.parquet", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: none/out.parquet cannot be written: ")
    assert "\nhint: " in ran.err
    ran = monorail("predict", "no-model", "no-file", "-o", "out.json", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == ("error: out.json is of a kind that is not written\nhint: use .parquet, .arrow, .csv or .jsonl\n")


def test_predict_refuses_rows_by_place(monorail, registry, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"carrier": "UA", "distance": 1}\n{"carrier": null, "distance": 2}\n')
    ran = monorail("predict", "flights", "bad.jsonl", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert "row 1, column 'carrier': expected string, got null" in ran.err


def test_save(monorail, files):
    ran = monorail("save", "model.joblib", "--trust", "--name", "m", "--example", "rows.parquet", "--metric", "auc=0.7")
    assert (ran.status, ran.out) == (0, "m@1\n")
    assert str(mr.Registry().version("m").proof) in ran.err
    options = ("--tag", "owner=me", "--output", "score", "--nullable", "carrier", "--golden-rows", "5", "--json")
    ran = monorail("save", "model.joblib", "--trust", "--name", "m", "--example", "rows.csv", *options)
    saved = json.loads(ran.out)
    assert (ran.status, saved["name"], saved["version"]) == (0, "m", 2)
    version = mr.Registry().version("m@2")
    assert dict(version.tags) == {"owner": "me"}
    assert version.signature.inputs[0].nullable
    assert version.golden_inputs().num_rows == 5


def test_save_hands_on_the_errors_of_its_process(monorail, files):
    joblib.dump({"no": "model"}, "other.joblib")
    ran = monorail("save", "other.joblib", "--trust", "--name", "m", "--example", "rows.csv")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: no adapter knows a builtins.dict\nhint: ")


@pytest.fixture
def served(registry):
    """``monorail serve`` as a process, and the one line it prints."""
    arguments = [sys.executable, "-m", "monorail.cli", "serve", "flights", "--port", "0", "--registry", str(registry)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_address_and_drains(served, number):
    process, url = served
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    with mr.Client(url) as client:
        assert client.ready()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "draining" in err


@pytest.mark.timed
def test_serve_is_ready_within_a_second_and_small(registry, served):

    times = []
    for _ in range(3):
        arguments = [
            sys.executable,
            "-m",
            "monorail.cli",
            "serve",
            "flights@1",
            "--port",
            "0",
            "--registry",
            str(registry),
        ]
        start = time.perf_counter()
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            times.append(time.perf_counter() - start)
            process.terminate()
    assert min(times) < 1
    if sys.platform == "linux":
        with open(f"/proc/{served[0].pid}/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        assert resident < 150 * 1024


def test_serve_of_what_cannot_be_served(monorail, registry):
    ran = monorail("serve", "none", "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    ran = monorail("serve", "flights", "--registry", registry, "--limit-rows", "0")
    assert (ran.status, ran.out) == (1, "")
    assert "limit_rows" in ran.err


def test_bench(monorail, registry, served, files):
    _, url = served
    options = ("--seconds", "0.3", "--connections", "4", "--registry", registry, "--json")
    report = json.loads(monorail("bench", url, "flights", *options).out)
    assert report["requests"] > 0
    assert report["errors"] == 0
    report = json.loads(monorail("bench", url, "flights", *options, "--rows", "10", "--data", "rows.parquet").out)
    assert report["rows_per_s"] > report["requests_per_s"]
    Path("none.jsonl").write_text("")
    ran = monorail("bench", url, "flights", *options, "--data", "none.jsonl")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: there are no rows to send")
    assert monorail("bench", "http://127.0.0.1:1", "flights", *options).status == 1


def test_score(monorail, registry, files):
    arguments = ["score", "flights", "rows.parquet", "--out", "scored", "--columns", "distance", "--registry", registry]
    ran = monorail(*arguments)
    assert (ran.status, ran.out) == (0, "scored\n")
    assert ran.err.startswith("scoring rows.parquet …\n400 rows scored by flights@2 in scored (1 file, ")
    found = pq.read_table(files / "scored" / "part-000000.parquet")
    assert found.column_names == ["distance", "label", "probability"]
    again = monorail(*arguments, "--json", "--quiet")
    assert (again.status, json.loads(again.out)["resumed_rows"], again.err) == (0, 400, "")
    other = monorail(*arguments, "--filter", "distance > 3000", "--quiet")
    assert (other.status, other.out) == (1, "")
    assert other.err.startswith("error: scored holds the predictions of another run: it differs in filters\nhint: ")


@pytest.mark.parametrize("text", ["distance", "> 3", "distance ~ 3"])
def test_a_filter_that_cannot_be_read(monorail, registry, files, text):
    ran = monorail("score", "flights", "rows.parquet", "--out", "x", "--filter", text, "--registry", registry)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"error: --filter {text!r} is not COLUMN OP VALUE\n")
