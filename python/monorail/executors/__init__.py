"""Where work over data runs: threads of this process, or a Ray cluster, behind one contract."""

from __future__ import annotations

from ..errors import SettingError
from .base import Executor

__all__ = ["Executor", "open_executor"]


def open_executor(on: str = "local", workers: int | None = None) -> Executor:
    """The executor that ``on=`` names.

    Args:
        on: ``local``; ``ray``, the cluster that this process is connected to, else the one ``RAY_ADDRESS`` names, else
            one on this machine; or a cluster's address, ``ray://HOST:PORT``.
        workers: Items that run at once; default: as many as there are cores.

    Raises:
        SettingError: ``setting_invalid``.
        MissingExtraError: Ray is asked for and not installed.
    """
    if not isinstance(on, str) or (on not in {"local", "ray"} and not on.startswith("ray://")):
        raise SettingError(
            f"on={on!r} is no place to work",
            code="setting_invalid",
            hint='give "local", "ray", or the address of a cluster, such as "ray://head:10001"',
        )
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise SettingError(f"workers={workers!r} cannot work", code="setting_invalid", hint="give 1 or more")
    if on == "local":
        from .local import LocalExecutor

        return LocalExecutor(workers)
    from .ray import RayExecutor

    return RayExecutor(on, workers)
