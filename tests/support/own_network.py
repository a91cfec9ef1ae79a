"""Callbacks to names whose server lies: run in a network of its own, where this file is also the name server.

``unshare -rmn python own_network.py FOLDER`` prints what happened, as JSON.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.receiver import Receiver
from tests.support.waiting import wait_until

import monorail as mr

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
#: What each name is, one answer after another; the last one stays.
NAMES = {
    "rebound.example": [["127.0.0.1"], ["127.0.0.2"]],
    "mixed.example": [["127.0.0.2", "127.0.0.1"]],
    "inner.example": [["127.0.0.2"]],
}
A_RECORD = 1


def use_own_names(folder: Path) -> None:
    """Bring this network's loopback up, and have names asked of it."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    for path, text in (("/etc/resolv.conf", "nameserver 127.0.0.1\n"), ("/etc/nsswitch.conf", "hosts: dns\n")):
        own = folder / Path(path).name
        own.write_text(text)
        subprocess.run(["mount", "--bind", str(own), path], check=True)


def answer_names(asked: list[str]) -> None:
    """Answer questions for addresses until the process ends, and note them."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        question, caller = server.recvfrom(512)
        labels, place = [], 12
        while length := question[place]:
            labels.append(question[place + 1 : place + 1 + length].decode())
            place += 1 + length
        name, (kind,) = ".".join(labels), struct.unpack_from(">H", question, place + 1)
        addresses: list[str] = []
        if kind == A_RECORD and name in NAMES:
            answers = NAMES[name]
            addresses = answers[min(asked.count(name), len(answers) - 1)]
            asked.append(name)
        # The question again, then the answers: the same name, kind 1, class 1, for no time at all, four bytes.
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0) + question[12 : place + 5]
        records = [struct.pack(">HHHIH", 0xC00C, A_RECORD, 1, 0, 4) + socket.inet_aton(each) for each in addresses]
        server.sendto(head + b"".join(records), caller)


def told(client: mr.Client, job: mr.Job) -> dict[str, Any]:
    """What became of a callback's only attempt."""

    def tried() -> dict[str, Any]:
        callback = dict(client.job(job.id).known.callback or {})
        return callback if callback["attempts"] else {}

    return wait_until("an attempt", tried)


def main(folder: Path) -> None:
    use_own_names(folder)
    asked: list[str] = []
    threading.Thread(target=answer_names, args=(asked,), daemon=True).start()
    publish_slow(folder / "registry", "echo", busy_ms=0)
    with Receiver() as allowed, Receiver(host="127.0.0.2", port=allowed.port) as forbidden:
        origins = [f"http://{name}:{allowed.port}" for name in NAMES]
        settings: dict[str, Any] = {
            "callback_hosts": ",".join(origins),
            "callback_networks": "127.0.0.1/32",
            "callback_attempts": 1,
        }
        found = []
        server = ServerProcess(folder / "registry", "echo", threads=1, **settings)
        with server, mr.Client(server.url) as client:
            for name in ("rebound.example", "rebound.example", "mixed.example", "inner.example"):
                before = asked.count(name)
                job = client.submit("echo", {"x": 1}, callback_url=f"http://{name}:{allowed.port}/")
                callback = told(client, job)
                found.append([name, callback["state"], callback["last_error"], asked.count(name) - before])
        print(json.dumps({"found": found, "allowed": len(allowed.deliveries), "forbidden": len(forbidden.deliveries)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
