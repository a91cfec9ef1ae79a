"""Small and read-only disks, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest


class SmallDisk:
    """A file system of its own at ``path``, which only processes started with ``prefix`` see there.

    Attributes:
        path: Where such a process sees it.
        seen: Where this process sees it.
        prefix: What such a process's command begins with.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        tools = [tool for tool in ("unshare", "nsenter", "mount") if shutil.which(tool) is None]
        if sys.platform != "linux" or tools:
            pytest.skip("a disk of its own needs Linux with unshare, nsenter and mount (util-linux)")
        path.mkdir()
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", *user, "--mount", "sh", "-c", script, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not self._holder.stdout or not self._holder.stdout.readline():
            _, said = self._holder.communicate()
            pytest.skip(f"no file system may be mounted here, not even in a namespace: {said.strip()}")
        namespaces = ["--user", "--preserve-credentials", "--mount"] if user else ["--mount"]
        self.path = path
        self.seen = Path(f"/proc/{self._holder.pid}/root{path}")
        self.prefix = ["nsenter", "--target", str(self._holder.pid), *namespaces, "--"]

    def make_read_only(self) -> None:
        """Nothing can be written to it any more."""
        subprocess.run([*self.prefix, "mount", "-o", "remount,ro", str(self.path)], check=True)

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.communicate()


def fill(path: Path, leave_bytes: int) -> None:
    """Something else takes the disk's room, to the last bytes."""
    free = os.statvfs(path.parent)
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), path.stat().st_size, free.f_bavail * free.f_frsize - leave_bytes)
