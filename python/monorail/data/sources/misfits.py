"""Values of a CSV that are not of their column's type: where they stand, and what is left of a block without them."""

from __future__ import annotations

import contextlib
import csv as text_csv
import io
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from ...errors import InputError
from .places import COMPRESSED, Place, unreadable

#: A column of a block beside its own: what in each row is not of its column's type, as JSON; null where all is.
MISFITS = "monorail misfits"
#: Characters of a value that an error shows.
SHOWN = 60
_VALUE = re.compile(r"CSV column #(\d+)(?:: Row #(\d+))?: (.*)", re.DOTALL)
_WIDTH = re.compile(r"CSV parse error: Row #(\d+): (Expected \d+ columns, got \d+)")
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
#: Of a block's values, how many are numbers at least where the others are taken for slips.
_MOSTLY = 0.9
#: What to do about a value that is not of its column's type.
MEND = "mend the value, or write Parquet or Arrow, which hold their types"


def content(place: Place, file: pa.NativeFile) -> pa.NativeFile:
    """What an open file holds, decompressed if the end of its name says so; a stream has no name."""
    end = "." + place.suffix.rpartition(".")[2]
    kind = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}[end] if end in COMPRESSED else None
    return pa.CompressedInputStream(file, kind) if kind else file


def delimiter(place: Place) -> str:
    """What stands between the values of a line."""
    return "\t" if ".tsv" in place.suffix else ","


def fault(place: Place, names: Sequence[str], types: Mapping[str, pa.DataType], error: Exception) -> InputError:
    """What cannot be parsed, by row, column and value where the parser says so.

    Args:
        place: The file.
        names: Its columns.
        types: Of those that have one.
        error: What the parser raised. It counts rows, blank lines left out, from 1, which is the line of names.
    """
    if (match := _WIDTH.search(str(error))) is not None:
        return _torn(place, int(match.group(1)) - 2, match.group(2))
    if (match := _VALUE.search(str(error))) is None:
        return unreadable(place.name, error)
    number, why = int(match.group(1)), match.group(3)
    value = re.search(r"invalid value '(.*)'", why, re.DOTALL)
    got = _short(value.group(1)) if value is not None else why.splitlines()[0]
    column = names[number] if number < len(names) else f"#{number}"
    row = None if match.group(2) is None else int(match.group(2)) - 2
    return misfit(place, column, row, got, str(types.get(column, "")))


def misfit(place: Place, column: str, row: int | None, got: str, expected: str, like: str = "") -> InputError:
    """The error of a value that is not of its column's type.

    Args:
        place: The file.
        column: The column.
        row: Counted from 0 behind the line of names, if it is known.
        got: The value.
        expected: The type; empty if it is not known.
        like: Where the type comes from, for the message.
    """
    detail = {"code": "wrong_type", "file": place.name, "column": column, "row": row, "expected": expected, "got": got}
    what = f"is not {expected}" if expected else "is of another type"
    return InputError(
        f"{_where(place, row)}: column {column!r} has {got}, which {what}{like}",
        code="wrong_type",
        hint=MEND,
        details=[{name: value for name, value in detail.items() if value not in (None, "")}],
    )


def _torn(place: Place, row: int, why: str) -> InputError:
    """The error of a row with more values than there are columns, or fewer."""
    return InputError(
        f"{_where(place, row)}: {why[0].lower()}{why[1:]}",
        code="malformed_request",
        hint="mend the line; which value is of which column cannot be known, so it cannot be set aside either",
        details=[{"code": "malformed_request", "file": place.name, "row": row}],
    )


def _where(place: Place, row: int | None) -> str:
    """A row for whoever opens the file: its line too, which is another number where values hold line ends."""
    if row is None:
        return place.name
    line = line_of(place, row)
    return f"{place.name}, row {row}" if line is None else f"{place.name}, row {row} (line {line})"


def line_of(place: Place, row: int) -> int | None:
    """The line, counted from 1, at which a row of a file begins; None where it cannot be told.

    Args:
        place: The file.
        row: Counted from 0 behind the line of names, without blank lines.
    """
    try:
        with place.open() as file, io.TextIOWrapper(content(place, file), "latin-1", newline="") as text:
            rows = text_csv.reader(text, delimiter=delimiter(place))
            seen, before = -2, 0
            for values in rows:
                seen += bool(values)
                if seen == row and values:
                    return before + 1
                before = rows.line_num
    except (OSError, ValueError, InputError, text_csv.Error):
        # The error that asks for the line is worth more than what hinders this.
        return None
    return None


def slip(batch: pa.RecordBatch) -> dict[str, tuple[int, str]]:
    """The columns of text that were almost of numbers: the first value that is none, and its row.

    Args:
        batch: The first block of a file, with the types that were inferred.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        held = len(column) - column.null_count
        if not pa.types.is_string(column.type) or not held:
            continue
        plain = pc.call_function("match_substring_regex", [column], pc.MatchSubstringOptions(_NUMBER))
        numbers = plain.true_count
        if _MOSTLY * held <= numbers < held:
            row = pc.index(plain, pa.scalar(False)).as_py()
            found[name] = row, _short(column[row].as_py())
    return found


def set_aside(batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """A block of bytes with its types: what is not of its column's is null, and told in one column more, ``MISFITS``.

    Args:
        batch: Its columns as they were parsed; those that ``types`` names are bytes.
        types: Of these columns.
    """
    told: dict[int, list[dict[str, str]]] = {}
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in types:
            kind, texts = types[name], column
            column = _converted(texts, kind)
            for row in np.flatnonzero(_valid(column) != _valid(texts)).tolist():
                got = _short(texts[row].as_py().decode(errors="replace"))
                told.setdefault(row, []).append(
                    {"code": "wrong_type", "column": name, "expected": str(kind), "got": got}
                )
        columns.append(column)
    texts = pa.array([json.dumps(told[row]) if row in told else None for row in range(batch.num_rows)], pa.string())
    return pa.RecordBatch.from_arrays([*columns, texts], names=[*batch.schema.names, MISFITS])


def _converted(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Texts as values; null where one is none."""
    if pa.types.is_string(kind):
        with contextlib.suppress(pa.ArrowInvalid):
            return texts.cast(kind)
    coded = texts.dictionary_encode()
    return _values(coded.dictionary, kind).take(coded.indices)


def _values(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Each text as a value, by the parser of files itself; what it does not take is found by halving."""
    if not len(texts):
        return pa.array([], kind)
    sink = io.BytesIO()
    for text in texts.to_pylist():
        sink.write(b'"' + text.replace(b'"', b'""') + b'"\n')
    reading = csv.ReadOptions(use_threads=False, column_names=["value"], block_size=sink.tell() + 1)
    converting = csv.ConvertOptions(column_types={"value": kind}, null_values=[], strings_can_be_null=False)
    try:
        table = csv.read_csv(
            pa.BufferReader(sink.getvalue()), reading, csv.ParseOptions(newlines_in_values=True), converting
        )
        return table.column(0).combine_chunks()
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, kind)
    half = len(texts) // 2
    return pa.concat_arrays([_values(texts[:half], kind), _values(texts[half:], kind)])


def _valid(values: pa.Array) -> np.ndarray:
    return values.is_valid().to_numpy(zero_copy_only=False)


def _short(text: str) -> str:
    """A value as an error shows it."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
