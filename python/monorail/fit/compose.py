"""Pipelines, ColumnTransformers and FeatureUnions: which step gets what, and what ``fit`` leaves on the whole.

Fitting is a tree of generators. Each yields what it wants of the next pass over the data, gets what was found, and
returns the fitted step with the :class:`~monorail.fit.between.Value` that later steps are given. What waits for the
same pass shares it; so a pipeline takes as many passes as it is deep.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import FitError
from .between import Columns, Parts, Picked, Transformed, Value
from .faults import told_by
from .learning import Block, Statistic
from .passes import Request

#: A step on its way: wants requests, is sent states by request, returns the fitted step and what it gives.
Task = Generator[list[Request], Any, tuple[Any, Value | None]]


class Leaves(Protocol):
    """What the composites need of the run they are part of."""

    #: Whether only plans are made: on the first rows alone, without a pass.
    dry: bool

    def named(self, path: str) -> int | None:
        """Rows of the sample on which the user wants this very step fitted in memory."""
        ...

    def leaf(self, step: Any, path: str, value: Value, last: bool) -> Task:
        """Fit a step that is no composite."""
        ...

    def sample(self, value: Value) -> Any:
        """What a value is for the first rows."""
        ...

    def columns(self, names: Sequence[str], alone: bool) -> Columns:
        """Raw columns, the same object for the same names."""
        ...

    def transformed(self, value: Value, step: Any) -> Transformed:
        """What a fitted step gives."""
        ...


class AgainError(Exception):
    """What the first pass found changes which columns a step gets: everything begins again, knowing it."""


class UnknownError(Exception):
    """A plan cannot go on: the first rows alone do not show what a step will give."""


@dataclass(frozen=True)
class NonZeros(Statistic):
    """How many cells a matrix holds, and how many of them are stored: all of a dense one."""

    def start(self) -> tuple[int, int]:
        """No cells."""
        return 0, 0

    def update(self, state: tuple[int, int], block: Block) -> tuple[int, int]:
        """The state with a block's cells."""
        cells = block.rows * block.width
        stored = block.matrix.nnz if hasattr(block.matrix, "nnz") else cells
        return state[0] + stored, state[1] + cells

    def merge(self, state: tuple[int, int], later: tuple[int, int]) -> tuple[int, int]:
        """The sums."""
        return state[0] + later[0], state[1] + later[1]


def qualified(step: Any) -> str:
    """A step's class with its module."""
    return f"{type(step).__module__}.{type(step).__qualname__}"


def copied(step: Any) -> Any:
    """A copy of a step that is not fitted."""
    from sklearn.base import clone

    return clone(step)


