"""A worker that means harm: speaks the protocol until the first batch, and then does what its argument says."""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import sys

FRAME = struct.Struct("<IIQQQ")
READY, ANSWER, FAILED, GROW, PONG = 65, 67, 68, 69, 70


def main() -> None:
    channel = socket.socket(fileno=os.dup(0))
    how = sys.argv[1]
    maps: dict[str, tuple[int, mmap.mmap]] = {}
    begun = False
    while True:
        data, extras, _, _ = channel.recvmsg(FRAME.size, socket.CMSG_SPACE(4))
        if len(data) < FRAME.size:
            return
        kind, flags, sequence, size, rows = FRAME.unpack(data)
        if kind == 1:
            while size:
                size -= len(channel.recv(size))
            channel.sendall(FRAME.pack(READY, 0, 0, 0, 0))
        elif kind == 2:
            descriptor = array.array("i", extras[0][2])[0]
            writable = bool(flags & 4)
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            maps["answer" if writable else "question"] = descriptor, mmap.mmap(descriptor, size, prot=protection)
            if writable:
                begun = True
                attack(how, channel, sequence, rows, maps)
        elif kind == 3:
            if how in NO_MEMORY or begun:
                attack(how, channel, sequence, rows, maps)
            else:
                channel.sendall(FRAME.pack(GROW, 0, sequence, 4096, 0))


NO_MEMORY = ("garbage", "half", "unknown", "sequence", "no memory", "greedy", "flood", "endless text", "idle flood")


def attack(how, channel, sequence, rows, maps):
    def answer(size: int, number: int = sequence) -> None:
        channel.sendall(FRAME.pack(ANSWER, 0, number, size, 0))

    if how == "garbage":
        channel.sendall(b"\xff" * 4096)
    elif how == "half":
        channel.sendall(b"\x43\0\0\0")
        os._exit(0)
    elif how == "unknown":
        channel.sendall(FRAME.pack(99, 0, sequence, 0, 0))
    elif how == "sequence":
        answer(0, sequence + 1)
    elif how == "no memory":
        answer(64)
    elif how == "greedy":
        channel.sendall(FRAME.pack(GROW, 0, sequence, 1 << 62, 0))
    elif how == "flood":
        while True:
            channel.sendall(FRAME.pack(PONG, 0, 0, 0, 0))
    elif how == "endless text":
        channel.sendall(FRAME.pack(FAILED, 0, sequence, 1 << 40, 0) + b"x" * (64 << 10))
    elif how == "idle flood":
        text = str(os.getpid()).encode()
        channel.sendall(FRAME.pack(FAILED, 0, sequence, len(text), 0) + text)
        while True:
            channel.sendall(FRAME.pack(PONG, 0, sequence, 0, 0))
    elif how == "too long":
        answer(1 << 40)
    elif how == "empty":
        answer(0)
    elif how == "zeros":
        answer(4096)
    elif how == "random":
        _, memory = maps["answer"]
        memory[:4096] = os.urandom(4096)
        memory[:8] = b"\xff\xff\xff\xff\x00\x02\x00\x00"
        answer(4096)
    elif how == "shrink":
        failed = 0
        for one in (maps["answer"][0], maps["question"][0]):
            try:
                os.ftruncate(one, 0)
            except OSError:
                failed += 1
        try:
            mmap.mmap(maps["question"][0], 4096)
        except OSError:
            failed += 1
        text = f"{failed} attempts failed".encode()
        channel.sendall(FRAME.pack(FAILED, 0, sequence, len(text), 0) + text)
    elif how == "question":
        # The question's own message: other columns than an answer has.
        data = maps["question"][1][64:2048]
        maps["answer"][1][: len(data)] = data
        answer(len(data))


if __name__ == "__main__":
    main()
