"""Progress of long work, on stderr: a bar where a person watches, one line otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextlib.contextmanager
def progress(what: str, total: float | None = None, *, unit: str | None = None) -> Iterator[Callable[[float], None]]:
    """Show that something goes on while the block runs. rich is imported only where there is a terminal.

    Args:
        what: What goes on, in a few words.
        total: How much there is to do; None where nobody knows.
        unit: What is counted, such as ``rows``: how many a second, and the time left, are then shown, too.

    Yields:
        A function to call with how much more is done.
    """
    if not sys.stderr.isatty():
        sys.stderr.write(f"{what} …\n")
        sys.stderr.flush()
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    if unit is not None:
        columns += [TextColumn("{task.fields[speed]}"), TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, speed="")
        if unit is not None:
            yield lambda done: _advance(bar, task, done, unit)
            return
        yield lambda done: bar.advance(task, done)


def _advance(bar: Progress, task: TaskID, done: float, unit: str) -> None:
    """Move on, and say how fast: what is counted a second."""
    bar.advance(task, done)
    speed = bar.tasks[0].speed
    bar.update(task, speed="" if speed is None else f"{speed:,.0f} {unit}/s")


__all__ = ["progress"]
