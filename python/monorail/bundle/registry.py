"""The registry: bundles under ``name@version`` and aliases, in a folder. Also where that folder is."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .. import _core
from ..errors import BundleError, InputError, NotFoundError, RegistryError
from .version import Version

#: Names the registry's folder where ``--registry`` does not.
VARIABLE = "MONORAIL_REGISTRY"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of the registry.

    Attributes:
        name: Its name.
        versions: When each version was created (ISO 8601), by version, oldest first.
        aliases: The version each alias points at.
    """

    name: str
    versions: Mapping[int, str]
    aliases: Mapping[str, int]


def find_registry(path: str | os.PathLike[str] | None = None) -> Path:
    """Where the registry is.

    Args:
        path: Said by the user; wins over everything.

    Returns:
        ``path``, else ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards from the working folder, else
        ``.monorail`` in the working folder, which the first save makes.
    """
    given = None if path is None else Path(path).expanduser().resolve()
    named = os.environ.get(VARIABLE)
    return _core.find_registry(given, Path(named).expanduser().resolve() if named else None, Path.cwd())


class Registry:
    """Bundles under ``name@version``, and aliases, in one folder.

    Args:
        path: The folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = find_registry(path)
        self._core = _core.Registry(self.path)

    def check(self, name: str) -> None:
        """Refuse a name that nothing can be saved under here, before there is something to save.

        Args:
            name: Of a model.

        Raises:
            RegistryError: ``name_invalid``, or ``registry_unusable``: the folder cannot be written to.
        """
        _core.check_name(name)
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            raise RegistryError(
                f"the registry {self.path} cannot be written to: {error.strerror or error}",
                code="registry_unusable",
                hint="name another one with --registry or MONORAIL_REGISTRY",
            ) from error

    def __repr__(self) -> str:
        return f"Registry({str(self.path)!r})"

    def list(self) -> list[Entry]:
        """Every model, sorted by name."""
        return [
            Entry(
                name=model["name"],
                versions={entry["version"]: entry["created"] for entry in model["versions"]},
                aliases=model["aliases"],
            )
            for model in json.loads(self._core.list())
        ]

    def resolve(self, reference: str | os.PathLike[str] | Version) -> tuple[str, int, Path]:
        """Find a bundle without reading it.

        Args:
            reference: ``name`` (the newest version), ``name@version``, ``name@alias``, or a bundle's folder.

        Returns:
            Name, version and folder.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``.
            BundleError: the path holds no bundle.
            InputError: ``wrong_type``: it is none of these.
        """
        if isinstance(reference, Version):
            return reference.name, reference.version, reference.path
        if isinstance(reference, os.PathLike):
            return _at_path(Path(reference))
        if not isinstance(reference, str):
            raise InputError(
                f"{reference!r} names no model",
                code="wrong_type",
                hint="pass a name such as 'flights' or 'flights@3', a Version, or the path of a bundle's folder",
            )
        if os.sep in reference:
            return _at_path(Path(reference))
        return self._core.resolve(reference)

    def holds(self, name: str, version: int, path: Path) -> bool:
        """Whether the bundle in a folder is this registry's own version of that name, not a copy from elsewhere."""
        try:
            return self._core.resolve(f"{name}@{version}")[2].resolve() == path.resolve()
        except (NotFoundError, RegistryError):
            return False

    def version(self, reference: str | os.PathLike[str] | Version) -> Version:
        """Read a bundle's description, after checking its files against their digests.

        Args:
            reference: As for :meth:`resolve`.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``.
            BundleError: a file is missing or altered, or the format is not one this version reads.
        """
        _, _, path = self.resolve(reference)
        return Version.from_manifest(_core.Bundle(path).manifest, path)

    def aliases(self, name: str) -> Mapping[str, int]:
        """The aliases of a model and the version each points at."""
        return next((entry.aliases for entry in self.list() if entry.name == name), {})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point ``alias`` at ``version``. A running server goes on with what it has loaded."""
        self._core.set_alias(name, alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove ``alias``."""
        self._core.remove_alias(name, alias)

    def draft(self, name: str) -> _core.Draft:
        """Claim the next version of ``name``: a folder to write into, published or discarded later."""
        check_name(name)
        return self._core.draft(name)


def check_name(name: object) -> None:
    """Refuse what is no model name, before any work is done for it.

    Raises:
        RegistryError: ``name_invalid``.
    """
    if not isinstance(name, str):
        raise RegistryError(f"{name!r} is not a model name", code="name_invalid", hint="a model name is a str")
    _core.check_name(name)


def _at_path(path: Path) -> tuple[str, int, Path]:
    """Name and version of the bundle in a folder."""
    path = path.expanduser().resolve()
    try:
        file = path / "bundle.json"
        # Before it is opened: a pipe in its place would be waited for.
        if not stat.S_ISREG(file.lstat().st_mode):
            raise ValueError("it is not a regular file")
        manifest = json.loads(file.read_bytes())
        return manifest["name"], manifest["version"], path
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} holds no bundle.json that can be read",
            code="bundle_damaged",
            hint="name a bundle's folder, the one with bundle.json in it, or a model of the registry",
        ) from error
