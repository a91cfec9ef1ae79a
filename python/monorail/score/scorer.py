"""From record batch to record batch: the columns that pass through, and the predictions beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from .. import _core
from ..data import arrow_type
from ..data.decimals import as_floats, decimals_of
from ..data.source import BATCH_ROWS, Source
from ..data.sources.delimited import Lines
from ..data.sources.misfits import MISFITS
from ..errors import InputError
from .kept import check_added, check_kept, check_once
from .model import PackedModel

#: Bytes of the rows that are scored together, about; wide rows are read fewer at once.
BATCH_BYTES = 16 << 20
#: Rows of one call of the engine: a call costs little then beside its rows, and what lies between its steps is small.
CALL_ROWS = 4_096
#: Rows read at once, at most: larger buffers are given back to the system and zeroed again for every batch.
READ_ROWS = 32_768
#: Rows that say how wide rows are.
PEEKED_ROWS = 1_024


class Scorer:
    """What every engine of data runs: locally on threads, on Ray, in Spark. It can be pickled.

    Attributes:
        model: The model.
        read: Columns to read, in order.
        read_schema: Their types.
        batch_rows: Rows read at once, at most.
        schema: Of what it gives: columns passed through, then the model's outputs.
    """

    def __init__(self, model: PackedModel, schema: pa.Schema, columns: Sequence[str] = ()) -> None:
        """Check a schema against the model's signature, before there is a row.

        Args:
            model: The model.
            schema: Of the data. Columns that are neither the model's nor passed through are not read.
            columns: Columns of the data to pass through; ``["*"]`` is all.

        Raises:
            InputError: ``missing_column``, ``wrong_type`` or ``duplicate_column``.
        """
        self.model = model
        self.columns = list(schema.names) if list(columns) == ["*"] else list(dict.fromkeys(columns))
        check_kept(self.columns, schema.names)
        check_once([*self.columns, *model.inputs], schema.names)
        self._inputs = [name for name in model.inputs if name in schema.names]
        if not self._inputs:
            # Nothing would then say how many rows there are to score.
            raise InputError(
                f"none of the model's columns is in the data: {', '.join(model.inputs[:20])}",
                code="missing_column",
                hint=f"the data has {', '.join(schema.names[:20])}",
            )
        floats = {column.name for column in model.version.signature.inputs if column.type == "float64"}
        self._decimals = decimals_of(schema) & floats & set(self._inputs)
        self.read = list(dict.fromkeys([*self.columns, *self._inputs]))
        self.read_schema = pa.schema([schema.field(name) for name in self.read])
        self.batch_rows = READ_ROWS
        empty = pa.RecordBatch.from_arrays(
            [pa.array([], field.type) for field in (schema.field(name) for name in self._inputs)], names=self._inputs
        )
        outputs = answers_of(model.engine(), as_floats(empty, self._decimals)).schema
        check_added(self.columns, outputs.names)
        self.schema = pa.schema([*(schema.field(name) for name in self.columns), *outputs])

    def __getstate__(self) -> dict[str, Any]:
        """With schemas as bytes: pickled by pyarrow, lists lose whether their items may be null."""
        schemas = {name: getattr(self, name).serialize().to_pybytes() for name in ("schema", "read_schema")}
        return {**self.__dict__, **schemas}

    def __setstate__(self, state: dict[str, Any]) -> None:
        schemas = {name: pa.ipc.read_schema(pa.py_buffer(state[name])) for name in ("schema", "read_schema")}
        self.__dict__ |= {**state, **schemas}

    def inputs(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The columns of a batch that the model takes, decimal numbers as the floats that it wants."""
        taken = batch if batch.schema.names == self._inputs else batch.select(self._inputs)
        return as_floats(taken, self._decimals)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of ``schema``, of a batch with the columns in ``read``.

        Raises:
            InputError: a row is not what the signature asks for; rows in ``details`` count from the batch's first.
            EngineError: the engine failed.
        """
        return self.beside(batch, answers_of(self.model.engine(), self.inputs(batch)))

    def beside(self, batch: pa.RecordBatch, answers: pa.RecordBatch) -> pa.RecordBatch:
        """Answers beside the columns of their rows that are passed through."""
        passed = [batch.column(name) for name in self.columns]
        # A reader may give text as codes, which the schema does not say.
        passed = [
            a if a.type == self.schema.field(i).type else a.cast(self.schema.field(i).type)
            for i, a in enumerate(passed)
        ]
        return pa.RecordBatch.from_arrays([*passed, *answers.columns], schema=self.schema)

    def batches(self, fragment: Any) -> Iterator[pa.RecordBatch]:
        """The rows of a fragment, cut as they are scored.

        A model that is not row-wise gets exactly ``BATCH_ROWS`` rows at once, the last time fewer, wherever pages and
        row groups of the file end: its answers depend on the rows of a call.
        """
        read = [*self.read, MISFITS] if getattr(fragment, "aside", False) else self.read
        if not self.model.row_wise:
            return even(fragment.batches(read, max_rows=BATCH_ROWS), BATCH_ROWS)
        # Text as codes is cheaper to read, and the engine takes it so.
        return fragment.batches(read, max_rows=self.batch_rows, coded=True)

    def fit_batches(self, fragment: Any) -> None:
        """Read fewer rows at once where the first ones are wide."""
        for batch in fragment.batches(self.read, max_rows=PEEKED_ROWS, coded=True):
            row_bytes = max(1, self.plain(batch).nbytes // batch.num_rows)
            self.batch_rows = min(READ_ROWS, max(PEEKED_ROWS, BATCH_BYTES // row_bytes))
            return

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch with the columns in ``read``, of the types that the data's schema says."""
        columns = [_plain(batch.column(field.name), field.type) for field in self.read_schema]
        return pa.RecordBatch.from_arrays(columns, schema=self.read_schema)


