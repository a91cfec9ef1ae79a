"""Which Arrow type goes into which column: every pair, against the rule said another way."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.support.echo import BASE, DESCRIBED, KINDS, SCHEMA
from tests.support.roads import Literal, Outcome, Roads, to_json

DAY = datetime.date(2020, 2, 29)
AT = datetime.datetime(2020, 2, 29, 1, 2, 3)
#: Every type a caller may send, with a small value that any number's type holds.
SOURCES: dict[str, pa.Array] = {
    "bool": pa.array([True]),
    "int8": pa.array([1], pa.int8()),
    "int16": pa.array([1], pa.int16()),
    "int32": pa.array([1], pa.int32()),
    "int64": pa.array([1], pa.int64()),
    "uint8": pa.array([1], pa.uint8()),
    "uint16": pa.array([1], pa.uint16()),
    "uint32": pa.array([1], pa.uint32()),
    "uint64": pa.array([1], pa.uint64()),
    "float16": pa.array([1.0], pa.float32()).cast(pa.float16()),
    "float32": pa.array([1.0], pa.float32()),
    "float64": pa.array([1.0], pa.float64()),
    "string": pa.array(["1"]),
    "large_string": pa.array(["1"], pa.large_string()),
    "string_view": pa.array(["1"], pa.string_view()),
    "dictionary": pa.array(["1"], pa.dictionary(pa.int8(), pa.string())),
    "dictionary of large": pa.array(["1"], pa.dictionary(pa.uint32(), pa.large_string())),
    "dictionary of int": pa.array([1], pa.dictionary(pa.int32(), pa.int64())),
    "date32": pa.array([DAY], pa.date32()),
    "date64": pa.array([DAY], pa.date64()),
    **{f"timestamp {unit}": pa.array([AT], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp {unit} zone": pa.array([AT], pa.timestamp(unit, "UTC")) for unit in ("s", "ms", "us", "ns")},
    "timestamp other zone": pa.array([AT], pa.timestamp("us", "America/New_York")),
    "time": pa.array([datetime.time(1)]),
    "duration": pa.array([datetime.timedelta(1)]),
    "decimal": pa.array([decimal.Decimal(1)]),
    "binary": pa.array([b"1"]),
    "null": pa.nulls(1),
    "list": pa.array([[1.0, 2.0]]),
    "struct": pa.array([{"a": 1}]),
    "tensor float64": pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)),
    "tensor float32": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    "tensor int16": pa.array([[1, 2]], pa.list_(pa.int16(), 2)),
    "tensor uint8": pa.array([[1, 2, 3, 4]], pa.list_(pa.uint8(), 4)),
    "tensor uint8 2x2": pa.array([[[1, 2], [3, 4]]], pa.list_(pa.list_(pa.uint8(), 2), 2)),
    "tensor of 3": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float64(), 3)),
}
INTEGERS = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
#: Which sources each kind of column that is no number takes.
OTHERS = {
    "bool": {"bool"},
    "string": {"string", "large_string", "string_view", "dictionary", "dictionary of large"},
    "date32": {"date32"},
    "timestamp": {f"timestamp {unit}" for unit in ("s", "ms", "us", "ns")},
    "timestamp zone": {*(f"timestamp {unit} zone" for unit in ("s", "ms", "us", "ns")), "timestamp other zone"},
    "vec": {"tensor float64", "tensor float32", "tensor int16"},
    "pix": {"tensor uint8", "tensor uint8 2x2"},
}
OTHERS["dictionary"] = OTHERS["string"]


def expected(source: str, name: str) -> str | None:
    """The code a column's refusal has; None where it is taken."""
    kind = KINDS[name][0]["type"]
    if source == "null":
        return "null_not_allowed"
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        inside = source in INTEGERS and low <= INTEGERS[source][0] and INTEGERS[source][1] <= high
        return None if inside else "wrong_type"
    if kind == "float64":
        return None if source in {*INTEGERS, "float16", "float32", "float64"} else "wrong_type"
    if kind == "float32":
        return None if source in {*INTEGERS, "float16", "float32"} else "wrong_type"
    if kind == "tensor":
        wrong_shape = {"vec": {"tensor uint8", "tensor uint8 2x2", "tensor of 3"}}.get(
            name, {"tensor float64", "tensor float32", "tensor int16", "tensor of 3"}
        )
        return None if source in OTHERS[name] else "wrong_shape" if source in wrong_shape else "wrong_type"
    family = "timestamp zone" if name == "atz" else kind
    return None if source in OTHERS[family] else "wrong_type"


