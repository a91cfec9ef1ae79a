"""Fit one step in passes as the planner would, and compare what two fitted steps learnt."""

from __future__ import annotations

import inspect
import itertools
import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone

from monorail.adapters.frames import Form
from monorail.fit.learning import Block, Inputs, Learner, Statistic
from monorail.fit.registry import learner_for

#: Passes after which a learner is taken to go round in circles.
MOST_PASSES = 12


class Refused(Exception):  # noqa: N818 - it is an answer
    """The learner refused, with its reason."""


def framed(table: pa.Table) -> pd.DataFrame:
    """A table as ``estimator.fit`` would be given it."""
    return Form("pandas").frame(table)


def fitted(step: Any, data: pa.Table | Any, target: pa.Array | None = None) -> Any:
    """A copy of the step, fitted by its own ``fit`` on all rows at once."""
    rows = framed(data) if isinstance(data, pa.Table) else data
    copy: Any = clone(step)
    return copy.fit(rows) if target is None else copy.fit(rows, _series(target))


def learner_of(
    step: Any,
    data: pa.Table | Any,
    *,
    target: pa.Array | None = None,
    weight: np.ndarray | None = None,
    exact: bool = False,
    rows_known: bool = True,
) -> Learner:
    """The learner of a copy of the step.

    Args:
        step: Not fitted.
        data: A table, or a matrix (NumPy or SciPy sparse rows).
        target: A value a row.
        weight: A weight a row.
        exact: What the user said of quantiles.
        rows_known: Whether the number of rows is known before the first pass.
    """
    kind = learner_for(step)
    assert kind is not None, f"no learner of {type(step).__name__}"
    if isinstance(data, pa.Table):
        names, types, rows = tuple(data.column_names), tuple(data.schema.types), data.num_rows
        sample: Any = framed(data.slice(0, 1_000))
    else:
        rows, names = data.shape[0], ()
        types = (pa.null() if data.dtype == object else pa.from_numpy_dtype(data.dtype),) * data.shape[1]
        sample = data[:1_000]
    learner = kind(
        clone(step),
        Inputs(
            names,
            types,
            sample,
            None if target is None else _series(target.slice(0, 1_000)),
            rows if rows_known else None,
            None if target is None else target.type,
            weight is not None,
        ),
    )
    if hasattr(learner, "exact"):
        learner.exact = exact  # type: ignore[attr-defined]
    return learner


def fit_streamed(
    step: Any,
    data: pa.Table | Any,
    splits: int = 3,
    *,
    target: pa.Array | None = None,
    weight: np.ndarray | None = None,
    exact: bool = False,
    seed: int = 0,
    passes: int | None = None,
) -> Any:
    """A copy of the step, fitted by its learner from blocks of random sizes in ``splits`` parts.

    Each part has states of its own, which are pickled on their way and merged in the order of the rows, some of them
    among themselves first, as workers would.

    Args:
        step: Not fitted.
        data: A table, or a matrix.
        splits: In how many parts.
        target: A value a row.
        weight: A weight a row.
        exact: What the user said of quantiles.
        seed: Of the cuts.
        passes: How many passes it must take; None for any number.

    Raises:
        Refused: the learner refuses the step.
    """
    learner = learner_of(step, data, target=target, weight=weight, exact=exact, rows_known=seed % 2 == 0)
    drive(learner, data, splits, target=target, weight=weight, seed=seed, passes=passes)
    return learner.step


def drive(
    learner: Learner,
    data: pa.Table | Any,
    splits: int = 3,
    *,
    target: pa.Array | None = None,
    weight: np.ndarray | None = None,
    seed: int = 0,
    passes: int | None = None,
) -> None:
    """Let a learner have its passes; see :func:`fit_streamed`."""
    if (reason := learner.refusal()) is not None:
        raise Refused(reason)
    random = np.random.default_rng(seed)
    taken = 0
    while wanted := list(dict.fromkeys(learner.wants())):
        parts = [
            _gathered(wanted, blocks_of(data, first, last, random, target, weight))
            for first, last in _cuts(_rows(data), splits, random)
        ]
        learner.learn(_merged(wanted, parts, random))
        taken += 1
        assert taken <= MOST_PASSES, f"still wants {wanted} after {taken} passes"
    assert passes is None or taken == passes, f"{taken} passes"


def blocks_of(
    data: pa.Table | Any,
    first: int,
    last: int,
    random: np.random.Generator,
    target: pa.Array | None = None,
    weight: np.ndarray | None = None,
) -> list[Block]:
    """The rows from ``first`` to ``last`` as blocks of random sizes."""
    blocks = []
    for low, high in _cuts(last - first, int(random.integers(1, 5)), random):
        start, rows = first + low, high - low
        values = None if target is None else target.slice(start, rows)
        weights = None if weight is None else weight[start : start + rows]
        if isinstance(data, pa.Table):
            batch = pa.RecordBatch.from_arrays(
                [_one(column.slice(start, rows)) for column in data.columns], schema=data.schema
            )
            blocks.append(Block(batch, None, start, values, weights))
        else:
            blocks.append(Block(None, data[start : start + rows], start, values, weights))
    return blocks