def is_nothing(step: Any) -> bool:
    """Whether a step of a pipeline gives what it is given."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def fit_step(run: Leaves, step: Any, path: str, value: Value, *, last: bool = False) -> Task:
    """Fit any step.

    Args:
        run: What leaves are fitted by.
        step: Not fitted; a pipeline is fitted in place, other composites are copied.
        path: The way to it.
        value: What it is given.
        last: Whether nothing comes after it, so that it may predict.
    """
    composites = {
        "sklearn.pipeline.Pipeline": _pipeline,
        "sklearn.pipeline.FeatureUnion": _union,
        "sklearn.compose._column_transformer.ColumnTransformer": _column_transformer,
    }
    if isinstance(value, Columns) and len(value.names) == 1 and _takes_documents(step):
        value = run.columns(value.names, alone=True)
    composite = composites.get(qualified(step))
    if composite is not None and run.named(path) is None:
        return (yield from composite(run, step, path, value, last))
    return (yield from run.leaf(step, path, value, last))


def _takes_documents(step: Any) -> bool:
    """Whether a step is given a text a row, not a frame, whose rows it would take for the names of its columns."""
    if qualified(step) == "sklearn.pipeline.Pipeline":
        steps = [one for _, one in step.steps if not is_nothing(one)]
        return bool(steps) and _takes_documents(steps[0])
    if qualified(step) == "sklearn.pipeline.FeatureUnion":
        return any(_takes_documents(one) for _, one in step.transformer_list)
    try:
        tags = step.__sklearn_tags__().input_tags
    except (AttributeError, TypeError):
        return False
    return tags.string and not tags.two_d_array


def together(run: Leaves, tasks: Sequence[Task]) -> Generator[list[Request], Any, list[tuple[Any, Value | None]]]:
    """Fit several steps that do not wait for each other: they share passes."""
    results: dict[int, tuple[Any, Value | None]] = {}
    waiting: dict[int, list[Request]] = {}
    unknown: UnknownError | None = None
    for place, task in enumerate(tasks):
        try:
            _advance(task, None, place, waiting, results)
        except UnknownError as error:
            # A plan looks at every branch, so that all refusals are told at once.
            unknown = error
    while waiting:
        found = yield [request for requests in waiting.values() for request in requests]
        for place in list(waiting):
            _advance(tasks[place], found, place, waiting, results)
    if unknown is not None:
        raise unknown
    return [results[place] for place in range(len(tasks))]


def _advance(
    task: Task, found: Any, place: int, waiting: dict[int, list[Request]], results: dict[int, tuple[Any, Value | None]]
) -> None:
    try:
        waiting[place] = task.send(found)
    except StopIteration as done:
        waiting.pop(place, None)
        results[place] = done.value


def _pipeline(run: Leaves, pipeline: Any, path: str, value: Value, last: bool) -> Task:
    """A pipeline: one step after the other. Its steps become the fitted ones, as ``fit`` leaves them."""
    if getattr(pipeline, "transform_input", None):
        raise _refused(path, pipeline, "transform_input= of a pipeline is not followed")
    with told_by(pipeline, path, "cannot be fitted"):
        pipeline._validate_steps()
    given: Value | None = value
    steps = list(pipeline.steps)
    ends = [place for place, (_, step) in enumerate(steps) if not is_nothing(step)]
    for place in ends:
        name, step = steps[place]
        if given is None:
            raise _refused(f"{path}.{name}", step, "it comes after a step that does not transform")
        fitted, given = yield from fit_step(run, step, f"{path}.{name}", given, last=last and place == ends[-1])
        steps[place] = (name, fitted)
    pipeline.steps = steps
    return pipeline, given


def _column_transformer(run: Leaves, given: Any, path: str, value: Value, last: bool) -> Task:
    """A ColumnTransformer: each step its own columns of the rows, what they give side by side."""
    del last
    from sklearn.frozen import FrozenEstimator

    rows = run.sample(value)
    chosen = _resolved(given, path, rows)
    if not chosen:
        raise FitError(
            f"`{path}` takes none of the columns",
            code="cannot_fit",
            hint="compare its columns with those of the data",
            details=[{"code": "cannot_fit", "path": path, "got": qualified(given)}],
        )
    places = [place for place, (_, step, _) in enumerate(chosen) if not isinstance(step, str)]
    tasks = []
    for place in places:
        name, step, columns = chosen[place]
        part = _picked(run, value, rows, columns)
        tasks.append(fit_step(run, copied(step), f"{path}.{name}", part))
    results = dict(zip(places, (yield from together(run, tasks)), strict=True))
    rows = run.sample(value)
    if [columns for _, _, columns in _resolved(given, path, rows)] != [columns for _, _, columns in chosen]:
        raise AgainError
    fitted = copied(given)
    frozen = {chosen[place][0]: FrozenEstimator(step) for place, (step, _) in results.items()}
    fitted.transformers = [(name, frozen.get(name, step), columns) for name, step, columns in given.transformers]
    fitted.remainder = frozen.get("remainder", given.remainder)
    _quiet_fit(fitted, rows, path)
    fitted.transformers = copied(given).transformers
    fitted.remainder = copied(given).remainder
    fitted.transformers_ = [
        (name, step.estimator if name in frozen else step, columns) for name, step, columns in fitted.transformers_
    ]
    name, _, columns = fitted._remainder
    fitted._remainder = (name, fitted.remainder, columns)
    parts = _parts(run, value, rows, chosen, results)
    if not run.dry:
        fitted.sparse_output_ = yield from _sparse_output(run, fitted, parts)
    weights = fitted.transformer_weights or {}
    return fitted, _stacked(run, value, fitted, parts, fitted.sparse_output_, [weights.get(n) for n, _, _ in chosen])


def _resolved(given: Any, path: str, rows: Any) -> list[tuple[str, Any, Any]]:
    """Steps and their columns, the remainder among them, without those that are dropped or get no column."""
    from sklearn.utils.validation import validate_data

    shown = copied(given)
    try:
        validate_data(shown, X=rows, skip_check_array=True)
        shown._validate_transformers()
        shown._validate_column_callables(rows)
        shown._validate_remainder(rows)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FitError(
            f"`{path}` does not go with the columns: {str(error) or type(error).__name__}",
            code="cannot_fit",
            hint="compare its columns with those of the data",
            details=[{"code": "cannot_fit", "path": path, "got": qualified(given)}],
        ) from error
    kept = shown._iter(fitted=False, column_as_labels=False, skip_drop=True, skip_empty_columns=True)
    return [(name, step, columns) for name, step, columns, _ in kept]


def _picked(run: Leaves, value: Value, rows: Any, columns: Any) -> Value:
    """Some columns of a value."""
    if not isinstance(value, Columns):
        return Picked(value, columns)
    from sklearn.utils._indexing import _safe_indexing

    part: Any = _safe_indexing(rows, columns, axis=1)
    alone = getattr(part, "ndim", 2) == 1
    return run.columns([part.name] if alone else list(part.columns), alone)


def _parts(
    run: Leaves,
    value: Value,
    rows: Any,
    chosen: Sequence[tuple[str, Any, Any]],
    results: dict[int, tuple[Any, Value | None]],
) -> list[Value]:
    """What each step gives, in order."""
    parts = []
    for place, (_, _, columns) in enumerate(chosen):
        part = results[place][1] if place in results else _picked(run, value, rows, columns)
        if part is None:
            raise UnknownError
        parts.append(part)
    return parts


def _stacked(
    run: Leaves, value: Value, fitted: Any, parts: Sequence[Value], sparse: bool, weights: Sequence[float | None]
) -> Value:
    """What a fitted composite gives: its parts side by side, where that is what it gives for the first rows."""
    whole = run.transformed(value, fitted)
    made = Transformed(value, fitted, Parts(parts, sparse, weights))
    if made.differs:
        if getattr(fitted, "_sklearn_output_config", None):
            raise FitError(
                "set_output is not followed where a step in it is fitted across folds",
                code="cannot_fit",
                hint="leave set_output out",
            )
        return made
    expected, got = run.sample(whole), run.sample(made)
    same = type(got) is type(expected) and got.shape == expected.shape and got.dtype == expected.dtype
    return made if same else whole


def _sparse_output(run: Leaves, fitted: Any, parts: Sequence[Value]) -> Generator[list[Request], Any, bool]:
    """Whether a ColumnTransformer gives a sparse matrix: it depends on how many cells of all rows are not zero."""
    samples = [run.sample(part) for part in parts]
    widths = [part.shape[1] if getattr(part, "ndim", 2) > 1 else 1 for part in samples]
    sparse = [hasattr(part, "nnz") for part in samples]
    threshold = fitted.sparse_threshold
    if not any(sparse) or not sum(widths):
        return False
    stored = sum(width for width, thin in zip(widths, sparse, strict=True) if not thin)
    open_parts = []
    for part, thin in zip(parts, sparse, strict=True):
        if thin and (full := _stored_per_row(part)) is not None:
            stored += full
        elif thin:
            open_parts.append(part)
    total = sum(widths)
    most = stored + sum(run.sample(part).shape[1] for part in open_parts)
    if stored / total >= threshold:
        return False
    if most / total < threshold:
        return True
    found = yield [(part, NonZeros()) for part in open_parts]
    counts = [found[part, NonZeros()] for part in open_parts]
    rows = counts[0][1] / run.sample(open_parts[0]).shape[1]
    return (stored + sum(count for count, _ in counts) / rows) / total < threshold


def _stored_per_row(part: Value) -> int | None:
    """How many cells of every row a one-hot encoder fills, where that is sure of the rows it was fitted on."""
    if not isinstance(part, Transformed) or not isinstance(part.base, Columns):
        return None
    step = part.step
    if qualified(step) != "sklearn.preprocessing._encoders.OneHotEncoder":
        return None
    if step.drop is not None or not isinstance(step.categories, str):
        return None
    return len(part.base.names)


def _union(run: Leaves, given: Any, path: str, value: Value, last: bool) -> Task:
    """A FeatureUnion: every step all columns, what they give side by side."""
    from sklearn.frozen import FrozenEstimator

    with told_by(given, path, "cannot be fitted"):
        given._validate_transformers()
    names = [name for name, step in given.transformer_list if not isinstance(step, str)]
    steps = dict(given.transformer_list)
    results = yield from together(run, [fit_step(run, copied(steps[name]), f"{path}.{name}", value) for name in names])
    done = dict(zip(names, results, strict=True))
    fitted = copied(given)
    fitted.transformer_list = [
        (name, FrozenEstimator(done[name][0]) if name in done else step) for name, step in given.transformer_list
    ]
    rows = run.sample(value)
    # What fit_transform leaves differs from what fit leaves, and fit is called where nothing comes after.
    _quiet_fit(fitted, rows, path, "fit" if last else "fit_transform")
    fitted.transformer_list = [
        (name, done[name][0] if name in done else step) for name, step in fitted.transformer_list
    ]
    parts = [
        done[name][1] if name in done else run.transformed(value, step)
        for name, step in fitted.transformer_list
        if not (isinstance(step, str) and step == "drop")
    ]
    weights = fitted.transformer_weights or {}
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        raise UnknownError
    thin = any(hasattr(run.sample(part), "nnz") for part in known)
    kept = [
        weights.get(name) for name, step in given.transformer_list if not (isinstance(step, str) and step == "drop")
    ]
    return fitted, _stacked(run, value, fitted, known, thin, kept)


def _quiet_fit(step: Any, rows: Any, path: str, method: str = "fit") -> None:
    from ..adapters.base import quietly

    with told_by(step, path):
        quietly(getattr(step, method), rows)


def _refused(path: str, step: Any, reason: str) -> FitError:
    return refusal([(path, qualified(step), reason)])


def refusal(refused: Iterable[tuple[str, str, str]]) -> FitError:
    """The error that says which steps cannot be fitted, and why.

    Args:
        refused: Path, class and reason of each.
    """
    refused = list(refused)
    text = "; ".join(f"`{path}` ({kind}): {reason}" for path, kind, reason in refused)
    # A sample has columns and targets of the same types.
    sampled = [path for path, _, reason in refused if not reason.startswith(("column ", "the target "))]
    steps = ", ".join(f"{path!r}: 100_000" for path in sampled)
    return FitError(
        f"cannot fit {text}",
        code="cannot_fit",
        hint=f"sample_rows={{{steps}}} fits it on so many rows; or use a step that can be fitted in passes"
        if sampled
        else "change the values in the data or in a step before, or leave the column out",
        details=[{"code": "cannot_fit", "path": path, "got": kind} for path, kind, _ in refused],
    )


__all__ = [
    "Leaves",
    "NonZeros",
    "Task",
    "UnknownError",
    "fit_step",
    "qualified",
    "refusal",
    "together",
]
