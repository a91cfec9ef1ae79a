"""Searches over settings: scikit-learn's own, with candidates and folds on workers that share one copy of the data.

scikit-learn decides all that ``cv_results_`` holds; only where its calls run is ours. It hands them to joblib, joblib
hands them to a backend, and ours runs them in processes here, or as tasks on Ray. The data is kept once (see
``spool.py``); a call is a few kilobytes that name it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..adapters.frames import Form
from ..data.source import Fragment, Source
from ..errors import FitError, InputError
from ..executors import Executor
from ..progress import Advance, progress
from .candidates import Failures, check_candidates
from .faults import OF_STEPS
from .labels import unravelled
from .processes import Processes, ran, result_of
from .spool import FileSpool, RaySpool, Reader, Spool

#: The function of scikit-learn that fits one candidate on one fold.
_ONE_FIT = "_fit_and_score"


def fit_search(
    search: Any,
    source: Source,
    *,
    target: str | Sequence[str] | None,
    sample_weight: str | None,
    executor: Executor,
    quiet: bool,
    features: Sequence[str] | None = None,
) -> Any:
    """Fit a search on all rows, which have to fit in memory once (on Ray: once on every node).

    Args:
        search: A ``GridSearchCV``, ``RandomizedSearchCV``, ``HalvingGridSearchCV`` or ``HalvingRandomSearchCV``; not
            changed: a copy is fitted.
        source: The data.
        target: Column to be learnt, or several; None where nothing is.
        sample_weight: Column of weights.
        executor: Where candidates run.
        quiet: Say nothing on stderr.
        features: Columns to read; default: all but target and weight.

    Returns:
        The fitted copy; ``cv_results_`` is what the search's own ``fit`` would have left, but for times.

    Raises:
        FitError: ``cannot_fit``: it varies a parameter that there is not, which is told before the data is read; a
            target is null; or every fit failed.
        InputError: ``missing_column``, or the data cannot be read.
        EngineError: ``worker_lost``: the process of a candidate was lost again and again.
    """
    from sklearn.base import clone

    check_candidates(search)
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    others = {*targets, sample_weight}
    names = list(features or (name for name in source.schema.names if name not in others))
    with spool_for(executor) as spool:
        table = _read(source, [*names, *targets, *([sample_weight] if sample_weight else [])], executor)
        form = Form("pandas")
        learnt = None if target is None else spool.keep(_target(table, target, form))
        settings = {}
        if sample_weight is not None:
            weight = table[sample_weight].cast(pa.float64()).to_numpy()
            settings[_weight_name(search.estimator)] = spool.keep(weight)
        frame = form.frame(table.select(names))
        # No more than two copies at once: of Arrow and of pandas, then of pandas and what is kept.
        del table
        rows = spool.keep(frame)
        del frame
        return run_search(clone(search), rows, learnt, settings, spool, executor, quiet)


def run_search(
    search: Any, rows: Any, learnt: Any, settings: dict[str, Any], spool: Spool, executor: Executor, quiet: bool
) -> Any:
    """Call the search's own ``fit``, with its candidates on the executor.

    Args:
        search: Fitted in place.
        rows: The features, as :meth:`Spool.keep` gave them back.
        learnt: The target, likewise.
        settings: Further parameters of ``fit``.
        spool: Keeps what is large.
        executor: Where candidates run.
        quiet: Say nothing on stderr.

    Raises:
        FitError: ``cannot_fit``: every fit failed.
    """
    from joblib import parallel_config

    asked = search.n_jobs, search.pre_dispatch
    # Workers are the executor's; and all calls are known before the first answer is waited for.
    search.n_jobs, search.pre_dispatch = None, "all"
    bar = contextlib.nullcontext(None) if quiet else progress(f"searching {type(search.estimator).__name__}")
    try:
        with contextlib.ExitStack() as stack:
            watch = Watch(stack.enter_context(bar), search)
            run = stack.enter_context(_runner(executor, spool))
            backend = _backend(executor.workers, run, watch)
            config = parallel_config(backend=backend, n_jobs=executor.workers)
            # Once the search's own Parallel has the backend, those of the refit are as they would be without us.
            backend.chosen = config.unregister
            stack.callback(config.unregister)
            stack.enter_context(unravelled())
            try:
                return search.fit(rows, learnt, **settings)
            except OF_STEPS as error:
                told = watch.failures.error(error)
                raise told from (error if told is not error else error.__cause__)
    finally:
        search.n_jobs, search.pre_dispatch = asked


def spool_for(executor: Executor) -> Spool:
    """Where an executor's workers find what is large."""
    return RaySpool() if executor.name == "ray" else FileSpool()


