"""Tables in files, by extension: Parquet, Arrow (stream or file), CSV and lines of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..errors import InputError, MonorailError
from .incoming import to_arrow
from .outgoing import to_numpy
from .types import arrow_type

if TYPE_CHECKING:
    from ..signature import Signature

_ARROW = {".arrow", ".arrows", ".feather", ".ipc"}
_JSON_LINES = {".jsonl", ".ndjson"}
KINDS = ".parquet, .arrow, .csv, .json or .jsonl"


def read_table(path: str, signature: Signature | None = None) -> pa.Table:
    """Read a file of rows.

    Args:
        path: ``.parquet``; ``.arrow``, ``.arrows``, ``.feather`` or ``.ipc``; ``.csv``; ``.json`` (a list of records or
            an object of columns); ``.jsonl`` or ``.ndjson``; ``-`` is lines of JSON on stdin.
        signature: Of the model the rows are for. CSV, which has no types, is read with its.

    Raises:
        InputError: there is no such file, or it is not of the kind its extension says.
    """
    try:
        return _read(path, signature)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", code="malformed_request", hint="name a file that does") from None
    except MonorailError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read: {first}", code="malformed_request", hint=f"give {KINDS}") from error


def write_table(table: pa.Table, path: str) -> None:
    """Write a file, of the kind its extension says. CSV has no lists: a list column becomes one column a place.

    Raises:
        InputError: the extension is not known.
    """
    kind = Path(path).suffix.lower()
    if kind == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, path)
    elif kind in _ARROW:
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    elif kind == ".csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(_flat(table), path)
    elif kind in _JSON_LINES:
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())
    else:
        raise InputError(f"{path} is of a kind that is not written", code="malformed_request", hint=f"use {KINDS}")


def _read(path: str, signature: Signature | None) -> pa.Table:
    kind = Path(path).suffix.lower()
    if path == "-":
        return to_arrow([json.loads(line) for line in sys.stdin if line.strip()], signature)
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path)
    if kind in _ARROW:
        return _read_arrow(path)
    if kind == ".csv":
        return _read_csv(path, signature)
    text = Path(path).read_text(encoding="utf-8")
    if kind in _JSON_LINES:
        return to_arrow([json.loads(line) for line in text.splitlines() if line.strip()], signature)
    if kind == ".json":
        content: Any = json.loads(text)
        return to_arrow(content.get("columns", content.get("rows", content)) if isinstance(content, dict) else content)
    raise InputError(f"{path} is of a kind that is not read", code="malformed_request", hint=f"give {KINDS}")


def _read_arrow(path: str) -> pa.Table:
    with pa.memory_map(path) as source:
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _read_csv(path: str, signature: Signature | None) -> pa.Table:
    """A CSV; empty cells are null, also of strings."""
    import pyarrow.csv as csv

    types = {c.name: arrow_type(c) for c in (signature.inputs if signature else ()) if c.type != "tensor"}
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    return csv.read_csv(path, convert_options=options)


def _flat(table: pa.Table) -> pa.Table:
    """Lists of fixed size as one column a place: ``probability_0``, ``probability_1``."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        kind = table.schema.field(name).type
        if pa.types.is_fixed_size_list(kind):
            places = to_numpy(table.column(name)).T
            columns |= {f"{name}_{i}": place for i, place in enumerate(places)}
        else:
            columns[name] = table.column(name)
    return pa.table(columns)
