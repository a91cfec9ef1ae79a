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
from .schemas import CastError, conformed, misfit, one_schema, plain_schema


@dataclass(frozen=True)
class RayBlock:
    """A block in Ray's object store; see :class:`monorail.data.source.Fragment`."""

    reference: Any
    schema: pa.Schema
    name: str
    rows: int
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
        InputError: ``wrong_type``: it has no columns, or blocks that have none in common.
    """
    ray = sys.modules["ray"]
    references = dataset.materialize().to_arrow_refs()
    # Asked where the blocks are, so that none of them comes here.
    facts = ray.get([ray.remote(num_cpus=0.1)(_facts).remote(reference) for reference in references])
    schemas = [(f"Ray dataset, block {number}", schema) for number, (schema, _) in enumerate(facts) if len(schema)]
    if not schemas:
        raise InputError("the Ray dataset has no columns", code="wrong_type", hint="give a dataset of tables")
    schema, notes = one_schema(schemas)
    fragments: list[RayBlock] = []
    total = 0
    for number, (reference, (_, rows)) in enumerate(zip(references, facts, strict=True)):
        if rows:
            start = total if kept is None else -1
            fragments.append(RayBlock(reference, schema, f"Ray dataset, block {number}", rows, start, kept))
            total += rows
    return Fragments("Ray dataset", schema, fragments, rows=total if kept is None else None, notes=notes)


def _facts(block: pa.Table) -> tuple[pa.Schema, int]:
    """Schema and number of rows of a block."""
    return plain_schema(block.schema), block.num_rows
