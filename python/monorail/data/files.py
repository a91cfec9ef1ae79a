"""Tables in files, by extension: Parquet, Arrow (stream or file), CSV and lines of JSON."""

from __future__ import annotations

import csv as text_csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..errors import InputError, MonorailError
from .incoming import to_arrow
from .outgoing import to_numpy
from .sources.misfits import fault
from .sources.places import found
from .types import arrow_type

if TYPE_CHECKING:
    from ..signature import Signature

_ARROW = {".arrow", ".arrows", ".feather", ".ipc"}
_JSON_LINES = {".jsonl", ".ndjson"}
#: What is read.
KINDS = ".parquet, .arrow, .csv, .json or .jsonl"
#: What is written.
WRITTEN = ".parquet, .arrow, .csv or .jsonl"


def read_table(path: str, signature: Signature | None = None) -> pa.Table:
    """Read a file of rows.

    Args:
        path: ``.parquet``; ``.arrow``, ``.arrows``, ``.feather`` or ``.ipc``; ``.csv``; ``.json`` (a list of records or
            an object of columns); ``.jsonl`` or ``.ndjson``; ``-`` is lines of JSON on stdin.
        signature: Of the model the rows are for. CSV, which has no types, is read with its.

    Raises:
        InputError: there is no such file, or it is not of the kind its extension says.
    """
    rows = read_rows(path, signature)
    return rows if isinstance(rows, pa.Table) else to_arrow(rows, signature)


def read_rows(path: str, signature: Signature | None = None) -> Any:
    """Read a file of rows in its own kind: a table, or of JSON the Python values, typed by nobody yet.

    Args:
        path: As for :func:`read_table`.
        signature: Of the model the rows are for; CSV is read with its.

    Returns:
        A table, a list (records) or a dict (columns or one record), as :meth:`monorail.Model.predict` takes them.

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
        InputError: the extension is not known, or the file cannot be written.
    """
    check_written(path)
    try:
        _write(table, path)
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be written: {first}",
            code="malformed_request",
            hint="name a file in a folder that is there and may be written to",
        ) from error


def check_written(path: str) -> None:
    """Refuse a file of a kind that is not written, before any work is done for it.

    Raises:
        InputError: the extension is not known.
    """
    if Path(path).suffix.lower() not in {".parquet", ".csv", *_ARROW, *_JSON_LINES}:
        raise InputError(f"{path} is of a kind that is not written", code="malformed_request", hint=f"use {WRITTEN}")


def _write(table: pa.Table, path: str) -> None:
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
    else:
        with Path(path).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())


def _read(path: str, signature: Signature | None) -> Any:
    kind = Path(path).suffix.lower()
    if path == "-":
        return [json.loads(line) for line in sys.stdin if line.strip()]
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path)
    if kind in _ARROW:
        return _read_arrow(path)
    if kind == ".csv":
        return _read_csv(path, signature)
    text = Path(path).read_text(encoding="utf-8")
    if kind in _JSON_LINES:
        # By "\n" alone: splitlines() would also cut at U+2028, which may stand in a JSON string.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if kind == ".json":
        return _unwrapped(json.loads(text))
    raise InputError(f"{path} is of a kind that is not read", code="malformed_request", hint=f"give {KINDS}")


def _unwrapped(content: Any) -> Any:
    """What stands in a request's ``rows`` or ``columns``; a model's own columns may have those names too."""
    if isinstance(content, dict) and len(content) == 1:
        if isinstance(content.get("rows"), list):
            return content["rows"]
        if isinstance(content.get("columns"), dict):
            return content["columns"]
    return content


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
    parsing = csv.ParseOptions(newlines_in_values=True)
    try:
        return csv.read_csv(path, parse_options=parsing, convert_options=options)
    except pa.ArrowInvalid:
        # Several threads do not count rows.
        try:
            return csv.read_csv(path, csv.ReadOptions(use_threads=False), parsing, options)
        except pa.ArrowInvalid as error:
            with Path(path).open(encoding="utf-8", errors="replace", newline="") as file:
                names = next(text_csv.reader(file), [])
            raise fault(found([path], ())[0], names, types, error) from error


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
