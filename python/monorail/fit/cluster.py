"""Rows kept in a Ray cluster's memory, for trainers that read them many times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .learning import Block


@dataclass(frozen=True)
class Held:
    """The rows of one part in Ray's object store, which spills to disk what its memory cannot hold.

    Attributes:
        reference: To its blocks; they belong to the worker that made them, and are lost with it.
    """

    reference: Any

    def blocks(self, again: Iterator[Block], max_rows: int) -> Iterator[Block]:
        """The rows in order.

        Args:
            again: Makes them anew, where they were lost.
            max_rows: Of a block, at most.
        """
        import ray
        import ray.exceptions

        try:
            blocks = ray.get(self.reference)
        except ray.exceptions.RayError:
            blocks = again
        for block in blocks:
            yield from cut(block, max_rows)


def hold(blocks: Iterator[Block]) -> Held:
    """Keep the rows of one part. Runs on a worker."""
    import ray

    return Held(ray.put(list(blocks)))


def cut(block: Block, max_rows: int) -> Iterator[Block]:
    """A block as smaller ones."""
    if block.rows <= max_rows:
        yield block
        return
    for first in range(0, block.rows, max_rows):
        rows = slice(first, first + max_rows)
        yield Block(
            None if block.batch is None else block.batch.slice(first, max_rows),
            None if block.matrix is None else block.matrix[rows],
            block.start + first,
            None if block.target is None else block.target.slice(first, max_rows),
            None if block.weight is None else block.weight[rows],
        )
