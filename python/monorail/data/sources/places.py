"""Where files lie: paths, globs, folders and URLs of object stores, found and opened alike."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from ...errors import InputError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_WILD = re.compile(r"[*?\[]")
_S3, _GCS = {"s3", "s3a", "s3n"}, {"gs", "gcs"}
#: Characters of what a store says that an error shows.
MOST_SAID = 500
#: How a folder's name says that a column of its rows is null.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Store:
    """An object store: what leads to it, but no secret: each machine takes those from its own environment.

    Attributes:
        scheme: ``s3`` or ``gs``.
        endpoint: Address of a server other than the vendor's.
        region: Of S3.
    """

    scheme: str
    endpoint: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Place:
    """A file that was found.

    Attributes:
        name: What the user knows it by: a path or a URL.
        path: What its file system knows it by.
        size: In bytes.
        modified: Nanoseconds since 1970; 0 where the store does not say.
        store: The object store; None on this machine.
        keys: Columns that its folders spell (``month=3``), as text, None for null.
    """

    name: str
    path: str
    size: int
    modified: int = 0
    store: Store | None = None
    keys: tuple[tuple[str, str | None], ...] = ()

    def open(self) -> pa.NativeFile:
        """The file, for reading at any offset.

        Raises:
            InputError: it cannot be opened, or is not what was found any more.
        """
        try:
            if self.store is not None:
                return file_system(self.store).open_input_file(self.path)
            now = os.stat(self.path)
            if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
                raise InputError(
                    f"{self.name} was changed while it was read",
                    code="malformed_request",
                    hint="start again, on files that nobody writes",
                    details=[{"file": self.name}],
                )
            return pa.OSFile(self.path)
        except OSError as error:
            raise unreadable(self.name, error) from error

    @property
    def suffix(self) -> str:
        """The extension, in lower case, with that of a compression: ``.csv.gz``."""
        suffixes = PurePosixPath(self.path).suffixes
        ends = [suffix.lower() for suffix in suffixes[-2:]]
        return "".join(ends) if ends and ends[-1] in COMPRESSED else "".join(ends[-1:])


#: Extensions of compressed files.
COMPRESSED = {".gz", ".bz2", ".zst", ".lz4"}


def unreadable(name: str, error: BaseException, **place: Any) -> InputError:
    """The error of a file that cannot be read.

    Args:
        name: Of the file.
        error: What was raised; its first line is kept.
        place: More of the detail, such as ``row_group``.

    Raises:
        MemoryError: that is what was raised; it says nothing of the file.
    """
    if isinstance(error, MemoryError):
        raise error
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, PermissionError):
        hint = "name files that may be read"
    elif isinstance(error, OSError) and address(name)[0] is not None:
        hint = "check the address, and what the environment says of the store: its endpoint, region and credentials"
    else:
        hint = "check that it is whole, and that it is what its extension says"
    return InputError(
        f"{name} cannot be read: {first if len(first) <= MOST_SAID else first[:MOST_SAID] + ' …'}",
        code="malformed_request",
        hint=hint,
        details=[{"code": "malformed_request", "file": name, **place}],
    )


def found(names: Iterable[str], suffixes: Sequence[str]) -> list[Place]:
    """The files that paths, globs, folders and URLs name, in the order of the names, each name's in the order of paths.

    Args:
        names: What the user gave. In a folder, files are taken whose extension is known and that neither they nor a
            folder over them begins with ``_`` or ``.``.
        suffixes: Extensions that are known.

    Raises:
        InputError: ``malformed_request``: one leads to no file, or to a store that is not known or cannot be reached.
    """
    places = [place for name in names for place in _named(name, suffixes)]
    if not places:
        raise InputError("no file is named", code="malformed_request", hint="name a file, a folder or a pattern")
    return places


@functools.lru_cache(maxsize=16)
def file_system(store: Store) -> fs.FileSystem:
    """The file system of an object store; credentials come from the environment of this process."""
    if store.scheme == "gs":
        emulated = store.endpoint is not None
        return fs.GcsFileSystem(
            anonymous=emulated,
            scheme="http" if emulated else "https",
            endpoint_override=store.endpoint,
            retry_time_limit=timedelta(seconds=60),
        )
    settings = {"endpoint_override": store.endpoint, "region": store.region}
    return fs.S3FileSystem(**{name: value for name, value in settings.items() if value})


def address(name: str) -> tuple[Store | None, str]:
    """The object store that a URL leads to, None for this machine, and the path there.

    Raises:
        InputError: ``malformed_request``: a kind of URL that is not known.
    """
    scheme = match.group(1).lower() if (match := _SCHEME.match(name)) else None
    if scheme is None:
        return None, name
    if scheme == "file":
        return None, unquote(name.partition("://")[2])
    if scheme not in _S3 | _GCS:
        raise InputError(
            f"{name} is of a kind of address that is not known",
            code="malformed_request",
            hint="give a path, or an address that begins with s3:// or gs://",
        )
    path = name.partition("://")[2].strip("/")
    return _store("s3" if scheme in _S3 else "gs", path.partition("/")[0]), path


def _named(name: str, suffixes: Sequence[str]) -> list[Place]:
    """The files of one name."""
    store, path = address(name)
    try:
        if store is None:
            return _local(path, suffixes)
        return _listed(name, path, store, f"{name.partition('://')[0]}://", suffixes)
    except OSError as error:
        raise unreadable(name, error) from error


def _store(scheme: str, bucket: str) -> Store:
    """What the environment says of a store."""
    if scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        return Store("gs", emulator.partition("://")[2] or emulator if emulator else None)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if endpoint else _region(bucket)
    return Store("s3", endpoint, region)


@functools.lru_cache(maxsize=64)
def _region(bucket: str) -> str | None:
    """Where a bucket lies; None where nobody says, which leaves it to the configuration of AWS."""
    try:
        return fs.resolve_s3_region(bucket)
    except (OSError, ValueError):
        return None


def _local(name: str, suffixes: Sequence[str]) -> list[Place]:
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        return [_on_disk(path)]
    if os.path.isdir(path):
        return _some(name, [_on_disk(file, path) for file in _within(path, suffixes)])
    if not _WILD.search(path):
        raise _absent(name, path)
    base = _literal(path)
    if os.path.isdir(base):
        # A pattern passes over a folder that may not be read, as if it were empty.
        os.scandir(base).close()
    files: list[str] = []
    for match in sorted(glob.glob(path, recursive=True)):
        if not _is_hidden(os.path.relpath(match, base), path):
            files += [match] if os.path.isfile(match) else _within(match, suffixes) if "**" not in path else []
    return _some(name, [_on_disk(file, base) for file in _known(files, suffixes)])


def _absent(name: str, path: str) -> InputError:
    """The error of a name that leads to no file; that it cannot be looked for is another one.

    Raises:
        OSError: it cannot.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.stat(path)
        return InputError(f"{name} is no file", code="malformed_request", hint="name a file, a folder or a pattern")
    return InputError(f"{name or repr(name)} does not exist", code="malformed_request", hint="name a file that does")


