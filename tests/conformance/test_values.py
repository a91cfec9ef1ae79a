"""The rules for values: one table of cases, each on every road that can say it, with every word of the refusal."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.echo import BASE, DESCRIBED, KINDS, SCHEMA
from tests.support.roads import Literal, Outcome, Roads

ROWS, BAD = 3, 1
ABSENT = object()


@pytest.fixture(scope="module")
def roads(server, echoes) -> Iterator[Roads]:
    roads = Roads(server, echoes)
    yield roads
    roads.close()


@dataclasses.dataclass(frozen=True)
class Case:
    """One value of one column, in the middle of rows that are fine otherwise.

    Attributes:
        column: Where it stands.
        code: What it is refused as; None if it is taken.
        echo: What the graph got, if it is taken.
        json: As a JSON literal.
        arrow: As Arrow: the value and the column's type.
        py: As a Python value.
        whole: Whether Arrow's refusal is of the column, not of the value.
        model: ``strict`` (nothing nullable) or ``loose`` (everything).
    """

    column: str
    code: str | None = None
    echo: Any = None
    json: str | None = None
    arrow: tuple[Any, pa.DataType] | None = None
    py: Any = ABSENT
    whole: bool = False
    model: str = "strict"

    def __str__(self) -> str:
        said = self.json or (repr(self.py) if self.py is not ABSENT else f"{self.arrow}")
        return f"{self.model}-{self.column}-{said[:30]}-{self.code or 'fine'}"


UTC = datetime.UTC
DAY, AT = datetime.date(2020, 2, 29), datetime.datetime(2020, 2, 29, 23, 59, 59, 5)
DAY_NUMBER, AT_NUMBER = 18321, 1583020799000005
NAN, INF = float("nan"), float("inf")


def both(column: str, code: str | None = None, echo: Any = None, *, json: str, py: Any, **more: Any) -> Case:
    return Case(column, code, echo, json=json, py=py, **more)


CASES = [
    # bool
    both("b", None, False, json="false", py=False, arrow=(False, pa.bool_())),
    both("b", "wrong_type", json="1", py=1, arrow=(1, pa.int64()), whole=True),
    both("b", "wrong_type", json='"true"', py="true", arrow=("true", pa.string()), whole=True),
    both("b", None, 0, json="false", py=False, arrow=(False, pa.bool_()), model="loose"),
    # integers: by range in JSON and Python, by type in Arrow
    both("i8", None, 127, json="127", py=127, arrow=(127, pa.int8())),
    both("i8", None, -128, json="-128", py=np.int64(-128)),
    both("i8", "out_of_range", json="128", py=128),
    both("i8", "out_of_range", json="-129", py=-129),
    Case("i8", "wrong_type", arrow=(1, pa.int16()), whole=True),
    both("u8", "out_of_range", json="-1", py=-1),
    both("u8", "out_of_range", json="256", py=256),
    both("i16", "out_of_range", json="32768", py=32768),
    both("u16", "out_of_range", json="65536", py=65536),
    both("i32", "out_of_range", json="2147483648", py=2**31),
    both("u32", "out_of_range", json="4294967296", py=2**32),
    both("i64", None, 2**63 - 1, json=str(2**63 - 1), py=2**63 - 1, arrow=(2**63 - 1, pa.int64())),
    both("i64", None, -(2**63), json=str(-(2**63)), py=-(2**63), arrow=(-(2**63), pa.int64())),
    both("i64", "out_of_range", json=str(2**63), py=2**63),
    both("i64", "out_of_range", json="1" + "0" * 400, py=10**400),
    both("u64", None, 2**63 - 1, json=str(2**63 - 1), py=2**63 - 1, arrow=(2**63 - 1, pa.uint64())),
    both("u64", "out_of_range", json=str(2**64), py=2**64),
    both("i64", None, 3, json="3.0", py=3.0),
    both("i64", None, 3000, json="3e3", py=3e3),
    both("i64", "wrong_type", json="3.5", py=3.5, arrow=(3.5, pa.float64()), whole=True),
    Case("i64", "wrong_type", arrow=(3.0, pa.float64()), whole=True),
    both("i64", "wrong_type", json="true", py=True, arrow=(True, pa.bool_()), whole=True),
    both("i64", "wrong_type", json='"3"', py="3", arrow=("3", pa.string()), whole=True),
    both("i64", "wrong_type", json="[3]", py=[3]),
    both("i64", "wrong_type", json="{}", py={}),
    # a nullable integer is a double in the graph: what that cannot hold is refused
    both("i64", None, 2**53, json=str(2**53), py=2**53, arrow=(2**53, pa.int64()), model="loose"),
    both("i64", "out_of_range", json=str(2**53 + 1), py=2**53 + 1, arrow=(2**53 + 1, pa.int64()), model="loose"),
    # floats
    both("f64", None, 0.1, json="0.1", py=0.1, arrow=(0.1, pa.float64())),
    both("f64", None, 5e-324, json="5e-324", py=5e-324, arrow=(5e-324, pa.float64())),
    both("f64", None, 1.7976931348623157e308, json="1.7976931348623157e308", py=1.7976931348623157e308),
    both("f64", None, 123.0, json="123", py=123, arrow=(123, pa.int8())),
    both("f64", None, float(2**53), json=str(2**53), py=2**53, arrow=(2**53, pa.int64())),
    both("f64", None, float(2**53 + 2), json=str(2**53 + 2), py=2**53 + 2, arrow=(2**53 + 2, pa.uint64())),
    both("f64", "out_of_range", json=str(2**53 + 1), py=2**53 + 1, arrow=(2**53 + 1, pa.int64())),
    both("f64", "out_of_range", json=str(-(2**53) - 1), py=-(2**53) - 1, arrow=(-(2**53) - 1, pa.int64())),
    Case("f64", "out_of_range", json="1e400"),
    Case("f64", "out_of_range", json="-1e400"),
    both("f64", "wrong_type", json='"0.1"', py="0.1", arrow=("0.1", pa.string()), whole=True),
    both("f64", "wrong_type", json="true", py=True, arrow=(True, pa.bool_()), whole=True),
    both("f64", "null_not_allowed", json="null", py=None, arrow=(None, pa.float64())),
    Case("f64", "null_not_allowed", py=NAN, arrow=(NAN, pa.float64())),
    Case("f64", "not_finite", py=INF, arrow=(INF, pa.float64())),
    Case("f64", "not_finite", py=-INF, arrow=(-INF, pa.float64())),
    Case("f64", "not_finite", py=INF, arrow=(INF, pa.float64()), model="loose"),
    Case("f64", None, None, py=NAN, arrow=(NAN, pa.float64()), model="loose"),
    both("f64", None, None, json="null", py=None, arrow=(None, pa.float64()), model="loose"),
    Case("f32", "null_not_allowed", py=NAN, arrow=(NAN, pa.float32())),
    Case("f32", "not_finite", py=INF, arrow=(INF, pa.float32())),
    Case("f32", None, None, py=NAN, arrow=(NAN, pa.float32()), model="loose"),
    both("f32", None, float(np.float32(0.1)), json="0.1", py=0.1, arrow=(0.1, pa.float32())),
    Case("f32", "wrong_type", arrow=(0.5, pa.float64()), whole=True),
    both("f32", None, float(2**24), json=str(2**24), py=2**24, arrow=(2**24, pa.int64())),
    both("f32", "out_of_range", json=str(2**24 + 1), py=2**24 + 1, arrow=(2**24 + 1, pa.int32())),
    both("f32", "out_of_range", json="1e39", py=1e39),
    # strings
    both("s", None, "", json='""', py="", arrow=("", pa.string())),
    both("s", None, 'ü"\\\n\u2028😀', json='"ü\\"\\\\\\n\\u2028\\ud83d\\ude00"', py='ü"\\\n\u2028😀'),
    both("s", None, "large", json='"large"', py="large", arrow=("large", pa.large_string())),
    both("s", None, "view", json='"view"', py="view", arrow=("view", pa.string_view())),
    both("s", None, "coded", json='"coded"', py="coded", arrow=("coded", pa.dictionary(pa.int8(), pa.string()))),
    both("cat", None, "never seen", json='"never seen"', py="never seen", arrow=("never seen", pa.string())),
    both("s", "wrong_type", json="1", py=1, arrow=(1, pa.int64()), whole=True),
    both("s", "wrong_type", json="true", py=True, arrow=(True, pa.bool_()), whole=True),
    both("s", "wrong_type", json='["a"]', py=["a"]),
    both("s", "null_not_allowed", json="null", py=None, arrow=(None, pa.string())),
    both("s", None, "", json="null", py=None, arrow=(None, pa.string()), model="loose"),
    both("cat", "null_not_allowed", json="null", py=None, arrow=(None, KINDS["cat"][1])),
    Case("s", "wrong_type", py=DAY, arrow=(DAY, pa.date32()), whole=True),
    Case("s", "wrong_type", py=b"bytes", arrow=(b"bytes", pa.binary()), whole=True),
    # dates
    both("day", None, DAY_NUMBER, json='"2020-02-29"', py=DAY, arrow=(DAY, pa.date32())),
    both("day", "wrong_format", json='"2019-02-29"', py="2019-02-29"),
    both("day", "wrong_format", json='"2020-2-9"', py="2020-2-9"),
    both("day", "wrong_format", json='"2020-02-29T00:00:00"', py=AT),
    both("day", "wrong_type", json="18321", py=18321, arrow=(18321, pa.int32()), whole=True),
    Case("day", "wrong_type", arrow=("2020-02-29", pa.string()), whole=True),
    Case("day", "wrong_type", arrow=(AT, pa.timestamp("us")), whole=True),
    both("day", "null_not_allowed", json="null", py=None, arrow=(None, pa.date32())),
    # times: a zone exactly where the signature has one
    both("at", None, AT_NUMBER, json='"2020-02-29T23:59:59.000005"', py=AT, arrow=(AT, pa.timestamp("us"))),
    both("at", "wrong_format", json='"2020-02-29T23:59:59Z"', py="2020-02-29T23:59:59Z"),
    Case("at", "wrong_format", py=AT.replace(tzinfo=UTC)),
    Case("at", "wrong_type", arrow=(AT.replace(tzinfo=UTC), pa.timestamp("us", "UTC")), whole=True),
    both("atz", None, AT_NUMBER, json='"2020-02-29T23:59:59.000005Z"', py=AT.replace(tzinfo=UTC)),
    Case("atz", None, AT_NUMBER, arrow=(AT.replace(tzinfo=UTC), pa.timestamp("us", "+02:00"))),
    both("atz", None, AT_NUMBER, json='"2020-03-01T01:59:59.000005+02:00"', py="2020-03-01T01:59:59.000005+0200"),
    both("atz", "wrong_format", json='"2020-02-29T23:59:59"', py=AT),
    Case("atz", "wrong_type", arrow=(AT, pa.timestamp("us")), whole=True),
    Case("at", None, 1582934400000000, arrow=(1582934400, pa.timestamp("s"))),
    Case("at", None, 1582934400001000, arrow=(1582934400001, pa.timestamp("ms"))),
    Case("at", None, 1582934400000001, arrow=(1582934400000001000, pa.timestamp("ns"))),
    Case("at", "out_of_range", arrow=(1582934400000001001, pa.timestamp("ns"))),
    Case("at", "out_of_range", arrow=(2**62, pa.timestamp("s"))),
    both("at", "wrong_type", json="1582934400", py=1582934400, arrow=(1582934400, pa.int64()), whole=True),
    both("at", "wrong_format", json='"yesterday"', py="yesterday"),
    # tensors
    both(
        "vec", None, [0.5, 2.0], json="[0.5, 2]", py=np.array([0.5, 2]), arrow=([0.5, 2.0], pa.list_(pa.float64(), 2))
    ),
    both("vec", None, [0.5, 2.0], json="[0.5, 2.0]", py=(0.5, 2), arrow=([0.5, 2.0], pa.list_(pa.float32(), 2))),
    both("vec", "wrong_shape", json="[1, 2, 3]", py=[1, 2, 3]),
    both("vec", "wrong_shape", json="[1]", py=[1]),
    both("vec", "wrong_shape", json="[]", py=[]),
    both("vec", "wrong_shape", json="[[1, 2]]", py=[[1, 2]]),
    both("vec", "wrong_shape", json="[1, [2]]", py=[1, [2]]),
    both("vec", "wrong_shape", json="1", py=1.5),
    both("vec", "wrong_type", json='[1, "2"]', py=[1, "2"]),
    both("vec", "null_not_allowed", json="[1, null]", py=[1, None]),
    both("vec", "null_not_allowed", json="null", py=None, arrow=(None, pa.list_(pa.float64(), 2))),
    both("vec", None, [1.0, None], json="[1, null]", py=[1, NAN], model="loose"),
    both("vec", None, [None, None], json="null", py=None, arrow=(None, pa.list_(pa.float64(), 2)), model="loose"),
    Case("vec", "not_finite", py=[1, INF], arrow=([1, INF], pa.list_(pa.float64(), 2))),
    Case("vec", "wrong_shape", arrow=([1, 2, 3], pa.list_(pa.float64(), 3)), whole=True),
    Case("vec", "wrong_type", arrow=([1, 2], pa.list_(pa.float64())), whole=True),
    Case("vec", "wrong_type", arrow=(["1", "2"], pa.list_(pa.string(), 2)), whole=True),
    both("pix", None, [9, 8, 7, 255], json="[[9, 8], [7, 255]]", py=[[9, 8], [7, 255]]),
    Case("pix", None, [9, 8, 7, 255], arrow=([9, 8, 7, 255], pa.list_(pa.uint8(), 4))),
    both("pix", "out_of_range", json="[[9, 8], [7, 256]]", py=[[9, 8], [7, 256]]),
    both("pix", "wrong_type", json="[[9, 8], [7, 1.5]]", py=[[9, 8], [7, 1.5]]),
    both("pix", "wrong_shape", json="[9, 8, 7, 6]", py=[9, 8, 7, 6]),
    both("pix", "wrong_shape", json="[[9, 8, 7], [6]]", py=[[9, 8, 7], [6]]),
    Case("pix", "wrong_type", arrow=([[9, 8], [7, 6]], pa.list_(pa.list_(pa.int16(), 2), 2)), whole=True),
    # infinity where the reference had one
    Case("finf", None, None, py=INF, arrow=(INF, pa.float64())),
    Case("finf", "null_not_allowed", py=NAN, arrow=(NAN, pa.float64())),
]


def rows_with(column: str, value: Any) -> list[dict[str, Any]]:
    """Rows that are fine but for one."""
    rows = [dict(BASE) for _ in range(ROWS)]
    rows[BAD][column] = value
    return rows


def table_with(column: str, value: Any, kind: pa.DataType) -> pa.Table:
    """The same as Arrow, the whole column of ``kind``; its other values are like the one, if theirs do not fit."""
    try:
        values = pa.array([BASE[column], value, BASE[column]], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
        filler = value
        if value is None or isinstance(value, float):
            filler = 0.5
        values = pa.array([filler, value, filler], kind)
    table = pa.Table.from_pylist([dict(BASE)] * ROWS, schema=SCHEMA)
    return table.set_column(table.schema.get_field_index(column), column, values)


def check(case: Case, outcome: Outcome, path: str, row: int | None) -> None:
    if case.code is None:
        assert outcome.answers is not None, outcome
        got = outcome.answers[case.column][BAD if len(outcome.answers[case.column]) > 1 else 0]
        # JSON has a float32 in its own shortest digits: another double, the same float32.
        assert (np.float32(got) if case.column == "f32" and got is not None else got) == case.echo
        return
    assert (outcome.status, outcome.code) == (422, case.code), outcome
    mine = [fault for fault in outcome.faults if fault.row == row]
    assert len(mine) == 1, outcome.faults
    [fault] = mine
    assert fault.code == case.code
    assert (fault.column, fault.path) == (case.column, path)
    assert fault.expected == DESCRIBED[case.column]
    assert fault.got


JSON_PATHS = {"rows": "$[1].{}", "rows key": "$.rows[1].{}", "columns": "$.columns.{}[1]", "record": "$.{}"}


@pytest.mark.parametrize("form", JSON_PATHS)
@pytest.mark.parametrize("case", [case for case in CASES if case.json is not None], ids=str)
def test_json(roads, case, form):
    rows = rows_with(case.column, Literal(case.json))
    given = [rows[BAD]] if form == "record" else rows
    check(
        case, roads.json(case.model, form, given), JSON_PATHS[form].format(case.column), 0 if form == "record" else BAD
    )


@pytest.mark.parametrize("road", ["http", "python", "polars"])
@pytest.mark.parametrize("case", [case for case in CASES if case.arrow is not None], ids=str)
def test_arrow(roads, case, road):
    assert case.arrow is not None
    data: Any = table_with(case.column, *case.arrow)
    if road == "polars":
        data = pl.from_arrow(data)
        if pa.table(data).column(case.column).type != case.arrow[1]:
            pytest.skip("Polars has another type for it")
    outcome = roads.arrow(case.model, data) if road == "http" else roads.python(case.model, data)
    path = case.column if case.whole else f"{case.column}[1]"
    check(case, outcome, path, None if case.whole else BAD)


@pytest.mark.parametrize("form", ["rows", "columns", "record"])
@pytest.mark.parametrize("case", [case for case in CASES if case.py is not ABSENT], ids=str)
def test_python(roads, case, form):
    rows = rows_with(case.column, case.py)
    if form == "record":
        if isinstance(case.py, list | tuple) and case.column not in ("vec", "pix"):
            pytest.skip("a dict with such a list is columns")
        if isinstance(case.py, list) and case.py and isinstance(case.py[0], list) and case.column == "vec":
            pytest.skip("a dict with such a list is columns")
        check(case, roads.python(case.model, rows[BAD]), f"$[0].{case.column}", 0)
    elif form == "rows":
        check(case, roads.python(case.model, rows), f"$[1].{case.column}", BAD)
    else:
        columns = {name: [row[name] for row in rows] for name in BASE}
        check(case, roads.python(case.model, columns), f"$.columns.{case.column}[1]", BAD)


@pytest.mark.parametrize("case", [case for case in CASES if case.py is not ABSENT and case.arrow], ids=str)
def test_pandas(roads, case):
    """What a pandas column of the case's own type says, whatever type pandas chose: taken exactly, or refused."""
    assert case.arrow is not None
    table = table_with(case.column, *case.arrow)
    frame = table.to_pandas(types_mapper=pd.ArrowDtype, date_as_object=False)
    outcome = roads.python(case.model, frame)
    if case.code is None:
        assert outcome.answers is not None, outcome
        assert outcome.answers[case.column][BAD] == case.echo
    else:
        assert (outcome.status, outcome.code) == (422, case.code)
        assert any(fault.column == case.column for fault in outcome.faults)
