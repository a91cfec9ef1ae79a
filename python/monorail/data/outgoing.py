"""From an Arrow table of answers to the kind of data the question came in.

=========================  ==============================================================================
question                   answer
=========================  ==============================================================================
pandas frame               pandas frame with the question's index; list columns hold NumPy views
Polars frame               Polars frame
Arrow table, batch, reader Arrow table, batch, reader
NumPy matrix               the array of the one output, or a dict of arrays by output
dict of arrays             dict of NumPy arrays
dict of scalars            dict of scalars
dict of lists              dict of lists
list of dicts              list of dicts
anything else Arrow        Arrow table
=========================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .incoming import is_pandas, is_polars, is_record

if TYPE_CHECKING:
    import pandas as pd

    from ..signature import Signature


def from_arrow(table: pa.Table, like: Any, signature: Signature | None = None) -> Any:
    """Give the answers the kind of the question.

    Args:
        table: The answers, a row per row of the question.
        like: The question, as the user gave it.
        signature: Of the model; tells a record from columns where lists are values.

    Returns:
        As the table of this module says.
    """
    if is_pandas(like):
        return _to_pandas(table, like.index)
    if is_polars(like):
        import polars as pl

        return pl.from_arrow(table)
    if isinstance(like, np.ndarray):
        arrays = {name: to_numpy(table.column(name)) for name in table.column_names}
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
    if isinstance(like, pa.RecordBatch):
        return _one_batch(table)
    if isinstance(like, pa.RecordBatchReader):
        return table.to_reader()
    if isinstance(like, Mapping):
        if is_record(like, signature):
            return table.slice(0, 1).to_pylist()[0]
        if like and all(isinstance(value, np.ndarray) for value in like.values()):
            return {name: to_numpy(table.column(name)) for name in table.column_names}
        return table.to_pydict()
    if isinstance(like, Sequence):
        return table.to_pylist()
    return table


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array, ``[rows]`` or ``[rows, size]``; over its own buffer where it is one chunk of numbers."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk at all
        array = pa.array([], column.type)
    if pa.types.is_fixed_size_list(array.type):
        flat = array.flatten() if array.null_count == 0 else array.values.slice(array.offset * array.type.list_size)
        return _plain(flat).reshape(len(array), array.type.list_size)
    return _plain(array)


def _plain(array: pa.Array) -> np.ndarray:
    """An array without lists as NumPy, copied only where it must be."""
    return array.to_numpy(zero_copy_only=False)


def _to_pandas(table: pa.Table, index: pd.Index) -> pd.DataFrame:
    """A frame with the question's index. A list column holds views of one matrix, not copies."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in table.column_names:
        values = to_numpy(table.column(name))
        if values.ndim == 2:
            cells = np.empty(len(values), dtype=object)
            cells[:] = list(values)
            values = cells
            columns[name] = pd.Series(values, index=index, dtype=object)
        elif values.dtype == object:
            columns[name] = pd.Series(values, index=index, dtype="str")
        else:
            columns[name] = pd.Series(values, index=index)
    return pd.DataFrame(columns, index=index)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """The table as one batch, also where it has no rows."""
    batches = table.combine_chunks().to_batches()
    if batches:
        return batches[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)
