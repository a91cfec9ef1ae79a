"""Many rows made few: a small matrix and target that have the moments of the large ones.

Whatever depends on inner products of columns alone (least squares, ridge, lasso, their conjugate gradients and their
stopping rules) comes out the same from either. For least squares dense rows are folded into a triangle by QR, which
keeps every digit that the rows have. Of sparse ones centred products are summed, since a QR would fill them up, and for
ridge and lasso, too, whose own solvers look at nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FitError, InputError
from ..learning import Block, Inputs
from ..training import TrainingRows
from .matrices import finite

#: Columns beyond which a square of them is not kept: 800 MB.
MOST_COLUMNS = 10_000

#: Values of a dense piece that is folded at once: 16 MB.
PIECE_VALUES = 2_000_000


@dataclass(frozen=True)
class Few:
    """A few rows that stand for all.

    Attributes:
        matrix: ``[few, features]`` float64, centred where an intercept is asked for, weights worked in.
        target: ``[few]`` or ``[few, targets]``, likewise.
        means: Of each feature; zeros where no intercept is asked for.
        target_mean: A number, or one for each target.
        rows: How many rows they stand for.
        weight: The sum of their weights.
    """

    matrix: np.ndarray
    target: np.ndarray
    means: np.ndarray
    target_mean: Any
    rows: int
    weight: float


def own_weight(block: Block) -> np.ndarray | None:
    """The weights that the rows came with."""
    return block.weight


@dataclass(frozen=True)
class Wanted:
    """What is to be gathered; it travels to workers.

    Attributes:
        inputs: Of the estimator.
        intercept: Whether to centre.
        products: Whether to sum products instead of folding: for sparse rows, and where products are all that the
            solver would look at; that is several times faster, and has half the digits.
        target: From a block to ``[rows]`` or ``[rows, targets]``.
        weight: From a block to a weight a row, or None.
    """

    inputs: Inputs
    intercept: bool
    products: bool
    target: Callable[[Block], np.ndarray]
    weight: Callable[[Block], np.ndarray | None] = own_weight


def gather(rows: TrainingRows, wanted: Wanted) -> Few:
    """Read all rows once.

    Raises:
        FitError: there are more than 10,000 features.
        InputError: there are no rows, or a value cannot be learnt from.
    """
    if rows.inputs.width > MOST_COLUMNS:
        raise FitError(
            f"{rows.inputs.width:,} features are more than moments are kept of ({MOST_COLUMNS:,})",
            code="cannot_fit",
            hint="SGDRegressor and SGDClassifier learn from as many as you like; or select features in a step before",
        )
    found: Triangle | Products | None = None
    for part in rows.map(_gathered, shared=wanted):
        found = part if found is None else (found.merge(part) if part is not None else found)
    if found is None or not found.rows:
        raise InputError("there are no rows to fit on", code="wrong_shape", hint="look at the files and the filters")
    return found.few()


def _gathered(wanted: Wanted, blocks: Iterator[Block]) -> Triangle | Products | None:
    """What one part holds."""
    found: Triangle | Products | None = None
    for block in blocks:
        if not block.rows:
            continue
        matrix, target, weight = finite(block, wanted.inputs), wanted.target(block), wanted.weight(block)
        if weight is not None and (not np.isfinite(weight).all() or (weight < 0).any()):
            raise InputError("a weight is negative or not a number", code="out_of_range", hint="see sample_weight=")
        if found is None:
            kind = Products if wanted.products else Triangle
            found = kind(wanted.intercept, matrix.shape[1], target.shape[1:])
        found.add(matrix, target, weight)
    return found.folded() if found is not None else None


class Triangle:
    """The triangle of a QR of ``[1, features, targets]``; one of many rows is one of its triangle and more rows."""

    def __init__(self, intercept: bool, width: int, targets: tuple[int, ...]) -> None:
        self.intercept, self.width, self.targets = intercept, width, targets
        self.rows, self.weight = 0, 0.0
        self._columns = int(intercept) + width + (targets[0] if targets else 1)
        self._triangle = np.empty((0, self._columns))
        self._waiting: list[np.ndarray] = []
        self._most = max(4 * self._columns, PIECE_VALUES // self._columns, 1)

    def add(self, matrix: Any, target: np.ndarray, weight: np.ndarray | None) -> None:
        """Take rows in."""
        matrix = matrix.toarray() if hasattr(matrix, "toarray") else matrix
        for first in range(0, len(target), self._most):
            piece = np.empty((len(target[first : first + self._most]), self._columns))
            here = slice(first, first + len(piece))
            if self.intercept:
                piece[:, 0] = 1.0
            piece[:, int(self.intercept) : int(self.intercept) + self.width] = matrix[here]
            piece[:, int(self.intercept) + self.width :] = target[here].reshape(len(piece), -1)
            if weight is not None:
                piece *= np.sqrt(weight[here])[:, None]
            self._waiting.append(piece)
            if sum(map(len, self._waiting)) >= self._most:
                self.folded()
        self.rows += len(target)
        self.weight += len(target) if weight is None else float(weight.sum())

    def folded(self) -> Triangle:
        """Itself, with the rows that wait folded in."""
        if self._waiting:
            self._triangle = np.asarray(np.linalg.qr(np.concatenate([self._triangle, *self._waiting]), mode="r"))
            self._waiting = []
        return self

    def merge(self, later: Triangle) -> Triangle:
        """Itself, with what was gathered of later rows."""
        self._waiting = [later.folded()._triangle]
        self.rows, self.weight = self.rows + later.rows, self.weight + later.weight
        return self.folded()

    def few(self) -> Few:
        """The rows that stand for all."""
        triangle, first = self.folded()._triangle, int(self.intercept)
        means = np.zeros(self._columns)
        if self.intercept:
            if not self.weight:
                raise InputError("all weights are zero", code="out_of_range", hint="see sample_weight=")
            means = triangle[0] / triangle[0, 0]
        # Rows of zeros change no product; the shape says whether there are fewer rows than features.
        left = np.zeros((min(self.rows, self._columns - first), self._columns))
        left[: len(triangle) - first] = triangle[first:][: len(left)]
        matrix, target = left[:, first : first + self.width], left[:, first + self.width :]
        return _few(self, matrix, target, means[first : first + self.width], means[first + self.width :])


class Products:
    """Means, and products of centred columns, of ``[features, targets]``; merged as Chan, Golub and LeVeque do."""

    def __init__(self, intercept: bool, width: int, targets: tuple[int, ...]) -> None:
        self.intercept, self.width, self.targets = intercept, width, targets
        self.rows, self.weight = 0, 0.0
        self._columns = width + (targets[0] if targets else 1)
        self._sparse = False
        self._means = np.zeros(self._columns)
        self._products = np.zeros((self._columns, self._columns))

    def add(self, matrix: Any, target: np.ndarray, weight: np.ndarray | None) -> None:
        """Take rows in."""
        rows = len(target)
        target = target.reshape(rows, -1)
        total = float(rows if weight is None else weight.sum())
        self.rows += rows
        if not total:
            return
        self._sparse = sparse = hasattr(matrix, "toarray")
        scaled, scaled_target = _scaled(matrix, weight), _scaled(target, weight)
        means = np.zeros(self._columns)
        if self.intercept:
            means[: self.width] = np.asarray(scaled.sum(axis=0)).ravel() / total
            means[self.width :] = scaled_target.sum(axis=0) / total
            if not sparse:
                matrix = matrix - means[: self.width]
                scaled = _scaled(matrix, weight)
        # The target is centred first, so that the product is, where the features are not.
        target = target - means[self.width :]
        products = np.empty_like(self._products)
        square = scaled.T @ matrix
        if sparse:
            square = square.toarray() - total * np.outer(means[: self.width], means[: self.width])
        products[: self.width, : self.width] = square
        products[: self.width, self.width :] = scaled.T @ target
        products[self.width :, : self.width] = products[: self.width, self.width :].T
        products[self.width :, self.width :] = _scaled(target, weight).T @ target
        self._join(total, means, products)

    def _join(self, total: float, means: np.ndarray, products: np.ndarray) -> None:
        together = self.weight + total
        self._products += products
        if self.intercept and self.weight and total:
            apart = means - self._means
            self._products += self.weight * total / together * np.outer(apart, apart)
        if together:
            self._means += (means - self._means) * (total / together)
        self.weight = together

    def folded(self) -> Products:
        """Itself."""
        return self

    def merge(self, later: Products) -> Products:
        """Itself, with what was gathered of later rows."""
        self.rows += later.rows
        self._sparse |= later._sparse
        self._join(later.weight, later._means, later._products)
        return self

    def few(self) -> Few:
        """The rows that stand for all: a Cholesky factor, and below it what no feature explains of the targets."""
        from scipy.linalg import get_lapack_funcs, solve_triangular

        if not self.weight:
            raise InputError("all weights are zero", code="out_of_range", hint="see sample_weight=")
        width = self.width
        square, cross = self._products[:width, :width], self._products[:width, width:]
        spread = np.diag(square).copy()
        # What is left of a column that does not vary is rounding: of its products, or of its values.
        rounding = 1e-13 if self._sparse else 1e-30
        spread[spread <= rounding * (spread + self.weight * self._means[:width] ** 2)] = 0.0
        scale = np.sqrt(spread)
        one_over = np.divide(1.0, scale, out=np.zeros(width), where=scale > 0)
        factor: Any = get_lapack_funcs("pstrf", (square,))
        upper, order, rank, _ = factor(square * np.outer(one_over, one_over), lower=0)
        upper, order = np.triu(upper)[:rank], order - 1
        back = np.empty(width, np.intp)
        back[order] = np.arange(width)
        explained = solve_triangular(upper[:, :rank], (cross * one_over[:, None])[order[:rank]], trans=1)
        rest = self._products[width:, width:] - explained.T @ explained
        values, vectors = np.linalg.eigh(rest)
        below = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        rows = min(self.rows, self._columns)
        matrix = np.zeros((max(rows, rank + len(below)), width))
        target = np.zeros((len(matrix), len(below)))
        matrix[:rank], target[:rank], target[rank : rank + len(below)] = upper[:, back] * scale, explained, below
        return _few(self, matrix, target, self._means[:width], self._means[width:])


def _scaled(rows: Any, weight: np.ndarray | None) -> Any:
    """Each row times its weight."""
    if weight is None:
        return rows
    return rows.multiply(weight[:, None]).tocsr() if hasattr(rows, "toarray") else rows * weight[:, None]


def _few(
    found: Triangle | Products, matrix: np.ndarray, target: np.ndarray, means: np.ndarray, target_means: np.ndarray
) -> Few:
    one = not found.targets
    return Few(
        np.ascontiguousarray(matrix),
        np.ascontiguousarray(target[:, 0] if one else target),
        means,
        target_means[0] if one else target_means,
        found.rows,
        found.weight,
    )
