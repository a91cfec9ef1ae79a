"""Signature columns and Arrow types: which type a column has, and a table brought to exactly those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ..errors import SignatureError

if TYPE_CHECKING:
    from ..signature import Column, Signature


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of an input column; a dictionary's is plain text."""
    if column.type in ("string", "dictionary"):
        return pa.string()
    if column.type == "timestamp":
        return pa.timestamp("us", column.zone)
    if column.type == "tensor":
        kind = pa.type_for_alias(str(column.dtype))
        for size in reversed(column.shape or ()):
            kind = pa.list_(kind, size)
        return kind
    return pa.type_for_alias(column.type)


def conform(table: pa.Table, signature: Signature) -> pa.Table:
    """The table with the signature's columns, in its order and of exactly its types.

    Raises:
        SignatureError: ``signature_invalid``: a value has no place in its column's type, such as a time with
            nanoseconds.
    """
    columns = []
    for column in signature.inputs:
        values, kind = table.column(column.name), arrow_type(column)
        if isinstance(values.type, pa.FixedShapeTensorType):
            values = pa.chunked_array([_nested(chunk) for chunk in values.chunks], type=kind)
        if values.type != kind:
            values = _cast(column, plain_text(values), kind)
        columns.append(values)
    return pa.table(columns, names=[column.name for column in signature.inputs])


def plain_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary's values, spelt out; anything else as it is."""
    if not pa.types.is_dictionary(values.type):
        return values
    plain = [chunk.dictionary.cast(pa.large_string()).take(chunk.indices) for chunk in values.chunks]
    return pa.chunked_array(plain, type=pa.large_string())


def _nested(tensors: pa.FixedShapeTensorArray) -> pa.Array:
    """Tensors of Arrow's extension type as nested fixed-size lists."""
    array = tensors.storage.flatten()
    for size in reversed(tensors.type.shape):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _cast(column: Column, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SignatureError(
            f"column {column.name!r} has values that {column.describe()} cannot hold: {error}",
            code="signature_invalid",
            hint="round times to microseconds, for example with frame[column].dt.floor('us')",
        ) from error
