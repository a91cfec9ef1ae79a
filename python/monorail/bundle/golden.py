"""The golden rows of a bundle beside what the engine answers here, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import to_numpy
from .version import Version

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class GoldenRow:
    """One golden row with both answers.

    Attributes:
        row: Its number in the bundle.
        values: The row.
        expected: The original's answers by output.
        got: The engine's, here.
        difference: The largest absolute difference of a number; infinite where one side alone is none.
        label_changed: Whether a label, or anything else that is no float, differs.
    """

    row: int
    values: dict[str, Any]
    expected: dict[str, Any]
    got: dict[str, Any]
    difference: float
    label_changed: bool


def worst_rows(version: Version, score: Callable[[pa.Table], pa.Table], count: int) -> list[GoldenRow]:
    """The golden rows whose answers differ most here from the original's, changed labels first.

    Args:
        version: Whose golden rows.
        score: The engine: answers to a table of inputs.
        count: How many rows at most.
    """
    inputs, expected = version.golden_inputs(), version.golden_outputs()
    if not len(inputs) or count < 1:
        return []
    got = score(inputs)
    differences, changed = np.zeros(len(inputs)), np.zeros(len(inputs), dtype=bool)
    for name in expected.column_names:
        wanted, found = to_numpy(expected[name]), to_numpy(got[name])
        if wanted.dtype.kind == "f":
            differences = np.maximum(differences, _apart(wanted, found))
        else:
            changed |= (wanted != found).reshape(len(inputs), -1).any(axis=1)
    order = np.lexsort((np.arange(len(inputs)), -differences, ~changed))[:count].tolist()
    return [
        GoldenRow(
            row,
            inputs.slice(row, 1).to_pylist()[0],
            expected.slice(row, 1).to_pylist()[0],
            got.slice(row, 1).to_pylist()[0],
            float(differences[row]),
            bool(changed[row]),
        )
        for row in order
    ]


def _apart(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """For each row the largest difference; two NaN and equal infinities agree."""
    wanted, found = wanted.reshape(len(wanted), -1), found.reshape(len(found), -1)
    with np.errstate(all="ignore"):
        apart = np.abs(wanted - found)
    apart = np.where((wanted == found) | (np.isnan(wanted) & np.isnan(found)), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart).max(axis=1, initial=0.0)
