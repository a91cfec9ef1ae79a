"""Rows in pieces of given sizes, whatever blocks they come in: what ``partial_fit`` is called with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ..labels import Labels
from ..learning import Block
from ..training import TrainingRows
from .matrices import finite, targets

#: Rows of a piece, where the estimator has no say.
PIECE_ROWS = 65_536
#: Values of a dense piece, at most: 128 MB.
PIECE_VALUES = 16_000_000


@dataclass(frozen=True)
class Piece:
    """Consecutive rows.

    Attributes:
        matrix: ``[rows, features]``, dense or sparse rows.
        target: The classes or numbers; None where there is no target.
        weight: A weight a row, or None.
    """

    matrix: Any
    target: np.ndarray | None
    weight: np.ndarray | None

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.matrix.shape[0]


class Pieces:
    """The rows of a trainer, in pieces, to be read as often as one likes.

    Args:
        rows: The rows.
        kind: NumPy type of the matrix.
        labels: The classes, where the target is of classes.
        learnt: Whether there is a target to be given.
        dense: Whether sparse rows are to be made dense.
    """

    def __init__(
        self, rows: TrainingRows, kind: Any, labels: Labels | None = None, *, learnt: bool = True, dense: bool = False
    ) -> None:
        self._rows, self._kind, self._labels, self._learnt, self._dense = rows, kind, labels, learnt, dense
        self.total = rows.rows
        if not self.total:
            raise InputError(
                "there are no rows to fit on", code="wrong_shape", hint="look at the files and the filters"
            )

    @property
    def size(self) -> int:
        """Rows of a piece, where the estimator has no say."""
        if hasattr(self._rows.inputs.sample, "toarray") and not self._dense:
            return PIECE_ROWS
        return max(256, min(PIECE_ROWS, PIECE_VALUES // max(1, self._rows.inputs.width)))

    def of(self, sizes: Iterable[int]) -> Iterator[Piece]:
        """Pieces of these sizes; the last ones are smaller where rows end."""
        waiting: list[Piece] = []
        wanted = iter(sizes)
        size = next(wanted, 0)
        for block in self._rows.blocks():
            if not block.rows:
                continue
            waiting.append(self.piece(block))
            while size and sum(piece.rows for piece in waiting) >= size:
                whole = _joined(waiting)
                yield _cut(whole, 0, size)
                waiting = [_cut(whole, size, whole.rows)] if size < whole.rows else []
                size = next(wanted, 0)
        if waiting and size:
            yield _joined(waiting)

    def all(self, size: int | None = None) -> Iterator[Piece]:
        """Pieces of one size."""
        return self.of(itertools.repeat(size or self.size))

    def piece(self, block: Block) -> Piece:
        """A block as a piece."""
        matrix = finite(block, self._rows.inputs).astype(self._kind, copy=False)
        if self._dense and hasattr(matrix, "toarray"):
            matrix = matrix.toarray()
        target = None
        if self._labels is not None:
            target = self._labels.classes[self._labels.codes(block)]
        elif self._learnt:
            target = targets(block)
        return Piece(matrix, target, block.weight)

    def take(self, numbers: np.ndarray) -> Piece:
        """These rows; their numbers increase."""
        return self.piece(self._rows.take(numbers))


def _joined(pieces: list[Piece]) -> Piece:
    """One piece of several."""
    if len(pieces) == 1:
        return pieces[0]
    matrices = [piece.matrix for piece in pieces]
    if hasattr(matrices[0], "tocsr"):
        from scipy.sparse import vstack

        matrix: Any = vstack(matrices, format="csr")
    else:
        matrix = np.concatenate(matrices)
    return Piece(matrix, _together(pieces, lambda piece: piece.target), _together(pieces, lambda piece: piece.weight))


def _together(pieces: list[Piece], part: Callable[[Piece], np.ndarray | None]) -> np.ndarray | None:
    parts = [array for piece in pieces if (array := part(piece)) is not None]
    return np.concatenate(parts) if parts else None


def _cut(piece: Piece, first: int, last: int) -> Piece:
    if first == 0 and last == piece.rows:
        return piece
    return Piece(
        piece.matrix[first:last],
        None if piece.target is None else piece.target[first:last],
        None if piece.weight is None else piece.weight[first:last],
    )
