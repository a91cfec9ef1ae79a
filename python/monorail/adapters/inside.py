"""Files that a model's file names: they lie in its folder or nowhere. And archives, before they are unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from ..errors import InputError, TrustError

#: What an archive may unpack to: this much, or as many times its own size, whichever is more.
_LIMIT_BYTES = 1 << 30
_LIMIT_TIMES = 100
_LIMIT_ENTRIES = 100_000


def inside(folder: Path, name: object, what: str) -> Path:
    """The file or folder that `name` is within a folder.

    Args:
        folder: where it must lie.
        name: a relative path, as read from a file.
        what: what names it, as in "MLmodel".

    Raises:
        TrustError: `untrusted`: it is absolute, climbs out of the folder, or a link leads out.
        InputError: `malformed_request`: it is no path, or nothing is there.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(
            f"{what} of {folder} names no file where it should: {name!r}",
            code="malformed_request",
            hint="save the model again with the framework that made it",
        )
    parts = PurePosixPath(name.replace("\\", "/")).parts
    path = folder / name
    if parts[:1] == ("/",) or ".." in parts or not path.resolve().is_relative_to(folder.resolve()):
        raise TrustError(
            f"{what} of {folder} names a file outside its folder: {name!r}",
            code="untrusted",
            hint="no model needs that; do not use it",
        )
    if not path.exists():
        raise InputError(
            f"{path}, which {what} names, does not exist", code="malformed_request", hint="bring the whole folder"
        )
    return path


def check_archive(path: Path) -> None:
    """Refuse an archive that would unpack to far more than it is, or outside its folder.

    Raises:
        InputError: `malformed_request`: it is no zip archive.
        TrustError: `untrusted`: it is made to do harm.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(
            f"{path} cannot be opened: {error}", code="malformed_request", hint="check that the file is whole"
        ) from error
    limit = max(_LIMIT_BYTES, _LIMIT_TIMES * path.stat().st_size)
    size = sum(entry.file_size for entry in entries)
    if size > limit or len(entries) > _LIMIT_ENTRIES:
        raise TrustError(
            f"{path} has {path.stat().st_size:,} bytes and would unpack to {size:,} in {len(entries):,} files",
            code="untrusted",
            hint="no model needs that; do not use it",
        )
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if parts[:1] == ("/",) or ".." in parts:
            raise TrustError(
                f"{path} would unpack a file outside its folder: {entry.filename!r}",
                code="untrusted",
                hint="no model needs that; do not use it",
            )
