"""Answers of a model as a record batch of exactly the declared types; widened only where that loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa


def conform(answer: Any, schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """The answer in the declared types.

    Args:
        answer: a record batch or table, a frame, or a mapping of columns: arrays, lists, series.
        schema: what is declared.
        rows: how many rows were asked.

    Raises:
        TypeError: an answer that is none of these, lacks a column, or has one of another type.
        ValueError: another number of rows, a null where none may be, a number that does not fit.
    """
    if isinstance(answer, pa.RecordBatch) and answer.schema.equals(schema) and not _has_nulls(answer, schema):
        _check_rows(answer.num_rows, rows)
        return answer
    columns = _columns(answer)
    return pa.RecordBatch.from_arrays([_column(columns, field, rows) for field in schema], schema=schema)


def _has_nulls(batch: pa.RecordBatch, schema: pa.Schema) -> bool:
    return any(
        not field.nullable and (column.null_count or (pa.types.is_nested(field.type) and column.flatten().null_count))
        for column, field in zip(batch.columns, schema, strict=True)
    )


def _check_rows(got: int, rows: int) -> None:
    if got != rows:
        raise ValueError(f"the model gave {got} rows for {rows}")


def _columns(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, Mapping):
        return answer
    if isinstance(answer, pa.RecordBatch | pa.Table):
        return dict(zip(answer.schema.names, answer.columns, strict=True))
    if hasattr(answer, "columns") and hasattr(answer, "__getitem__"):
        return {str(name): answer[name] for name in answer.columns}
    raise TypeError(f"the model gave a {type(answer).__name__}, not a record batch, a frame or a dict of columns")


def _column(columns: Mapping[str, Any], field: pa.Field, rows: int) -> pa.Array:
    if field.name not in columns:
        names = ", ".join(repr(str(name)) for name in columns) or "none"
        raise TypeError(f"the model gave no column {field.name!r}; its columns are {names}")
    try:
        array = _array(columns[field.name], field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"column {field.name!r} must be {field.type}: {error}") from None
    _check_rows(len(array), rows)
    try:
        return _fitted(array, field.type, may_be_null=field.nullable)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column {field.name!r} must be {field.type}, got {array.type}: {error}") from None
    except _MisfitError as error:
        raise error.kind(f"column {field.name!r} must be {field.type}, got {error}") from None


class _MisfitError(Exception):
    """What was got, and the exception that it is."""

    def __init__(self, got: str, kind: type[Exception] = TypeError) -> None:
        super().__init__(got)
        self.kind = kind


def _array(values: Any, wanted: pa.DataType) -> pa.Array:
    """Any one column as one Arrow array, of whatever type it has."""
    module = type(values).__module__.partition(".")[0]
    if module == "polars":
        values = values.to_arrow()
    if isinstance(values, list | tuple) and values and isinstance(values[0], list | tuple | np.ndarray):
        values = np.asarray(values)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        array = pa.array(np.ascontiguousarray(values).reshape(-1))
        for size in reversed(values.shape[1:]):
            array = pa.FixedSizeListArray.from_arrays(array, size)
        return array
    if isinstance(values, list | tuple) and not values:
        return pa.array([], wanted)
    array: Any = values if module == "pyarrow" else pa.array(values, from_pandas=module == "pandas")
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _fitted(array: pa.Array, wanted: pa.DataType, *, may_be_null: bool) -> pa.Array:
    """An array in the declared type."""
    if pa.types.is_fixed_size_list(wanted):
        return _fitted_list(array, wanted, may_be_null=may_be_null)
    if array.type != wanted:
        if pa.types.is_null(array.type) and (may_be_null or pa.types.is_floating(wanted)):
            array = array.cast(wanted)
        elif not _widens(array.type, wanted):
            raise _MisfitError(str(array.type))
        else:
            array = array.cast(wanted)
    if array.null_count and not may_be_null:
        if not pa.types.is_floating(wanted):
            row = array.is_null().to_pylist().index(True)
            raise _MisfitError(f"a null in row {row}", ValueError)
        array = array.fill_null(float("nan"))
    return array


def _fitted_list(array: pa.Array, wanted: pa.DataType, *, may_be_null: bool) -> pa.Array:
    """Fixed-size lists, nested as declared; an array of flat lists will do for nested ones."""
    sizes, item = [], wanted
    while pa.types.is_fixed_size_list(item):
        sizes.append(item.list_size)
        item = item.value_type
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = array.value_lengths().unique().to_pylist()
        if len(array) and len(lengths) != 1:
            raise _MisfitError(f"lists of lengths {lengths}")
        array = pa.FixedSizeListArray.from_arrays(array.flatten(), lengths[0] if lengths else int(np.prod(sizes)))
    rows, got = len(array), []
    while pa.types.is_fixed_size_list(array.type):
        if array.null_count:
            array = _filled(array, may_be_null=may_be_null)
        got.append(array.type.list_size)
        array = array.flatten()
    if not got and len(array) == rows and sizes == [1]:
        got = [1]
    if rows and got != sizes and got != [int(np.prod(sizes))]:
        raise _MisfitError(f"lists of shape {got}" if got else str(array.type))
    values = _fitted(array, item, may_be_null=False)
    for size in reversed(sizes):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values.cast(wanted)


def _filled(lists: pa.Array, *, may_be_null: bool) -> pa.Array:
    """Null lists of floats as lists of NaN."""
    kind = lists.type
    if not may_be_null or not pa.types.is_floating(kind.value_type):
        raise _MisfitError("a null list", ValueError)
    gap = [float("nan")] * kind.list_size
    return pa.array([gap if value is None else value for value in lists.to_pylist()], kind)


def _widens(got: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type go into another without a loss that Arrow's safe cast would not see."""
    types = pa.types
    if types.is_floating(wanted):
        return types.is_integer(got) or (types.is_floating(got) and got.bit_width <= wanted.bit_width)
    if types.is_integer(wanted):
        return types.is_integer(got)
    if types.is_string(wanted):
        return types.is_large_string(got) or str(got) == "string_view"
    if types.is_timestamp(wanted):
        return types.is_timestamp(got) and (got.tz is None) == (wanted.tz is None)
    if types.is_date32(wanted):
        return types.is_date64(got)
    return False
