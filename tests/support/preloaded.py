"""The machine below a server, misbehaving: small C libraries preloaded into its process and switched by files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECTOR = 512


def built(source: str, folder: Path) -> Path:
    """A library made from a source beside this file."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("preloading a library needs Linux and a C compiler")
    library = folder / f"{source}.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / f"{source}.c"), "-ldl", "-lpthread"],
        check=True,
    )
    return library


class Disk:
    """What is below ``root`` is on a disk that fails when it is told to, and can lose its power; see ``disk.c``.

    Attributes:
        environment: What the server needs in its environment.
    """

    def __init__(self, library: Path, root: Path, scratch: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._platter, self._switches = scratch / "platter", scratch / "switches"
        self._switches.mkdir(parents=True)
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_ROOT": str(self._root),
            "DISK_PLATTER": str(self._platter),
            "DISK_SWITCHES": str(self._switches),
        }
        self._settle()

    def switch(self, name: str, on: object = True) -> None:
        """Switch a fault on, with a number where it takes one, or off."""
        path = self._switches / name
        if on is False:
            path.unlink(missing_ok=True)
        else:
            # At once: it is read at any moment.
            path.with_suffix(".new").write_text(str(on))
            path.with_suffix(".new").rename(path)

    def begun(self) -> int:
        """How many syncs have begun."""
        return self._count("begun")

    def synced(self) -> int:
        """How many syncs have succeeded."""
        return self._count("synced")

    def _count(self, name: str) -> int:
        path = self._switches / name
        return path.stat().st_size if path.exists() else 0

    def lose_power(self, survives: random.Random | None = None) -> None:
        """Leave below the root what is there after a loss of power. No process may use it.

        Args:
            survives: Decides which names and sectors survive that no sync has promised; None: none does.
        """
        left = self._root.with_name(f"{self._root.name}-before")
        self._root.rename(left)
        self._restore(left, self._root, survives)
        shutil.rmtree(left)
        self._settle()

    def _restore(self, left: Path, to: Path, survives: random.Random | None) -> None:
        to.mkdir(mode=0o700)
        promised = {}
        for line in (self._platter / "names" / str(left.stat().st_ino)).read_text().splitlines():
            inode, name = line.split(" ", 1)
            promised[name] = inode
        for path in left.iterdir():
            # A name that is new for an old inode, or the other way round, is not promised either.
            if promised.get(path.name) != str(path.stat().st_ino) and (survives is None or survives.random() < 0.5):
                continue
            if path.is_dir():
                self._restore(path, to / path.name, survives)
            else:
                (to / path.name).write_bytes(self._content(path, survives))

    def _content(self, path: Path, survives: random.Random | None) -> bytes:
        image = self._platter / "data" / str(path.stat().st_ino)
        kept = image.read_bytes() if image.exists() else b""
        if survives is None:
            return kept
        written = path.read_bytes()
        longer = max(len(written), len(kept))
        kept, written = kept.ljust(longer, b"\0"), written.ljust(longer, b"\0")
        sectors = []
        for start in range(0, longer, SECTOR):
            either = kept if survives.random() < 0.5 else written
            sectors.append(either[start : start + SECTOR])
        return b"".join(sectors)

    def _settle(self) -> None:
        """All that is there is on the platter."""
        shutil.rmtree(self._platter, ignore_errors=True)
        (self._platter / "names").mkdir(parents=True)
        (self._platter / "data").mkdir()
        for folder in (self._root, *(path for path in self._root.rglob("*") if path.is_dir())):
            names = [f"{path.stat().st_ino} {path.name}\n" for path in folder.iterdir()]
            (self._platter / "names" / str(folder.stat().st_ino)).write_text("".join(names))
        for path in self._root.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, self._platter / "data" / str(path.stat().st_ino))


class Clock:
    """The server's clock, which can be stepped; see ``clock.c``.

    Attributes:
        environment: What the server needs in its environment.
    """

    def __init__(self, library: Path, scratch: Path) -> None:
        self._step = scratch / "step"
        self.step(0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(self._step)}

    def step(self, seconds: int) -> None:
        """Set it to so many seconds from the machine's."""
        hidden = self._step.with_suffix(".new")
        hidden.write_text(str(seconds))
        hidden.rename(self._step)
