"""Connections of event loops: one set for each loop, open while something is awaited there."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import httpx

from .exchange import Ask, send_async


@dataclasses.dataclass
class _Open:
    """The connections of one loop, and how many requests use them."""

    http: httpx.AsyncClient
    users: int = 0


class Loops:
    """The connections of every loop that waits.

    A loop may end at any time without telling us, so nothing stays open when nobody there waits.

    Args:
        options: Of the clients, as httpx takes them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        # Each loop touches its own entry alone, from its own thread.
        self._open: dict[asyncio.AbstractEventLoop, _Open] = {}

    async def send(self, ask: Ask) -> httpx.Response:
        """Ask over the running loop's connections."""
        loop = asyncio.get_running_loop()
        mine = self._open.get(loop)
        if mine is None:
            mine = self._open[loop] = _Open(httpx.AsyncClient(**self._options))
        mine.users += 1
        try:
            return await send_async(mine.http, ask)
        finally:
            mine.users -= 1
            if not mine.users:
                del self._open[loop]
                await mine.http.aclose()
