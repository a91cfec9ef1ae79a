"""What a pickle would import, found by walking its operations without running any of them.

Every class and function that it names becomes a dummy that does nothing, so no code of it is imported or called.
joblib's files, compressed or not, are pickles with arrays between the operations; those are stepped over.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np

_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_MAGIC: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x5d\x00\x00": lzma.open,
}
#: What is not worth a word: the arrays and dicts every model is made of.
_PLAIN = {
    "collections.OrderedDict",
    "builtins.set",
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    ),
}


def imports_of(path: Path) -> tuple[list[str], str]:
    """What opening a pickle or joblib file would import.

    Returns:
        `module.name` of everything named up to the end of the file, sorted; and what kept the walk from getting there,
        or "". What comes after such a place is not listed.
    """
    found: set[str] = set()
    stopped = ""
    try:
        with _stream(path) as stream:
            _Walker(stream, found).load()
    except RecursionError:
        stopped = "it is nested too deep"
    except Exception as error:  # hostile operations on dummies may fail in any way
        stopped = f"{type(error).__name__}: {error}"
    return sorted(found), stopped


def unusual(names: list[str]) -> list[str]:
    """Of these the ones that say something about a file."""
    return [name for name in names if name not in _PLAIN]


class _Dummy:
    """Stands for whatever a pickle names: it can be made, called and filled, and does nothing."""

    monorail_name = ""

    def __new__(cls, *arguments: Any, **named: Any) -> _Dummy:
        made = super().__new__(cls)
        made.__dict__["arguments"] = arguments
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **named: Any) -> _Dummy:
        return _Dummy()

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """A list's."""

    def extend(self, values: Any) -> None:
        """A list's."""

    def add(self, value: Any) -> None:
        """A set's."""

    def __hash__(self) -> int:
        return id(self)


class _Walker(pickle._Unpickler):  # type: ignore[name-defined]
    """The interpreter of pickles written in Python, with nothing to interpret."""

    stack: list[Any]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, stream: BinaryIO, found: set[str]) -> None:
        super().__init__(stream)
        self.stream, self.found = stream, found

    def find_class(self, module: str, name: str) -> Any:
        """Notes the name; gives a dummy class."""
        self.found.add(f"{module}.{name}")
        return type("Dummy", (_Dummy,), {"monorail_name": f"{module}.{name}"})

    def get_extension(self, code: int) -> None:
        """An extension code names a class by number; which one, only the process that registered it knows."""
        self.found.add(f"copyreg extension {code}")
        self.append(_Dummy)

    def persistent_load(self, pid: Any) -> Any:
        """An object outside the file."""
        return _Dummy()

    def step_over(self) -> None:
        """After an object is filled: one that stands for an array is followed by the array."""
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        top = self.stack[-1]
        if isinstance(top, _Dummy) and top.monorail_name == _WRAPPER:
            self._array(top.__dict__["state"])

    dispatch[pickle.BUILD[0]] = step_over

    def _array(self, wrapper: dict[str, Any]) -> None:
        word = wrapper["dtype"].__dict__["arguments"][0]
        if not isinstance(word, str):
            raise pickle.UnpicklingError("an array without a type")
        dtype = np.dtype(word)
        if dtype.hasobject:
            _Walker(self.stream, self.found).load()
            return
        if wrapper.get("numpy_array_alignment_bytes") is not None:
            padding = self.stream.read(1)
            self.stream.read(padding[0] if padding else 0)
        left = dtype.itemsize
        for size in wrapper["shape"]:
            left *= int(size)
        while left > 0:
            part = self.stream.read(min(left, 1 << 20))
            if not part:
                raise EOFError("the file ends within an array")
            left -= len(part)


def _stream(path: Path) -> BinaryIO:
    """The file, decompressed as it is read."""
    with path.open("rb") as file:
        first = file.read(6)
    for magic, opener in _MAGIC.items():
        if first.startswith(magic):
            return cast(BinaryIO, opener(path, "rb"))
    if first[:1] == b"\x78":
        return cast(BinaryIO, io.BufferedReader(_Zlib(path)))
    return path.open("rb")


class _Zlib(io.RawIOBase):
    """A bare zlib stream, as joblib writes by default."""

    def __init__(self, path: Path) -> None:
        self.file, self.engine = path.open("rb"), zlib.decompressobj()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as fits."""
        room = len(buffer)
        data = b""
        while not data and not self.engine.eof:
            given = self.engine.unconsumed_tail or self.file.read(1 << 16)
            if not given:
                break
            data = self.engine.decompress(given, room)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Also the file."""
        self.file.close()
        super().close()
