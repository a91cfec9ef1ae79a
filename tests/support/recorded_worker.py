"""Runs a worker whose channel and memory are written down: its first argument is the real program, its second where to.

It stands in for ``python .../worker/__main__.py`` in the launch that a test gives to the core.
"""

from __future__ import annotations

import mmap
import runpy
import socket
import sys
from pathlib import Path


def main() -> None:
    program, place = sys.argv[1:3]
    log = Path(place).open("ab", buffering=0)  # noqa: SIM115 (as long as the process lives)
    maps = []

    class Recorded(socket.socket):
        def recvmsg(self, *arguments):
            got = super().recvmsg(*arguments)
            log.write(got[0])
            dump()
            return got

        def recv(self, *arguments):
            got = super().recv(*arguments)
            log.write(got)
            return got

        def sendall(self, data, *arguments):
            log.write(data)
            dump()
            return super().sendall(data, *arguments)

    class Mapped(mmap.mmap):
        def __new__(cls, *arguments, **more):
            made = super().__new__(cls, *arguments, **more)
            maps.append(made)
            return made

    def dump():
        for one in maps:
            log.write(one[:])

    socket.socket = Recorded
    mmap.mmap = Mapped
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
