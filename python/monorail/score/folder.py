"""The folder that a run writes: on this machine or in an object store, a file there whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.fs as fs

from ..data.sources.places import Place, address, file_system
from ..errors import InputError

#: Bytes sent to an object store at once.
CHUNK_BYTES = 8 << 20


class Folder:
    """A folder by path or URL. It can be pickled, so that workers write their files themselves.

    Attributes:
        name: As errors call it.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Name a folder; it need not be there.

        Args:
            where: A path, or a URL such as ``s3://bucket/folder``.

        Raises:
            InputError: ``malformed_request``: no name, or no such kind of URL.
        """
        self.name = os.fspath(where)
        if not self.name:
            raise InputError("out is empty", code="malformed_request", hint="name a folder, . for this one")
        self._place, path = address(self.name)
        self._root = path if self._place is not None else str(Path(path).expanduser().absolute())

    @contextmanager
    def _told(self, what: str = "be written to") -> Iterator[None]:
        """Have what its file system raises say whose folder it is, and what to do.

        Raises:
            InputError: ``malformed_request``.
        """
        try:
            yield
        except OSError as error:
            first = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise InputError(
                f"{self.name} cannot {what}: {first}",
                code="malformed_request",
                hint="make room, and start again: what is there is whole, and stays"
                if is_full
                else "name a folder that may be written to",
            ) from error

    @property
    def local(self) -> bool:
        """Whether it lies in this machine's file system."""
        return self._place is None

    @property
    def _files(self) -> fs.FileSystem | None:
        """The object store's file system, opened where it is used: it has secrets, which do not travel."""
        return None if self._place is None else file_system(self._place)

    def path(self, name: str) -> str:
        """Where a file of it is, as its file system names it."""
        return str(PurePosixPath(self._root) / name)

    def holds(self, place: Place) -> bool:
        """Whether a file of the user's lies in it, not in a folder below."""
        if (place.store is None) != self.local:
            return False
        folder = PurePosixPath(place.path).parent
        if not self.local:
            return folder == PurePosixPath(self._root)
        return os.path.realpath(folder) == os.path.realpath(self._root)

    def make(self) -> None:
        """Make it, and the folders of ours in it.

        Raises:
            InputError: ``malformed_request``: it cannot be made.
        """
        if self._files is not None:
            return
        with self._told("be made"):
            Path(self._root).mkdir(parents=True, exist_ok=True)

    def names(self, under: str = "") -> list[str]:
        """The names of the files in it (not in folders below), sorted; none where there is no such folder."""
        with self._told("be read"):
            if self._files is None:
                folder = Path(self.path(under))
                return sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
            found = self._files.get_file_info(fs.FileSelector(self.path(under), allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.File and info.base_name)

    def read(self, name: str) -> bytes | None:
        """What a file of it holds; None where there is none."""
        with self._told("be read"):
            try:
                if self._files is None:
                    return Path(self.path(name)).read_bytes()
                with self._files.open_input_stream(self.path(name)) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

    def open(self, name: str) -> pa.NativeFile:
        """Open a file of it for reading at any place."""
        if self._files is None:
            return pa.OSFile(self.path(name), "rb")
        return self._files.open_input_file(self.path(name))

    def remove(self, name: str) -> None:
        """Remove a file of it, if it is there."""
        with self._told(), suppress(FileNotFoundError):
            if self._files is None:
                Path(self.path(name)).unlink()
            else:
                self._files.delete_file(self.path(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[str]:
        """A path to write a file to; when the block ends it is there under its name, whole, and not before.

        If the block raises, nothing is there. A file of that name is replaced.

        Raises:
            InputError: ``malformed_request``: it cannot be written, by what the block does with the path either.
        """
        if self._files is None:
            with self._told(), self._writing_here(name) as path:
                yield path
            return
        with self._told(), TemporaryDirectory(prefix="monorail-part-") as scratch:
            path = Path(scratch) / "part"
            yield str(path)
            self._send(path, name)

    @contextmanager
    def _writing_here(self, name: str) -> Iterator[str]:
        """Beside the place it goes to, since a rename is all or nothing only within a file system."""
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
        try:
            yield str(path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _send(self, path: Path, name: str) -> None:
        """Upload a file. A store shows an object when its stream is closed; one that was cut short is removed again."""
        store = self._store()
        is_whole = False
        try:
            with store.open_output_stream(self.path(name)) as stream, path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    stream.write(chunk)
                is_whole = True
        finally:
            if not is_whole:
                # Whatever stopped it is on its way up; a rest that cannot be removed is seen by its missing footer.
                with suppress(OSError):
                    store.delete_file(self.path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self.writing(name) as path:
            Path(path).write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless it is there; whether this call made it.

        Object stores have no such operation everywhere: there, two that start in the same moment may both believe so.
        """
        if self._files is not None:
            if self.read(name) is not None:
                return False
            self.write(name, content)
            return self.read(name) == content
        with self._told():
            return self._create_here(Path(self.path(name)), content)

    @staticmethod
    def _create_here(target: Path, content: bytes) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # A link is made only where nothing is, and what it shows is whole.
            try:
                os.link(path, target)
            except PermissionError:  # a file system without links
                target.open("xb").close()
                path.replace(target)
        except FileExistsError:
            return False
        finally:
            path.unlink(missing_ok=True)
        return True

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Hold a lock while the block runs, where the file system has locks; whether it was free.

        It is the process's: killed, it leaves none behind.
        """
        if self._files is not None:
            yield True
            return
        import fcntl

        with self._told():
            target = Path(self.path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("ab")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks
                pass
            yield True

    def _store(self) -> fs.FileSystem:
        return self._files if self._files is not None else fs.LocalFileSystem()
