"""Records on their way to the host, joined into one crossing per turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import Callable


class Outbox:
    """Collects records and posts them once per loop turn. Used on the event loop's thread only."""

    def __init__(self, post: Callable[[bytes], object], loop: asyncio.AbstractEventLoop) -> None:
        self._post = post
        self._loop = loop
        self._records: list[bytes] = []

    def add(self, record: bytes) -> None:
        """Queues one record behind those of the same step."""
        if not self._records:
            self._loop.call_soon(self.flush)
        self._records.append(record)

    def flush(self) -> None:
        """Crosses the border now."""
        records, self._records = self._records, []
        if records:
            self._post(records[0] if len(records) == 1 else b"".join(records))
