"""Progress of long work, on stderr: a bar where a person watches, one line otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Advance(Protocol):
    """What a bar is moved with."""

    def __call__(self, done: float, text: str | None = None, total: float | None = None) -> None:
        """So much more is done.

        Args:
            done: How much.
            text: What to say of it now, behind what goes on.
            total: How much there is to do, where that is known only now.
        """


@contextlib.contextmanager
def progress(what: str, total: float | None = None, *, unit: str | None = None) -> Iterator[Advance]:
    """Show that something goes on while the block runs. rich is imported only where there is a terminal.

    Args:
        what: What goes on, in a few words.
        total: How much there is to do; None where nobody knows.
        unit: What is counted, such as ``rows``: how many a second, and the time left, are then shown, too.

    Yields:
        A function to call with how much more is done, see :class:`Advance`.
    """
    if not sys.stderr.isatty():
        sys.stderr.write(f"{what} …\n")
        sys.stderr.flush()
        yield lambda done, text=None, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    if unit is not None:
        columns += [TextColumn("{task.fields[speed]}"), TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, speed="")

        def advance(done: float, text: str | None = None, total: float | None = None) -> None:
            bar.advance(task, done)
            if text is not None:
                bar.update(task, description=f"{what}: {text}")
            if total is not None:
                bar.update(task, total=total)
            if unit is not None:
                _say_speed(bar, task, unit)

        yield advance


def _say_speed(bar: Progress, task: TaskID, unit: str) -> None:
    """Say how fast it goes: what is counted a second."""
    speed = bar.tasks[0].speed
    bar.update(task, speed="" if speed is None else f"{speed:,.0f} {unit}/s")


__all__ = ["Advance", "progress"]