def scorer_of(model: PackedModel, source: Source, columns: Sequence[str] = ()) -> Scorer:
    """The scorer of a source; what is wrong with its schema is said with its name.

    Raises:
        InputError: ``missing_column``, ``wrong_type`` or ``duplicate_column``.
    """
    try:
        scorer = Scorer(model, source.schema.remove_metadata(), columns)
    except InputError as error:
        error.message = f"{source.name}: {error.message}"
        error.args = (error.message,)
        for place in error.details:
            place.setdefault("file", source.name)
        raise
    if source.fragments:
        scorer.fit_batches(source.fragments[0])
    return scorer


def types_of(model: PackedModel) -> dict[str, pa.DataType]:
    """The types of a model's columns, for CSV, which has none: ``007`` is text where the model takes text."""
    return {column.name: arrow_type(column) for column in model.version.signature.inputs if column.type != "tensor"}


def setting_aside(source: Source) -> None:
    """Have a source's CSV files tell of values that are not of their column's type, not end at them."""
    source.fragments = [replace(each, aside=True) if isinstance(each, Lines) else each for each in source.fragments]


def answers_of(engine: _core.Engine, batch: pa.RecordBatch) -> pa.RecordBatch:
    """What an engine answers, as one batch; also where there is no row.

    Raises:
        InputError: a row is not what the signature asks for.
        EngineError: the engine failed.
    """
    with pa.RecordBatchReader.from_stream(engine.predict(batch, max_batch_rows=CALL_ROWS)) as reader:
        found = list(reader)
        if len(found) == 1:
            return found[0]
        whole = pa.Table.from_batches(found, reader.schema).combine_chunks().to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=reader.schema)


def even(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly so many; the last one has the rest."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            held.append(batch.slice(0, rows - count))
            yield _joined(held)
            batch = batch.slice(rows - count)
            held, count = [], 0
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
    if held:
        yield _joined(held)


def _plain(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as its schema has it; a reader may give text as codes."""
    return values if values.type == kind else values.cast(kind)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
