"""Brokers that are full, whose disk is, or that would throw away what they hold: nothing is lost, and it is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from tests.support.brokers import NatsServer, RedisServer
from tests.support.bundles import publish_slow
from tests.support.mounts import SmallDisk, fill
from tests.support.process import ServerProcess
from tests.support.queues import NatsCaller, RedisCaller, wait_connected
from tests.support.waiting import wait_until
from tests.support.workers import wait_log

MESSAGES = 40
DISK_BYTES = 32 << 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "slow", busy_ms=0)
    return folder


@pytest.fixture
def redis_caller(tmp_path: Path) -> Iterator[RedisCaller]:
    with RedisServer(tmp_path / "broker") as broker, contextlib.closing(RedisCaller(broker.url)) as caller:
        yield caller


@pytest.fixture
def nats_caller(tmp_path: Path) -> Iterator[NatsCaller]:
    with NatsServer(tmp_path / "broker") as broker, contextlib.closing(NatsCaller(broker.url)) as caller:
        yield caller


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "disk", DISK_BYTES) as disk:
        yield disk


def start(registry: Path, caller: RedisCaller | NatsCaller, **settings: Any) -> ServerProcess:
    words = {"queue": caller.url, "requests": "flights.in", "replies": "flights.out", "queue_ack_wait_s": 1}
    return ServerProcess(registry, "slow", threads=1, **(words | settings))


def body(number: int) -> bytes:
    return json.dumps({"x": number}).encode()


def check_answers(caller: RedisCaller | NatsCaller, identities: list[str]) -> None:
    """Wait until nothing waits; then each message has exactly one reply, the right one."""
    wait_until("nothing waits", lambda: caller.waiting() == 0)
    replies = {headers["correlation-id"]: json.loads(reply) for headers, reply in caller.replies(len(identities))}
    assert caller.length("flights.out") == len(identities)
    assert [replies[identity]["predictions"] for identity in identities] == [[{"y": float(i)}] for i in range(MESSAGES)]


def test_redis_that_is_full_is_drained(registry, redis_caller):
    """What fills it are requests, so that they are answered is what makes room; also by servers that come now."""
    client = redis_caller.client
    with start(registry, redis_caller) as server:
        wait_connected(server)
        assert server.stop() == 0
    identities = redis_caller.send_all([body(number) for number in range(MESSAGES)])
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.OutOfMemoryError):
        redis_caller.send(body(0))
    with start(registry, redis_caller) as server:
        wait_connected(server)
        check_answers(redis_caller, identities)
        assert server.metrics().value("monorail_broker_connected", model="slow") == 1


def test_redis_that_is_full_gives_nothing_new(registry, redis_caller):
    """Where there is no group yet none can be made, which is told until there is room."""
    identities = redis_caller.send_all([body(number) for number in range(MESSAGES)])
    redis_caller.client.config_set("maxmemory", 1)
    with start(registry, redis_caller) as server:
        wait_log(server, "queue of slow", "queue_unavailable", "maxmemory")
        assert server.get("/health/ready").error["code"] == "queue_unavailable"
        assert redis_caller.waiting() == MESSAGES
        redis_caller.client.config_set("maxmemory", 0)
        wait_connected(server)
        check_answers(redis_caller, identities)


def test_redis_that_throws_keys_away_is_told(registry, redis_caller):
    redis_caller.client.config_set("maxmemory", 1 << 30)
    redis_caller.client.config_set("maxmemory-policy", "allkeys-lru")
    with start(registry, redis_caller) as server:
        wait_connected(server)
        wait_log(server, "warning", "allkeys-lru", "noeviction")


def limit_replies(caller: NatsCaller, subject: str, messages: int) -> None:
    """Have a stream of replies that takes so many messages and refuses more; -1: as many as come."""
    name = subject.replace(".", "_")
    config = StreamConfig(
        name=name,
        subjects=[subject],
        max_msgs=messages,
        discard=DiscardPolicy.NEW,
        retention=RetentionPolicy.LIMITS,
    )
    streams = caller.streams
    change = streams.update_stream if caller.length(subject) else streams.add_stream
    caller.run(change(config))


def test_replies_wait_until_their_stream_takes_them(registry, nats_caller):
    limit_replies(nats_caller, "flights.out", MESSAGES // 2)
    identities = nats_caller.send_all([body(number) for number in range(MESSAGES)])
    with start(registry, nats_caller) as server:
        wait_log(server, "queue of slow", "queue_unavailable", "maximum messages exceeded")
        assert server.get("/health/ready").error["code"] == "queue_unavailable"
        limit_replies(nats_caller, "flights.out", -1)
        wait_connected(server)
        check_answers(nats_caller, identities)
        # It is away from when it is full until it is not: that is told once.
        assert sum("maximum messages exceeded" in line for line in server.err) == 1, server.stderr


def test_a_full_stream_that_one_caller_named_holds_nobody_up(registry, nats_caller):
    limit_replies(nats_caller, "mine.out", 1)
    with start(registry, nats_caller, queue_reply_to="mine.") as server:
        wait_connected(server)
        for number in range(3):
            nats_caller.send(body(number), reply_to="mine.out", correlation_id=f"mine-{number}")
        identity = nats_caller.send(body(7))
        assert nats_caller.reply(identity)[0]["status"] == "200"
        wait_until("nothing waits", lambda: nats_caller.waiting() == 0)
        # What has no room there is answered where all replies are.
        told = [
            headers["correlation-id"]
            for name in ("mine.out", "flights.out")
            for headers, _ in nats_caller.messages(name)
        ]
        assert sorted(told) == sorted(["mine-0", "mine-1", "mine-2", identity])
        assert nats_caller.length("mine.out") == 1


@contextlib.contextmanager
def full(disk: SmallDisk) -> Iterator[None]:
    """Something else takes all that is left of a disk, for a while."""
    other = disk.seen / "other"
    fill(other, leave_bytes=0)
    yield
    other.unlink()


def test_redis_whose_disk_is_full(registry, tmp_path, disk):
    """It takes no commands that write until there is room, and answers what waits then."""
    options = ("--dir", str(disk.path), "--appendfsync", "everysec")
    with (
        RedisServer(tmp_path / "broker", *options, prefix=disk.prefix) as broker,
        contextlib.closing(RedisCaller(broker.url)) as caller,
        start(registry, caller) as server,
    ):
        wait_connected(server)
        with full(disk):
            # It notices when it writes.
            with contextlib.suppress(redis.ResponseError):
                caller.client.set("other", bytes(10_000))
            wait_log(server, "queue of slow", "queue_unavailable", "No space left on device")
            assert server.get("/health/ready").error["code"] == "queue_unavailable"
        wait_connected(server)
        check_answers(caller, caller.send_all([body(number) for number in range(MESSAGES)]))


def test_nats_whose_disk_is_full(registry, tmp_path, disk):
    """Replies that it cannot store wait; it takes none again before it is started anew."""
    jetstream = {"store_dir": str(disk.path / "jetstream"), "max_file_store": 1 << 30}
    with (
        NatsServer(tmp_path / "broker", prefix=disk.prefix, jetstream=jetstream) as broker,
        contextlib.closing(NatsCaller(broker.url)) as caller,
        start(registry, caller) as server,
    ):
        wait_connected(server)
        os.kill(server.pid, signal.SIGSTOP)
        identities = caller.send_all([body(number) for number in range(MESSAGES)])
        with full(disk):
            os.kill(server.pid, signal.SIGCONT)
            wait_log(server, "queue of slow", "queue_unavailable", "does not answer in time")
            assert server.get("/health/ready").error["code"] == "queue_unavailable"
        broker.stop()
        broker.start()
        wait_connected(server)
        check_answers(caller, identities)
