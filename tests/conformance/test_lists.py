"""Answers that are lists: of every type, of one place and of several, the same on every road and in golden rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.support.bundles import ELEMENTS, column, constant, graph, node, output, publish
from tests.support.process import ServerProcess
from tests.support.roads import Roads

from monorail import _core
from monorail.engine import runtime_library

ROWS = [{"x": 0.0, "s": "a"}, {"x": 1.0, "s": 'ü"'}, {"x": -2.5, "s": ""}]
#: Output, its Arrow type, and what ``x`` (or ``s``) is in it.
TYPES: dict[str, tuple[pa.DataType, type]] = {
    "bool": (pa.bool_(), bool),
    "int32": (pa.int32(), int),
    "int64": (pa.int64(), int),
    "float32": (pa.float32(), float),
    "float64": (pa.float64(), float),
    "string": (pa.string(), str),
}
SIZES = (1, 3)


def wanted(kind: str, size: int) -> list[list[Any]]:
    """Each row's list: the value, then its place added to it (strings: the same again)."""
    as_kind = TYPES[kind][1]
    if kind == "string":
        return [[row["s"]] * size for row in ROWS]
    return [[as_kind(row["x"] + place) for place in range(size)] for row in ROWS]


def publish_lists(registry: Path, wrong: str = "") -> Path:
    """Outputs ``KIND_SIZE`` of every type and size; golden rows that are wrong in one of them, where named."""
    nodes, outputs, signature, constants = [], [], [], []
    golden: dict[str, pa.Array] = {
        "input/x": pa.array([row["x"] for row in ROWS]),
        "input/s": pa.array([row["s"] for row in ROWS]),
    }
    for kind, (arrow, _) in TYPES.items():
        for size in SIZES:
            name = f"{kind}_{size}"
            outputs.append((name, kind, [size]))
            signature.append(output(name, kind, size))
            values = [value for row in wanted(kind, size) for value in row]
            if name == wrong:
                values[-1] = {"bool": not values[-1], "string": "other"}.get(kind, 7)
            golden[f"output/{name}"] = pa.FixedSizeListArray.from_arrays(pa.array(values, arrow), size)
            if kind == "string":
                nodes.append(node("Expand", ["s", f"{name}_shape"], [name]))
                constants.append(constant(f"{name}_shape", [1, size]))
                continue
            nodes.append(node("Add", ["x", f"{name}_places"], [f"{name}_sum"]))
            nodes.append(node("Cast", [f"{name}_sum"], [name], to=ELEMENTS[kind]))
            constants.append(constant(f"{name}_places", np.arange(float(size))[None]))
    return publish(
        registry,
        "lists",
        graph([("x", "float64", [1]), ("s", "string", [1])], outputs, nodes, constants),
        [column("x", "float64"), column("s", "string")],
        signature,
        [{"name": n, "type": t, "columns": [n]} for n, t in (("x", "float64"), ("s", "string"))],
        golden=pa.table(golden),
    )


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roads]:
    registry = tmp_path_factory.mktemp("lists") / "here"
    publish_lists(registry)
    with ServerProcess(registry, "lists") as server:
        roads = Roads(server, registry)
        yield roads
        roads.close()


def test_lists_of_every_type_are_the_same_on_every_road(roads: Roads) -> None:
    expected = {f"{kind}_{size}": wanted(kind, size) for kind in TYPES for size in SIZES}
    table = pa.Table.from_pylist(ROWS)
    for outcome in (
        roads.json("lists", "rows", ROWS),
        roads.json("lists", "columns", ROWS),
        roads.arrow("lists", table),
        roads.python("lists", table),
        roads.python("lists", ROWS),
        roads.client("lists", ROWS),
        roads.client("lists", table),
    ):
        assert outcome.answers == expected


def test_lists_have_their_type_in_arrow_and_pandas(roads: Roads) -> None:
    answers = roads.model("lists").predict(pa.Table.from_pylist(ROWS))
    for kind, (arrow, _) in TYPES.items():
        for size in SIZES:
            field = answers.schema.field(f"{kind}_{size}")
            assert field.type == pa.list_(pa.field("item", arrow, nullable=False), size), field
    frame = roads.model("lists").predict(pd.DataFrame(ROWS))
    for kind in ("bool", "int32", "int64", "float32", "float64"):
        assert [cell.tolist() for cell in frame[f"{kind}_3"]] == wanted(kind, 3)
        assert frame[f"{kind}_3"].iloc[0].dtype == kind
    assert [list(cell) for cell in frame["string_3"]] == wanted("string", 3)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_golden_rows_notice_a_change_in_any_list(tmp_path: Path, kind: str, size: int) -> None:
    name = f"{kind}_{size}"
    report = golden_report(publish_lists(tmp_path / "registry", wrong=name))
    assert not report["matched"]
    assert report["first_mismatch"] == [2, name]
    assert report["label_mismatches"] == (0 if kind.startswith("float") else 1)


def test_golden_rows_of_lists_match(tmp_path: Path) -> None:
    report = golden_report(publish_lists(tmp_path / "registry"))
    assert (report["matched"], report["rows"], report["label_mismatches"]) == (True, 3, 0)


def golden_report(folder: Path) -> dict[str, Any]:
    return json.loads(_core.Engine(folder, runtime=runtime_library()).check_golden())
