"""One thread for each call of linear algebra while items run side by side, so that cores are not asked for twice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Limit BLAS to one thread while any of these blocks is open; also makes its sums the same for any worker count.

    Without threadpoolctl (scikit-learn brings it) nothing is limited.
    """
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = _limited()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _limits is not None:
                _limits.restore_original_limits()
                _limits = None


def _limited() -> Any:
    try:
        import threadpoolctl
    except ImportError:
        return None
    return threadpoolctl.threadpool_limits(1, user_api="blas")
