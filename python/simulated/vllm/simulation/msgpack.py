"""The part of MessagePack that KV event batches need (encoding only)."""

from __future__ import annotations

import struct
from typing import Any

_PACK_DOUBLE = struct.Struct(">d").pack
_SMALL = [bytes((value,)) for value in range(128)]


def packb(value: Any) -> bytes:
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    kind = type(value)
    if kind is int:
        _write_int(out, value)
    elif kind is str:
        raw = value.encode()
        size = len(raw)
        if size < 32:
            out.append(0xA0 | size)
        elif size < 256:
            out += bytes((0xD9, size))
        elif size < 65536:
            out += b"\xda" + size.to_bytes(2, "big")
        else:
            out += b"\xdb" + size.to_bytes(4, "big")
        out += raw
    elif value is None:
        out.append(0xC0)
    elif kind is bool:
        out.append(0xC3 if value else 0xC2)
    elif kind is float:
        out.append(0xCB)
        out += _PACK_DOUBLE(value)
    elif kind is list or kind is tuple:
        _write_size(out, len(value), 0x90, 0xDC)
        for item in value:
            if type(item) is int and 0 <= item < 128:
                out += _SMALL[item]
            else:
                _write(out, item)
    elif kind is dict:
        _write_size(out, len(value), 0x80, 0xDE)
        for key, item in value.items():
            _write(out, key)
            _write(out, item)
    elif kind is bytes:
        size = len(value)
        if size < 256:
            out += bytes((0xC4, size))
        elif size < 65536:
            out += b"\xc5" + size.to_bytes(2, "big")
        else:
            out += b"\xc6" + size.to_bytes(4, "big")
        out += value
    else:
        raise TypeError(f"cannot encode {kind.__name__}")


def _write_size(out: bytearray, size: int, short: int, long: int) -> None:
    if size < 16:
        out.append(short | size)
    elif size < 65536:
        out.append(long)
        out += size.to_bytes(2, "big")
    else:
        out.append(long + 1)
        out += size.to_bytes(4, "big")


def _write_int(out: bytearray, value: int) -> None:
    if value >= 0:
        if value < 128:
            out.append(value)
        elif value < 256:
            out += bytes((0xCC, value))
        elif value < 65536:
            out += b"\xcd" + value.to_bytes(2, "big")
        elif value < 1 << 32:
            out += b"\xce" + value.to_bytes(4, "big")
        else:
            out += b"\xcf" + value.to_bytes(8, "big")
    elif value >= -32:
        out.append(value & 0xFF)
    elif value >= -128:
        out += b"\xd0" + value.to_bytes(1, "big", signed=True)
    elif value >= -32768:
        out += b"\xd1" + value.to_bytes(2, "big", signed=True)
    elif value >= -(1 << 31):
        out += b"\xd2" + value.to_bytes(4, "big", signed=True)
    else:
        out += b"\xd3" + value.to_bytes(8, "big", signed=True)
