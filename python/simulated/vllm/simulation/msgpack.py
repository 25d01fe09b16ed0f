"""The part of MessagePack that KV event batches, requests and outputs need."""

from __future__ import annotations

import struct
from typing import Any

_PACK_DOUBLE = struct.Struct(">d").pack
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    code: struct.Struct(layout)
    for code, layout in (
        (0xCA, ">f"), (0xCB, ">d"), (0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q"), (0xD0, ">b"), (0xD1, ">h"), (0xD2, ">i"),
        (0xD3, ">q"),
    )
}
_SMALL = [bytes((value,)) for value in range(128)]


def packb(value: Any) -> bytes:
    out = bytearray()
    _write(out, value)
    return bytes(out)


def unpackb(data: bytes) -> Any:
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow the value")
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 256, at
    if code < 0x90:
        return _read_map(data, at, code & 0x0F)
    if code < 0xA0:
        return _read_array(data, at, code & 0x0F)
    if code < 0xC0:
        return _read_text(data, at, code & 0x1F)
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        layout = _NUMBERS[code]
        return layout.unpack_from(data, at)[0], at + layout.size
    size = 1 << {0xD9: 0, 0xDA: 1, 0xDB: 2, 0xDC: 1, 0xDD: 2, 0xDE: 1, 0xDF: 2}[code]
    count = int.from_bytes(data[at : at + size], "big")
    read = _read_text if code <= 0xDB else _read_array if code <= 0xDD else _read_map
    return read(data, at + size, count)


def _read_text(data: bytes, at: int, size: int) -> tuple[str, int]:
    return data[at : at + size].decode(), at + size


def _read_array(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    values = []
    for _ in range(count):
        value, at = _read(data, at)
        values.append(value)
    return values, at


def _read_map(data: bytes, at: int, count: int) -> tuple[dict[Any, Any], int]:
    values = {}
    for _ in range(count):
        key, at = _read(data, at)
        values[key], at = _read(data, at)
    return values, at


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
