"""One pass over the data: every statistic that anybody wants, gathered by fragment and merged in the order of rows."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..data.source import BATCH_ROWS, Fragment, Source
from ..errors import FitError, MonorailError
from ..executors import Executor
from .between import Columns, Given, Value
from .coding import spelt_batch
from .learning import Block, Statistic
from .sampling import Chosen, Picked, Uniform
from .statistics import ValueCounts

#: Its functions are made at import, so type checkers know none of them.
pc: Any = pyarrow.compute
#: What is wanted of the rows: a statistic of a value.
Request = tuple[Value, Statistic]
#: Most different values of a target that are counted.
MOST_TARGETS = 10_000


@dataclass(frozen=True)
class Reading:
    """What is read of every fragment, and what of it is not a feature.

    Attributes:
        features: Raw columns.
        target: Columns to be learnt; empty where none is.
        weight: Column of weights.
        text: Columns that are text: they may be read as dictionaries.
        listed: Whether one column to be learnt was named in a list.
    """

    features: tuple[str, ...]
    target: tuple[str, ...] = ()
    weight: str | None = None
    text: frozenset[str] = frozenset()
    listed: bool = False

    def batches(self, fragment: Fragment, max_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of a fragment; text that is no target may come as dictionaries."""
        for batch in fragment.batches(self.columns, max_rows=max_rows, coded=bool(self.text)):
            yield spelt_batch(batch, self.text & set(self.target)) if self.target else batch

    @property
    def columns(self) -> list[str]:
        """All columns to read."""
        return list(dict.fromkeys([*self.features, *self.target, *([self.weight] if self.weight else [])]))

    def target_of(self, batch: pa.RecordBatch) -> pa.Array | None:
        """The target of a batch; of several columns, a fixed-size list of float64 a row.

        Raises:
            FitError: ``cannot_fit``: it holds a null.
        """
        if not self.target:
            return None
        for name in self.target:
            _check_whole(batch, name, "the target")
        if len(self.target) == 1:
            return batch.column(self.target[0])
        values = [batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in self.target]
        flat = pa.array(np.column_stack(values).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, len(self.target))

    def check(self, batch: pa.RecordBatch, fragment: Fragment) -> None:
        """Refuse a batch whose target or weight is null somewhere, saying which file it is of.

        Raises:
            FitError: ``cannot_fit``.
        """
        try:
            self.target_of(batch)
            self.weight_of(batch)
        except FitError as error:
            raise placed(error, fragment, 0) from error

    def weight_of(self, batch: pa.RecordBatch) -> np.ndarray | None:
        """The weights of a batch.

        Raises:
            FitError: ``cannot_fit``: one is null.
        """
        if self.weight is None:
            return None
        _check_whole(batch, self.weight, "the weight")
        return batch.column(self.weight).cast(pa.float64()).to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Work:
    """What a pass gathers of every fragment; sent to each worker once.

    Attributes:
        reading: What is read.
        wanted: Values and the statistics wanted of each.
        target: Whether the target is counted.
        uniform: How many rows are kept as a uniform sample; 0 for none.
        chosen: Numbers of rows that are kept, increasing; None for none.
        max_rows: Rows of a block, at most.
    """

    reading: Reading
    wanted: tuple[tuple[Value, tuple[Statistic, ...]], ...]
    target: bool = False
    uniform: int = 0
    chosen: np.ndarray | None = None
    max_rows: int = 65_536


@dataclass
class Found:
    """What a pass found in a fragment, or in all before it.

    Attributes:
        rows: How many rows.
        states: Of each statistic, in the order of ``Work.wanted``.
        target: How often each value of the target is there; None where there are too many.
        uniform: The sample.
        chosen: The rows kept by number.
    """

    rows: int
    states: list[list[Any]]
    target: dict[Any, int] | None
    uniform: Uniform
    chosen: Chosen


@dataclass
class Passed:
    """What a whole pass found.

    Attributes:
        states: By value and statistic.
        part_rows: Rows of each fragment.
        target: As in :class:`Found`.
        uniform: The sample, in the order of rows.
        chosen: The rows kept by number, in order.
    """

    states: dict[Request, Any]
    part_rows: list[int]
    target: dict[Any, int] | None = None
    uniform: Picked | None = None
    chosen: Picked | None = None
    aliases: Mapping[Request, Request] = field(default_factory=dict)

    def __getitem__(self, request: Request) -> Any:
        return self.states[self.aliases.get(request, request)]


def run_pass(
    source: Source,
    executor: Executor,
    work: Work,
    *,
    starts: Sequence[int] | None = None,
    advance: Callable[[float], None] = lambda rows: None,
) -> Passed:
    """Read the data once.

    Args:
        source: The data.
        executor: Where it is read.
        work: What is gathered.
        starts: Number of the first row of each fragment, where known.
        advance: Told how many more rows were read.

    Raises:
        MonorailError: whatever a statistic refuses, with the file it is in.
    """
    items = [
        (number, fragment, fragment.start if starts is None else starts[number])
        for number, fragment in enumerate(source.fragments)
    ]
    whole: Found | None = None
    part_rows = []
    with warnings.catch_warnings():
        # Steps warn of a batch what may not be so of the data.
        warnings.simplefilter("ignore")
        for found in executor.map(gather, items, shared=work):
            part_rows.append(found.rows)
            advance(found.rows)
            whole = found if whole is None else merged(work, whole, found)
    whole = whole if whole is not None else _empty(work)
    states = {
        (value, statistic): state
        for (value, statistics), held in zip(work.wanted, whole.states, strict=True)
        for statistic, state in zip(statistics, held, strict=True)
    }
    return Passed(states, part_rows, whole.target, whole.uniform.picked(), whole.chosen.picked())