def _fail(error: OSError) -> None:
    """For ``os.walk``, which would pass over a folder that may not be read, as if it were empty."""
    raise error


def _known(files: Sequence[str], suffixes: Sequence[str]) -> Sequence[str]:
    """Those of a pattern's files that have an extension of rows; all, where none has."""
    return [file for file in files if file.lower().endswith(tuple(suffixes))] or files


def _is_hidden(inner: str, pattern: str) -> bool:
    """Whether a path below a pattern's literal part is none of rows: part of it begins with ``_`` or ``.``."""
    asked = re.search(r"(^|/)[_.][^/]*$", pattern) is not None
    return not asked and any(part.startswith(("_", ".")) for part in inner.split("/"))


def _on_disk(path: str, base: str | None = None) -> Place:
    facts = os.stat(path)
    # Relative to the folder of this process, which other processes need not share.
    keys = hive_keys(os.path.relpath(path, base)) if base is not None else ()
    return Place(path, os.path.abspath(path), facts.st_size, facts.st_mtime_ns, None, keys)


def _within(folder: str, suffixes: Sequence[str]) -> list[str]:
    """The files of a folder and of those in it."""
    files = []
    for here, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
        files += [os.path.join(here, name) for name in names if _taken(name, suffixes)]
    return sorted(files)


