"""Medians over rounds, how far the rounds were apart, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path


def median(values: Sequence[float]) -> float:
    """The median of the rounds."""
    return statistics.median(values)


def noise(values: Sequence[float]) -> float:
    """How far the rounds were apart: the whole spread over the median. 0.02 is quiet, 0.2 means: run it again."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def with_noise(values: Sequence[float], form: str) -> str:
    """The median of the rounds, and half their spread in percent of it."""
    apart = f" ±{noise(values) * 50:.0f}%" if len(values) > 1 else ""
    return f"{format(median(values), form)}{apart}"


def heading(text: str) -> None:
    """Begin a benchmark: what it is, and where it runs."""
    load = os.getloadavg()[0]
    busy = f", load {load:.1f} before the start" + (": NOT QUIET" if load > 0.5 else "")
    print(f"\n== {text}\n   {_processor()}, {os.cpu_count()} cores{busy}", flush=True)


def verdict(what: str, ratio: float, limit: float | None, *, at_most: bool, counts: str | None = None) -> None:
    """Print a ratio beside the limit it is judged by, if there is one.

    Args:
        what: The ratio, in words.
        ratio: Its value.
        limit: The limit; None for a ratio that is only told.
        at_most: Whether the ratio must not be over the limit, rather than not under it.
        counts: Why the ratio does not count, if it does not.
    """
    if limit is None:
        print(f"   {what}: {ratio:.2f}")
        return
    kept = ratio <= limit if at_most else ratio >= limit
    outcome = f"does not count: {counts}" if counts else "kept" if kept else "MISSED"
    print(f"   {what}: {ratio:.2f} (limit: {'at most' if at_most else 'at least'} {limit:g}) {outcome}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("   " + "  ".join(cells).rstrip())


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
