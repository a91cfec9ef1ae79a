"""Servers with an empty job store, the model that they have, one connection to them, and the disk below."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import monorail as mr

from . import models
from .processes import first_line, monorail, pinned, running
from .tables import median

MODELS = {"linear": models.linear, "trees": models.trees}
SYNCS = 200


class Served(NamedTuple):
    """A server that runs: its process, its address, the folder of its jobs."""

    pid: int
    url: str
    store: Path


def prepare(name: str, scratch: Path) -> tuple[mr.Version, Path]:
    """Fit and save the model, and write the bodies: one record each."""
    X, y = models.cancer()
    version = mr.save(MODELS[name]().fit(X, y), "cancer", example=X, registry=scratch / "registry", quiet=True)
    bodies = scratch / "bodies.jsonl"
    bodies.write_text("".join(json.dumps(record) + "\n" for record in X.to_dict(orient="records")), encoding="utf-8")
    return version, bodies


@contextlib.contextmanager
def serving(version: mr.Version, scratch: Path, core: int | None = None, *flags: str) -> Iterator[Served]:
    """A server with an empty store, kept to a core."""
    with tempfile.TemporaryDirectory(prefix="store-", dir=scratch) as store:
        command = monorail("serve", str(version.path), "--port", "0", "--threads", "1", "--jobs", store, *flags)
        with running(command if core is None else pinned(core, command)) as process:
            yield Served(process.pid, first_line(process), Path(store))


def sync_s(folder: Path) -> float:
    """Seconds that the disk takes to sync 4 KiB appended to a file: the median of many."""
    found = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - began)
    return median(found)


class Connection:
    """One connection, kept alive."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._socket = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def ask(self, method: str, path: str, body: bytes, status: int) -> bytes:
        """The body of an answer that must have this status."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        first = self._answers.readline()
        length = 0
        while (line := self._answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answer = self._answers.read(length)
        if first.split()[1:2] != [str(status).encode()]:
            raise SystemExit(f"{method} {path} was answered {first!r}: {answer!r}")
        return answer

    def close(self) -> None:
        """End it."""
        self._answers.close()
        self._socket.close()
