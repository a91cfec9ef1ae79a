"""Cutting a pipeline that does not compile whole: its first steps stay Python's, the rest becomes a graph.

A graph cannot come before a worker, so the cut is behind the last step that does not compile. What the steps before it
give for the example and for hard rows are the columns between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..adapters import Form
from ..adapters.base import quietly
from ..adapters.between import columns_between
from ..adapters.frames import nulls_of
from ..adapters.sklearn import fitted_names
from ..data import conform
from ..errors import CompileError, MonorailError
from ..signature import Column, Signature, infer
from .build import Compiled, compile_model
from .registry import qualified_name

_PIPELINE = "sklearn.pipeline.Pipeline"
_SEARCHES = (
    "sklearn.model_selection._search.GridSearchCV",
    "sklearn.model_selection._search.RandomizedSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
)
#: Hard rows that the first steps are shown at a time: rows they refuse take no more than these with them.
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Cut:
    """A pipeline in two.

    Attributes:
        prefix: the steps that stay Python's, as a transformer.
        columns: what they give to the graph, as bundle.json has columns.
        compiled: the rest.
        worker: names of the steps that stay Python's.
        native: names of the steps in the graph.
        suffix: the rest as it was fitted.
        rows: what the prefix gives for the example, in those columns.
        form: how the rest takes them; None where it was fitted on an array of Python objects.
    """

    prefix: Any
    columns: list[dict[str, Any]]
    compiled: Compiled
    worker: list[str]
    native: list[str]
    suffix: Any
    rows: pa.Table
    form: Form | None


@dataclass
class _Between:
    """Columns the first steps gave, over all rows they were shown."""

    tables: list[dict[str, Any]] = field(default_factory=list)
    nulls: dict[str, str] = field(default_factory=dict)
    answer: Any = None

    def add(self, answer: Any) -> None:
        """Take in one answer.

        Raises:
            MonorailError: nothing a graph can read, or text columns with both None and NaN.
        """
        columns = columns_between(answer)
        # The first is the example's.
        self.answer = answer if self.answer is None else self.answer
        if type(answer).__module__.partition(".")[0] == "pandas":
            for name, kind in nulls_of(answer[[name for name in answer.columns if str(name) in columns]]).items():
                self.nulls.setdefault(name, kind)
        self.tables.append(columns)

    def rows(self, columns: Sequence[Column]) -> pa.Table:
        """What was given for the example, in some of the columns."""
        found = {column.name: self.tables[0][column.name] for column in columns}
        return conform(pa.table(found), Signature(tuple(columns)))

    def form(self, columns: Sequence[Column], names: Sequence[str]) -> Form | None:
        """How steps that were fitted on such an answer take these columns of it."""
        kind = type(self.answer).__module__.partition(".")[0]
        if kind in ("pandas", "polars"):
            return Form.of(self.answer[[column.name for column in columns]], names)
        return Form("numpy") if [column.type for column in columns] == ["tensor"] else None

    def columns(self) -> list[Column]:
        """The columns that every answer had, each of a type that holds all its values."""
        names = [name for name in self.tables[0] if all(name in table for table in self.tables)]
        found = []
        for name in names:
            parts = [table[name] for table in self.tables]
            kind = _common([part.type for part in parts])
            try:
                part = pa.concat_arrays([c for p in parts for c in _chunks(p.cast(kind))])
                found.append(_column(infer(pa.table({name: part})).inputs[0]))
            except (MonorailError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
                # Of several types or of one that no graph reads: a step that needs it will say so.
                continue
        return found


def cut_model(
    model: Any,
    table: pa.Table,
    hard: pa.Table,
    form: Form,
    *,
    outputs: Sequence[str] | None = None,
) -> Cut | None:
    """Cuts a pipeline behind its last step that does not compile.

    Args:
        model: the fitted object, which as a whole does not compile.
        table: rows of the example, of the signature's types.
        hard: generated rows of the same columns.
        form: how the model takes them.
        outputs: names of outputs beyond the default ones.

    Returns:
        The two parts; None where it is no pipeline, or no end of it compiles.
    """
    steps = flat_steps(model)
    pipeline: Any = _pipeline_of(model)
    for count in range(1, len(steps)):
        prefix = type(pipeline)([(name.replace(".", "_"), step) for name, step in steps[:count]])
        suffix = type(pipeline)([(name.replace(".", "_"), step) for name, step in steps[count:]])
        between = _shown(prefix, table, hard, form)
        if between is None:
            return None
        columns = between.columns()
        if not columns:
            continue
        entries = [column.to_json() for column in columns]
        try:
            compiled = compile_model(_alone(suffix), entries, outputs=outputs, null_text=between.nulls)
        except CompileError:
            continue
        used = {name for entry in compiled.stage["inputs"] for name in (*entry.get("columns", ()), entry.get("valid"))}
        names = [name for name, _ in steps]
        kept = [column for column in columns if column.name in used]
        taken = between.form(kept, fitted_names(_alone(suffix)))
        return Cut(
            prefix,
            [column.to_json() for column in kept],
            compiled,
            names[:count],
            names[count:],
            _alone(suffix),
            between.rows(kept),
            None if taken is None else taken.with_nulls(compiled.null_text),
        )
    return None


def flat_steps(model: Any) -> list[tuple[str, Any]]:
    """The steps of a pipeline, those of pipelines in it in their place; empty for anything else."""
    pipeline = _pipeline_of(model)
    if pipeline is None:
        return []
    found = []
    for name, step in pipeline.steps:
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        inner = flat_steps(step) if qualified_name(step) == _PIPELINE else []
        found += [(f"{name}.{other}", part) for other, part in inner] or [(name, step)]
    return found


def _pipeline_of(model: Any) -> Any:
    """The pipeline that answers: the model itself, or what a search has found."""
    while qualified_name(model) in _SEARCHES and hasattr(model, "best_estimator_"):
        model = model.best_estimator_
    return model if qualified_name(model) == _PIPELINE else None


def _alone(pipeline: Any) -> Any:
    """The only step of a pipeline of one, so that its own names and reasons are seen."""
    return pipeline.steps[0][1] if len(pipeline.steps) == 1 else pipeline


def _shown(prefix: Any, table: pa.Table, hard: pa.Table, form: Form) -> _Between | None:
    """What the first steps give for the example, and for those hard rows that they take."""
    between = _Between()
    try:
        between.add(quietly(prefix.transform, form.frame(table)))
    except Exception:
        return None
    for start in range(0, len(hard), _ROWS_AT_ONCE):
        rows = hard.slice(start, _ROWS_AT_ONCE)
        frame = form.frame(rows.take(pa.array(np.arange(len(rows)))))
        try:
            between.add(quietly(prefix.transform, frame))
        except Exception:
            # Users' own code may refuse what was made to be strange.
            continue
    return between


def _common(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """A type that holds the values of all of these, else the first."""
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds if not pa.types.is_null(kind)]
    if not plain:
        return kinds[0]
    if all(kind == plain[0] for kind in plain):
        return plain[0]
    if all(pa.types.is_integer(kind) for kind in plain):
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in plain):
        return pa.float64()
    return plain[0]


def _chunks(column: Any) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _column(column: Column) -> Column:
    """A column between the parts: without what was seen, and nullable where it holds floats."""
    floats = column.type.startswith("float") or (column.dtype or "").startswith("float")
    return replace(column, seen=None, nullable=column.nullable or floats)
