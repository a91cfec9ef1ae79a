"""A fit on its way: leaves and their learners, the passes they share, and what later steps are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from ..adapters.frames import one_batch
from ..data.source import Source
from ..errors import FitError, InputError, MonorailError
from ..executors import Executor
from . import graphs
from .between import Columns, Given, Transformed, Value, frame_of, table_of
from .between import Picked as PickedColumns
from .compose import Task, UnknownError, copied, fit_step, is_nothing, qualified, refusal
from .faults import told_by
from .labels import unravelled
from .learning import Inputs, Target
from .missing import check_missing, place_rows
from .passes import Passed, Reading, Work, run_pass, shared_requests
from .profiling import nullable_of, seen_of, wanted_profile
from .registry import learner_for, trainer_for
from .report import StepReport
from .sampling import Picked
from .training import Trainer

#: Rows that plans are made on.
FIRST_ROWS = 1_000
#: Rows of the example that a fit keeps.
EXAMPLE_ROWS = 1_000
_FROZEN = "sklearn.frozen._frozen.FrozenEstimator"


class Settings:
    """What the user asked for.

    Args:
        sample_rows: Rows for steps that cannot be fitted in passes: of each by its path, or of all.
        exact_quantiles: Whether quantiles are exact, for one pass more.
    """

    def __init__(self, sample_rows: int | Mapping[str, int] | None, exact_quantiles: bool) -> None:
        self.by_path = dict(sample_rows) if isinstance(sample_rows, Mapping) else {}
        self.of_all = None if isinstance(sample_rows, Mapping) else sample_rows
        self.exact_quantiles = exact_quantiles

    @property
    def most(self) -> int:
        """Rows of the largest sample."""
        return max([self.of_all or 0, *self.by_path.values()])

    def named(self, path: str) -> int | None:
        """Rows for a step that was named; its path may leave out how it begins."""
        for name, rows in self.by_path.items():
            if is_called(path, name):
                return rows
        return None

    def check(self, estimator: Any, name: str) -> None:
        """Refuse samples of no rows, or for steps that are not there.

        Raises:
            InputError: ``out_of_range`` or ``malformed_request``.
        """
        for rows in [*self.by_path.values(), *([] if self.of_all is None else [self.of_all])]:
            if not isinstance(rows, int) or rows < 1:
                raise InputError(
                    f"sample_rows of {rows!r}", code="out_of_range", hint="a whole number of rows, at least 1"
                )
        inside = estimator.get_params(deep=True)
        paths = [name] + [f"{name}.{key.replace('__', '.')}" for key, held in inside.items() if hasattr(held, "fit")]
        for asked in self.by_path:
            if not any(is_called(path, asked) for path in paths):
                raise InputError(
                    f"sample_rows names {asked!r}, and there is no such step",
                    code="malformed_request",
                    hint=f"steps are {', '.join(paths[:20])}",
                )


class Run:
    """One fit, or the plan of one: see :class:`monorail.fit.compose.Leaves`.

    Args:
        source: The data.
        reading: What of it is read.
        executor: Where it is read.
        settings: What the user asked for.
        first: The first rows.
        dry: Whether only a plan is made.
        bar: Opens a progress bar for a pass.
        nullable: Columns known to hold a null, of an earlier try.
    """

    def __init__(
        self,
        source: Source,
        reading: Reading,
        executor: Executor,
        settings: Settings,
        first: pa.RecordBatch,
        *,
        dry: bool = False,
        bar: Callable[..., Any] | None = None,
        nullable: frozenset[str] = frozenset(),
    ) -> None:
        self.source, self.reading, self.executor, self.settings = source, reading, executor, settings
        self.dry = dry
        self.first = first
        self.bar = bar
        self.schema = source.schema
        self.steps: list[StepReport] = []
        self.paths: list[str] = []
        self.refused: list[tuple[str, str, str]] = []
        self.passes = 0
        self.nullable = nullable
        self.gaps: frozenset[str] = frozenset()
        self._prepared: set[Value] = set()
        self.part_rows: list[int] | None = None
        self.found: Passed | None = None
        self.trainer: Trainer | None = None
        self.last: Value | None = None
        self.categories: Mapping[str, Any] = {}
        self.seen: Mapping[str, Mapping[str, Any]] = {}
        self._columns: dict[tuple[Any, ...], Columns] = {}
        self._given = Given(first, 0)
        self.whole = self.columns(reading.features, alone=False)

    @property
    def rows(self) -> int | None:
        """How many rows there are, where that is known."""
        return self.source.rows if self.part_rows is None else sum(self.part_rows)

    def columns(self, names: Sequence[str], alone: bool) -> Columns:
        """Raw columns, the same object for the same names."""
        key = (tuple(names), alone)
        if key not in self._columns:
            self._columns[key] = Columns(names, alone, self.nullable)
        return self._columns[key]

    def sample(self, value: Value) -> Any:
        """What a value is for the first rows."""
        return self._given.rows(value)

    def transformed(self, value: Value, step: Any) -> Transformed:
        """What a fitted step gives."""
        return Transformed(value, step)

    def inputs(self, value: Value, *, training: bool = False) -> Inputs:
        """What a step is fitted on."""
        sample = self.sample(value)
        names, types = self._described(value, sample)
        target = self.reading.target_of(self.first)
        kind = None if target is None else target.type
        shown = target
        if target is not None and not training:
            shown = frame_of(pa.table({"target": target}))["target"] if not pa.types.is_nested(target.type) else target
        weighted, listed = self.reading.weight is not None, self.reading.listed
        return Inputs(names, types, sample, shown, self.rows, kind, weighted, listed)

    def _described(self, value: Value, sample: Any) -> tuple[tuple[str, ...], tuple[pa.DataType, ...]]:
        if isinstance(value, Columns):
            return value.names, tuple(self.schema.field(name).type for name in value.names)
        if hasattr(sample, "columns"):
            schema = table_of(sample).schema
            return tuple(schema.names), tuple(schema.types)
        if sample.dtype == object:
            return (), tuple(pa.array(sample[:, place], from_pandas=True).type for place in range(sample.shape[1]))
        return (), (pa.from_numpy_dtype(sample.dtype),) * sample.shape[1]

    def named(self, path: str) -> int | None:
        """Rows of the sample on which the user wants this very step fitted in memory."""
        return self.settings.named(path)

    # Leaves.

    def leaf(self, step: Any, path: str, value: Value, last: bool) -> Task:
        """Fit a step that is no composite."""
        self.paths.append(path)
        if is_nothing(step):
            return step, value
        if qualified(step) == _FROZEN:
            self._note(path, step, "as it was", "")
            return step, self.transformed(value, step) if hasattr(step, "transform") else None
        if self.dry:
            return self._planned(step, path, value, last)
        how = self._how(step, path, value, last)
        if how[0] == "sampled":
            return (yield from self._sampled(step, path, value, how[1]))
        if how[0] == "streamed":
            return (yield from self._streamed(how[1], path, value))
        if how[0] == "trained":
            return (yield from self._trained(how[1], path, value))
        with told_by(step, path):
            step.fit(self.sample(value))
        self._note(path, step, "as it was", "nothing to learn")
        return step, self.transformed(value, step)

    def _how(self, step: Any, path: str, value: Value, last: bool) -> tuple[str, Any]:
        """How a step is fitted: streamed, trained, sampled, stateless; or refused."""
        if (rows := self.settings.named(path)) is not None:
            return "sampled", rows
        kind: Any = learner_for(step)
        reason = ""
        if kind is not None:
            made = kind(step, self.inputs(value))
            made.exact = self.settings.exact_quantiles
            reason = made.refusal()
            if reason is None:
                return "streamed", made
        elif (trainer := trainer_for(step)) is not None:
            made = trainer(step, self.inputs(value, training=True))
            reason = made.refusal()
            if reason is None and not last and not hasattr(step, "transform"):
                reason = "it does not transform, and something comes after it"
            if reason is None:
                return "trained", made
        elif _is_stateless(step):
            return "stateless", None
        if self.settings.of_all is not None:
            return "sampled", self.settings.of_all
        self.refused.append((path, qualified(step), reason or "there is no way to fit it in passes over the data"))
        if self.dry:
            return "refused", None
        raise refusal(self.refused)

    def _planned(self, step: Any, path: str, value: Value, last: bool) -> tuple[Any, Value | None]:
        """A step fitted on the first rows by itself, so that later ones can be asked whether they can be fitted."""
        from ..adapters.base import quietly

        try:
            how, made = self._how(step, path, value, last)
        except MonorailError:
            raise
        except Exception as error:
            raise UnknownError from error
        if how == "trained" and self.trainer is None and last:
            self.trainer, self.last = made, value
        if last:
            return step, None
        target = self.inputs(value).target_sample
        try:
            fitted = quietly(
                copied(step).fit, *([self.sample(value)] if target is None else [self.sample(value), target])
            )
            given = self.transformed(value, fitted)
            quietly(self.sample, given)
        except Exception as error:
            # The first rows are few; what is wrong with all of them the passes will tell.
            raise UnknownError from error
        return fitted, given

    def _streamed(self, learner: Any, path: str, value: Value) -> Task:
        passes = 0
        while wanted := list(learner.wants()):
            found = yield [(value, statistic) for statistic in wanted]
            passes += 1
            learner.inputs = self.inputs(value)
            with told_by(learner.step, path):
                learner.learn({statistic: found[value, statistic] for statistic in wanted})
        self._note(path, learner.step, "streamed" if passes else "as it was", learner.note() or "")
        after = self.transformed(value, learner.step)
        after.training = learner.for_training()
        return learner.step, after

    def _trained(self, trainer: Trainer, path: str, value: Value) -> Task:
        """A step that reads the rows itself, as often as it likes."""
        while self.found is None:
            yield []
        trainer.inputs = self.inputs(value, training=True)
        from .rows import PipelineRows

        self.prepare([value])
        self.check_missing(trainer, value, self.gaps)
        what = f"training {type(trainer.estimator).__name__}"
        bar = self.bar(what) if self.bar is not None else nullcontext()
        with PipelineRows(self, value) as rows, bar, told_by(trainer.estimator, path):
            try:
                trainer.fit(rows)
            except MonorailError as error:
                place_rows(error, self.source, self.starts or [0], value)
                raise
        self.passes += rows.passes
        self.categories = trainer.categories
        self._note(path, trainer.estimator, "streamed", trainer.note() or "")
        step = trainer.estimator
        return step, self.transformed(value, step) if hasattr(step, "transform") else None

    def _sampled(self, step: Any, path: str, value: Value, most: int) -> Task:
        """A step that is fitted in memory, on a uniform sample."""
        while self.found is None:
            yield []
        picked = self.uniform(most)
        given = self.given(picked)
        target = self.reading.target_of(given.coded)
        weight = self.reading.weight_of(given.coded)
        rows = given.rows(value)
        arguments = [rows] if target is None else [rows, _labels(target, self.reading.listed)]
        options = {"sample_weight": weight} if weight is not None and _takes_weights(step) else {}
        with told_by(step, path), unravelled():
            step.fit(*arguments, **options)
        how = "in memory" if len(picked.numbers) == self.rows else "sampled"
        note = "" if how == "in memory" else f"a uniform sample of {len(picked.numbers):,} rows"
        self.steps.append(StepReport(path, type(step).__name__, how, len(picked.numbers), note))
        return step, self.transformed(value, step) if hasattr(step, "transform") else None

    def _note(self, path: str, step: Any, how: str, note: str) -> None:
        self.steps.append(StepReport(path, type(step).__name__, how, self.rows or 0, note))

    # Rows that were kept.

    def uniform(self, most: int) -> Picked:
        """A uniform sample of at most so many rows."""
        kept = self.found.uniform if self.found is not None else None
        if kept is None or kept.rows is None:
            return Picked(None, np.empty(0, np.int64))
        return kept.least(most)

    def given(self, picked: Picked) -> Given:
        """Rows that were kept, on their way through the steps."""
        return Given(one_batch(picked.rows or self.source.schema.empty_table()), -1, picked.numbers)

    @property
    def target(self) -> Target | None:
        """What the first pass found of the target."""
        target = self.reading.target_of(self.first)
        if target is None or self.found is None or self.rows is None:
            return None
        counts = self.found.target
        if not counts:
            return Target(target.type, self.rows)
        return Target(target.type, self.rows, {value: counts[value] for value in sorted(counts)})

    # Passes.

    def drive(self, estimator: Any, name: str) -> Any:
        """Fit the whole: take passes until nobody wants one.

        Raises:
            FitError: ``cannot_fit``, or whatever a step says of the data.
        """
        task = fit_step(self, estimator, name, self.whole, last=True)
        answer: Any = None
        while True:
            try:
                wanted = task.send(answer)
            except StopIteration as done:
                return done.value[0]
            answer = self.take_pass(wanted)

    def take_pass(self, wanted: Sequence[Any]) -> Passed:
        """One pass over the data for all that is wanted; the first one also gathers what every fit needs."""
        first = self.found is None
        self.prepare(dict.fromkeys(value for value, _ in wanted))
        requests, aliases = shared_requests([*wanted, *(self._profile() if first else ())], self.whole)
        work = Work(
            self.reading,
            tuple((value, tuple(statistics)) for value, statistics in requests.items()),
            target=first and bool(self.reading.target),
            uniform=max(self.settings.most, EXAMPLE_ROWS) if first else 0,
            chosen=self._chosen() if first else None,
        )
        self.passes += 1
        passed = self._passed(work, len(wanted))
        passed.aliases = aliases
        if first:
            self._after_first(passed)
        return passed

    def _passed(self, work: Work, wanted: int) -> Passed:
        what = f"pass {self.passes} over {self.source.name}"
        if self.bar is None:
            return run_pass(self.source, self.executor, work, starts=self.starts)
        with self.bar(what, self.rows, unit="rows") as advance:
            return run_pass(self.source, self.executor, work, starts=self.starts, advance=advance)

    @property
    def starts(self) -> list[int] | None:
        """Number of the first row of each fragment, where known."""
        if self.part_rows is None:
            return None
        return [0, *np.cumsum(self.part_rows)[:-1].tolist()]

    def _profile(self) -> list[Any]:
        return wanted_profile(self.whole, self.schema)

    def _after_first(self, passed: Passed) -> None:
        """What every later step may rely on."""
        self.found = passed
        self.part_rows = passed.part_rows
        if not self.rows:
            raise FitError("there are no rows to fit on", code="cannot_fit", hint="see what filters= leave")
        self.seen = seen_of(self.whole, self.schema, passed)
        self.nullable = nullable_of(self.whole, self.schema, passed)
        # NaN is a null to a signature.
        self.gaps = self.nullable | {name for name, seen in self.seen.items() if seen.get("null_share")}
        for columns in self._columns.values():
            columns.nullable = self.nullable
        self._given = Given(self.first, 0)
        if self.trainer is not None and self.last is not None:
            # The steps are those of the plan; what they do with a gap they will do with it once they are fitted.
            self.check_missing(self.trainer, self.last, self.gaps)

    def check_missing(self, trainer: Trainer, value: Value, gaps: Iterable[str]) -> None:
        """Refuse gaps in these raw columns that would reach a last step which takes none.

        Raises:
            InputError: ``null_not_allowed``.
        """
        if not trainer.takes_missing:
            check_missing(self.source, self.first, value, gaps, type(trainer.estimator).__name__)

    def _chosen(self) -> np.ndarray | None:
        """Rows that the final estimator will want first: kept, they are not read again."""
        if self.trainer is None or self.source.rows is None:
            return None
        return self.trainer.rows_wanted(self.source.rows)

    def prepare(self, values: Iterable[Value]) -> None:
        """Compile what values are made by, where it compiles: the whole way to a value, else parts of it."""
        for value in values:
            if isinstance(value, PickedColumns):
                self.prepare([value.base])
            if not isinstance(value, Transformed) or value in self._prepared:
                continue
            self._prepared.add(value)
            if not value.differs:
                value.graph = self._graph(value)
            if value.graph is None:
                self.prepare(value.parts.values if value.parts is not None else [value.base])

    def _graph(self, value: Transformed) -> Any:
        chain: list[Any] = []
        base: Value = value
        while isinstance(base, Transformed):
            chain.insert(0, base.step)
            base = base.base
        if not isinstance(base, Columns) or base.alone:
            return None
        from sklearn.pipeline import make_pipeline

        model = chain[0] if len(chain) == 1 else make_pipeline(*chain)
        sample = pa.Table.from_batches([self.first.select(list(base.names))])
        return graphs.compiled(model, sample, self.gaps & set(base.names), self.sample(value))


def is_called(path: str, name: str) -> bool:
    """Whether a name is a step's path, or the end of it."""
    return path == name or path.endswith(f".{name}")


def _is_stateless(step: Any) -> bool:
    try:
        return not step.__sklearn_tags__().requires_fit
    except (AttributeError, TypeError):
        return False


def _takes_weights(step: Any) -> bool:
    from sklearn.utils.validation import has_fit_parameter

    return has_fit_parameter(step, "sample_weight")


def _labels(target: pa.Array, listed: bool) -> Any:
    """A target as ``fit`` is given it: a series, or a frame or matrix where a list was named."""
    if pa.types.is_nested(target.type):
        return target.flatten().to_numpy(zero_copy_only=False).reshape(len(target), -1)
    frame = frame_of(pa.table({"target": target}))
    return frame if listed else frame["target"]
