"""The rows that the last step is trained on: read again and again, through the steps before it."""

from __future__ import annotations

import bisect
import contextlib
import functools
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..data.source import Fragment
from ..executors import Executor
from .between import Given, Value
from .cluster import Held, hold
from .learning import Block, Inputs, Target
from .passes import Reading, block_of
from .storing import Stored, store
from .training import TrainingRows

if TYPE_CHECKING:
    from .plan import Run

#: Behind the last.
_END = object()


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
        self._ends = contextlib.ExitStack()
        self._starts = run.starts or []
        self._shared = _Shared(run.reading, value)

    def __enter__(self) -> PipelineRows:
        return self

    def __exit__(self, *reason: object) -> None:
        """Remove what was stored."""
        self._ends.close()

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order, read here; of one part, or of all."""
        # Who asks part by part asks for the first one once a pass.
        if not part:
            self.passes += 1
        for number in range(self.parts) if part is None else [part]:
            yield from _hushed(_read(self._shared, self._item(number), max_rows))

    def reader(self, part: int) -> Callable[[int], Iterator[Block]]:
        """What reads one part elsewhere: it can be pickled, and takes ``max_rows``."""
        return functools.partial(_read, self._shared, self._item(part))

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part, on the executor; results in the order of the parts."""
        self.passes += 1
        items = [self._item(part) for part in range(self.parts)]
        return _hushed(self.executor.map(_run, items, shared=(self._shared, function, shared)))

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
        self.passes += 1
        items = [self._item(part) for part in range(self.parts)]
        if self.executor.name != "local":
            return HeldRows(self, list(self.executor.map(_hold, items, shared=self._shared)))
        folder = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="monorail-fit-")))
        return KeptRows(self, list(_hushed(self.executor.map(_store, items, shared=(self._shared, folder)))))

    def _block(self, table: pa.Table, numbers: np.ndarray) -> Block:
        (batch,) = table.combine_chunks().to_batches()
        return block_of(Given(batch, -1, numbers), self._value, self._run.reading)

    def _item(self, part: int) -> tuple[Fragment, int]:
        return self._run.source.fragments[part], self._starts[part]


class KeptRows:
    """Rows that were stored as the last step sees them, and are mapped into memory where they are read.

    Args:
        made: The rows they were made of.
        stored: The parts.
    """

    def __init__(self, made: PipelineRows, stored: Sequence[Stored]) -> None:
        self._made, self._stored = made, stored
        self.inputs, self.target, self.executor = made.inputs, made.target, made.executor
        self.rows, self.parts, self.part_rows = made.rows, made.parts, made.part_rows

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order; of one part, or of all."""
        for stored in self._stored if part is None else [self._stored[part]]:
            yield from stored.blocks(max_rows)

    def reader(self, part: int) -> Callable[[int], Iterator[Block]]:
        """What reads one part elsewhere on this machine."""
        return self._stored[part].blocks

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part."""
        return self.executor.map(_run_stored, self._stored, shared=(function, shared))

    def take(self, rows: Any) -> Block:
        """These rows (their numbers, increasing) as one block."""
        return self._made.take(rows)

    def kept(self) -> TrainingRows:
        """Itself."""
        return self


class HeldRows(PipelineRows):
    """Rows that a cluster holds as the last step sees them; what is lost of them is made again.

    Args:
        made: The rows they were made of.
        held: The parts.
    """

    def __init__(self, made: PipelineRows, held: Sequence[Held]) -> None:
        super().__init__(made._run, made._value)
        self._held = held

    def blocks(self, part: int | None = None, *, max_rows: int = 65_536) -> Iterator[Block]:
        """The rows in order; of one part, or of all."""
        for number in range(self.parts) if part is None else [part]:
            again = _read(self._shared, self._item(number), max_rows)
            yield from _hushed(self._held[number].blocks(again, max_rows))

    def map(self, function: Callable[[Any, Iterator[Block]], Any], *, shared: Any = None) -> Iterator[Any]:
        """``function(shared, blocks)`` for every part."""
        items = [(held, self._item(part)) for part, held in enumerate(self._held)]
        return self.executor.map(_run_held, items, shared=(self._shared, function, shared))

    def kept(self) -> TrainingRows:
        """Itself."""
        return self


class _Shared:
    """What every worker needs to make the rows."""

    def __init__(self, reading: Reading, value: Value) -> None:
        self.reading, self.value = reading, value


def _read(shared: _Shared, item: tuple[Fragment, int], max_rows: int = 65_536) -> Iterator[Block]:
    """The rows of one part."""
    fragment, start = item
    for batch in shared.reading.batches(fragment, max_rows):
        with np.errstate(all="ignore"):
            block = block_of(Given(batch, start, text=shared.reading.text), shared.value, shared.reading)
        # Outside: who asks may give up in another thread, where the old state cannot be set again.
        yield block
        start += batch.num_rows


def _store(shared: tuple[_Shared, Path], item: tuple[Fragment, int]) -> Stored:
    """Store the rows of one part."""
    rows, folder = shared
    return store(_read(rows, item), folder, item[1])


def _hold(shared: _Shared, item: tuple[Fragment, int]) -> Held:
    """Keep the rows of one part in the cluster's memory."""
    return hold(_read(shared, item))


def _run_held(
    shared: tuple[_Shared, Callable[[Any, Iterator[Block]], Any], Any], item: tuple[Held, tuple[Fragment, int]]
) -> Any:
    """A trainer's function over one part that the cluster holds."""
    rows, function, given = shared
    held, origin = item
    return function(given, held.blocks(_read(rows, origin), 65_536))


def _run_stored(shared: tuple[Callable[[Any, Iterator[Block]], Any], Any], stored: Stored) -> Any:
    """A trainer's function over one part that was stored."""
    function, given = shared
    return function(given, stored.blocks(65_536))


def _hushed(made: Iterator[Any]) -> Iterator[Any]:
    """The same, while steps do not warn of a batch what may not be so of the data; what asks may warn."""
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            item = next(made, _END)
        if item is _END:
            return
        yield item


def _run(shared: tuple[_Shared, Callable[[Any, Iterator[Block]], Any], Any], item: tuple[Fragment, int]) -> Any:
    """A trainer's function over one part. Runs on a worker."""
    rows, function, given = shared
    return function(given, _read(rows, item))
