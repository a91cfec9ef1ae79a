"""A server whose network is cut from its broker and healed: run in a network of its own, where the cable can be pulled.

``unshare -rn python cut_network.py FOLDER BROKER`` ends well if every message has exactly one reply, the right one.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.brokers import BrokerServer, NatsServer, RedisServer
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.queues import Caller, caller_of, wait_connected
from tests.support.waiting import wait_until

MESSAGES, ROWS, BUSY_MS = 200, 256, 20
#: A cut that is over before anybody gives up.
SHORT_S = 1.0
#: The cable between server and broker, and the one by which the server is asked how it is: (here, there).
BROKER_CABLE, HTTP_CABLE = ("10.77.1.1", "10.77.1.2"), ("10.77.2.1", "10.77.2.2")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Place:
    """A network beside this one, with two cables to it. Processes are started there with ``prefix``."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready && exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline()
        self.prefix = ["nsenter", "--target", str(self._holder.pid), "--net", "--"]
        run("ip", "link", "set", "lo", "up")
        run(*self.prefix, "ip", "link", "set", "lo", "up")
        for name, (here, there) in (("broker", BROKER_CABLE), ("http", HTTP_CABLE)):
            near, far = f"{name}-near", f"{name}-far"
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(self._holder.pid))
            for prefix, end, address in (([], near, here), (self.prefix, far, there)):
                run(*prefix, "ip", "address", "add", f"{address}/24", "dev", end)
                run(*prefix, "ip", "link", "set", end, "up")

    def pull(self) -> None:
        """Pull the cable to the broker, at the broker's end: the server hears nothing of it."""
        run("ip", "link", "set", "broker-near", "down")

    def plug(self) -> None:
        """Plug it in again."""
        run("ip", "link", "set", "broker-near", "up")

    def close(self) -> None:
        self._holder.communicate()


class Apart(ServerProcess):
    """A server over there."""

    @property
    def address(self) -> tuple[str, int]:
        return HTTP_CABLE[1], self.port


def send(caller: Caller, numbers: dict[str, float]) -> None:
    """Send messages, each with a number of its own."""
    before = len(numbers)
    bodies = [json.dumps({"columns": {"x": [float(before + i)] * ROWS}}).encode() for i in range(MESSAGES)]
    numbers |= {identity: float(before + i) for i, identity in enumerate(caller.send_all(bodies))}


def check_answers(caller: Caller, numbers: dict[str, float]) -> None:
    wait_until("nothing waits", lambda: caller.waiting() == 0)
    replies = caller.replies(len(numbers))
    assert sorted(headers["correlation-id"] for headers, _ in replies) == sorted(numbers)
    for headers, reply in replies:
        assert set(json.loads(reply)["predictions"]["y"]) == {numbers[headers["correlation-id"]]}


def cut_and_heal(place: Place, registry: Path, broker: BrokerServer, caller: Caller) -> None:
    words: dict[str, Any] = {"requests": "flights.in", "replies": "flights.out", "queue_ack_wait_s": 2, "threads": 1}
    url = f"{broker.scheme}://{BROKER_CABLE[0]}:{broker.port}"
    numbers: dict[str, float] = {}
    with Apart(registry, "slow", prefix=place.prefix, queue=url, host="0.0.0.0", **words) as server:
        wait_connected(server)
        send(caller, numbers)
        wait_until("some are answered", lambda: caller.length("flights.out") > MESSAGES / 4)
        place.pull()
        threading.Event().wait(SHORT_S)
        assert caller.waiting() > 0
        place.plug()
        check_answers(caller, numbers)
        # Nobody has noticed: what was on its way has come later.
        assert sum("queue of slow" in line for line in server.err) == 1, server.stderr
        with ServerProcess(registry, "slow", queue=broker.url, **words) as other:
            wait_connected(other)
            send(caller, numbers)
            wait_until("some are answered", lambda: caller.length("flights.out") > MESSAGES * 5 / 4)
            place.pull()
            wait_until("readiness is off", lambda: server.get("/health/ready").status == 503)
            # The other one takes over what the first has, and is answered once all the same when that is back.
            wait_until("all is answered without it", lambda: caller.waiting() == 0)
            place.plug()
            wait_connected(server)
            send(caller, numbers)
            check_answers(caller, numbers)


def main(folder: Path, kind: str) -> None:
    publish_slow(folder / "registry", "slow", busy_ms=BUSY_MS)
    place = Place()
    broker: BrokerServer
    if kind == "redis":
        broker = RedisServer(folder / kind, "--bind", "0.0.0.0", "--protected-mode", "no")
    else:
        broker = NatsServer(folder / kind, "--addr", "0.0.0.0")
    with contextlib.closing(place), broker, contextlib.closing(caller_of(broker)) as caller:
        cut_and_heal(place, folder / "registry", broker, caller)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
