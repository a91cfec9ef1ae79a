"""Progress of long work, on stderr: a bar where a person watches, one line otherwise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Show that something goes on while the block runs. rich is imported only where there is a terminal.

    Args:
        what: What goes on, in a few words.
        total: How much there is to do; None where nobody knows.

    Yields:
        A function to call with how much more is done.
    """
    if not sys.stderr.isatty():
        sys.stderr.write(f"{what} …\n")
        sys.stderr.flush()
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


__all__ = ["progress"]
