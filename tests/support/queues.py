"""Callers of a queue: what sends requests to a broker and takes replies from it, a class for each broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from .brokers import BrokerServer, NatsServer, RedisServer
from .process import ServerProcess
from .queue_nats import REPLIES, REQUESTS, Message, NatsCaller
from .waiting import wait_until

BROKERS: dict[str, type[BrokerServer]] = {"redis": RedisServer, "nats": NatsServer}


class RedisCaller:
    """Sends requests to a stream and reads the replies."""

    def __init__(self, url: str, requests: str = REQUESTS, replies: str = REPLIES) -> None:
        self.url, self.requests, self.replies_to = url, requests, replies
        self.client: Any = redis.Redis.from_url(url)

    def send(self, body: bytes, **headers: str) -> str:
        """Send one request; gives its id. A header's name is written with ``_`` for ``-``."""
        return self.client.xadd(self.requests, _fields(body, headers)).decode()

    def send_all(self, bodies: Sequence[bytes], **headers: str) -> list[str]:
        """Send requests in one round trip."""
        pipeline = self.client.pipeline(transaction=False)
        for body in bodies:
            pipeline.xadd(self.requests, _fields(body, headers))
        return [identity.decode() for identity in pipeline.execute()]

    def replies(self, count: int, *, deadline_s: float = 60.0) -> list[Message]:
        """All replies so far, once there are ``count``."""
        wait_until(f"{count} replies", lambda: self.length(self.replies_to) >= count, deadline_s=deadline_s)
        return self.messages(self.replies_to)

    def reply(self, identity: str, *, deadline_s: float = 60.0) -> Message:
        """The reply to one request."""

        def found() -> Message | None:
            return next((m for m in self.messages(self.replies_to) if m[0]["correlation-id"] == identity), None)

        reply = wait_until(f"the reply to {identity}", found, deadline_s=deadline_s)
        assert reply is not None
        return reply

    def dead(self, kind: str) -> list[Message]:
        """The dead letters of a kind: ``failed`` or ``unprocessable``."""
        return self.messages(f"{self.requests}.{kind}")

    def messages(self, stream: str) -> list[Message]:
        """All that a stream holds."""
        return [_message(fields) for _, fields in self.client.xrange(stream)]

    def length(self, stream: str) -> int:
        """How many messages a stream holds."""
        return self.client.xlen(stream)

    def waiting(self) -> int:
        """How many requests are not acknowledged."""
        return self.length(self.requests)

    def prepare(self, *streams: str) -> None:
        """Have streams, which Redis has when something comes."""

    def close(self) -> None:
        self.client.close()


Caller = RedisCaller | NatsCaller


def caller_of(broker: BrokerServer, requests: str = REQUESTS, replies: str = REPLIES) -> Caller:
    """A caller of a broker."""
    kind = NatsCaller if isinstance(broker, NatsServer) else RedisCaller
    return kind(broker.url, requests, replies)


def _fields(body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    return {"body": body} | {name.replace("_", "-"): value for name, value in headers.items()}


def _message(fields: dict[bytes, bytes]) -> Message:
    headers = {name.decode(): value.decode() for name, value in fields.items() if name != b"body"}
    return headers, fields[b"body"]


def wait_connected(server: ServerProcess) -> None:
    """Wait until a server says that it is ready, its broker included."""
    wait_until("the server has its broker", lambda: server.get("/health/ready").status == 200)
