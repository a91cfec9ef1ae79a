"""One unit of data, scored into one Parquet file; rows that break the signature into another beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from .folder import Folder
from .invalid import judge, refusal, side_rows
from .plan import Unit
from .scorer import Scorer

#: Rows of a row group of what is written, about.
GROUP_ROWS = 262_144
#: Bytes in memory of a row group, about, where rows are wide.
GROUP_BYTES = 32 << 20
#: In a file's schema: the digest of the plan it belongs to.
PLAN_KEY = b"monorail.plan"


class StoppedError(Exception):
    """The run has ended otherwise; nobody waits for this unit."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What a unit came to.

    Attributes:
        rows: Rows scored.
        invalid: Rows set aside.
    """

    rows: int
    invalid: int = 0


class Job:
    """What every worker is given: what to do with a unit, and where to put it. It can be pickled.

    Attributes:
        advance: Called with the number of rows each time some are done; not where the job was sent to another process.
    """

    def __init__(self, scorer: Scorer, folder: Folder, plan: str, *, invalid: str) -> None:
        self.scorer = scorer
        self.folder = folder
        self.plan = plan
        self.quarantine = invalid == "quarantine"
        self.advance: Callable[[float], None] = _nobody
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End what threads of this process still do for it."""
        self._stopped.set()

    def went_on(self, rows: int) -> None:
        """Say that rows are done, and end if nobody waits for them any more."""
        if self._stopped.is_set():
            raise StoppedError
        self.advance(rows)

    def __getstate__(self) -> dict[str, Any]:
        """Events and callbacks stay in their process."""
        return {k: v for k, v in self.__dict__.items() if k not in ("advance", "_stopped")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.advance = _nobody
        self._stopped = threading.Event()


def _nobody(rows: float) -> None:
    """Nobody watches."""


def write_unit(job: Job, unit: Unit) -> Done:
    """Score a unit into its file. What it writes depends on nothing but the plan, so it may run twice.

    Raises:
        InputError: a row breaks the signature, and such rows are refused.
        EngineError: the engine failed.
    """
    with job.folder.writing(unit.part) as path, contextlib.ExitStack() as files:
        schema = job.scorer.schema.with_metadata({PLAN_KEY: job.plan.encode()})
        part = files.enter_context(_Parquet(path, schema))
        side = _Side(job, unit)
        files.enter_context(side)
        for fragment in unit.fragments:
            first = 0
            for batch in job.scorer.batches(fragment):
                part.write(_scored(job, batch, fragment, first, side))
                first += batch.num_rows
                job.went_on(batch.num_rows)
    return Done(part.rows, side.rows)


def _scored(job: Job, batch: pa.RecordBatch, fragment: Any, first: int, side: _Side) -> pa.RecordBatch:
    if not job.quarantine:
        return score_batch(job.scorer, batch, fragment, first)
    try:
        judged = judge(job.scorer, batch)
    except InputError as error:
        raise refusal(error, fragment, first) from None
    if judged.rows:
        side.write(side_rows(job.scorer, batch, judged, fragment, first))
    return judged.answers


def score_batch(scorer: Scorer, batch: pa.RecordBatch, fragment: Any, first: int) -> pa.RecordBatch:
    """Score a batch of a fragment; an error says where in its file.

    Args:
        scorer: What scores.
        batch: The rows.
        fragment: What they are of.
        first: How many rows of it came before.

    Raises:
        InputError: a row breaks the signature.
        EngineError: the engine failed.
    """
    try:
        return scorer.score(batch)
    except InputError as error:
        raise refusal(error, fragment, first) from None


class _Parquet:
    """A Parquet file that gathers batches to row groups."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        # Numbers hardly ever repeat; to try a dictionary first costs time and memory for nothing.
        repeated = [f.name for f in schema if not pa.types.is_floating(f.type) and not pa.types.is_nested(f.type)]
        self._writer = pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=cast("Any", repeated))
        self._held: list[pa.RecordBatch] = []
        self._waiting = 0
        self._bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._held.append(batch)
        self._waiting += batch.num_rows
        self._bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._waiting >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._held, self._writer.schema.remove_metadata())
        self._writer.write_table(table.replace_schema_metadata(self._writer.schema.metadata), max(len(table), 1))
        self._held, self._waiting, self._bytes = [], 0, 0

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, kind: object, *reason: object) -> None:
        if kind is None and self._waiting:
            self._flush()
        self._writer.close()


class _Side:
    """The side file of a unit: there only if a row goes to it, and then whole before the unit's part is."""

    def __init__(self, job: Job, unit: Unit) -> None:
        self._job, self._unit = job, unit
        self._open = contextlib.ExitStack()
        self._file: _Parquet | None = None
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        """Add rows."""
        if self._file is None:
            path = self._open.enter_context(self._job.folder.writing(self._unit.side))
            self._file = self._open.enter_context(_Parquet(path, rows.schema))
        for batch in rows.to_batches():
            self._file.write(batch)
        self.rows += len(rows)

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *reason: Any) -> None:
        self._open.__exit__(*reason)


def done_before(folder: Folder, units: tuple[Unit, ...], plan: str) -> dict[int, Done]:
    """Units whose file is there, whole and of this plan.

    Args:
        folder: Where.
        units: Of the plan.
        plan: Its digest.
    """
    there = set(folder.names())
    found: dict[int, Done] = {}
    for unit in units:
        if unit.part not in there:
            continue
        with contextlib.suppress(pa.ArrowException, OSError), folder.open(unit.part) as file:
            metadata = pq.read_metadata(file)
            if (metadata.schema.to_arrow_schema().metadata or {}).get(PLAN_KEY) == plan.encode():
                found[unit.number] = Done(metadata.num_rows, _rows_of(folder, unit.side))
    return found


def _rows_of(folder: Folder, name: str) -> int:
    """Rows of a file; 0 where there is none."""
    try:
        with folder.open(name) as file:
            return pq.read_metadata(file).num_rows
    except FileNotFoundError:
        return 0
