"""Processes under measurement with all that they start: CPU time and memory, from the word on. Needs Linux."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


class Tree:
    """A process and all that it started: CPU time and memory, as ``/proc`` has them."""

    def __init__(self, process: int) -> None:
        self._root = process
        self._cpu: dict[int, float] = {}
        self.peak = 0

    def look(self) -> None:
        """Take a sample."""
        memory = 0
        for process in _descendants(self._root):
            try:
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                self._cpu[process] = (int(fields[11]) + int(fields[12])) / _TICKS
                rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
                memory += int(rollup.partition("Pss:")[2].split()[0]) * 1024
            except (OSError, IndexError):
                continue
        self.peak = max(self.peak, memory)

    @property
    def cpu(self) -> float:
        """Seconds so far; of a process that ended, those of its last sample."""
        return sum(self._cpu.values())


def _descendants(root: int) -> list[int]:
    """A process and those below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


@contextmanager
def sampled(tree: Tree) -> Iterator[None]:
    """Samples while the block runs."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            tree.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tree.look()


def wait_for(lines: Any, word: str) -> None:
    """Read to a line; a process may print others."""
    for line in lines:
        if line.strip() == word:
            return
    raise RuntimeError(f"the process ended before it said {word}")
