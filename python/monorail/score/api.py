"""``mr.score``: data of any size and its predictions, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

from ..data.source import open_source
from ..data.sources import misfits
from ..errors import InputError, SettingError
from ..executors import open_executor
from ..progress import progress
from .folder import Folder
from .invalid import MEND, check_names
from .model import PackedModel
from .output import Job
from .plan import check_apart, cut, make_plan
from .report import ScoreReport
from .run import run
from .scorer import scorer_of, setting_aside, types_of
from .stream import Scored

if TYPE_CHECKING:
    from ..bundle.version import Version
    from ..engine import Model

#: Rows of a file that is written, at most, as far as row groups allow.
PART_ROWS = 1_000_000
INVALID = ("refuse", "quarantine")


@overload
def score(
    model: str | os.PathLike[str] | Version | Model,
    data: Any,
    *,
    out: None = None,
    columns: Sequence[str] | str = ...,
    on: str = ...,
    workers: int | None = ...,
    invalid: str = ...,
    filters: Any = ...,
    overwrite: bool = ...,
    part_rows: int = ...,
    registry: str | os.PathLike[str] | None = ...,
    trust: bool = ...,
    worker_environment: str = ...,
    quiet: bool = ...,
) -> Scored: ...
@overload
def score(
    model: str | os.PathLike[str] | Version | Model,
    data: Any,
    *,
    out: str | os.PathLike[str],
    columns: Sequence[str] | str = ...,
    on: str = ...,
    workers: int | None = ...,
    invalid: str = ...,
    filters: Any = ...,
    overwrite: bool = ...,
    part_rows: int = ...,
    registry: str | os.PathLike[str] | None = ...,
    trust: bool = ...,
    worker_environment: str = ...,
    quiet: bool = ...,
) -> ScoreReport: ...
def score(
    model: str | os.PathLike[str] | Version | Model,
    data: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    columns: Sequence[str] | str = (),
    on: str = "local",
    workers: int | None = None,
    invalid: str = "refuse",
    filters: Any = None,
    overwrite: bool = False,
    part_rows: int = PART_ROWS,
    registry: str | os.PathLike[str] | None = None,
    trust: bool = False,
    worker_environment: str = "auto",
    quiet: bool = False,
) -> Scored | ScoreReport:
    """Score data of any size.

    With ``out``, Parquet files are written, each whole or not at all. A run that was killed goes on where it stopped
    when it is started again: every row of the data is in the output exactly once. Without, the result is a stream.
    Rows stay in order: that of the files, and of the rows in them. Memory does not grow with the data.

    Args:
        model: As for :func:`monorail.load`, or a loaded model.
        data: As for :func:`monorail.fit`: Parquet, CSV or Arrow files by path, glob or URL; a frame, table or stream.
            Columns that are neither the model's nor named in ``columns`` are not read.
        out: A folder, or its URL in an object store (``s3://bucket/folder``). None gives a stream.
        columns: Columns of the data to pass through beside the predictions; ``"*"`` is all.
        on: ``local``, ``ray``, or a Ray cluster's address, ``ray://HOST:PORT``.
        workers: How many work at once, each on one core; default: as many as there are cores.
        invalid: ``refuse`` ends the run at a row that breaks the signature; ``quarantine`` (with ``out``) writes such
            rows, with file, row and reason, to ``_monorail/invalid`` in the folder, and scores the others.
        filters: Rows wanted: ``[(column, op, value), ...]`` or a :class:`pyarrow.compute.Expression`.
        overwrite: Replace what another run has written to ``out``.
        part_rows: Rows of a file that is written, at most, as far as the row groups of the data allow. No file has
            rows of two files of the data.
        registry: The registry's folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards.
        trust: Run the Python code that is part of the model; see :func:`monorail.load`.
        worker_environment: ``isolated`` runs a model's Python in an environment that uv makes.
        quiet: Show no progress.

    Returns:
        With ``out`` a :class:`ScoreReport`, else a :class:`Scored`.

    Raises:
        InputError: the data cannot be read, its schema or a row breaks the signature (``details`` has file, row group,
            row and column), or ``score_conflict``: the folder holds another run.
        NotFoundError: ``unknown_model`` or ``unknown_version``.
        BundleError: the bundle is damaged, of another format or refused.
        TrustError: ``untrusted``.
        EngineError: the engine failed, or ``environment_unavailable``.
        SettingError: ``setting_invalid``.
        MissingExtraError: Ray is asked for and not installed.
    """
    _check(invalid, part_rows, workers, has_folder=out is not None)
    passed = [columns] if isinstance(columns, str) else list(columns)
    packed = PackedModel(model, registry=registry, trust=trust, worker_environment=worker_environment)
    source = open_source(data, filters=filters, types=types_of(packed))
    if invalid == "quarantine":
        setting_aside(source)
    try:
        if on == "local":
            parts = len(cut(source.fragments, part_rows)) if out is not None else len(source.fragments)
            packed.threads = _threads(packed, workers, parts if out is not None else workers or 1)
        scorer = scorer_of(packed, source, passed)
        if out is None:
            return Scored(scorer, source, on, workers)
        folder = Folder(out)
        check_apart(data, source, folder)
        if invalid == "quarantine":
            check_names(scorer.read)
        plan = make_plan(source, scorer, part_rows=part_rows, filters=filters, invalid=invalid)
        job = Job(scorer, folder, plan.digest, invalid=invalid)
        with _shown(source.name, source.rows, quiet) as advance, open_executor(on, workers) as executor:
            report = run(job, plan, executor, overwrite=overwrite, advance=advance)
    except BaseException as error:
        packed.close()
        source.__exit__(None, None, None)
        if isinstance(error, InputError) and error.hint == misfits.MEND and invalid == "refuse":
            error.hint = MEND
        raise
    packed.close()
    source.__exit__(None, None, None)
    return report


def _check(invalid: str, part_rows: int, workers: int | None, *, has_folder: bool) -> None:
    """Refuse settings that make no sense.

    Raises:
        SettingError: ``setting_invalid``.
    """
    if invalid not in INVALID:
        raise SettingError(f"invalid is {invalid!r}", code="setting_invalid", hint="refuse or quarantine")
    if invalid == "quarantine" and not has_folder:
        raise SettingError(
            "rows that break the signature can be set aside only in a folder",
            code="setting_invalid",
            hint='name one with out=, or leave invalid="refuse"',
        )
    for name, value in (("part_rows", part_rows), ("workers", 1 if workers is None else workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingError(f"{name} is {value!r}", code="setting_invalid", hint="give a whole number from 1")


def _threads(model: PackedModel, workers: int | None, busy: int) -> int:
    """Threads of one call of the engine here, where so many calls run at once: cores that have no call of their own."""
    cores = workers or os.cpu_count() or 1
    has_workers = model.version.engine != "native"
    return cores if has_workers else max(1, cores // max(1, busy))


@contextmanager
def _shown(what: str, rows: int | None, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Progress over rows, unless nobody wants it."""
    if quiet:
        yield lambda done: None
        return
    with progress(f"scoring {what}", rows, unit="rows") as advance:
        yield advance
