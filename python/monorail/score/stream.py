"""Predictions as a stream of record batches: nothing is scored before somebody reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..data.source import Fragment, Source
from ..executors import open_executor
from .output import score_batch
from .scorer import Scorer

if TYPE_CHECKING:
    import daft


class Scored:
    """Data with its predictions, scored as it is read, in the order of the rows. Each reading starts anew.

    It is iterable (record batches) and speaks the Arrow PyCapsule interface, so that Polars, DuckDB and pyarrow read it
    as it is. A context manager: at its end, what was spooled for data that could be read only once is removed, and the
    model's workers end.

    Attributes:
        schema: Columns passed through, then the model's outputs.
    """

    def __init__(self, scorer: Scorer, source: Source, on: str, workers: int | None) -> None:
        self.schema: pa.Schema = scorer.schema
        self._scorer = scorer
        self._source = source
        self._on, self._workers = on, workers

    def __repr__(self) -> str:
        return f"Scored({self._source.name!r}, model={str(self._scorer.model.version)!r})"

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch.

        Raises:
            InputError: a row breaks the signature; ``details`` says in which file, row group, row and column.
            EngineError: the engine failed.
        """
        with open_executor(self._on, self._workers) as executor:
            if executor.name == "local":
                yield from executor.map(_score_one, self._pieces(), shared=self._scorer)
                return
            for batches in executor.map(score_fragment, self._source.fragments, shared=self._scorer):
                yield from batches

    def _pieces(self) -> Iterator[tuple[Fragment, int, pa.RecordBatch]]:
        """Batches as they are read, each with its fragment and its place there: no more in memory than are needed."""
        for fragment in self._source.fragments:
            first = 0
            for batch in self._scorer.batches(fragment):
                yield fragment, first, batch
                first += batch.num_rows

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a reader, to be read once."""
        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def to_table(self) -> pa.Table:
        """The rows in memory."""
        return pa.Table.from_batches(self, self.schema)

    def to_daft(self) -> daft.DataFrame:
        """The rows as a lazy Daft frame: scored where Daft runs, as it reads them.

        Raises:
            MissingExtraError: Daft is not installed.
        """
        from .daft import lazy_frame

        return lazy_frame(self._scorer, self._source)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow stream."""
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Remove what was spooled, and let go of the model."""
        self._scorer.model.close()
        self._source.__exit__(None, None, None)

    def __enter__(self) -> Scored:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


def _score_one(scorer: Scorer, piece: tuple[Any, int, pa.RecordBatch]) -> pa.RecordBatch:
    fragment, first, batch = piece
    return score_batch(scorer, batch, fragment, first)


def score_fragment(scorer: Scorer, fragment: Fragment) -> list[pa.RecordBatch]:
    """The rows of a fragment with their predictions."""
    done = []
    first = 0
    for batch in scorer.batches(fragment):
        done.append(score_batch(scorer, batch, fragment, first))
        first += batch.num_rows
    return done
