"""A run over all units: what is there already is left, what is not is written, and the end is marked."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow.parquet as pq

from ..executors import Executor
from .folder import Folder
from .output import Done, Job, done_before, write_unit
from .plan import INVALID, PLAN, SUCCESS, Plan, another, conflict, foreign, is_same
from .report import ScoreReport

LOCK = "_monorail/lock"
#: How the names begin of what is being written: a part, the plan, the mark of the end.
BEGUN = (".part-", f".{PLAN.rpartition('/')[2]}.", f".{SUCCESS}.")


def run(job: Job, plan: Plan, executor: Executor, *, overwrite: bool, advance: Callable[[float], None]) -> ScoreReport:
    """Write every unit of a plan that is not there yet.

    Args:
        job: What is done with a unit; its folder.
        plan: The units.
        executor: Where they run.
        overwrite: Replace what another run has written there.
        advance: Called with how many rows more are done.

    Raises:
        InputError: ``score_conflict``: the folder is another run's; or a row breaks the signature.
        EngineError: the engine failed.
    """
    begun = time.monotonic()
    folder = job.folder
    folder.make()
    if folder.read(PLAN) is None and (there := _foreign(folder)):
        # Before anything of ours is there.
        raise foreign(folder, there[0])
    with folder.locked(LOCK) as is_free:
        if not is_free:
            raise conflict(f"another run is writing to {folder.name}")
        _claim(folder, plan, overwrite=overwrite)
        before = done_before(folder, plan.units, job.plan)
        resumed = sum(done.rows + done.invalid for done in before.values())
        advance(resumed)
        done = {**before, **_write(job, plan, before, executor, advance)}
        if not plan.units:
            _write_empty(job)
        _finish(job, plan)
    return ScoreReport(
        model=str(job.scorer.model.version),
        out=folder.name,
        rows=sum(unit.rows for unit in done.values()),
        invalid=sum(unit.invalid for unit in done.values()),
        parts=len(_parts(plan)),
        resumed_rows=resumed,
        seconds=time.monotonic() - begun,
    )


def _write(
    job: Job, plan: Plan, before: dict[int, Done], executor: Executor, advance: Callable[[float], None]
) -> dict[int, Done]:
    """Write what is not there yet."""
    left = [unit for unit in plan.units if unit.number not in before]
    is_here = executor.name == "local"
    if is_here:
        job.advance = advance
    found: dict[int, Done] = {}
    try:
        for unit, done in zip(left, executor.map(write_unit, left, shared=job), strict=True):
            found[unit.number] = done
            if not is_here:
                advance(done.rows + done.invalid)
    finally:
        job.stop()
    return found


def _claim(folder: Folder, plan: Plan, *, overwrite: bool) -> None:
    """Make the folder this run's, or see that it is."""
    found = folder.read(PLAN)
    # A run that ended before its first file is in nobody's way: its data was bad, say, and has been mended.
    if found is not None and not is_same(plan, found) and (overwrite or not _any_part(folder)):
        _clear(folder)
        found = None
    if found is None:
        if there := _foreign(folder):
            raise foreign(folder, there[0])
        if folder.create(PLAN, plan.to_bytes()):
            return
        found = folder.read(PLAN) or b""
    if not is_same(plan, found):
        raise another(plan, found, folder)
    _clear_begun(folder)


def _foreign(folder: Folder) -> list[str]:
    """Files that readers of the folder would take for predictions."""
    return [name for name in folder.names() if not name.startswith(("_", "."))]


def _clear_begun(folder: Folder) -> None:
    """Remove what was begun and did not end: the run was killed, or a worker's node was lost."""
    for under in ("", PLAN.rpartition("/")[0], INVALID):
        for name in folder.names(under):
            if name.startswith(BEGUN) and name.endswith(".tmp"):
                folder.remove(f"{under}/{name}" if under else name)


def _any_part(folder: Folder) -> bool:
    return any(name.startswith("part-") for name in folder.names())


def _clear(folder: Folder) -> None:
    """Remove what a run has written, and nothing else; the plan goes last, so that until then it is a run's folder."""
    folder.remove(SUCCESS)
    for name in folder.names():
        if name.startswith(("part-", ".part-")):
            folder.remove(name)
    for name in folder.names(INVALID):
        folder.remove(f"{INVALID}/{name}")
    folder.remove(PLAN)


def _parts(plan: Plan) -> list[str]:
    return [unit.part for unit in plan.units] or ["part-000000.parquet"]


def _write_empty(job: Job) -> None:
    """Data without rows still has columns."""
    with job.folder.writing("part-000000.parquet") as path:
        pq.write_table(job.scorer.schema.empty_table(), path)


def _finish(job: Job, plan: Plan) -> None:
    """See that the parts are all there, alone and this run's, and say so."""
    folder = job.folder
    _clear_begun(folder)
    there = sorted(name for name in folder.names() if name.startswith("part-"))
    is_ours = there == sorted(_parts(plan))
    if not folder.local:
        # Nothing locks an object store.
        is_ours = is_ours and is_same(plan, folder.read(PLAN) or b"")
        is_ours = is_ours and len(done_before(folder, plan.units, job.plan)) == len(plan.units)
    if not is_ours:
        raise conflict(f"another run has written to {folder.name} meanwhile")
    folder.write(SUCCESS, b"")
