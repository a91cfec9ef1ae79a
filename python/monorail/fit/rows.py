"""The rows that the last step is trained on: read again and again, through the steps before it."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..data.source import Fragment
from ..executors import Executor
from .between import Given, Value
from .learning import Block, Inputs, Target
from .passes import Reading, block_of
from .training import TrainingRows

if TYPE_CHECKING:
    from .plan import Run


class PipelineRows:
    """Rows of a source as a step gets them; see :class:`monorail.fit.training.TrainingRows`.

    Args:
        run: The fit they belong to, after its first pass.
        value: What the step is given.
    """

    def __init__(self, run: Run, value: Value) -> None:
        self._run, self._value = run, value
        self.inputs: Inputs = run.inputs(value, training=True)
        self.part_rows: Sequence[int] = list(run.part_rows or ())
        self.rows: int = sum(self.part_rows)
        self.target: Target | None = run.target
        self.parts: int = len(self.part_rows)
        self.executor: Executor = run.executor
        self.passes = 0
        self._starts = run.starts or []
        self._shared = _Shared(run.reading, value)

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order, read here; of one part, or of all."""
        if part is None or self.parts == 1:
            self.passes += 1
        for number in range(self.parts) if part is None else [part]:
            yield from self._blocks(number, max_rows)

    def reader(self, part: int) -> Callable[[int], Iterator[Block]]:
        """What reads one part elsewhere: it can be pickled, and takes ``max_rows``."""
        return functools.partial(_read, self._shared, self._item(part))

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part, on the executor; results in the order of the parts."""
        self.passes += 1
        items = [self._item(part) for part in range(self.parts)]
        return self.executor.map(_run, items, shared=(self._shared, function, shared))

    def take(self, rows: Any) -> Block:
        """These rows (their numbers, increasing) as one block."""
        rows = np.asarray(rows)
        kept = self._run.found.chosen if self._run.found is not None else None
        if kept is not None and kept.rows is not None and np.array_equal(kept.numbers, rows):
            return self._block(kept.rows, rows)
        self.passes += 1
        tables = []
        for part in sorted({bisect.bisect_right(self._starts, row) - 1 for row in rows.tolist()}):
            first = self._starts[part]
            fragment = self._run.source.fragments[part]
            for batch in fragment.batches(self._run.reading.columns):
                low, high = np.searchsorted(rows, [first, first + batch.num_rows])
                tables.append(pa.Table.from_batches([batch.take(pa.array(rows[low:high] - first))]))
                first += batch.num_rows
        return self._block(pa.concat_tables(tables), rows)

    def kept(self) -> TrainingRows:
        """The same rows, stored once as the last step sees them: for trainers that read them many times."""
        return self

    def _block(self, table: pa.Table, numbers: np.ndarray) -> Block:
        (batch,) = table.combine_chunks().to_batches()
        return block_of(Given(batch, -1, numbers), self._value, self._run.reading)

    def _blocks(self, part: int, max_rows: int) -> Iterator[Block]:
        return _read(self._shared, self._item(part), max_rows)

    def _item(self, part: int) -> tuple[Fragment, int]:
        return self._run.source.fragments[part], self._starts[part]


class _Shared:
    """What every worker needs to make the rows."""

    def __init__(self, reading: Reading, value: Value) -> None:
        self.reading, self.value = reading, value


def _read(shared: _Shared, item: tuple[Fragment, int], max_rows: int = 65_536) -> Iterator[Block]:
    """The rows of one part."""
    fragment, start = item
    for batch in fragment.batches(shared.reading.columns, max_rows=max_rows):
        with np.errstate(all="ignore"):
            yield block_of(Given(batch, start), shared.value, shared.reading)
        start += batch.num_rows


def _run(shared: tuple[_Shared, Callable[[Any, Iterator[Block]], Any], Any], item: tuple[Fragment, int]) -> Any:
    """A trainer's function over one part. Runs on a worker."""
    rows, function, given = shared
    return function(given, _read(rows, item))
