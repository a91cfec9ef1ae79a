"""Large objects that many processes read: kept once, where all of them map the same memory.

What is pickled for a worker names such objects instead of holding them. On one machine they lie in files (the buffers
of arrays and Arrow columns as they are in memory, so nothing is parsed or copied by who maps them); on Ray they are in
its object store.
"""

from __future__ import annotations

import importlib
import io
import mmap
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..executors.packing import packed

#: Objects smaller than this travel with what names them.
LARGE_BYTES = 65_536

#: Where a buffer begins in a file: as the widest vector loads like it.
_ALIGNMENT = 64


class Reader(Protocol):
    """Finds kept objects, in any process; it can be pickled."""

    def read(self, number: int) -> Any:
        """The object of a number."""
        ...


class Spool:
    """Keeps large objects; see :class:`FileSpool` and :class:`RaySpool`. A context manager."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        # An object is known by its identity, so it has to stay.
        self._held: list[Any] = []

    def keep(self, content: Any) -> Any:
        """Keep an object, and give back one that is the same and lies in the shared memory: use that."""
        number = len(self._held)
        shared = self._kept(number, content)
        self._name(shared, number)
        return shared

    def packed(self, content: Any) -> bytes:
        """An object as bytes, in which large ones are names: they are kept on the way.

        Code of no installed package goes along by value.
        """
        return packed(cloudpickle(), content, self._number)

    def reader(self) -> Reader:
        """What finds kept objects elsewhere."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what they take; who maps them goes on."""
        self._numbers, self._held = {}, []

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _kept(self, number: int, content: Any) -> Any:
        raise NotImplementedError

    def _number(self, content: Any) -> int | None:
        """The number of a large object; None of any other."""
        if not is_large(content):
            return None
        if id(content) not in self._numbers:
            number = len(self._held)
            self._kept(number, content)
            self._name(content, number)
        return self._numbers[id(content)]

    def _name(self, content: Any, number: int) -> None:
        self._numbers[id(content)] = number
        self._held.append(content)


def cloudpickle() -> Any:
    """The module that pickles functions: joblib needs it, too, and older ones bring it along."""
    try:
        return importlib.import_module("cloudpickle")
    except ImportError:
        return importlib.import_module("joblib.externals.cloudpickle")


def unpacked(reader: Reader, data: bytes) -> Any:
    """The object of :meth:`Spool.packed`."""

    class Unpacker(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return reader.read(pid)

    return Unpacker(io.BytesIO(data)).load()


def is_large(content: Any) -> bool:
    """Whether it is an array, a frame or a column of some size."""
    kind = type(content)
    module = kind.__module__.partition(".")[0]
    if module == "numpy" and kind.__name__ == "ndarray":
        return content.nbytes >= LARGE_BYTES
    if module == "pandas" and kind.__name__ in ("DataFrame", "Series"):
        return content.size * 8 >= LARGE_BYTES
    if module == "scipy" and hasattr(content, "nnz"):
        return content.nnz * 12 >= LARGE_BYTES
    return False


class FileSpool(Spool):
    """Objects in files of a temporary folder, for processes of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="monorail-search-"))
        self._reader = FileReader(str(self._folder))

    def reader(self) -> FileReader:
        """What maps the files."""
        return self._reader

    def close(self) -> None:
        """Remove the files."""
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kept(self, number: int, content: Any) -> Any:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
        places: list[tuple[int, int]] = []
        with open(self._folder / f"{number}.buffers", "xb") as file:
            for buffer in buffers:
                with buffer.raw() as raw:
                    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                    places.append((file.tell(), raw.nbytes))
                    file.write(raw)
        (self._folder / f"{number}.head").write_bytes(pickle.dumps((head, places)))
        return self._reader.read(number)


class FileReader:
    """Maps kept objects. What a process writes to them is its own: pages are shared until then."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._read: dict[int, Any] = {}

    def __reduce__(self) -> Any:
        return FileReader, (self._folder,)

    def read(self, number: int) -> Any:
        """The object of a number."""
        if number not in self._read:
            head, places = pickle.loads((Path(self._folder) / f"{number}.head").read_bytes())
            with open(Path(self._folder) / f"{number}.buffers", "rb") as file:
                empty = not any(size for _, size in places)
                view = memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            self._read[number] = pickle.loads(head, buffers=[view[at : at + size] for at, size in places])
        return self._read[number]


class RaySpool(Spool):
    """Objects in Ray's object store, which the processes of a node map."""

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[int, Any] = {}

    def reader(self) -> RayReader:
        """What asks the object store; it names what is kept by now."""
        return RayReader(dict(self._references))

    def close(self) -> None:
        """Let the store forget them."""
        super().close()
        self._references = {}

    def _kept(self, number: int, content: Any) -> Any:
        import ray

        self._references[number] = ray.put(content)
        return ray.get(self._references[number])


class RayReader:
    """Maps objects of Ray's object store."""

    def __init__(self, references: Mapping[int, Any]) -> None:
        self._references = references

    def read(self, number: int) -> Any:
        """The object of a number."""
        import ray

        return ray.get(self._references[number])
