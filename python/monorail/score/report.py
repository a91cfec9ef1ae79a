"""What a run of scoring came to."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ScoreReport:
    """What :func:`monorail.score` wrote.

    Attributes:
        model: ``name@version``.
        out: The folder.
        rows: Rows with predictions in it, those of a run before included.
        invalid: Rows that break the signature, in ``invalid_folder``.
        parts: Files.
        resumed_rows: Rows, valid or not, that a run before had done already.
        seconds: How long this run took.
    """

    model: str
    out: str
    rows: int
    invalid: int
    parts: int
    resumed_rows: int
    seconds: float

    @property
    def invalid_folder(self) -> str:
        """Where the rows are that break the signature."""
        return f"{self.out.rstrip('/')}/_monorail/invalid"

    def __str__(self) -> str:
        done = self.rows + self.invalid - self.resumed_rows
        speed = f", {done / self.seconds:,.0f} rows/s" if self.seconds > 0 and done else ""
        lines = [
            f"{self.rows:,} rows scored by {self.model} in {self.out} "
            f"({_count(self.parts, 'file')}, {self.seconds:.1f} s{speed})"
        ]
        if self.resumed_rows:
            lines.append(f"{self.resumed_rows:,} rows were there already")
        if self.invalid:
            lines.append(f"{self.invalid:,} rows break the signature, and are in {self.invalid_folder}")
        return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
