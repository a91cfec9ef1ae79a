"""The one place that prints: data on stdout, talk on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import MonorailError
from ..progress import progress


class Printer:
    """Decides where text goes.

    Args:
        quiet: No talk but errors.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def data(self, text: str) -> None:
        """A line of data, on stdout at once."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        """One JSON value as data; indented where a person reads it."""
        indent = 2 if sys.stdout.isatty() else None
        self.data(json.dumps(value, indent=indent, ensure_ascii=False, default=str))

    def json_line(self, value: Any) -> None:
        """One JSON value of several as data, on a line of its own."""
        self.data(json.dumps(value, ensure_ascii=False, default=str))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under a head, as data; numbers to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
        right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
        for row in [list(head), *cells]:
            line = "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            )
            self.data(line.rstrip())

    def say(self, text: str) -> None:
        """A line of talk."""
        if not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def error(self, error: MonorailError) -> None:
        """An error: what happened, where, what to try."""
        self.fault(error.message, places=error.places(), hint=error.hint)

    def fault(self, message: str, *, places: Sequence[str] = (), hint: str | None = None) -> None:
        """The parts of an error, also where the printer is quiet."""
        lines = [f"error: {message}", *(f"  {place}" for place in places)]
        if hint:
            lines.append(f"hint: {hint}")
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def progress(self, what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """Progress on stderr while the block runs: a bar where a person watches, one line otherwise.

        Args:
            what: What goes on, in a few words.
            total: How much there is to do; None where nobody knows.

        Yields:
            A function to call with how much more is done.
        """
        if self.quiet:
            yield lambda done: None
            return
        with progress(what, total) as advance:
            yield advance
