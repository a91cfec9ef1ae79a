"""A cluster of NATS: the server that is spoken to ends, and what the cluster has taken in is answered all the same."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nats.errors
import nats.js.errors
import pytest
from nats.js.api import RetentionPolicy, StreamConfig
from tests.support.brokers import NatsServer, free_port
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.queues import NatsCaller, wait_connected
from tests.support.waiting import wait_until

MESSAGES = 200
SERVERS = 3


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[NatsServer]]:
    ports = [free_port() for _ in range(SERVERS)]
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                NatsServer(
                    tmp_path / str(number),
                    server_name=f"n{number}",
                    http=f"127.0.0.1:{free_port()}",
                    cluster={"name": "of-a-test", "listen": f"127.0.0.1:{port}", "routes": routes},
                )
            )
            for number, port in enumerate(ports)
        ]


@pytest.fixture
def caller(cluster: list[NatsServer]) -> Iterator[NatsCaller]:
    """A caller of the last server, with streams that two of three servers are enough for."""
    with contextlib.closing(NatsCaller(cluster[-1].url, prepared=False)) as caller:

        def made(subject: str) -> bool:
            retention = RetentionPolicy.WORK_QUEUE if subject == "flights.in" else RetentionPolicy.LIMITS
            settings = StreamConfig(
                name=subject.replace(".", "_"), subjects=[subject], retention=retention, num_replicas=SERVERS
            )
            try:
                caller.run(caller.streams.add_stream(settings))
            except (nats.errors.Error, nats.js.errors.ServiceUnavailableError):
                # The servers have not found each other yet.
                return False
            return True

        for subject in ("flights.in", "flights.out", "flights.in.failed", "flights.in.unprocessable"):
            wait_until(f"a stream of {subject}", lambda subject=subject: made(subject))
        yield caller


def serves_models(broker: NatsServer) -> bool:
    """Whether a server of models is connected with it."""
    with urllib.request.urlopen(f"http://{broker.settings['http']}/connz", timeout=30) as answer:
        return any(each["name"].startswith("monorail-") for each in json.load(answer)["connections"])


def test_a_server_of_a_cluster_ends(tmp_path, cluster, caller):
    publish_slow(tmp_path / "here", "slow", busy_ms=20)
    url = ",".join(f"nats://127.0.0.1:{each.port}" for each in cluster[:-1])
    words = {"queue": url, "requests": "flights.in", "replies": "flights.out", "queue_ack_wait_s": 2}
    with ServerProcess(tmp_path / "here", "slow", threads=1, **words) as server:
        wait_connected(server)
        identities = caller.send_all([json.dumps([{"x": float(i)}] * 64).encode() for i in range(MESSAGES)])
        wait_until("some are answered", lambda: caller.length("flights.out") > 10)
        [its] = [each for each in cluster[:-1] if serves_models(each)]
        its.kill()
        wait_until("readiness is off", lambda: server.get("/health/ready").status == 503)
        wait_until("all are answered", lambda: caller.waiting() == 0)
        wait_connected(server)
        replies = caller.replies(MESSAGES)
    assert sorted(headers["correlation-id"] for headers, _ in replies) == sorted(identities)
    for headers, reply in replies:
        assert {row["y"] for row in json.loads(reply)["predictions"]} == {
            float(identities.index(headers["correlation-id"]))
        }
