"""A caller of a queue on NATS JetStream: sends requests and takes replies, as `RedisCaller` does."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import nats
import nats.errors
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError, ServiceUnavailableError

from .waiting import wait_until

REQUESTS, REPLIES = "flights.in", "flights.out"

T = TypeVar("T")
Message = tuple[dict[str, str], bytes]
#: How long the broker may be away when it is asked.
DEADLINE_S = 60.0
#: Requests sent side by side.
SENT_AT_ONCE = 500


class NatsCaller:
    """Sends requests to a subject and reads the replies. The stream of requests is there if it is ``prepared``."""

    def __init__(self, url: str, requests: str = REQUESTS, replies: str = REPLIES, *, prepared: bool = True) -> None:
        self.url, self.requests, self.replies_to = url, requests, replies
        self._loop = asyncio.new_event_loop()
        self._client = self.run(nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05))
        self.streams: Any = self._client.jetstream(timeout=5)
        #: What was read of streams, which nobody cuts, by its number there.
        self._read: dict[str, dict[int, Message | None]] = {}
        if prepared:
            self.prepare(requests, retention=RetentionPolicy.WORK_QUEUE)

    def send(self, body: bytes, **headers: str) -> str:
        """Send one request; gives what its reply is told by. A header's name is written with ``_`` for ``-``."""
        [identity] = self.send_all([body], **headers)
        return identity

    def send_all(self, bodies: Sequence[bytes], **headers: str) -> list[str]:
        """Send requests side by side, in their order."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        identities = [given.get("correlation-id", uuid.uuid4().hex) for _ in bodies]

        async def send() -> None:
            pairs = list(zip(identities, bodies, strict=True))
            for start in range(0, len(pairs), SENT_AT_ONCE):
                some = pairs[start : start + SENT_AT_ONCE]
                sent = [
                    self.streams.publish(self.requests, body, headers=given | {"correlation-id": identity})
                    for identity, body in some
                ]
                await asyncio.gather(*sent)

        self.run(send())
        return identities

    def replies(self, count: int, *, deadline_s: float = 60.0) -> list[Message]:
        """All replies so far, once there are ``count``."""
        wait_until(f"{count} replies", lambda: self.length(self.replies_to) >= count, deadline_s=deadline_s)
        return self.messages(self.replies_to)

    def reply(self, identity: str, *, deadline_s: float = 60.0) -> Message:
        """The reply to one request."""

        def found() -> Message | None:
            return next((m for m in self.messages(self.replies_to) if m[0].get("correlation-id") == identity), None)

        reply = wait_until(f"the reply to {identity}", found, deadline_s=deadline_s)
        assert reply is not None
        return reply

    def dead(self, kind: str) -> list[Message]:
        """The dead letters of a kind: ``failed`` or ``unprocessable``."""
        return self.messages(f"{self.requests}.{kind}")

    def waiting(self) -> int:
        """How many requests are not acknowledged."""
        return self.length(self.requests)

    def prepare(self, *subjects: str, retention: RetentionPolicy = RetentionPolicy.LIMITS) -> None:
        """Have streams behind subjects."""
        for subject in subjects:
            if self._stream_of(subject) is None:
                config = StreamConfig(name=subject.replace(".", "_"), subjects=[subject], retention=retention)
                self.run(self.streams.add_stream(config))

    def messages(self, subject: str) -> list[Message]:
        """All that the stream behind a subject holds."""

        async def get(name: str, number: int) -> Message | None:
            try:
                message = await self.streams.get_msg(name, number)
            except NotFoundError:
                # A broker whose disk was full has numbers that no message has.
                return None
            return dict(message.headers or {}), message.data or b""

        async def read(name: str, known: dict[int, Message | None]) -> None:
            last = (await self.streams.stream_info(name)).state.last_seq
            numbers = range(len(known) + 1, last + 1)
            known.update(zip(numbers, await asyncio.gather(*(get(name, number) for number in numbers)), strict=True))

        known = self._read.setdefault(subject, {})
        if name := self._stream_of(subject):
            self._ask(lambda: read(name, known))
        return [message for message in known.values() if message is not None]

    def forget(self) -> None:
        """Read streams anew: one was deleted, and another has its name."""
        self._read.clear()

    def take_and_return(self, group: str, times: int) -> None:
        """Have the one request that waits given out so often to the group's consumer, and given back."""

        async def take() -> None:
            config = ConsumerConfig(
                durable_name=group, filter_subject=self.requests, max_deliver=-1, max_ack_pending=-1
            )
            subscription = await self.streams.pull_subscribe(self.requests, durable=group, config=config)
            for _ in range(times):
                [message] = await subscription.fetch(1, timeout=30)
                await message.nak()
            await subscription.unsubscribe()

        self.run(take())

    def heard(self, subject: str, body: bytes, **headers: str) -> Message:
        """Send a request, and hear its reply on a subject that no stream keeps."""

        async def hear() -> Message:
            subscription = await self._client.subscribe(subject)
            given = {name.replace("_", "-"): value for name, value in headers.items()} | {"reply-to": subject}
            await self.streams.publish(self.requests, body, headers=given)
            message = await subscription.next_msg(timeout=30)
            await subscription.unsubscribe()
            return dict(message.headers or {}), message.data

        return self.run(hear())

    def length(self, subject: str) -> int:
        """How many messages that stream holds."""
        name = self._stream_of(subject)
        return self._ask(lambda: self.streams.stream_info(name)).state.messages if name else 0

    def close(self) -> None:
        self.run(self._client.close())
        self._loop.close()

    def _stream_of(self, subject: str) -> str | None:
        try:
            return self._ask(lambda: self.streams.find_stream_name_by_subject(subject))
        except NotFoundError:
            return None

    def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """An answer of the broker; asked again where the question went with a broker that ended."""
        until = time.monotonic() + DEADLINE_S
        while True:
            try:
                return self.run(question())
            except (nats.errors.Error, ServiceUnavailableError) as error:
                if isinstance(error, NotFoundError) or time.monotonic() > until:
                    raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of something done with ``streams``."""
        return self._loop.run_until_complete(work)
