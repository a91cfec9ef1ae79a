"""What a fit says of itself: rows, passes, and how each step was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class StepReport:
    """How one step was fitted.

    Attributes:
        path: The way to it, as in ``pipeline.prepare.scale``.
        kind: Name of its class.
        how: ``streamed`` (from all rows, in passes), ``sampled`` (on a uniform sample), ``in memory`` (on all rows,
            held at once) or ``as it was`` (nothing to learn, or fitted before).
        rows: How many rows it was fitted on.
        note: What else is to be said: an error bound, say.
    """

    path: str
    kind: str
    how: str
    rows: int
    note: str = ""


@dataclass(frozen=True)
class FitReport:
    """How a pipeline was fitted; printing it is a table.

    Attributes:
        rows: How many rows the data has.
        passes: How often the data was read, the final estimator's own reading among it.
        seconds: How long it took, in seconds.
        steps: How each step was fitted, in order.
        seen: What was seen of each raw column, as the bundle format says it.
        nullable: Raw columns that hold a null.
        example: At most 1,000 rows of the raw columns, a uniform sample.
        categories: Raw columns whose categories the model knows by their places, in the words of
            :class:`monorail.adapters.frames.Form`.
    """

    rows: int
    passes: int
    seconds: float
    steps: tuple[StepReport, ...]
    seen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    nullable: tuple[str, ...] = ()
    example: pa.Table | None = field(default=None, repr=False)
    categories: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        head = f"{self.rows:,} rows, {self.passes} passes, {self.seconds:.1f} s"
        cells = [("step", "class", "fitted", "rows", "note")]
        cells += [(step.path, step.kind, step.how, f"{step.rows:,}", step.note) for step in self.steps]
        widths = [max(len(row[place]) for row in cells) for place in range(4)]
        lines = [
            "  ".join(
                [
                    *(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)),
                    row[3].rjust(widths[3]),
                    row[4],
                ]
            ).rstrip()
            for row in cells
        ]
        return "\n".join([head, *lines])
