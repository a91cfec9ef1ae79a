"""A dataset of Ray Data: its blocks, by reference. Ray is not imported: who has a dataset has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import InputError
from ..incoming import to_arrow
from ..source import BATCH_ROWS
from .base import Fragments, columns_of, narrowed
from .schemas import CastError, conformed, misfit, plain_schema


@dataclass(frozen=True)
class RayBlock:
    """A block in Ray's object store; see :class:`monorail.data.source.Fragment`."""

    reference: Any
    schema: pa.Schema
    name: str
    rows: int | None
    start: int
    kept: pc.Expression | None = None

    def batches(
        self, columns: Sequence[str] | None = None, *, max_rows: int = BATCH_ROWS, coded: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, as views of the shared memory they lie in."""
        wanted = list(columns) if columns is not None else self.schema.names
        read = list(dict.fromkeys([*wanted, *columns_of(self.kept, self.schema)]))
        try:
            table = to_arrow(sys.modules["ray"].get(self.reference)).select(read)
            batches = (conformed(batch, self.schema) for batch in table.to_batches(max_rows))
            yield from narrowed(batches, self.schema, wanted, self.kept, max_rows)
        except CastError as error:
            raise misfit(self.name, self.name, error) from error


def ray_source(dataset: Any, kept: pc.Expression | None = None) -> Fragments:
    """A Ray dataset as a source. It is computed once; its blocks stay in the object store while the source is open.

    Raises:
        InputError: ``wrong_type``: its columns are of types that Arrow does not have.
    """
    whole = dataset.materialize()
    found = whole.schema()
    base = found.base_schema if found is not None else pa.schema([])
    fragments: list[RayBlock] = []
    start = 0
    for bundle in whole.iter_internal_ref_bundles():
        for reference, metadata in bundle.blocks:
            if not fragments and not isinstance(base, pa.Schema):
                base = to_arrow(sys.modules["ray"].get(reference)).schema
            rows = metadata.num_rows
            if rows == 0:
                continue
            name = f"Ray dataset, block {len(fragments)}"
            at = start if kept is None and start >= 0 else -1
            fragments.append(RayBlock(reference, base, name, rows, at, kept))
            start = start + rows if rows is not None and start >= 0 else -1
    if not isinstance(base, pa.Schema):
        raise InputError("the Ray dataset has no columns", code="wrong_type", hint="give a dataset of tables")
    schema = plain_schema(base)
    fragments = [RayBlock(f.reference, schema, f.name, f.rows, f.start, kept) for f in fragments]
    rows = start if kept is None and start >= 0 else None
    return Fragments("Ray dataset", schema, fragments, rows=rows)
