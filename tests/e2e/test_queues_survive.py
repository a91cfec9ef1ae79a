"""What a broker has taken in is answered, once, whatever happens to servers and to the broker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.api import RetentionPolicy
from tests.support.brokers import BrokerServer, NatsServer, RedisServer
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.queues import BROKERS, Caller, NatsCaller, RedisCaller, caller_of, wait_connected
from tests.support.waiting import wait_until
from tests.support.workers import wait_log

MESSAGES = 300
#: Rows of one message, time of one batch: something can happen while a queue is in the middle of its messages.
ROWS, BUSY_MS = 256, 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "slow", busy_ms=BUSY_MS)
    return folder


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerServer]:
    with BROKERS[request.param](tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def caller(broker: BrokerServer) -> Iterator[Caller]:
    with contextlib.closing(caller_of(broker)) as caller:
        yield caller


def start(registry: Path, url: str, **settings: Any) -> ServerProcess:
    """A server of ``slow`` on the queue."""
    words = {"queue": url, "requests": "flights.in", "replies": "flights.out", "queue_ack_wait_s": 1, "threads": 1}
    return ServerProcess(registry, "slow", **(words | settings))


def body(number: int) -> bytes:
    return json.dumps({"columns": {"x": [float(number)] * ROWS}}).encode()


def check_answers(caller: Caller, identities: list[str]) -> None:
    """Wait until nothing waits; then each message has exactly one reply, the right one."""
    wait_until("nothing waits", lambda: caller.waiting() == 0)
    replies = caller.replies(len(identities))
    assert sorted(headers["correlation-id"] for headers, _ in replies) == sorted(identities)
    numbers = {identity: float(number) for number, identity in enumerate(identities)}
    for headers, reply in replies:
        assert headers["status"] == "200"
        assert set(json.loads(reply)["predictions"]["y"]) == {numbers[headers["correlation-id"]]}


def answered(server: ServerProcess) -> float:
    return server.metrics().value("monorail_broker_messages_total", outcome="answered")


def is_half(caller: Caller) -> bool:
    return caller.length("flights.out") >= MESSAGES // 4


def names(caller: Caller) -> int | None:
    """How many servers the broker knows by name; JetStream knows none."""
    if isinstance(caller, RedisCaller):
        return len(caller.client.xinfo_consumers("flights.in", "monorail"))
    return None


def share_work(caller: Caller, one: ServerProcess, other: ServerProcess) -> list[str]:
    """Send messages of which both servers have answered some; their identities."""
    wait_connected(one)
    wait_connected(other)
    identities = caller.send_all([body(number) for number in range(MESSAGES)])
    wait_until("both share the work", lambda: answered(one) > 0 and answered(other) > 0)
    return identities


def test_one_of_two_servers_is_killed(registry, broker, caller):
    with start(registry, broker.url) as one, start(registry, broker.url) as other:
        identities = share_work(caller, one, other)
        wait_until("some are answered", lambda: is_half(caller))
        one.kill()
        assert caller.waiting() > 0
        check_answers(caller, identities)
        # The dead server's name goes; the living one's stays.
        wait_until("one name is left", lambda: names(caller) in (None, 1))
    # Whoever drains takes its name away.
    assert not names(caller)


def test_a_server_that_was_held_still_answers_nothing_again(registry, broker, caller):
    with start(registry, broker.url) as one, start(registry, broker.url) as other:
        identities = share_work(caller, one, other)
        os.kill(one.pid, signal.SIGSTOP)
        wait_until("the other has answered all", lambda: caller.waiting() == 0)
        os.kill(one.pid, signal.SIGCONT)
        # What it had in hand is scored by both, and has one reply.
        wait_until("it has sent what it had", lambda: answered(one) + answered(other) > MESSAGES)
        check_answers(caller, identities)


def test_the_broker_is_killed_and_comes_back(registry, broker, caller):
    with start(registry, broker.url) as server:
        wait_connected(server)
        identities = caller.send_all([body(number) for number in range(MESSAGES)])
        wait_until("some are answered", lambda: is_half(caller))
        broker.kill()
        wait_until("readiness is off", lambda: server.get("/health/ready").status == 503)
        error = server.get("/health/ready").error
        assert error["code"] == "queue_unavailable"
        assert server.metrics().value("monorail_broker_connected", model="slow") == 0
        # The other road is as it was.
        assert server.predict("slow", {"x": 1.0}).status == 200
        broker.start()
        wait_connected(server)
        check_answers(caller, identities)
        assert sum("queue of slow" in line for line in server.err) <= 4, server.stderr


@pytest.mark.parametrize("kind", BROKERS.values())
def test_the_broker_is_away_at_the_start(registry, tmp_path, kind):
    broker = kind(tmp_path / "broker", start=False)
    with broker, start(registry, broker.url) as server:
        assert server.predict("slow", {"x": 1.0}).status == 200
        wait_log(server, "queue of slow", "queue_unavailable", str(broker.port))
        assert server.get("/v2/health/ready").error["code"] == "queue_unavailable"
        broker.start()
        with contextlib.closing(caller_of(broker)) as caller:
            identities = caller.send_all([body(number) for number in range(3)])
            wait_connected(server)
            check_answers(caller, identities)


def test_a_drain_answers_what_is_under_way(registry, broker, caller):
    with start(registry, broker.url) as server:
        wait_connected(server)
        identities = caller.send_all([body(number) for number in range(MESSAGES)])
        wait_until("some are answered", lambda: is_half(caller))
        assert server.stop() == 0
    # Nothing is left to anybody's account: what is not answered can be taken at once.
    if isinstance(caller, RedisCaller):
        assert caller.client.xpending("flights.in", "monorail")["pending"] == 0
    left = MESSAGES - len(caller.messages("flights.out"))
    wait_until("what is left waits", lambda: caller.waiting() == left)
    with start(registry, broker.url) as server:
        check_answers(caller, identities)


def locked(kind: str, folder: Path) -> tuple[BrokerServer, str]:
    """A broker that asks for a password, and its user as URLs have one."""
    if kind == "redis":
        return RedisServer(folder, "--requirepass", "open sesame"), ""
    return NatsServer(folder, authorization={"user": "ali", "password": "open sesame"}), "ali"


@pytest.mark.parametrize("kind", BROKERS)
def test_a_wrong_password_is_said_and_not_shown(registry, tmp_path, kind):
    broker, user = locked(kind, tmp_path / "broker")
    with broker:
        url = f"{broker.scheme}://{user}:not-this-one@127.0.0.1:{broker.port}"
        with start(registry, url) as server:
            wait_log(server, "queue of slow", "refuses", "password", str(broker.port))
            told = server.get("/health/ready").text + server.metrics().text
        assert "not-this-one" not in told + server.stderr
        url = url.replace("not-this-one", "open%20sesame")
        words = {"MONORAIL_QUEUE": url, "MONORAIL_REQUESTS": "flights.in"}
        with ServerProcess(registry, "slow", environment=words) as server:
            wait_connected(server)
        assert "sesame" not in server.stderr


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_name_that_is_no_stream_is_said(registry, broker, caller):
    assert isinstance(caller, RedisCaller)
    caller.client.set("flights.out", "something else")
    with start(registry, broker.url) as server:
        wait_log(server, "queue of slow", "flights.out", "is a string")
        caller.client.delete("flights.out")
        wait_connected(server)


def test_jetstream_that_is_off_is_said(registry, tmp_path):
    with NatsServer(tmp_path / "broker", jetstream=False) as broker, start(registry, broker.url) as server:
        wait_log(server, "queue of slow", "JetStream is not on")
        broker.kill()
        broker.settings["jetstream"] = {"store_dir": str(broker.folder / "jetstream")}
        broker.start()
        wait_connected(server)


@pytest.mark.parametrize("broker", ["nats"], indirect=True)
def test_what_nats_gave_out_too_often_is_a_dead_letter(registry, broker, caller):
    assert isinstance(caller, NatsCaller)
    identity = caller.send(body(1))
    # Servers that took it and ended.
    caller.take_and_return("monorail-flights_in", times=3)
    with start(registry, broker.url, queue_attempts=3) as server:
        wait_connected(server)
        headers, _ = caller.reply(identity)
    assert (headers["status"], headers["code"]) == ("500", "engine_failed")
    [(letter, request)] = caller.dead("failed")
    assert (letter["monorail-attempts"], request) == ("4", body(1))


@pytest.mark.parametrize(
    "url", ["ftp://user:secret@broker", "redis://user:secret@:no-port", "nats://user:secret@broker:no-port"]
)
def test_a_url_that_is_none_is_refused_and_not_shown(registry, url):
    command = [sys.executable, "-m", "monorail.cli", "serve", "slow", "--registry", str(registry), "--port", "0"]
    done = subprocess.run([*command, "--queue", url, "--requests", "in"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the setting queue" in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_what_is_deleted_in_redis_is_made_again(registry, broker, caller):
    assert isinstance(caller, RedisCaller)
    client = caller.client
    with start(registry, broker.url) as server:
        wait_connected(server)
        for delete in (
            lambda: client.delete("flights.in"),
            lambda: client.xgroup_destroy("flights.in", "monorail"),
            client.script_flush,
            client.flushall,
        ):
            assert caller.reply(caller.send(body(1)))[0]["status"] == "200"
            delete()
        assert caller.reply(caller.send(body(1)))[0]["status"] == "200"


@pytest.mark.parametrize("broker", ["nats"], indirect=True)
def test_what_is_deleted_in_nats_is_made_again(registry, broker, caller):
    assert isinstance(caller, NatsCaller)
    streams = caller.streams
    with start(registry, broker.url) as server:
        wait_connected(server)
        assert caller.reply(caller.send(body(1)))[0]["status"] == "200"
        caller.run(streams.delete_consumer("flights_in", "monorail-flights_in"))
        assert caller.reply(caller.send(body(2)))[0]["status"] == "200"
        caller.run(streams.delete_stream("flights_in"))
        caller.prepare("flights.in", retention=RetentionPolicy.WORK_QUEUE)
        assert caller.reply(caller.send(body(3)))[0]["status"] == "200"
        caller.run(streams.delete_stream("flights_out"))
        caller.forget()
        assert caller.reply(caller.send(body(4)))[0]["status"] == "200"
