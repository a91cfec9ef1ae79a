"""Waiting for a condition, never for a length of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], *, deadline_s: float = 60.0) -> T:
    """The first true value of ``condition``; fails once ``deadline_s`` is over."""
    until = time.monotonic() + deadline_s
    pause = threading.Event()
    while True:
        if value := condition():
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        pause.wait(0.005)
