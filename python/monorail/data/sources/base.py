"""A source as a list of fragments and what is to be removed at its end; filters as an expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import InputError
from ..source import Fragment


class Fragments:
    """A source of fragments that are known; see :class:`monorail.data.source.Source`."""

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        fragments: Iterable[Fragment],
        *,
        rows: int | None = None,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.schema = schema
        self.fragments = list(fragments)
        self.rows = rows
        self._end = ExitStack()
        if at_end is not None:
            self._end.callback(at_end)

    def close(self) -> None:
        """Remove what was spooled."""
        self._end.close()

    def __enter__(self) -> Fragments:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


def filter_expression(filters: Any) -> pc.Expression | None:
    """Filters as one expression.

    Raises:
        InputError: ``malformed_request``: they are neither an expression nor ``[(column, op, value), ...]``.
    """
    if filters is None or isinstance(filters, pc.Expression):
        return filters
    import pyarrow.parquet as pq

    try:
        return pq.filters_to_expression(filters)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"filters cannot be read: {error}",
            code="malformed_request",
            hint="give a pyarrow.compute expression, or a list such as [('month', '>', 3)]",
        ) from error


def columns_of(expression: pc.Expression | None, schema: pa.Schema) -> list[str]:
    """The columns that an expression reads, in the schema's order."""
    if expression is None:
        return []
    text = str(expression)
    # The expression does not say its fields; a name too many costs a little reading and nothing else.
    return [name for name in schema.names if name in text]


def filtered(batch: pa.RecordBatch, expression: pc.Expression | None, columns: Sequence[str]) -> pa.RecordBatch:
    """The rows that an expression keeps, and only these columns, in this order."""
    if expression is not None:
        batch = batch.filter(expression)
    return batch.select(list(columns)) if batch.schema.names != list(columns) else batch


def cut(batch: pa.RecordBatch, max_rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in views of at most ``max_rows`` rows."""
    for first in range(0, batch.num_rows, max_rows):
        yield batch.slice(first, max_rows)
