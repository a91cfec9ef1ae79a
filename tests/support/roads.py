"""The roads to one model, made to look alike: rows in, the same outcome out."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import monorail as mr
from monorail import errors

from .process import ServerProcess, from_stream
from .raw import Answer, Raw

Row = Mapping[str, Any]


class Literal(str):
    """JSON text that stands in a body as it is."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault of a refusal."""

    code: str
    row: int | None
    column: str | None
    path: str | None
    expected: str
    got: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a question: answers by output, or a refusal."""

    answers: dict[str, list[Any]] | None = None
    status: int = 200
    code: str | None = None
    faults: tuple[Fault, ...] = ()


def normal(value: Any) -> Any:
    """An answer's value, with NaN, infinity and null alike: JSON has one word for all three."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [normal(inner) for inner in value]
    return value


def by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [normal(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def refused(error: Mapping[str, Any], status: int) -> Outcome:
    faults = tuple(
        Fault(d["code"], d.get("row"), d.get("column"), d.get("path"), d["expected"], d["got"])
        for d in error["details"]
    )
    return Outcome(None, status, error["code"], faults)


# ---------------------------------------------------------------- JSON


def to_json(value: Any) -> str:
    """JSON text of a value; literals as they are."""
    if isinstance(value, Literal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(k))}:{to_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, datetime.date | datetime.datetime):
        return json.dumps(value.isoformat())
    return json.dumps(value, ensure_ascii=False)


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows as columns; what a row lacks is null."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def body_of(form: str, rows: Sequence[Row]) -> str:
    if form == "record":
        return to_json(dict(rows[0]))
    if form == "rows":
        return to_json([dict(row) for row in rows])
    if form == "rows key":
        return to_json({"rows": [dict(row) for row in rows]})
    return to_json({"columns": columns_of(rows)})


def from_answer(answer: Answer, arrow: bool = False) -> Outcome:
    """The outcome an HTTP answer tells."""
    if answer.status != 200:
        return refused(answer.error, answer.status)
    if arrow:
        table = from_stream(answer.body)
        return Outcome({name: normal(table.column(name).to_pylist()) for name in table.column_names})
    predictions = answer.json()["predictions"]
    if isinstance(predictions, dict):
        return Outcome({name: normal(values) for name, values in predictions.items()})
    return Outcome(by_column(predictions))


class Roads:
    """Every road to the models of one registry, over one server and this process.

    Args:
        server: Serves them.
        registry: Holds them.
        unknown_columns: As the server has it.
    """

    def __init__(self, server: ServerProcess, registry: Path, unknown_columns: str = "refuse") -> None:
        self.raw = Raw(server.address)
        self._client = mr.Client(server.url)
        self._registry, self._unknown = registry, unknown_columns
        self._models: dict[str, mr.Model] = {}

    def close(self) -> None:
        self.raw.close()
        self._client.close()

    def model(self, name: str) -> mr.Model:
        if name not in self._models:
            self._models[name] = mr.load(name, registry=self._registry, unknown_columns=self._unknown)
        return self._models[name]

    def post(self, name: str, body: bytes, *headers: str) -> Answer:
        return self.raw.ask("POST", f"/models/{name}/predict", body, *headers)

    def json(self, name: str, form: str, rows: Sequence[Row]) -> Outcome:
        """HTTP with a body of one form."""
        return from_answer(self.post(name, body_of(form, rows).encode()))

    def arrow(self, name: str, table: pa.Table) -> Outcome:
        """HTTP with an Arrow stream both ways."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        media = "Content-Type: application/vnd.apache.arrow.stream"
        return from_answer(self.post(name, sink.getvalue().to_pybytes(), media), arrow=True)

    def python(self, name: str, data: Any) -> Outcome:
        """``Model.predict`` of any kind of data."""
        try:
            answers = self.model(name).predict(data)
        except errors.MonorailError as error:
            return refused({"code": error.code, "details": error.details}, STATUS[error.code])
        return Outcome(_plain(answers))

    def client(self, name: str, data: Any) -> Outcome:
        """``Client.predict`` of any kind of data."""
        try:
            answers = self._client.predict(name, data)
        except errors.MonorailError as error:
            return refused({"code": error.code, "details": error.details}, STATUS[error.code])
        return Outcome(_plain(answers))


#: The HTTP status of every code, from the one table.
STATUS: dict[str, int] = {}


def _load_statuses() -> None:
    from monorail import _core

    STATUS.update({entry["code"]: entry["status"] for entry in json.loads(_core.error_table())})


_load_statuses()


def _plain(answers: Any) -> dict[str, list[Any]]:
    """Answers of any kind as columns of Python values."""
    if isinstance(answers, pa.Table | pa.RecordBatch):
        return {name: normal(answers.column(name).to_pylist()) for name in answers.schema.names}
    if isinstance(answers, list):
        return by_column(answers)
    if isinstance(answers, dict):
        is_record = not all(isinstance(value, list) for value in answers.values())
        return {name: normal([value] if is_record else list(value)) for name, value in answers.items()}
    to_list: Callable[[Any], list[Any]] = lambda column: [  # noqa: E731
        cell.tolist() if hasattr(cell, "tolist") else cell for cell in column.to_list()
    ]
    return {name: normal(to_list(answers[name])) for name in answers.columns}