def gather(work: Work, item: tuple[int, Fragment, int]) -> Found:
    """Gather everything of one fragment. Runs on a worker.

    Args:
        work: What is gathered.
        item: Number of the fragment, the fragment, and the number of its first row (-1: unknown).
    """
    number, fragment, start = item
    found = _empty(work)
    try:
        with np.errstate(all="ignore"):
            for batch in work.reading.batches(fragment, work.max_rows):
                _update(work, found, batch, number, start + found.rows if start >= 0 else -1)
                found.rows += batch.num_rows
    except MonorailError as error:
        raise placed(error, fragment, found.rows) from error
    return found


def _update(work: Work, found: Found, batch: pa.RecordBatch, number: int, start: int) -> None:
    text = work.reading.text
    given = Given(batch, start, text=text)
    target, weight = work.reading.target_of(batch), work.reading.weight_of(batch)
    for (value, statistics), states in zip(work.wanted, found.states, strict=True):
        blocks: dict[bool, Block] = {}
        for place, statistic in enumerate(statistics):
            # Values are counted by their places in a dictionary.
            coded = isinstance(statistic, ValueCounts) and isinstance(value, Columns)
            if coded not in blocks:
                blocks[coded] = given.block(value, target, weight, coded=coded)
            states[place] = statistic.update(states[place], blocks[coded])
    if work.target and target is not None:
        found.target = counted(found.target, target)
    if work.uniform:
        found.uniform.add(batch, number, found.rows, start, text)
    if work.chosen is not None:
        found.chosen.add(batch, start, text)


def merged(work: Work, whole: Found, later: Found) -> Found:
    """What was found in the rows of both."""
    for (_, statistics), states, others in zip(work.wanted, whole.states, later.states, strict=True):
        for place, statistic in enumerate(statistics):
            states[place] = statistic.merge(states[place], others[place])
    whole.rows += later.rows
    if whole.target is not None and later.target is not None:
        for value, count in later.target.items():
            whole.target[value] = whole.target.get(value, 0) + count
        if len(whole.target) > MOST_TARGETS:
            whole.target = None
    else:
        whole.target = None
    whole.uniform.merge(later.uniform)
    whole.chosen.merge(later.chosen)
    return whole


def counted(counts: dict[Any, int] | None, target: pa.Array) -> dict[Any, int] | None:
    """Counts of a target's values with those of a batch; None once there are too many."""
    if counts is None or pa.types.is_nested(target.type):
        return None
    pairs = pc.value_counts(target)
    if len(pairs) > MOST_TARGETS:
        return None
    for pair in pairs.to_pylist():
        counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
    return counts if len(counts) <= MOST_TARGETS else None


def shared_requests(requests: Iterable[Request], whole: Columns) -> tuple[dict[Value, list[Statistic]], dict]:
    """Requests without those that are the same: of a raw column, whichever step asks.

    Args:
        requests: What is wanted.
        whole: All raw columns.

    Returns:
        Statistics by value; and for each request the one that stands for it.
    """
    wanted: dict[Value, dict[Statistic, None]] = {}
    aliases: dict[Request, Request] = {}
    positions = {name: place for place, name in enumerate(whole.names)}
    for value, statistic in requests:
        place = getattr(statistic, "place", None)
        stands: Request = (value, statistic)
        if isinstance(value, Columns) and isinstance(place, int) and value is not whole:
            moved: Any = dataclasses.replace(statistic, place=positions[value.names[place]])  # type: ignore[type-var]
            stands = (whole, moved)
        # Counts of all values are also those of the most frequent.
        if isinstance(stands[1], ValueCounts) and (every := dataclasses.replace(stands[1], limit=None)) in wanted.get(
            stands[0], {}
        ):
            stands = (stands[0], every)
        wanted.setdefault(stands[0], {})[stands[1]] = None
        aliases[value, statistic] = stands
    return {value: list(statistics) for value, statistics in wanted.items()}, aliases


def _empty(work: Work) -> Found:
    states = [[statistic.start() for statistic in statistics] for _, statistics in work.wanted]
    return Found(0, states, {}, Uniform(work.uniform), Chosen(work.chosen))


def _check_whole(batch: pa.RecordBatch, name: str, what: str) -> None:
    column = batch.column(name)
    if not (pa.types.is_floating(column.type) or column.null_count):
        return
    bad = pc.is_null(column, nan_is_null=True)
    row = pc.index(bad, pa.scalar(True)).as_py()
    if row >= 0:
        raise FitError(
            f"{what} `{name}` is null in a row",
            code="cannot_fit",
            hint=f"leave such rows out: filters= keeps those where `{name}` is not null",
            details=[{"code": "cannot_fit", "column": name, "row": row, "got": "null"}],
        )


def placed(error: MonorailError, fragment: Fragment, before: int) -> MonorailError:
    """The error, saying which file it came of; rows count from the beginning of the fragment."""
    if not error.details:
        error.details = [{"code": error.code}]
    for detail in error.details:
        if "row" in detail and "file" not in detail:
            detail["row"] += before
        detail.setdefault("file", fragment.name)
    return error


def block_of(given: Given, value: Value, reading: Reading) -> Block:
    """A value of a batch as a block, with target and weights."""
    return given.block(value, reading.target_of(given.coded), reading.weight_of(given.coded))
