"""Text read as dictionaries, as Parquet stores it: cheap to read and to count, and spelt out where it must be."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa


def text_columns(schema: pa.Schema) -> frozenset[str]:
    """The columns that are text by their type: dictionaries of these are only how they were read."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return frozenset(field.name for field in schema if any(is_kind(field.type) for is_kind in kinds))


def spelt(column: pa.Array, name: str, text: Collection[str]) -> pa.Array:
    """A column with its text spelt out, if that is its type."""
    if name in text and pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def spelt_batch(batch: pa.RecordBatch, text: Collection[str]) -> pa.RecordBatch:
    """A batch with its text spelt out."""
    if not any(pa.types.is_dictionary(kind) for kind in batch.schema.types):
        return batch
    columns = [spelt(column, name, text) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
