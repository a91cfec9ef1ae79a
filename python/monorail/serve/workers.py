"""Whether a model's own code may run, and how its processes are started: asked before anything of it is opened."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .. import _core
from ..bundle.registry import Registry
from ..bundle.version import Version


def trusted_worker(
    reference: str | os.PathLike[str] | Version, registry: Registry, *, trust: bool = False, isolated: bool = False
) -> tuple[bool, str | None]:
    """Decide about a model before it is loaded.

    Args:
        reference: As the user named it.
        registry: Where it was looked for.
        trust: Whether the user said that its code may run.
        isolated: Whether its environment is always one that uv makes.

    Returns:
        Whether it is trusted, and how its workers are started: None where it has none, or where it is not trusted, for
        then the core refuses it before it lays anything out.

    Raises:
        BundleError: its files are not what was published.
        EngineError: ``environment_unavailable``: what it needs cannot be had.
    """
    path = registry.resolve(reference)[2]
    # A graph alone is not read twice for this.
    if not _has_worker(path):
        return False, None
    version = registry.version(reference)
    if not (trust or is_trusted(reference, version, registry)):
        return False, None
    # Not imported for graphs: serving those starts in no time.
    from .environments import worker_command

    return True, worker_command(version.path, version.manifest, isolated=isolated)


def _has_worker(path: Path) -> bool:
    """Whether a bundle says that it has a worker."""
    manifest = json.loads(_core.read_manifest(path))
    return any(stage["engine"] == "worker" for stage in manifest["stages"])


def is_trusted(reference: str | os.PathLike[str] | Version, version: Version, registry: Registry) -> bool:
    """Whether a bundle lies in a registry that only this user can have written: their own folder, with mode 0700.

    A path alone names no registry: somebody's bundle, unpacked into a folder of one's own, is not trusted for that. A
    `Version` comes from the registry it lies in.
    """
    home = registry
    if isinstance(reference, Version) and not registry.holds(version.name, version.version, version.path):
        home = Registry(version.path.parents[1])
    return home.holds(version.name, version.version, version.path) and _core.Registry(home.path).is_trusted()