def same_attributes(
    learnt: Any,
    expected: Any,
    rtol: float = 1e-12,
    *,
    atol: float = 0.0,
    within: Mapping[str, tuple[float, float]] | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Check that two steps hold the same attributes, private ones too, of the same types and in the same order.

    Args:
        learnt: A fitted step.
        expected: The one to compare with.
        rtol: Relative difference allowed between floats.
        atol: Absolute difference allowed between floats.
        within: Attributes with ``(rtol, atol)`` of their own.
        skip: Attributes that are not compared, but must be there.
    """
    assert type(learnt) is type(expected), f"{type(learnt)} for {type(expected)}"
    left, right = vars(learnt), vars(expected)
    assert set(left) == set(right), f"missing {set(right) - set(left)}, too many {set(left) - set(right)}"
    for name, value in right.items():
        if name not in skip:
            bounds = (within or {}).get(name, (rtol, atol))
            _same(left[name], value, f"{type(expected).__name__}.{name}", *bounds)


def _same(got: Any, want: Any, where: str, rtol: float, atol: float) -> None:
    assert type(got) is type(want), f"{where}: {type(got)} for {type(want)}"
    if isinstance(want, BaseEstimator):
        assert set(vars(got)) == set(vars(want)), where
        for name, value in vars(want).items():
            _same(vars(got)[name], value, f"{where}.{name}", rtol, atol)
    elif isinstance(want, Mapping):
        assert list(map(repr, got)) == list(map(repr, want)), f"{where}: keys {list(got)} for {list(want)}"
        for mine, (key, value) in zip(got.values(), want.items(), strict=True):
            _same(mine, value, f"{where}[{key!r}]", rtol, atol)
    elif isinstance(want, list | tuple):
        assert len(got) == len(want), f"{where}: {len(got)} for {len(want)} elements"
        for place, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            _same(mine, theirs, f"{where}[{place}]", rtol, atol)
    elif isinstance(want, np.ndarray):
        _same_arrays(got, want, where, rtol, atol)
    elif sp.issparse(want):
        assert got.shape == want.shape, where
        _same_arrays(got.toarray(), want.toarray(), where, rtol, atol)
    elif isinstance(want, np.random.RandomState):
        _same(got.get_state(), want.get_state(), where, 0, 0)
    elif isinstance(want, float | np.floating):
        same = (math.isnan(got) and math.isnan(want)) or got == want or abs(got - want) <= atol + rtol * abs(want)
        assert same, f"{where}: {got!r} for {want!r}"
    elif _is_plain(want):
        _same(vars(got), vars(want), where, rtol, atol)
    elif not (got is want or got == want):
        raise AssertionError(f"{where}: {got!r} for {want!r}")


def _is_plain(value: Any) -> bool:
    """Whether an object is what its attributes are (a spline can be called, but is no function)."""
    named = isinstance(value, type) or inspect.isroutine(value) or inspect.ismodule(value)
    return hasattr(value, "__dict__") and not named and type(value).__eq__ is object.__eq__


def _same_arrays(got: np.ndarray, want: np.ndarray, where: str, rtol: float, atol: float) -> None:
    assert got.dtype == want.dtype, f"{where}: {got.dtype} for {want.dtype}"
    assert got.shape == want.shape, f"{where}: shape {got.shape} for {want.shape}"
    if want.dtype == object:
        for place in np.ndindex(want.shape):
            _same(got[place], want[place], f"{where}{list(place)}", rtol, atol)
    elif want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, equal_nan=True, err_msg=where)
    else:
        np.testing.assert_array_equal(got, want, err_msg=where)


def _gathered(wanted: Sequence[Statistic], blocks: Sequence[Block]) -> list[Any]:
    states = [statistic.start() for statistic in wanted]
    for block in blocks:
        states = [statistic.update(state, block) for statistic, state in zip(wanted, states, strict=True)]
    return states


def _merged(
    wanted: Sequence[Statistic], parts: Sequence[Sequence[Any]], random: np.random.Generator
) -> dict[Statistic, Any]:
    waiting = [pickle.loads(pickle.dumps(list(states))) for states in parts]
    while len(waiting) > 1:
        # Mostly from the left, as the planner does; sometimes two later ones first.
        place = 0 if random.random() < 0.7 else int(random.integers(len(waiting) - 1))
        earlier, later = waiting[place], waiting.pop(place + 1)
        waiting[place] = [s.merge(one, two) for s, one, two in zip(wanted, earlier, later, strict=True)]
    return dict(zip(wanted, waiting[0], strict=True))


def _cuts(rows: int, parts: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """``rows`` cut at random places, so that parts may be empty."""
    places = [0, *sorted(int(place) for place in random.integers(0, rows + 1, parts - 1)), rows]
    return list(itertools.pairwise(places))


def _rows(data: pa.Table | Any) -> int:
    return data.num_rows if isinstance(data, pa.Table) else data.shape[0]


def _series(target: pa.Array) -> Any:
    return framed(pa.table({"target": target}))["target"]


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array
