"""A source as a list of fragments and what is to be removed at its end; filters as an expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        notes: Iterable[str] = (),
        slips: Mapping[str, InputError] | None = None,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.schema = schema
        self.fragments = list(fragments)
        self.rows = rows
        self.notes = tuple(notes)
        self.slips = dict(slips or {})
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


def check_filter(kept: pc.Expression | None, schema: pa.Schema) -> None:
    """Refuse a filter by a column that is not there, or that its type cannot be compared so.

    Raises:
        InputError: ``malformed_request``.
    """
    if kept is None:
        return
    try:
        filtered(pa.RecordBatch.from_pylist([], schema=schema), kept)
    except (pa.ArrowException, TypeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"the filter {kept} cannot be applied: {first}",
            code="malformed_request",
            hint=f"filter by {', '.join(schema.names[:8])}{', …' if len(schema.names) > 8 else ''}",
        ) from error


def columns_of(expression: pc.Expression | None, schema: pa.Schema) -> list[str]:
    """The columns that an expression reads, in the schema's order."""
    if expression is None:
        return []
    text = str(expression)
    # The expression does not say its fields; a name too many costs a little reading and nothing else.
    return [name for name in schema.names if name in text]


def narrowed(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    columns: Sequence[str] | None,
    kept: pc.Expression | None,
    max_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Batches as a fragment gives them: the rows that are kept, these columns of these types, so many rows at once.

    Args:
        batches: With all columns of ``schema`` that are wanted or filtered by, in any order.
        schema: Names and types of the source.
        columns: Wanted, in this order; None for all of the schema.
        kept: Which rows.
        max_rows: Of a batch.
    """
    wanted = list(columns) if columns is not None else schema.names
    for batch in batches:
        found = batch if kept is None else filtered(batch, kept)
        if found.num_rows:
            yield from cut(found if found.schema.names == wanted else found.select(wanted), max_rows)


def filtered(batch: pa.RecordBatch, kept: pc.Expression) -> pa.RecordBatch:
    """The rows of a batch that an expression keeps, found in this thread."""
    from pyarrow import acero

    table = pa.Table.from_batches([batch])
    plan = acero.Declaration.from_sequence(
        [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(table)),
            acero.Declaration("filter", acero.FilterNodeOptions(kept)),
        ]
    )
    found = plan.to_table(use_threads=False).combine_chunks().to_batches()
    return found[0] if found else batch.slice(0, 0)


def cut(batch: pa.RecordBatch, max_rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in views of at most ``max_rows`` rows."""
    if batch.num_rows <= max_rows:
        yield batch
        return
    for first in range(0, batch.num_rows, max_rows):
        yield batch.slice(first, max_rows)