def _taken(path: str, suffixes: Sequence[str]) -> bool:
    """Whether a file that nobody spelt out is one of rows."""
    name = os.path.basename(path)
    return not name.startswith(("_", ".")) and name.lower().endswith(tuple(suffixes))


def _listed(name: str, path: str, store: Store, scheme: str, suffixes: Sequence[str]) -> list[Place]:
    """The files of an object store that a name means."""
    system = file_system(store)
    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        return [_in_store(info, scheme, store)]
    wild = info.type == fs.FileType.NotFound
    if wild and not _WILD.search(path):
        raise InputError(f"{name} does not exist", code="malformed_request", hint="name a file that does")
    base = _literal(path) if wild else path
    infos = system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    files = {info.path: info for info in infos if info.type == fs.FileType.File}
    files = {file: info for file, info in files.items() if not _is_hidden(file[len(base) :].strip("/"), path)}
    if wild:
        matches = _known(sorted(file for file in files if _matches(file, path)), suffixes)
    else:
        matches = sorted(file for file in files if _taken(file, suffixes))
    return _some(name, [_in_store(files[file], scheme, store, base) for file in matches])


def _in_store(info: fs.FileInfo, scheme: str, store: Store, base: str | None = None) -> Place:
    keys = hive_keys(info.path[len(base) :].strip("/")) if base is not None else ()
    return Place(scheme + info.path, info.path, info.size or 0, info.mtime_ns or 0, store, keys)


def _some(name: str, places: list[Place]) -> list[Place]:
    if not places:
        raise InputError(
            f"{name} holds no file that is read",
            code="malformed_request",
            hint="give .parquet, .csv or .arrow files, or a folder or pattern that leads to some",
        )
    return places


def _literal(pattern: str) -> str:
    """The folder above a pattern's first wild part."""
    parts = pattern.split("/")
    wild = next(place for place, part in enumerate(parts) if _WILD.search(part))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else "." if wild == 0 else "")


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is one of a glob, or lies in a folder that is; ``**`` is any number of folders."""

    def fits(parts: Sequence[str], wanted: Sequence[str]) -> bool:
        if not wanted:
            return True
        if wanted[0] == "**":
            return any(fits(parts[skip:], wanted[1:]) for skip in range(len(parts) + 1))
        return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and fits(parts[1:], wanted[1:])

    return fits(path.split("/"), pattern.split("/"))


def leads_to(name: str, path: str) -> bool:
    """Whether a name would lead to a file, too, if that were there.

    Args:
        name: What the user gave as data: a path, glob, folder or URL.
        path: A path or URL.
    """
    store, place = address(name)
    other, file = address(path)
    if store != other:
        return False
    if store is None:
        place, file = (os.path.realpath(os.path.expanduser(each)) for each in (place, file))
    wild = _WILD.search(place) is not None and not (store is None and os.path.exists(place))
    base = _literal(place) if wild else place
    if not file.startswith(base.rstrip("/") + "/"):
        return False
    inner = file[len(base) :].strip("/")
    if not wild:
        return not any(part.startswith(("_", ".")) for part in inner.split("/"))
    # A folder that a pattern names is all that is in it.
    parts = file.split("/")
    heads = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    return not _is_hidden(inner, place) and any(_matches(head, place) for head in heads)


def hive_keys(path: str) -> tuple[tuple[str, str | None], ...]:
    """What the folders of a path say of its rows, ``month=3/day=4/x.parquet``."""
    pairs = [part.partition("=") for part in path.split("/")[:-1] if "=" in part]
    return tuple((unquote(key), None if value == HIVE_NULL else unquote(value)) for key, _, value in pairs)
