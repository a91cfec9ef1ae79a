"""One schema over files, and batches brought to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import types

from ...errors import InputError

_UNITS = ("s", "ms", "us", "ns")


def one_schema(schemas: Sequence[tuple[str, pa.Schema]]) -> tuple[pa.Schema, list[str]]:
    """The schema of files that are read as one, with the columns and order of the first.

    Args:
        schemas: Of each file, by its name.

    Returns:
        The schema, and a line for each column that was widened: some files hold a narrower type.

    Raises:
        InputError: ``missing_column`` or ``unknown_column``: a file lacks a column of the first or has more;
            ``wrong_type``: a column's types have none in common; ``duplicate_column``.
    """
    first_name, first = schemas[0]
    wide = {field.name: field.type for field in first}
    if len(wide) < len(first):
        name = next(name for name in first.names if first.names.count(name) > 1)
        raise _refused(first_name, name, "duplicate_column", f"has two columns {name!r}", "rename one")
    widened: dict[str, str] = {}
    # Files of one writer mostly agree: each schema that differs is looked at once.
    seen: list[pa.Schema] = [first]
    for file, schema in schemas[1:]:
        if any(schema.equals(other) for other in seen):
            continue
        seen.append(schema)
        _same_columns(first_name, first, file, schema)
        for field in schema:
            common = _common(wide[field.name], field.type)
            if common is None:
                raise _refused(
                    file,
                    field.name,
                    "wrong_type",
                    f"has {field.type} in column {field.name!r}, {first_name} has {wide[field.name]}",
                    "write the files with one type",
                    expected=str(wide[field.name]),
                    got=str(field.type),
                )
            if common != first.field(field.name).type or common != field.type:
                widened[field.name] = f"column {field.name!r} is read as {common}: {file} has {field.type}"
            wide[field.name] = common
    return pa.schema([pa.field(name, kind) for name, kind in wide.items()]), [
        widened[name] for name in wide if name in widened
    ]


def _same_columns(first_name: str, first: pa.Schema, file: str, schema: pa.Schema) -> None:
    """Refuse a file with other columns than the first."""
    missing = [name for name in first.names if name not in schema.names]
    if missing:
        text = f"has no column {missing[0]!r}, which {first_name} has"
        raise _refused(file, missing[0], "missing_column", text, "read files apart that have different columns")
    more = [name for name in schema.names if name not in first.names]
    if more:
        text = f"has a column {more[0]!r}, which {first_name} does not have"
        raise _refused(file, more[0], "unknown_column", text, "read files apart that have different columns")
    if len(schema.names) > len(first.names):
        name = next(name for name in schema.names if schema.names.count(name) > 1)
        raise _refused(file, name, "duplicate_column", f"has two columns {name!r}", "rename one")


def _refused(file: str, column: str, code: str, text: str, hint: str, **more: Any) -> InputError:
    place = {"code": code, "file": file, "column": column, **more}
    return InputError(f"{file} {text}", code=code, hint=hint, details=[place])


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both, where values keep their meaning."""
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if _is_text(one) and _is_text(other):
        return pa.large_string() if types.is_large_string(one) or types.is_large_string(other) else pa.string()
    if _is_number(one) and _is_number(other):
        return _common_number(one, other)
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp(max(one.unit, other.unit, key=_UNITS.index), one.tz)
    return None


def _common_number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest number that holds both; whole numbers beside fractions become float64, which is checked."""
    if types.is_floating(one) or types.is_floating(other):
        both = types.is_floating(one) and types.is_floating(other)
        return max(one, other, key=lambda kind: kind.bit_width) if both else pa.float64()
    signed = [kind for kind in (one, other) if types.is_signed_integer(kind)]
    if len(signed) != 1:
        return max(one, other, key=lambda kind: kind.bit_width)
    unsigned = other if signed[0] is one else one
    bits = max(signed[0].bit_width, 2 * unsigned.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits, pa.float64())


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    """Whether values are text, in any layout."""
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema in the layouts that all our code reads: no views, no metadata, no index that pandas stored."""
    fields = [pa.field(field.name, plain_type(field.type)) for field in schema if not _is_index(field.name)]
    return pa.schema(fields)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type without views."""
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_dictionary(kind) and types.is_string_view(kind.value_type):
        return pa.dictionary(kind.index_type, pa.large_string(), kind.ordered)
    return kind


def _is_index(name: str) -> bool:
    """Whether pandas made the column of a frame's index."""
    return name.startswith("__index_level_") and name.endswith("__")


def conformed(batch: pa.RecordBatch, schema: pa.Schema, *, coded: bool = False) -> pa.RecordBatch:
    """A batch with the types that the schema gives its columns.

    Args:
        batch: Any of the schema's columns.
        schema: Names and types.
        coded: Leave dictionaries of text as they are.

    Raises:
        pyarrow.ArrowInvalid: a value has no place in its type; its argument begins with the column's name.
    """
    kinds = [schema.field(name).type for name in batch.schema.names]
    if all(column.type == kind for column, kind in zip(batch.columns, kinds, strict=True)):
        return batch
    columns = []
    for name, column, kind in zip(batch.schema.names, batch.columns, kinds, strict=True):
        if column.type != kind and not (coded and _is_text(kind) and types.is_dictionary(column.type)):
            try:
                column = column.cast(kind)
            except pa.ArrowInvalid as error:
                raise CastError(name, str(column.type), str(kind), str(error)) from error
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


class CastError(Exception):
    """A value that has no place in its column's type."""

    def __init__(self, column: str, got: str, expected: str, why: str) -> None:
        super().__init__(why)
        self.column, self.got, self.expected = column, got, expected


def misfit(name: str, file: str, error: CastError) -> InputError:
    """The error of a value that the type of all files cannot hold.

    Args:
        name: Of the fragment.
        file: Its file.
        error: What conforming raised.
    """
    place = {"file": file, "column": error.column, "expected": error.expected, "got": error.got}
    return InputError(
        f"{name}: column {error.column!r} has values that {error.expected}, the type of all files, cannot hold",
        code="wrong_type",
        hint="write the files with one type",
        details=[{"code": "wrong_type", **place}],
    )