class Watch:
    """Says how far a search is: fits done, and the best candidate that all folds have been heard of.

    Args:
        advance: Of a progress bar; None says nothing.
        search: The search.
    """

    def __init__(self, advance: Advance | None, search: Any) -> None:
        self._advance = advance
        self._metric = search.refit if isinstance(search.refit, str) else None
        self._asked = self._done = 0
        self._scores: dict[str, list[float]] = {}
        self.best: tuple[float, str] | None = None
        self.failures = Failures(search)

    def asked(self) -> None:
        """One more fit is to be made."""
        self._asked += 1

    def done(self, call: Any, results: Any) -> None:
        """A fit is done."""
        self._done += 1
        if isinstance(trace := _said(results, "fit_error"), str):
            self.failures.add(trace)
        parameters, folds = call.get("parameters") or {}, call.get("split_progress") or (0, 1)
        score = _said(results, "test_scores")
        if isinstance(score, dict):
            score = score.get(self._metric or "score")
        if isinstance(score, int | float | np.number):
            name = ", ".join(f"{key}={_short(value)}" for key, value in parameters.items())
            heard = self._scores.setdefault(name, [])
            heard.append(float(score))
            if len(heard) == folds[1]:
                self._candidate(name, float(np.mean(heard)))
                del self._scores[name]
        if self._advance is not None:
            best = f", best {self.best[0]:.4g} with {self.best[1]}" if self.best else ""
            self._advance(1, f"{self._done} of {self._asked} fits{best}", self._asked)

    def _candidate(self, name: str, score: float) -> None:
        if not np.isnan(score) and (self.best is None or score > self.best[0]):
            self.best = (score, name)


def _said(results: Any, name: str) -> Any:
    """What one fit says of itself; None for any other call."""
    return results[0].get(name) if results and isinstance(results, list) and isinstance(results[0], dict) else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


@contextlib.contextmanager
def _runner(executor: Executor, spool: Spool) -> Iterator[Callable[[Iterator[Any]], Iterator[Any]]]:
    """From calls to what they return, in order, on the executor."""

    def packed(call: Any) -> tuple[bytes, Reader]:
        # Packing comes first: what it keeps on the way is known to the reader then.
        return spool.packed(call), spool.reader()

    if executor.name == "ray":
        yield lambda calls: executor.map(_on_ray, map(packed, calls))
    elif executor.workers == 1:
        reader = spool.reader()
        yield lambda calls: executor.map(_here, map(spool.packed, calls), shared=reader)
    else:
        with Processes(executor.workers, spool.reader()) as processes:
            yield lambda calls: executor.map(_in_process, map(spool.packed, calls), shared=processes)


def _on_ray(shared: None, item: tuple[bytes, Reader]) -> bytes:
    call, reader = item
    return ran(reader, call)


def _here(reader: Reader, call: bytes) -> bytes:
    return ran(reader, call)


def _in_process(processes: Processes, call: bytes) -> bytes:
    return processes.run(call)


class _Call:
    """One call that joblib handed over, and what joblib wants to be told when it is done."""

    def __init__(self, function: Any, callback: Callable[[Any], None] | None) -> None:
        self.function = function
        self.callback = callback


