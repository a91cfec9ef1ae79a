"""The brokers under the benchmark of queues: started, filled with messages, and asked for replies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from itertools import cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from tests.support.brokers import NatsServer, RedisServer, versions

REQUESTS = "cancer.in"
REPLIES = "cancer.out"
#: Messages sent to a broker at once while it is filled.
_SENT_AT_ONCE = 2_000

T = TypeVar("T")


class Broker(Protocol):
    """A broker with the stream of requests and that of replies.

    Attributes:
        url: Where it is.
        pid: Its process.
        version: What it says of its version.
    """

    url: str
    pid: int
    version: str

    def __init__(self, folder: Path, core: int) -> None: ...

    def fill(self, bodies: Sequence[bytes], count: int, consumer: str) -> None:
        """Throw away what was there, and have `count` messages wait in the form that this consumer reads."""
        ...

    def replies(self) -> int:
        """How many replies there are."""
        ...

    def first_replies(self, count: int) -> list[bytes]:
        """The bodies of the first replies."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Redis:
    """Redis with its append-only file, forced to the disk every second, as Redis comes."""

    def __init__(self, folder: Path, core: int) -> None:
        import redis

        [self.version] = versions([RedisServer.program])
        self._server = RedisServer(folder, "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
        os.sched_setaffinity(self._server.pid, {core})
        self.url, self.pid = self._server.url, self._server.pid
        self._client: Any = redis.Redis(port=self._server.port, socket_timeout=60)

    def fill(self, bodies: Sequence[bytes], count: int, consumer: str) -> None:
        """Throw away what was there, and have `count` messages wait in the form that this consumer reads."""
        # A stream that is kept beside is copied, which takes no time.
        field = "__data__" if consumer == "faststream" else "body"
        kept = f"filled:{field}"
        old = [key for key in self._client.scan_iter() if not key.startswith(b"filled:")]
        if old:
            self._client.delete(*old)
        if self._client.xlen(kept) != count:
            self._client.delete(kept)
            pipe = self._client.pipeline(transaction=False)
            for number, body in enumerate(islice(cycle(bodies), count), start=1):
                pipe.xadd(kept, {field: body})
                if number % _SENT_AT_ONCE == 0 or number == count:
                    pipe.execute()
        self._client.copy(kept, REQUESTS)

    def replies(self) -> int:
        """How many replies there are."""
        return self._client.xlen(REPLIES)

    def first_replies(self, count: int) -> list[bytes]:
        """The bodies of the first replies."""
        found = self._client.xrange(REPLIES, count=count)
        return [fields.get(b"body") or _faststream_body(fields[b"__data__"]) for _, fields in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._server.kill()


class Nats:
    """NATS JetStream with its streams in files, as NATS comes."""

    def __init__(self, folder: Path, core: int) -> None:
        [self.version] = versions([NatsServer.program])
        self._server = NatsServer(folder)
        os.sched_setaffinity(self._server.pid, {core})
        self.url, self.pid = self._server.url, self._server.pid
        self._loop = asyncio.new_event_loop()
        self._client, self._streams = self._wait(self._connect())

    async def _connect(self) -> tuple[Any, Any]:
        import nats

        client = await nats.connect(self.url)
        return client, client.jetstream(timeout=60)

    def fill(self, bodies: Sequence[bytes], count: int, consumer: str) -> None:
        """Throw away what was there, and have `count` messages wait in the form that this consumer reads."""
        self._wait(self._fill(bodies, count))

    async def _fill(self, bodies: Sequence[bytes], count: int) -> None:
        for known in await self._streams.streams_info():
            await self._streams.delete_stream(known.config.name)
        await self._streams.add_stream(name="requests", subjects=[REQUESTS])
        await self._streams.add_stream(name="replies", subjects=[REPLIES])
        for number, body in enumerate(islice(cycle(bodies), count), start=1):
            await self._client.publish(REQUESTS, body, headers={"content-type": "application/json"})
            if number % _SENT_AT_ONCE == 0:
                await self._client.flush()
        await self._client.flush()
        while (await self._streams.stream_info("requests")).state.messages < count:
            await asyncio.sleep(0.01)

    def replies(self) -> int:
        """How many replies there are."""
        return self._wait(self._streams.stream_info("replies")).state.messages

    def first_replies(self, count: int) -> list[bytes]:
        """The bodies of the first replies."""

        async def read() -> list[bytes]:
            return [(await self._streams.get_msg("replies", seq)).data for seq in range(1, count + 1)]

        return self._wait(read())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait(self._client.close())
        self._loop.close()
        self._server.kill()


def _faststream_body(data: bytes) -> bytes:
    """The body in a message of FastStream's: where it begins is said behind its mark, version and headers' place."""
    start = int.from_bytes(data[14:18], "big")
    return data[start:]


BROKERS: dict[str, type[Broker]] = {"redis": Redis, "nats": Nats}