@pytest.fixture(scope="module")
def roads(server, echoes) -> Iterator[Roads]:
    roads = Roads(server, echoes)
    yield roads
    roads.close()


def check(outcome: Outcome, source: str, name: str, code: str | None) -> None:
    if code is None:
        assert outcome.answers is not None, (source, name, outcome)
        return
    assert (outcome.status, outcome.code) == (422, code), (source, name, outcome)
    [fault] = outcome.faults
    assert (fault.column, fault.code, fault.expected) == (name, code, DESCRIBED[name])
    assert fault.path == (f"{name}[0]" if code == "null_not_allowed" else name)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("road", ["http", "python"])
def test_every_pair(roads, source, road):
    base = pa.Table.from_pylist([BASE], schema=SCHEMA)
    taken = 0
    for name in KINDS:
        table = base.set_column(base.schema.get_field_index(name), name, SOURCES[source])
        code = expected(source, name)
        if source == "null" and road == "python" and name in ("vec", "pix"):
            continue  # nulls of no type are given the column's own on their way in
        outcome = roads.arrow("strict", table) if road == "http" else roads.python("strict", table)
        check(outcome, source, name, code)
        taken += code is None
    assert taken or source in (
        "null", "list", "struct", "binary", "decimal", "duration", "time", "date64", "dictionary of int", "tensor of 3",
    )  # fmt: skip


def test_nulls_of_no_type_are_null_where_that_is_allowed(roads):
    for name in KINDS:
        if name != "pix":
            table = pa.table({name: pa.nulls(2), "pix": pa.array([BASE["pix"]] * 2, KINDS["pix"][1])})
            for outcome in (roads.arrow("loose", table), roads.python("loose", table)):
                assert outcome.answers is not None, (name, outcome)
                assert outcome.answers.get(f"{name}_valid", [False])[0] is False


#: JSON values, and the columns that take each.
LITERALS: dict[str, set[str]] = {
    "true": {"b"},
    "1": {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "finf"},
    "1.0": {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "finf"},
    "1e0": {"i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "finf"},
    "-1": {"i8", "i16", "i32", "i64", "f32", "f64", "finf"},
    "300": {"i16", "i32", "i64", "u16", "u32", "u64", "f32", "f64", "finf"},
    "1.5": {"f32", "f64", "finf"},
    '"1"': {"s", "cat"},
    '"2020-02-29"': {"s", "cat", "day"},
    '"2020-02-29T01:02:03"': {"s", "cat", "at"},
    '"2020-02-29T01:02:03Z"': {"s", "cat", "atz"},
    "null": set(),
    "[1, 2]": {"vec"},
    "[[1, 2], [3, 4]]": {"pix"},
    "{}": set(),
}


@pytest.mark.parametrize("literal", LITERALS)
def test_every_json_value_in_every_column(roads, literal):
    for name in KINDS:
        body = to_json(BASE | {name: Literal(literal)})
        answer = roads.post("strict", body.encode())
        if name in LITERALS[literal]:
            assert answer.status == 200, (name, answer.body)
        else:
            assert answer.status == 422, (name, answer.body)
            [detail] = answer.error["details"]
            assert (detail["row"], detail["column"], detail["path"]) == (0, name, f"$.{name}")
            assert detail["expected"] == DESCRIBED[name]
            assert detail["code"] in ("wrong_type", "out_of_range", "wrong_format", "wrong_shape", "null_not_allowed")
