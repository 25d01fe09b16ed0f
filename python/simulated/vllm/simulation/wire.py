"""Frames between the front end and its EngineCore child.

Length-prefixed `marshal`: C speed, only plain data, no code objects executed
on load, and both ends are the same interpreter by construction (spawn).
"""

from __future__ import annotations

import marshal
from typing import Any, Iterator

_HEADER = 4


def pack(message: Any) -> bytes:
    """Raises ValueError when something in `message` is not plain data."""
    body = marshal.dumps(message)
    return len(body).to_bytes(_HEADER, "little") + body


class FrameReader:
    """Collects bytes, gives back whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        buffer = self._buffer
        buffer += data
        start, available = 0, len(buffer)
        messages = []
        while available - start >= _HEADER:
            end = start + _HEADER + int.from_bytes(buffer[start : start + 4], "little")
            if end > available:
                break
            messages.append(marshal.loads(bytes(buffer[start + _HEADER : end])))
            start = end
        if start:
            del buffer[:start]
        return iter(messages)
