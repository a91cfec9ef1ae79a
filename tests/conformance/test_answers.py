"""Answers: the same on every road, exact, of the kind asked for; and what is counted about the questions."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.echo import BASE, KINDS, SCHEMA
from tests.support.process import Metrics, to_stream
from tests.support.roads import Roads, from_answer

import monorail as mr

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def roads(server, echoes) -> Iterator[Roads]:
    roads = Roads(server, echoes)
    yield roads
    roads.close()


# ---------------------------------------------------------------- roads

INT = {name: st.integers(low, high) for name, low, high in [
    ("i8", -128, 127), ("i16", -(2**15), 2**15 - 1), ("i32", -(2**31), 2**31 - 1), ("i64", -(2**53), 2**53),
    ("u8", 0, 255), ("u16", 0, 2**16 - 1), ("u32", 0, 2**32 - 1), ("u64", 0, 2**53),
]}  # fmt: skip
TIMES = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "b": st.booleans(),
    **INT,
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "f64": st.floats(allow_nan=False, allow_infinity=False),
    "finf": st.floats(allow_nan=False, allow_infinity=False),
    "s": st.text(max_size=8),
    "cat": st.sampled_from(["UA", "B6", "", "ü"]),
    "day": st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
    "at": TIMES,
    "atz": TIMES.map(lambda at: at.replace(tzinfo=datetime.UTC)),
    "vec": st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    "pix": st.lists(st.lists(st.integers(0, 255), min_size=2, max_size=2), min_size=2, max_size=2),
}
STRICT = st.fixed_dictionaries(VALUES)
LOOSE = st.fixed_dictionaries(
    {name: values if name == "pix" else st.none() | values for name, values in VALUES.items()}
)


@given(data=st.data(), model=st.sampled_from(["strict", "loose"]))
def test_an_answer_does_not_depend_on_the_road(server, echoes, data, model):
    rows = data.draw(st.lists(STRICT if model == "strict" else LOOSE, min_size=1, max_size=4))
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    roads = Roads(server, echoes)
    try:
        plain = roads.json(model, "rows", rows)
        assert plain.answers is not None, plain
        columns = {name: [row[name] for row in rows] for name in VALUES}
        others = {
            "columns": roads.json(model, "columns", rows),
            "arrow": roads.arrow(model, table),
            "table": roads.python(model, table),
            "rows": roads.python(model, rows),
            "model columns": roads.python(model, columns),
            "batch": roads.python(model, table.to_batches()[0]),
            "polars": roads.python(model, pl.from_arrow(table)),
            "pandas": roads.python(model, table.to_pandas(types_mapper=pd.ArrowDtype)),
            "client rows": roads.client(model, rows),
            "client columns": roads.client(model, columns),
            "client table": roads.client(model, table),
            "client polars": roads.client(model, pl.from_arrow(table)),
        }
    finally:
        roads.close()
    for road, outcome in others.items():
        assert outcome.answers is not None, (road, outcome)
        for name, values in plain.answers.items():
            got = outcome.answers[name]
            if name == "f32":  # other digits for the same number: JSON's are the shortest
                values, got = ([None if v is None else np.float32(v) for v in some] for some in (values, got))
            assert got == values, (road, name)


def test_what_the_graph_got_is_what_was_sent(roads):
    """Guards the test above: the roads must not agree on something else."""
    answers = roads.json("strict", "rows", [BASE]).answers
    assert answers is not None
    for name, value in BASE.items():
        if isinstance(value, datetime.datetime):
            value = round(value.replace(tzinfo=datetime.UTC).timestamp() * 1_000_000)
        elif isinstance(value, datetime.date):
            value = value.toordinal() - datetime.date(1970, 1, 1).toordinal()
        elif name == "pix":
            value = [1, 2, 3, 4]
        assert answers[name] == [value], name


# ---------------------------------------------------------------- numbers


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_in_json_are_shortest_round_trip(server, value):
    text = server.predict("logs", {"x": value}).text
    written = re.search(r'"both":\[([^,]+),', text)
    assert written, text
    assert float(written[1]) == value
    assert math.copysign(1, float(written[1])) == math.copysign(1, value)
    assert digits(written[1]) <= digits(repr(value)), "Python's are the shortest"
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if np.isfinite(single):
        written = re.search(r'"same32":([^,}]+)', text)
        assert written, text
        assert np.float32(written[1]) == single
        assert digits(written[1]) <= digits(str(single))


def digits(number: str) -> int:
    """Digits that count."""
    mantissa = re.sub(r"[eE].*", "", number).lstrip("-").replace(".", "").lstrip("0")
    return len(mantissa.rstrip("0"))


def test_nan_and_infinity_are_null_in_json_and_kept_in_arrow(roads):
    table = pa.table({"x": [-1.0, 0.0, 1.0]})
    text = roads.post("logs", b'{"columns":{"x":[-1,0,1]}}')
    predictions = text.json()["predictions"]
    assert predictions["log"] == [None, None, 0.0]
    assert predictions["log32"] == [None, None, 0.0]
    assert predictions["both"] == [[-1.0, None], [0.0, None], [1.0, 0.0]]
    assert b"NaN" not in text.body
    assert b"nf" not in text.body
    answer = roads.post("logs", to_stream(table), f"Content-Type: {ARROW}")
    kept = pa.ipc.open_stream(answer.body).read_all()
    for answers in (kept, roads.model("logs").predict(table)):
        for name in ("log", "log32"):
            first, second, third = answers.column(name).to_pylist()
            assert math.isnan(first)
            assert second == -math.inf
            assert third == 0
            assert answers.column(name).null_count == 0


def test_the_answers_form_is_the_one_accepted(roads):
    table = pa.table({"x": [1.0, 2.0]})
    json_body, arrow_body = b'[{"x":1},{"x":2}]', to_stream(table)
    seen = []
    for body, media in ((json_body, "application/json"), (arrow_body, ARROW)):
        for accept in ("", "*/*", "application/*", "application/json", ARROW, f"text/html, {ARROW};q=0.5"):
            headers = [f"Content-Type: {media}", *([f"Accept: {accept}"] if accept else [])]
            answer = roads.post("logs", body, *headers)
            wanted = ARROW if ARROW in accept else "application/json" if "json" in accept else media
            assert (answer.status, answer.headers["content-type"]) == (200, wanted), accept
            seen.append(from_answer(answer, arrow=wanted == ARROW).answers)
    for answers in seen:
        assert answers is not None
        assert answers["log"] == seen[0]["log"]


# ---------------------------------------------------------------- kinds of data in Python


def test_pandas_keeps_its_index_and_lists_are_views(roads):
    index = pd.MultiIndex.from_tuples([("a", 2), ("b", 1), ("a", 0)], names=["x", "y"])
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0]}, index=index)
    answers = roads.model("logs").predict(frame)
    assert answers.index.equals(index)
    assert answers.index.names == ["x", "y"]
    assert list(answers.columns) == ["log", "log32", "both", "same32"]
    assert (answers["log"].dtype, answers["log32"].dtype) == (np.float64, np.float32)
    cells = list(answers["both"])
    assert all(isinstance(cell, np.ndarray) and cell.dtype == np.float64 for cell in cells)
    assert all(cell.base is not None for cell in cells)
    assert len({id(cell.base) for cell in cells}) <= len(cells)
    start = cells[0].__array_interface__["data"][0]
    places = [cell.__array_interface__["data"][0] - start for cell in cells]
    assert places == [0, 16, 32], "views of one matrix"
    np.testing.assert_allclose(np.stack(cells)[:, 0], [1, 2, 4])


def test_numpy_backed_pandas(roads):
    """The plain dtypes of a frame as people have them."""
    frame = pd.DataFrame(
        {
            **{name: np.array([BASE[name]] * 2, KINDS[name][0]["type"]) for name in INT},
            "b": np.array([True, False]),
            "f32": np.array([0.5, 0.5], np.float32),
            "f64": [0.25, -0.25],
            "finf": [np.inf, 1.0],
            "s": ["a", "ü"],
            "cat": pd.Categorical(["UA", "never"]),
            "day": pd.Series([BASE["day"]] * 2, dtype=object),
            "at": pd.to_datetime([BASE["at"]] * 2),
            "atz": pd.to_datetime([BASE["atz"]] * 2),
            "vec": [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
            "pix": list(np.arange(8, dtype=np.uint8).reshape(2, 2, 2)),
        }
    )
    answers = roads.model("strict").predict(frame)
    assert answers["b"].tolist() == [True, False]
    assert answers["i64"].tolist() == [-64, -64]
    assert answers["f64"].tolist() == [0.25, -0.25]
    assert answers["finf"].tolist() == [np.inf, 1.0]
    assert answers["cat"].tolist() == ["UA", "never"]
    assert answers["vec"][1].tolist() == [3.0, 4.0]
    assert answers["pix"][1].tolist() == [4.0, 5.0, 6.0, 7.0]
    nulls = frame.assign(
        s=[None, "x"], cat=pd.Categorical([None, "UA"]), f64=[np.nan, 1], at=pd.to_datetime([None, "2020-01-01"])
    )
    answers = roads.model("loose").predict(nulls)
    for name in ("s_valid", "cat_valid", "at_valid"):
        assert answers[name].tolist() == [False, True], name
    assert np.isnan(answers["f64"][0])
    outcome = roads.python("strict", nulls)
    assert outcome.code == "null_not_allowed"
    assert {fault.column for fault in outcome.faults} == {"s", "cat", "f64", "at"}
    mixed = roads.python("strict", frame.assign(s=pd.Series(["a", 1], dtype=object)))
    assert (mixed.code, mixed.faults[0].column, mixed.faults[0].row) == ("wrong_type", "s", 1)


def test_numpy_matrices_are_one_tensor_column(roads):
    model = roads.model("matrix")
    matrix = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(model.predict(matrix), matrix * 2)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(matrix)), matrix * 2)
    np.testing.assert_array_equal(model.predict(matrix[::2]), matrix[::2] * 2)
    np.testing.assert_array_equal(model.predict(matrix.astype(np.float32)), matrix * 2)
    np.testing.assert_array_equal(model.predict(matrix.astype(int)), matrix * 2)
    assert roads.python("matrix", matrix[:, :2]).code == "wrong_shape"
    assert roads.python("matrix", matrix[0]).code == "wrong_shape"
    assert roads.python("matrix", np.full((1, 3), np.nan)).code == "null_not_allowed"
    assert roads.python("matrix", np.full((1, 3), np.inf)).code == "not_finite"
    assert roads.python("strict", matrix).code == "wrong_shape"
    for sliced in (pa.table({"input": matrix.tolist()}),):
        assert roads.python("matrix", sliced).code == "wrong_type", "lists of any length are no tensors"


@pytest.mark.parametrize(
    "data", [None, 1, "text", [1, 2], [[1, 2]], object(), pd.Series([1.0]), pl.DataFrame({"x": [1.0]}).lazy()]
)
def test_data_of_no_kind(roads, data):
    outcome = roads.python("logs", data)
    assert (outcome.status, outcome.code) == (422, "wrong_shape")


def test_anything_that_speaks_arrow(roads):
    class Mine:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"x": [1.0]}).__arrow_c_stream__(requested_schema)

    assert roads.model("logs").predict(Mine()).column("log").to_pylist() == [0.0]
    reader = pa.table({"x": [1.0]}).to_reader()
    assert isinstance(roads.model("logs").predict(reader), pa.RecordBatchReader)


# ---------------------------------------------------------------- what is counted


def counted(metrics: Metrics) -> dict[str, float]:
    return {
        "unseen": metrics.value("monorail_unseen_categories_total", model="strict", column="cat"),
        "i64": metrics.value("monorail_out_of_range_total", model="strict", column="i64"),
        "f64": metrics.value("monorail_out_of_range_total", model="strict", column="f64"),
    }


@pytest.mark.parametrize("form", ["rows", "columns", "arrow"])
def test_unseen_and_out_of_range_are_counted_and_answered(roads, server, form):
    rows = [
        BASE,
        BASE | {"cat": "LH"},
        BASE | {"cat": "", "i64": 65},
        BASE | {"i64": -64, "f64": 1.0},
        BASE | {"i64": -65, "f64": 1.0000001},
        BASE | {"f64": -1e300},
    ]
    before = counted(server.metrics())
    if form == "arrow":
        outcome = roads.arrow("strict", pa.Table.from_pylist(rows, schema=SCHEMA))
    else:
        outcome = roads.json("strict", form, rows)
    assert outcome.answers is not None
    assert len(outcome.answers["b"]) == len(rows)
    after = counted(server.metrics())
    assert {name: after[name] - before[name] for name in after} == {"unseen": 2, "i64": 2, "f64": 2}


def test_what_training_saw_is_not_shown(server):
    for path in ("/models", "/models/strict", "/models/strict@1"):
        text = server.get(path).text
        for secret in ("seen", "categories", "B6", "quantiles", "null_share"):
            assert secret not in text, (path, secret)
    described = server.get("/models/strict").json()
    assert [column["name"] for column in described["signature"]["inputs"]] == list(KINDS)
    assert described["engine"] == "native"
    assert json.loads(server.get("/models").text)["models"][0]["versions"] == [1]


def test_faults_show_no_more_of_a_value_than_fits_a_line(roads):
    outcome = roads.json("strict", "record", [BASE | {"f64": "x" * 10_000, "k" * 10_000: 1}])
    assert len(outcome.faults) == 2
    for fault in outcome.faults:
        assert len(fault.got) < 200
        assert len(fault.path or "") < 200


def test_model_is_safe_to_use_from_threads(echoes):
    """One model, many threads: each gets its own answers."""
    import concurrent.futures

    model = mr.load("logs", registry=echoes)
    values = [np.random.default_rng(i).random(50 + i) + 0.1 for i in range(32)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for mine, answers in zip(values, pool.map(lambda v: model.predict(pa.table({"x": v})), values), strict=True):
            np.testing.assert_array_equal(np.array(answers.column("both").to_pylist())[:, 0], mine)