def _backend(workers: int, run: Callable[[Iterator[Any]], Iterator[Any]], watch: Watch) -> Any:
    """A joblib backend: it takes calls until the first answer is asked for, and then runs them in order."""
    from joblib import parallel

    base: Any = parallel.ParallelBackendBase

    class Backend(base):
        supports_retrieve_callback = False
        supports_sharedmem = False
        uses_threads = False
        chosen: Callable[[], None] = staticmethod(lambda: None)

        def __init__(self) -> None:
            super().__init__()
            self._waiting: deque[_Call] = deque()
            self._answers: Any = None

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            # With one, joblib would not ask a backend at all.
            return max(2, workers)

        def configure(self, n_jobs: int = 1, parallel: Any = None, **settings: Any) -> int:
            self.parallel = parallel
            self.chosen()
            return self.effective_n_jobs(n_jobs)

        def submit(self, func: Any, callback: Any = None) -> _Call:
            watch.asked()
            self._waiting.append(_Call(func, callback))
            return self._waiting[-1]

        apply_async = submit

        def retrieve_result(self, out: _Call, timeout: float | None = None) -> Any:
            if self._answers is None:
                calls, self._waiting = self._waiting, deque()
                self._answers = run(call.function for call in calls)
            results = result_of(next(self._answers))
            watch.done(_parameters(out.function), results)
            if out.callback is not None:
                out.callback(results)
            return results

        def stop_call(self) -> None:
            self.abort_everything()

        def abort_everything(self, ensure_ready: bool = True) -> None:
            answers, self._answers = self._answers, None
            self._waiting.clear()
            if answers is not None:
                answers.close()

    return Backend()


def _parameters(function: Any) -> dict[str, Any]:
    """The keyword arguments of the one fit that a call of joblib makes; none of any other call."""
    items = getattr(function, "items", None)
    if not items or getattr(items[0][0], "__name__", "") != _ONE_FIT:
        return {}
    return items[0][2]


def _read(source: Source, names: list[str], executor: Executor) -> pa.Table:
    """These columns of all rows."""
    if absent := [name for name in names if name not in source.schema.names]:
        raise InputError(
            f"{source.name} has no column {', '.join(map(repr, absent))}",
            code="missing_column",
            hint=f"its columns are {', '.join(source.schema.names[:20])}",
        )
    if executor.name == "ray":
        # Read where they are put into the object store: they would travel twice otherwise.
        parts = [_batches(names, fragment) for fragment in source.fragments]
    else:
        parts = executor.map(_batches, source.fragments, shared=names)
    batches = [batch for part in parts for batch in part]
    schema = pa.schema([source.schema.field(name) for name in names])
    table = pa.Table.from_batches(batches, schema)
    if not table.num_rows:
        raise InputError("there are no rows to fit on", code="wrong_shape", hint="look at the files and the filters")
    return table


def _batches(names: list[str], fragment: Fragment) -> list[pa.RecordBatch]:
    return list(fragment.batches(names))


def _target(table: pa.Table, target: str | Sequence[str], form: Form) -> Any:
    """The target as ``fit`` is given it: a pandas series, or a frame where there are several."""
    names = [target] if isinstance(target, str) else list(target)
    for name in names:
        if table[name].null_count:
            raise FitError(
                f"the target {name!r} is null in {table[name].null_count:,} of {table.num_rows:,} rows",
                code="cannot_fit",
                details=[{"code": "cannot_fit", "column": name}],
                hint="leave such rows out with filters=",
            )
    frame = form.frame(table.select(names))
    return frame[target] if isinstance(target, str) else frame


def _weight_name(estimator: Any) -> str:
    """What ``fit`` calls the weights of rows: a pipeline gives them to its last step alone."""
    from sklearn import get_config

    name = ""
    while hasattr(estimator, "steps") and not get_config().get("enable_metadata_routing"):
        last, estimator = estimator.steps[-1]
        name += f"{last}__"
    return f"{name}sample_weight"
