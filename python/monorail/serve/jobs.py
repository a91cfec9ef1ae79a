"""Where the jobs of a server are kept."""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingError

#: The setting's words that name no folder.
AUTO, OFF = "auto", "off"


def job_store(said: str | None, registry: Path) -> str:
    """What Rust is told of the setting ``jobs``.

    Args:
        said: By the user: a folder, ``auto`` (or None) for one in the registry, ``off`` for none.
        registry: The registry's folder, there or not.

    Returns:
        ``off``, a folder's absolute path, or ``auto:`` and such a path: where nobody named the folder, a server
        that cannot have it starts all the same.

    Raises:
        SettingError: ``setting_invalid``: an empty path.
    """
    if said is None or said == AUTO:
        # Serving makes no registry: which one the next command finds would change.
        return f"{AUTO}:{registry.resolve() / 'jobs'}" if registry.is_dir() else OFF
    if said == OFF:
        return OFF
    if not said.strip():
        raise SettingError("jobs names no folder", code="setting_invalid", hint="name one, or say auto or off")
    return str(Path(said).expanduser().resolve())
