"""``mr.fit``: the user's own estimator, fitted on data of any size."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from ..data.decimals import read_as_floats
from ..data.source import Source, open_source
from ..errors import FitError, InputError
from ..executors import Executor, open_executor
from ..progress import progress
from .asked import check_columns, check_trainer
from .coding import text_columns
from .compose import AgainError, UnknownError, fit_step, is_nothing, qualified, refusal
from .faults import telling_slips
from .missing import gaps_of
from .passes import Reading
from .plan import EXAMPLE_ROWS, FIRST_ROWS, Run, Settings
from .report import FitReport, StepReport

Estimator = TypeVar("Estimator")
_SEARCHES = (
    "sklearn.model_selection._search.GridSearchCV",
    "sklearn.model_selection._search.RandomizedSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
)


def fit(
    estimator: Estimator,
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    on: str = "local",
    workers: int | None = None,
    sample_weight: str | None = None,
    filters: Any = None,
    sample_rows: int | Mapping[str, int] | None = None,
    exact_quantiles: bool = False,
    quiet: bool = False,
) -> Estimator:
    """Fit a scikit-learn estimator, pipeline or search on data that need not fit in memory.

    Steps are fitted in passes over the data, with the attributes that their own ``fit`` would have learnt; independent
    steps share a pass. Between steps, rows are transformed by the engine that will serve the model.

    Args:
        estimator: Not fitted, and not changed: a copy is.
        data: A path, glob or URL, or a list of them (Parquet, CSV, Arrow IPC); a pandas or Polars frame, an Arrow
            table, batch, reader or dataset; a Daft frame; a Ray dataset; anything with the Arrow stream interface.
            Decimal numbers are read as float64.
        target: Column to be learnt, or several; None where nothing is. A list of one is to the estimator what a frame
            of one column is. All other columns are features, unless the pipeline begins with a ColumnTransformer that
            names its columns and drops the rest.
        on: ``local``, ``ray``, or a cluster's address, ``ray://HOST:PORT``.
        workers: Parts of the data read at once; default: as many as there are cores.
        sample_weight: Column of weights, for the final estimator.
        filters: Rows wanted: a :class:`pyarrow.compute.Expression`, or ``[(column, op, value), ...]``.
        sample_rows: Fit steps that cannot be fitted in passes in memory, on a uniform sample of so many rows: of all
            such steps, or of each by its path, ``{"prepare.outliers": 100_000}``.
        exact_quantiles: Take one pass more for quantiles that are exact.
        quiet: Say nothing on stderr.

    Returns:
        The fitted copy, of the user's own class. Its ``fit_report_`` says how each step was fitted.

    Raises:
        FitError: ``cannot_fit``: steps that cannot be fitted so, by path, before the first pass; or what a step says of
            the data.
        InputError: the data cannot be read, or lacks a column.
        SettingError: ``setting_invalid``.
        MissingExtraError: what reads the data or runs the work is not installed.
    """
    from sklearn.base import clone

    if not hasattr(estimator, "get_params") or isinstance(estimator, type):
        raise InputError(
            f"{estimator!r} is no estimator", code="wrong_type", hint="give an estimator, a pipeline or a search"
        )
    settings = Settings(sample_rows, exact_quantiles)
    begun = time.monotonic()
    with open_source(data, filters=filters) as source, telling_slips(source), open_executor(on, workers) as executor:
        read_as_floats(source)
        if qualified(estimator) in _SEARCHES:
            return _searched(estimator, source, target, sample_weight, executor, quiet, begun)
        copy = clone(estimator)
        reading = replace(_reading(copy, source, target, sample_weight), text=text_columns(source.schema))
        settings.check(copy, _name(copy))
        first = _first_rows(source, reading)
        planned = _plan(clone(copy), source, reading, executor, settings, first)
        bar = None if quiet else progress
        run = Run(source, reading, executor, settings, first, bar=bar)
        run.trainer, run.last = planned.trainer, planned.last
        try:
            fitted = run.drive(clone(copy), _name(copy))
        except AgainError:
            # A selector of columns by type sees other types than in the first rows.
            run = Run(source, reading, executor, settings, first, bar=bar, nullable=run.nullable)
            fitted = run.drive(clone(copy), _name(copy))
        fitted.fit_report_ = _report(run, planned.paths, time.monotonic() - begun)
        return fitted


def _searched(
    search: Any,
    source: Source,
    target: str | Sequence[str] | None,
    weight: str | None,
    executor: Executor,
    quiet: bool,
    begun: float,
) -> Any:
    """A copy of a search, fitted on all rows in memory; a pass gathers what the report holds of the data."""
    from .search import fit_search

    reading = _reading(search.estimator, source, target, weight)
    first = _first_rows(source, reading)
    fitted = fit_search(
        search,
        source,
        target=target,
        sample_weight=weight,
        executor=executor,
        quiet=quiet,
        features=reading.features,
    )
    run = Run(source, reading, executor, Settings(None, False), first)
    run.take_pass([])
    kind = type(search).__name__
    candidates, folds = len(fitted.cv_results_["params"]), fitted.n_splits_
    note = f"{candidates} candidates, {folds} folds"
    run.steps.append(StepReport(kind, kind, "in memory", run.rows or 0, note))
    fitted.fit_report_ = _report(run, [kind], time.monotonic() - begun)
    return fitted


def _report(run: Run, paths: Sequence[str], seconds: float) -> FitReport:
    """What a fit says of itself.

    Args:
        run: The fit.
        paths: Of the steps, in the order of the pipeline, as far as it was planned.
        seconds: How long it took.
    """
    if run.found is None:
        run.take_pass([])
    order = {path: place for place, path in enumerate(paths)}
    example = run.uniform(EXAMPLE_ROWS).rows
    return FitReport(
        rows=run.rows or 0,
        passes=run.passes,
        seconds=seconds,
        steps=tuple(sorted(run.steps, key=lambda step: order.get(step.path, len(order)))),
        seen=run.seen,
        nullable=tuple(name for name in run.reading.features if name in run.gaps),
        example=None if example is None else example.select(list(run.reading.features)),
        categories=run.categories,
    )


def _plan(
    copy: Any, source: Source, reading: Reading, executor: Executor, settings: Settings, first: pa.RecordBatch
) -> Run:
    """Ask every step whether it can be fitted, before the first pass.

    Raises:
        FitError: ``cannot_fit``, with all that cannot.
    """
    run = Run(source, reading, executor, settings, first, dry=True)
    task = fit_step(run, copy, _name(copy), run.whole, last=True)
    with contextlib.suppress(StopIteration, UnknownError):
        task.send(None)
    if run.refused:
        raise refusal(run.refused)
    if run.trainer is not None:
        check_trainer(run.trainer)
        if run.last is not None:
            run.check_missing(run.trainer, run.last, gaps_of(first))
    return run


def _name(estimator: Any) -> str:
    return "pipeline" if qualified(estimator) == "sklearn.pipeline.Pipeline" else type(estimator).__name__


def _reading(estimator: Any, source: Source, target: str | Sequence[str] | None, weight: str | None) -> Reading:
    """Which columns are read.

    Raises:
        InputError: ``missing_column``: the data has not all of them.
    """
    targets = () if target is None else (target,) if isinstance(target, str) else tuple(target)
    listed = len(targets) == 1 and not isinstance(target, str)
    names = source.schema.names
    for name, what in [*((name, "target") for name in targets), *([(weight, "sample_weight")] if weight else [])]:
        if name not in names:
            raise _missing([name], what, source)
    check_columns(source.schema, targets, weight)
    others = [name for name in names if name not in targets and name != weight]
    wanted = _named_columns(estimator)
    if wanted is None:
        if not others:
            raise FitError(
                f"{source.name} has no columns to learn from",
                code="cannot_fit",
                hint="the target and the weight are no features; give more columns",
            )
        return Reading(tuple(others), targets, weight, listed=listed)
    if absent := [name for name in wanted if name not in names]:
        raise _missing(absent, "the pipeline", source)
    if learnt := [name for name in wanted if name not in others]:
        what = "the weight" if learnt[0] == weight else "to be learnt"
        raise FitError(
            f"`{learnt[0]}` is {what} and is a feature too",
            code="cannot_fit",
            hint="leave it out of the pipeline's columns",
            details=[{"code": "cannot_fit", "column": learnt[0]}],
        )
    return Reading(tuple(name for name in others if name in wanted), targets, weight, listed=listed)


def _missing(absent: Sequence[str], what: str, source: Source) -> InputError:
    shown = ", ".join(source.schema.names[:20])
    return InputError(
        f"{what} names columns that {source.name} does not have: {', '.join(map(repr, absent))}",
        code="missing_column",
        hint=f"its columns are {shown}",
        details=[{"code": "missing_column", "column": name} for name in absent],
    )


def _named_columns(estimator: Any) -> list[str] | None:
    """The columns that the first step names, where it drops the others; None where all are features."""
    first: Any = estimator
    while qualified(first) == "sklearn.pipeline.Pipeline":
        first = next((step for _, step in first.steps if not is_nothing(step)), None)
    if qualified(first) == "sklearn.pipeline.FeatureUnion":
        parts = [_named_columns(step) for _, step in first.transformer_list if step != "drop"]
        return None if None in parts else [name for part in parts for name in part or ()]
    if qualified(first) != "sklearn.compose._column_transformer.ColumnTransformer" or first.remainder != "drop":
        return None
    names: list[str] = []
    for _, _, columns in first.transformers:
        listed = [columns] if isinstance(columns, str) else columns
        if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
            return None
        names += listed
    return names


def _first_rows(source: Source, reading: Reading) -> pa.RecordBatch:
    """The first rows, as plans are made on them.

    Raises:
        FitError: ``cannot_fit``: there are none.
    """
    held: list[pa.RecordBatch] = []
    for fragment in source.fragments:
        for batch in fragment.batches(reading.columns, max_rows=FIRST_ROWS):
            reading.check(batch, fragment)
            held.append(batch)
            if sum(part.num_rows for part in held) >= FIRST_ROWS:
                break
        else:
            continue
        break
    table = pa.Table.from_batches(held).slice(0, FIRST_ROWS).combine_chunks() if held else None
    if table is None or not len(table):
        raise FitError(
            f"{source.name} has no rows to fit on", code="cannot_fit", hint="name other data, or fewer filters="
        )
    return table.to_batches()[0]
