"""A SUB socket by hand: scripted bytes on a plain TCP connection."""

from __future__ import annotations

import socket
import struct
from typing import Any

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


class Subscriber:
    def __init__(self, address: Any, commands: bool = False, topic: bytes = b"") -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.connection = socket.socket(family, socket.SOCK_STREAM)
        self.connection.settimeout(5)
        self.connection.connect(address)
        self.handshake(commands, topic)

    def handshake(self, commands: bool, topic: bytes) -> None:
        self.connection.sendall(GREETING[:11])
        assert self.exactly(64)[10] == 3, "the publisher speaks ZMTP 3"
        self.connection.sendall(GREETING[11:])
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x03SUB\x08Identity\0\0\0\0"
        self.connection.sendall(bytes((4, len(ready))) + ready)
        flags, body = self.frame()
        assert flags == 4 and body.startswith(b"\x05READY"), body
        assert b"\x0bSocket-Type\0\0\0\x03PUB" in body, body
        if commands:  # ZMTP 3.1
            body = b"\x09SUBSCRIBE" + topic
            self.connection.sendall(bytes((4, len(body))) + body)
        else:
            self.connection.sendall(bytes((0, 1 + len(topic))) + b"\x01" + topic)

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionError("closed by the publisher")
            data += part
        return data

    def frame(self) -> tuple[int, bytes]:
        flags = self.exactly(1)[0]
        size = struct.unpack(">Q", self.exactly(8))[0] if flags & 2 else self.exactly(1)[0]
        return flags, self.exactly(size)

    def message(self) -> list[bytes]:
        frames = []
        while True:
            flags, body = self.frame()
            assert not flags & 4, "a command between messages"
            frames.append(body)
            if not flags & 1:
                return frames

    def close(self) -> None:
        self.connection.close()


def unpack(data: bytes) -> Any:
    """MessagePack, as much as the batches use."""
    value, rest = _read(data, 0)
    assert rest == len(data), "bytes left over"
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag < 0x90:
        return _read_map(data, at, tag & 15)
    if tag < 0xA0:
        return _read_list(data, at, tag & 15)
    if tag < 0xC0:
        return data[at : at + (tag & 31)].decode(), at + (tag & 31)
    if tag >= 0xE0:
        return tag - 256, at
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag == 0xCB:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if 0xCC <= tag <= 0xD3:
        width = 1 << ((tag - 0xCC) & 3)
        signed = tag >= 0xD0
        return int.from_bytes(data[at : at + width], "big", signed=signed), at + width
    width = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2}[tag]
    size = int.from_bytes(data[at : at + width], "big")
    at += width
    if tag in (0xDC, 0xDD):
        return _read_list(data, at, size)
    if tag == 0xDE:
        return _read_map(data, at, size)
    raw = data[at : at + size]
    return (raw if tag < 0xC7 else raw.decode()), at + size


def _read_list(data: bytes, at: int, size: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _read(data, at)
        items.append(item)
    return items, at


def _read_map(data: bytes, at: int, size: int) -> tuple[dict[Any, Any], int]:
    items: dict[Any, Any] = {}
    for _ in range(size):
        key, at = _read(data, at)
        items[key], at = _read(data, at)
    return items, at
