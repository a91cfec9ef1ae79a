"""Tables of a column's categories against the target, one a fold: what target encoders are fitted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import FitError, InputError
from ..learning import Block, Statistic
from ..statistics import check_distinct
from .categories import key_of
from .folds import Folds

#: Its functions are made when it is imported, so that type checkers do not see them.
compute: Any = pc

#: Different values up to which a target is of classes.
MOST_CLASSES = 10_000
#: Cells that a table may have: folds, times categories, times classes.
MOST_CELLS = 100_000_000


def distinct(column: Any) -> tuple[np.ndarray, list[Any]]:
    """The different values of a column, and which of them each row has.

    Args:
        column: An Arrow array, or an array of objects.

    Returns:
        A number a row, int64; and the values as keys of a dict: None for what is missing, each once, each there.
    """
    if isinstance(column, np.ndarray):
        places: dict[Any, int] = {}
        codes = [places.setdefault(key_of(value), len(places)) for value in column]
        return np.array(codes, np.int64), list(places)
    if pa.types.is_dictionary(column.type):
        values = column.dictionary
        if values.null_count or len(values.unique()) < len(values):
            column = column.dictionary_decode()
    if not pa.types.is_dictionary(column.type):
        column = _encoded(column)
    keys = column.dictionary.to_pylist()
    codes = column.indices
    if column.null_count:
        codes = pc.fill_null(codes.cast(pa.int64()), len(keys))
        keys.append(None)
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    there = np.bincount(codes, minlength=len(keys)) > 0
    if there.all():
        return codes, keys
    # A dictionary may hold words that no row has.
    return (np.cumsum(there) - 1)[codes], [key for key, found in zip(keys, there, strict=True) if found]


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_floating(column.type):
        # One zero, and NaN is null.
        column = compute.add(column, pa.scalar(0.0, column.type))
        column = compute.if_else(compute.is_nan(column), pa.scalar(None, column.type), column)
    elif pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column.dictionary_encode()


def column_of(block: Block, place: int) -> Any:
    """A column of a block for :func:`distinct`."""
    matrix = block.matrix
    return matrix[:, place] if isinstance(matrix, np.ndarray) and matrix.dtype == object else block.arrow(place)


def target_of(block: Block) -> pa.Array:
    """The target of a block.

    Raises:
        InputError: ``null_not_allowed`` or ``not_finite``: a value is missing or infinite.
    """
    target = block.target
    if target is None:
        raise FitError("a target encoder needs a target", code="cannot_fit", hint="name its column with target=")
    missing, infinite = target.null_count > 0, False
    if pa.types.is_floating(target.type) and not missing:
        finite = np.isfinite(target.to_numpy(zero_copy_only=False))
        missing = not finite.all() and bool(compute.any(compute.is_nan(target)).as_py())
        infinite = not finite.all() and not missing
    if missing or infinite:
        code, what = ("null_not_allowed", "nulls") if missing else ("not_finite", "infinity")
        raise InputError(f"the target holds {what}", code=code, hint="leave these rows out, with filters= for instance")
    return target


@dataclass
class Targets:
    """What a pass found of a target.

    Attributes:
        rows: How many rows.
        whole: Whether all values are whole numbers, or no numbers.
        classes: The different values and their codes, in the order of appearance; None where they are no classes.
        codes: The codes of the rows, uint16, in pieces; None where they are not kept.
    """

    rows: int = 0
    whole: bool = True
    classes: dict[Any, int] | None = field(default_factory=dict)
    codes: list[np.ndarray] | None = field(default_factory=list)


@dataclass(frozen=True)
class TargetValues(Statistic):
    """The different values of the target, and for each row which of them it has.

    Attributes:
        any_number: Whether numbers that are not whole are classes, too.
        kept: Rows up to which their codes are kept; none beyond.
    """

    any_number: bool
    kept: int

    def start(self) -> Targets:
        """An empty state."""
        return Targets(codes=[] if self.kept else None)

    def update(self, state: Targets, block: Block) -> Targets:
        """The state with a block's rows.

        Raises:
            InputError: ``null_not_allowed`` or ``not_finite``: a value is missing or infinite.
        """
        target = target_of(block)
        found = Targets(rows=len(target))
        if pa.types.is_floating(target.type):
            values = target.to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):
                found.whole = bool((values == values.astype(np.int64)).all())
        if state.classes is None or not (found.whole or self.any_number):
            found.classes = found.codes = None
        else:
            codes, keys = distinct(target)
            found.classes = {key: place for place, key in enumerate(keys)}
            found.codes = [codes.astype(np.uint16)] if len(keys) <= MOST_CLASSES else None
        return self.merge(state, found)

    def merge(self, state: Targets, later: Targets) -> Targets:
        """One state of two."""
        state.rows += later.rows
        state.whole = state.whole and later.whole
        if state.classes is None or later.classes is None:
            state.classes = state.codes = None
            return state
        places = state.classes
        table = [places.setdefault(key, len(places)) for key in later.classes]
        if len(places) > MOST_CLASSES:
            state.classes = state.codes = None
        elif state.codes is None or later.codes is None or state.rows > self.kept:
            state.codes = None
        else:
            state.codes += [np.array(table, np.uint16)[codes] for codes in later.codes if len(codes)]
        return state


@dataclass
class Table:
    """Numbers of each category of a column, by fold.

    Attributes:
        places: The categories' values and their places, in the order of appearance.
        numbers: Arrays of ``[folds, places, ...]``, with room for places to come.
    """

    places: dict[Any, int]
    numbers: list[np.ndarray]

    def grown(self, keys: Sequence[Any]) -> np.ndarray:
        """The places of these values, each once; new ones get places and zeros."""
        table = np.array([self.places.setdefault(key, len(self.places)) for key in keys], np.int64)
        room = self.numbers[0].shape[1]
        if len(self.places) > room:
            more = max(len(self.places), 2 * room) - room
            self.numbers = [
                np.concatenate([one, np.zeros((one.shape[0], more, *one.shape[2:]), one.dtype)], axis=1)
                for one in self.numbers
            ]
        return table

    def trimmed(self) -> list[np.ndarray]:
        """The numbers without room."""
        return [one[:, : len(self.places)] for one in self.numbers]


class FoldTable(Statistic):
    """What the two kinds of tables share."""

    place: int
    folds: Folds

    def merge(self, state: Table, later: Table) -> Table:
        """One state of two."""
        self._add(state, list(later.places), later.trimmed())
        check_distinct(len(state.places))
        return state

    def update(self, state: Table, block: Block) -> Table:
        """The state with a block's rows.

        Raises:
            FitError: ``cannot_fit``: the column has too many categories.
        """
        if block.rows:
            codes, keys = distinct(column_of(block, self.place))
            folds = self.folds.of(block)
            self._add(state, keys, self._numbers(folds * len(keys) + codes, len(keys), target_of(block)))
            check_distinct(len(state.places), block, self.place)
        return state

    def _numbers(self, cells: np.ndarray, width: int, target: pa.Array) -> list[np.ndarray]:
        """Those of a block; a cell is a fold and a category."""
        raise NotImplementedError

    def _add(self, state: Table, keys: Sequence[Any], numbers: Sequence[np.ndarray]) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class ClassTable(FoldTable):
    """How often each category was seen with each class of the target.

    Attributes:
        place: Which column.
        folds: In which fold each row is.
        classes: Values of the target, in the order of the classes.
    """

    place: int
    folds: Folds
    classes: tuple[Any, ...]

    def start(self) -> Table:
        """An empty state."""
        return Table({}, [np.zeros((self.folds.count, 16, len(self.classes)), np.int64)])

    def _numbers(self, cells: np.ndarray, width: int, target: pa.Array) -> list[np.ndarray]:
        codes, keys = distinct(target)
        order: Mapping[Any, int] = {key: place for place, key in enumerate(self.classes)}
        labels = np.array([order[key] for key in keys], np.int64)[codes]
        shape = (self.folds.count, width, len(self.classes))
        self._check(width)
        return [np.bincount(cells * shape[2] + labels, minlength=int(np.prod(shape))).reshape(shape)]

    def _add(self, state: Table, keys: Sequence[Any], numbers: Sequence[np.ndarray]) -> None:
        self._check(len(state.places) + len(keys))
        table = state.grown(keys)
        state.numbers[0][:, table] += numbers[0]

    def _check(self, categories: int) -> None:
        if self.folds.count * categories * len(self.classes) > MOST_CELLS:
            raise FitError(
                f"a column of {categories:,} categories and a target of {len(self.classes):,} classes make a table too"
                " large for memory",
                code="cannot_fit",
                hint="group rare categories or classes, or say target_type='continuous'",
            )


@dataclass(frozen=True)
class MomentTable(FoldTable):
    """Count, mean and squared deviations of the target, for each category.

    Attributes:
        place: Which column.
        folds: In which fold each row is.
    """

    place: int
    folds: Folds

    def start(self) -> Table:
        """An empty state."""
        return Table({}, [np.zeros((self.folds.count, 16)) for _ in range(3)])

    def _numbers(self, cells: np.ndarray, width: int, target: pa.Array) -> list[np.ndarray]:
        values = target.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        shape = (self.folds.count, width)
        size = int(np.prod(shape))
        counts = np.bincount(cells, minlength=size)
        # Sums of what is near zero lose less.
        middle = values.mean()
        means = middle + np.bincount(cells, values - middle, size) / np.maximum(counts, 1)
        squares = np.bincount(cells, (values - means[cells]) ** 2, size)
        return [counts.astype(np.float64).reshape(shape), means.reshape(shape), squares.reshape(shape)]

    def _add(self, state: Table, keys: Sequence[Any], numbers: Sequence[np.ndarray]) -> None:
        table = state.grown(keys)
        mine = [one[:, table] for one in state.numbers]
        both = pooled(*(np.stack(pair) for pair in zip(mine, numbers, strict=True)))
        for one, made in zip(state.numbers, both, strict=True):
            one[:, table] = made


def pooled(counts: np.ndarray, means: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and squared deviations of groups together, which are along the first axis."""
    count = counts.sum(axis=0)
    share = counts / np.maximum(count, 1)
    # From the mean of the largest group, so that groups alone stay as they are.
    largest = np.take_along_axis(means, counts.argmax(axis=0)[None], axis=0)[0]
    mean = largest + (share * (means - largest)).sum(axis=0)
    return count, mean, (squares + counts * (means - mean) ** 2).sum(axis=0)
