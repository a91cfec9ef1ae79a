"""Columns that are missing, unknown, twice or in another order; the forms of a body; what is malformed; the limits."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.echo import BASE, DESCRIBED, KINDS, ODD_NAMES, SCHEMA
from tests.support.process import to_stream
from tests.support.roads import Fault, Outcome, Roads, to_json

ARROW_IN = "Content-Type: application/vnd.apache.arrow.stream"
TABLE = pa.Table.from_pylist([BASE, BASE, BASE], schema=SCHEMA)
ROW = to_json(BASE)


@pytest.fixture(scope="module")
def roads(server, echoes) -> Iterator[Roads]:
    roads = Roads(server, echoes)
    yield roads
    roads.close()


@pytest.fixture(scope="module")
def lenient(ignoring, echoes) -> Iterator[Roads]:
    roads = Roads(ignoring, echoes, unknown_columns="ignore")
    yield roads
    roads.close()


def everywhere(roads: Roads, model: str, rows: list[dict[str, Any]], table: pa.Table) -> dict[str, Outcome]:
    """The outcome on every road."""
    outcomes = {form: roads.json(model, form, rows) for form in ("rows", "rows key")}
    outcomes["arrow"] = roads.arrow(model, table)
    outcomes["model: table"] = roads.python(model, table)
    outcomes["model: polars"] = roads.python(model, pl.from_arrow(table))
    outcomes["model: rows"] = roads.python(model, rows)
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    outcomes["columns"] = roads.json(model, "columns", rows)
    outcomes["model: columns"] = roads.python(model, columns)
    return outcomes


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_column(roads, name):
    rows = [{k: v for k, v in BASE.items() if k != name}] * 3
    for road, outcome in everywhere(roads, "strict", rows, TABLE.drop_columns([name])).items():
        assert (outcome.status, outcome.code) == (422, "missing_column"), road
        by_row = road in ("rows", "rows key", "model: rows")
        assert [fault.row for fault in outcome.faults] == ([0, 1, 2] if by_row else [None]), road
        for fault in outcome.faults:
            assert (fault.code, fault.column) == ("missing_column", name)
            assert (fault.expected, fault.got) == (DESCRIBED[name], "nothing")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "pix"])
def test_absent_is_null_where_that_is_allowed(roads, name):
    """Absent, null and a column of nulls are one."""
    rows = [{k: v for k, v in BASE.items() if k != name}] * 3
    absent = everywhere(roads, "loose", rows, TABLE.drop_columns([name]))
    null = everywhere(
        roads,
        "loose",
        [BASE | {name: None}] * 3,
        TABLE.set_column(TABLE.schema.get_field_index(name), name, pa.nulls(3, KINDS[name][1])),
    )
    whole = everywhere(roads, "loose", [BASE] * 3, TABLE)
    for road, outcome in absent.items():
        assert outcome.answers is not None, (road, outcome)
        assert outcome == null[road] == absent["rows"], road
        assert outcome != whole[road]


def test_an_absent_column_of_some_rows_only(roads):
    rows = [BASE, {k: v for k, v in BASE.items() if k != "f64"}, BASE]
    for outcome in (roads.json("strict", "rows", rows), roads.python("strict", rows)):
        assert (outcome.code, [f.row for f in outcome.faults]) == ("missing_column", [1])
    for outcome in (roads.json("loose", "rows", rows), roads.python("loose", rows)):
        assert outcome.answers is not None
        assert outcome.answers["f64"] == [0.25, None, 0.25]


def test_an_unknown_column(roads, lenient):
    rows = [BASE | {"more": 1}] * 3
    table = TABLE.append_column("more", pa.array([1, 2, 3]))
    for road, outcome in everywhere(roads, "strict", rows, table).items():
        assert (outcome.status, outcome.code) == (422, "unknown_column"), road
        assert {fault.column for fault in outcome.faults} == {"more"}, road
        assert all(fault.code == "unknown_column" and fault.path and "more" in fault.path for fault in outcome.faults)
    plain = roads.json("strict", "rows", [BASE] * 3)
    for road, outcome in everywhere(lenient, "strict", rows, table).items():
        assert outcome == plain, road


def test_an_unknown_column_of_any_value_is_ignored_where_asked(lenient):
    nested = BASE | {"more": {"a": [1, {"b": None}], "c": "]}"}, "": [], "Carrier": 1e999999}
    body = json.dumps({k: v for k, v in nested.items() if k not in BASE}).replace("Infinity", "1e400")
    answer = lenient.post("strict", (ROW[:-1] + "," + body[1:]).encode())
    assert answer.status == 200, answer.body
    # But it must be JSON.
    assert lenient.post("strict", (ROW[:-1] + ',"more":NaN}').encode()).status == 400
    assert lenient.post("strict", (ROW[:-1] + ',"more":' + "[" * 200 + "]" * 200 + "}").encode()).status == 413


@pytest.mark.parametrize("twice", ['"f64":1', '"f\\u00364":null', '"s":"x"'])
def test_a_duplicate_key(roads, lenient, twice):
    name = "s" if '"s"' in twice else "f64"
    for some in (roads, lenient):
        answer = some.post("loose", (ROW[:-1] + "," + twice + "}").encode())
        assert (answer.status, answer.error["code"]) == (422, "duplicate_column")
        [detail] = answer.error["details"]
        assert (detail["row"], detail["column"], detail["path"]) == (0, name, f"$.{name}")
        answer = some.post("loose", f'{{"columns":{{"pix":[[[1,2],[3,4]]],"{name}":[null],"{name}":[null]}}}}'.encode())
        assert (answer.status, answer.error["code"]) == (422, "duplicate_column")


def test_a_duplicate_column_in_arrow(roads):
    table = TABLE.append_column("f64", pa.array([1.0, 2.0, 3.0]))
    for outcome in (roads.arrow("strict", table), roads.python("strict", table)):
        assert outcome.code == "duplicate_column"
        assert [(f.row, f.column, f.path) for f in outcome.faults] == [(None, "f64", "f64")]
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.Index(["f64", "f64"]))
    assert roads.python("strict", frame).code == "duplicate_column"


def test_column_order_never_matters(roads):
    shuffle = random.Random(3)
    plain = roads.json("strict", "rows", [BASE] * 3)
    for _ in range(10):
        names = shuffle.sample(list(BASE), len(BASE))
        rows = [{name: BASE[name] for name in shuffle.sample(names, len(names))} for _ in range(3)]
        for road, outcome in everywhere(roads, "strict", rows, TABLE.select(names)).items():
            assert outcome == plain, road


def test_names_that_must_be_quoted(roads):
    row = {name: float(2**i) for i, name in enumerate(ODD_NAMES)}
    total = 2.0 ** len(ODD_NAMES) - 1
    table = pa.table({name: [value] for name, value in row.items()})
    for road, outcome in everywhere(roads, "odd", [row], table).items():
        assert outcome.answers == {"y": [total]}, (road, outcome)
    # A record whose columns have the names of forms: their values are no array and no object.
    assert roads.json("odd", "record", [row]).answers == {"y": [total]}
    for name in ODD_NAMES:
        outcome = roads.json("odd", "record", [row | {name: "text"}])
        plain = name in ("rows", "columns")
        assert [fault.path for fault in outcome.faults] == [f"$.{name}" if plain else f"$[{to_json(name)}]"]
        assert outcome.faults[0].column == name


# ---------------------------------------------------------------- forms of a body


def test_the_forms_tell_themselves(roads):
    body = json.loads(ROW)
    single = roads.post("strict", ROW.encode()).json()["predictions"]
    assert isinstance(single, list)
    assert len(single) == 1
    assert roads.post("strict", json.dumps([body, body]).encode()).json()["predictions"] == single * 2
    assert roads.post("strict", json.dumps({"rows": [body]}).encode()).json()["predictions"] == single
    columns = roads.post("strict", json.dumps({"columns": {k: [v, v] for k, v in body.items()}}).encode()).json()
    assert columns["predictions"] == {name: [value] * 2 for name, value in single[0].items()}
    assert list(columns) == ["model", "version", "predictions"]
    assert (columns["model"], columns["version"]) == ("strict", 1)
    spaced = ("\n\t " + json.dumps({"rows": [body]}, indent=3) + "\r\n").encode()
    assert roads.post("strict", spaced).json()["predictions"] == single


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ('{"rows": [], "more": 1}', "unknown_column", "$.rows"),
        ('{"rows": {}}', "unknown_column", "$.rows"),
        ('{"columns": []}', "unknown_column", "$.columns"),
        ('[1, "a"]', "wrong_shape", "$[0]"),
        ("[[]]", "wrong_shape", "$[0]"),
        ('{"rows": [null]}', "wrong_shape", "$.rows[0]"),
        ('{"columns": {"f64": 1}}', "wrong_shape", "$.columns.f64"),
        ('{"columns": {"f64": [1], "f32": [1, 2]}}', "wrong_shape", "$.columns.f64"),
        ('{"columns": {"f64": [1, 2], "f32": []}}', "wrong_shape", "$.columns.f32"),
    ],
)
def test_bodies_of_no_form(roads, body, code, path):
    answer = roads.post("strict", body.encode())
    assert (answer.status, answer.error["code"]) == (422, code), answer.body
    assert answer.error["details"][0]["path"] == path


def test_zero_rows_are_fine(roads):
    for form in ("rows", "rows key"):
        outcome = roads.json("strict", form, [])
        assert outcome == Outcome({})
    answer = roads.post("strict", json.dumps({"columns": {name: [] for name in BASE}}).encode())
    assert answer.status == 200
    assert answer.json()["predictions"] == {name: [] for name in BASE}
    empty = TABLE.slice(0, 0)
    for outcome in (roads.arrow("strict", empty), roads.python("strict", empty)):
        assert outcome.answers == {name: [] for name in BASE}
    assert roads.model("strict").predict([]) == []
    frame = roads.model("strict").predict(empty.to_pandas(types_mapper=pd.ArrowDtype))
    assert (len(frame), list(frame)) == (0, list(BASE))
    assert len(roads.model("strict").predict(pl.from_arrow(empty))) == 0


def test_zero_rows_of_other_types_are_refused(roads):
    wrong = TABLE.slice(0, 0).set_column(TABLE.column_names.index("f64"), "f64", pa.array([], pa.string()))
    for outcome in (roads.arrow("strict", wrong), roads.python("strict", wrong)):
        assert [(fault.column, fault.code) for fault in outcome.faults] == [("f64", "wrong_type")]


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "nope", "NaN", "[", "]", "{", '{"f64"', '{"f64":', '{"f64":1', '{"f64":1,}', "[{},]", "[{}", "[{}]]",
        '{"f64":NaN}', '{"f64":Infinity}', '{"f64":-Infinity}', '{"f64":nan}', '{"f64":inf}', '[{"f64":[NaN]}]',
        '{"f64":01}', '{"f64":1.}', '{"f64":.5}', '{"f64":+1}', '{"f64":1e}', '{"f64":1e+}', '{"f64":-}', '{"f64":0x1}',
        '{"f64":1_0}', "{'f64':1}", "{f64:1}", '{"f64" 1}', '{"f64":1 "f32":1}', '{"f64":tru}', '{"f64":None}',
        '{"s":"\\x41"}', '{"s":"\\ud800"}', '{"s":"\\udc00"}', '{"s":"\\u12"}', '{"s":"a\nb"}', '{"s":"\x00"}',
        '{"s":"a}', '"text"', "1", "true", "null", "{}{}", "[] []", "\ufeff{}", "// c\n{}", '{"vec":[1,}',
        '{"columns":{"f64":[1,]}}', '{"rows":[{}]', '{"columns":{"f64":[NaN]}}',
    ],
)  # fmt: skip
def test_malformed_json(roads, body):
    for model in ("strict", "loose"):
        answer = roads.post(model, body.encode("utf-8", "surrogatepass"))
        assert (answer.status, answer.error["code"]) == (400, "malformed_json"), answer.body
        assert answer.error["message"]


@pytest.mark.parametrize("body", [b"\xff", b'{"s":"\xc3\x28"}', b'{"s":"\xed\xa0\x80"}', "{}".encode("utf-16")])
def test_bodies_that_are_not_utf_8(roads, body):
    answer = roads.post("strict", body)
    assert (answer.status, answer.error["code"]) == (400, "malformed_json")


def stream_with(**options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


def file_form() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


def test_malformed_arrow(roads):
    whole = to_stream(TABLE)
    assert roads.post("strict", whole, ARROW_IN).status == 200
    bodies = [
        b"",
        b"{}",
        file_form(),
        whole[: len(whole) // 2],
        whole[8:],
        b"\x00" * 64,
        b"\xff\xff\xff\xff\x7f\xff\xff\xff",
    ]
    bodies += [stream_with(compression="lz4"), stream_with(compression="zstd")]
    for body in bodies:
        answer = roads.post("strict", body, ARROW_IN)
        assert (answer.status, answer.error["code"]) == (400, "malformed_arrow"), body[:20]
        assert "stream" in answer.error["hint"]
    # Without its end marker a stream that stops between messages is whole.
    assert roads.post("strict", whole[:-8], ARROW_IN).status == 200


def test_several_batches_are_one_request(roads):
    batches = pa.Table.from_batches(
        [*TABLE.to_batches(), *TABLE.slice(1).to_batches(), *TABLE.slice(0, 0).to_batches()]
    )
    sliced = pa.concat_tables([TABLE, TABLE]).slice(2, 3)
    for table, rows in ((batches, 5), (sliced, 3)):
        assert roads.arrow("strict", table) == roads.json("strict", "columns", [BASE] * rows)
        assert roads.python("strict", table) == roads.json("strict", "columns", [BASE] * rows)
    bad = pa.concat_tables([TABLE, TABLE.set_column(10, "f64", pa.array([0.1, None, 0.2])), TABLE])
    assert [fault.path for fault in roads.arrow("strict", bad).faults] == ["f64[4]"]


# ---------------------------------------------------------------- limits


def test_limits_of_depth_and_rows(roads):
    deep = '{"f64":' + "[" * 100_000 + "]" * 100_000 + "}"
    for body in (deep, "[" * 1_000_000, '{"a":' * 100_000, "[" + deep + "]"):
        answer = roads.post("strict", body.encode())
        assert (answer.status, answer.error["code"]) in ((413, "too_deep"), (422, "wrong_type")), answer.body[:200]
        assert roads.post("strict", ROW.encode()).status == 200
    thousand = [json.loads(ROW)] * 1_000
    assert len(roads.post("strict", json.dumps(thousand).encode()).json()["predictions"]) == 1_000
    for body in (
        json.dumps([*thousand, thousand[0]]),
        json.dumps({"rows": [*thousand, thousand[0]]}),
        json.dumps({"columns": {name: [value] * 1_001 for name, value in json.loads(ROW).items()}}),
        "[" + "{}," * 5_000 + "{}]",
    ):
        answer = roads.post("loose", body.encode())
        assert (answer.status, answer.error["code"]) in ((413, "too_many_rows"), (422, "missing_column"))
    table = pa.concat_tables([TABLE] * 334)
    answer = roads.post("strict", to_stream(table), ARROW_IN)
    assert (answer.status, answer.error["code"]) == (413, "too_many_rows")


def test_a_bad_row_fails_its_whole_request_with_at_most_100_faults(roads):
    rows: list[dict[str, Any]] = [dict(BASE) for _ in range(300)]
    for row in rows[10:]:
        row["f64"] = "text"
    for outcome in (
        roads.json("strict", "rows", rows),
        roads.json("strict", "columns", rows),
        roads.python("strict", rows),
        roads.python("strict", {name: [row[name] for row in rows] for name in BASE}),
    ):
        assert outcome.answers is None
        assert [fault.row for fault in outcome.faults] == list(range(10, 110))
        assert {fault.code for fault in outcome.faults} == {"wrong_type"}
    table = pa.Table.from_pylist([BASE] * 300, schema=SCHEMA)
    table = table.set_column(10, "f64", pa.array([0.5] * 10 + [None] * 290))
    for outcome in (roads.arrow("strict", table), roads.python("strict", table)):
        assert [fault.row for fault in outcome.faults] == list(range(10, 110))


def test_faults_of_several_columns_are_all_listed(roads):
    row = BASE | {"f64": "text", "i8": 1000, "s": None, "more": 1}
    del row["b"]
    outcome = roads.json("strict", "record", [row])
    assert {(fault.column, fault.code) for fault in outcome.faults} == {
        ("f64", "wrong_type"),
        ("i8", "out_of_range"),
        ("s", "null_not_allowed"),
        ("more", "unknown_column"),
        ("b", "missing_column"),
    }
    assert all(isinstance(fault, Fault) and fault.row == 0 for fault in outcome.faults)
    assert outcome.code == outcome.faults[0].code
