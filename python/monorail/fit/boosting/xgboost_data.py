"""XGBoost's own binned data, filled from blocks: the raw rows are never in memory at once.

XGBoost reads the rows four times: to count them, for the quantiles that the bins come from, for the width of its index
and to fill it. Its sketch of quantiles takes value after value, so the cuts do not depend on how rows come in blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..learning import Block, Inputs


@dataclass(frozen=True)
class Feed:
    """Where a matrix' rows come from.

    Attributes:
        inputs: What the estimator is fitted on.
        blocks: Gives the rows in order, each time it is called.
        labels: The label of each row of a block.
    """

    inputs: Inputs
    blocks: Callable[[], Iterator[Block]]
    labels: Callable[[Block], np.ndarray]


def quantile_matrix(feed: Feed, *, feature_weights: Any = None, feature_types: Any = None, **settings: Any) -> Any:
    """An ``xgboost.QuantileDMatrix`` of all rows.

    Args:
        feed: Where the rows come from.
        feature_weights: As the estimator has them.
        feature_types: Types of a matrix' features, as the estimator has them; those of a frame come from its columns.
        settings: What else ``QuantileDMatrix`` takes.
    """
    from xgboost import QuantileDMatrix

    frame = hasattr(feed.inputs.sample, "columns")
    rows = _iterator_class()(feed, list(feed.inputs.names) if frame else None, None if frame else feature_types)
    made = QuantileDMatrix(rows, **settings)
    if frame:
        made.feature_types = column_types(feed.inputs.types, rows.with_nulls)
    if feature_weights is not None:
        made.set_info(feature_weights=feature_weights)
    return made


def column_types(types: Sequence[pa.DataType], with_nulls: set[int]) -> list[str]:
    """What XGBoost calls the columns of a frame, which has integers with nulls as floats."""

    def word(place: int, kind: pa.DataType) -> str:
        if pa.types.is_boolean(kind):
            return "i"
        return "int" if pa.types.is_integer(kind) and place not in with_nulls else "float"

    return [word(place, kind) for place, kind in enumerate(types)]


@functools.cache
def _iterator_class() -> Any:
    import xgboost

    base: Any = xgboost.DataIter

    class Blocks(base):
        """Gives XGBoost one block after the other, and begins anew when it asks."""

        def __init__(self, feed: Feed, names: list[str] | None, types: Any) -> None:
            super().__init__()
            self.feed, self.names, self.types = feed, names, types
            self.left: Iterator[Block] = iter(())
            self.with_nulls: set[int] = set()

        def reset(self) -> None:
            self.left = iter(self.feed.blocks())

        def next(self, input_data: Callable[..., None]) -> bool:
            block = next((block for block in self.left if block.rows), None)
            if block is None:
                return False
            if block.batch is not None:
                self.with_nulls.update(i for i, column in enumerate(block.batch.columns) if column.null_count)
            matrix = block.matrix if block.batch is None else block.dense
            more = {} if block.weight is None else {"weight": block.weight}
            names = {} if self.names is None else {"feature_names": self.names}
            kinds = {} if self.types is None else {"feature_types": self.types}
            input_data(data=matrix, label=self.feed.labels(block), **names, **kinds, **more)
            return True

    return Blocks
