"""Records of the guest, read as the host does."""

from __future__ import annotations

import asyncio
import json
import struct
from array import array
from typing import Any

from dynamo_vllm import wire

TOKENS = struct.Struct("<BBBxIQiiI")
_TEXT = struct.Struct("<BQBI")
_VECTORS = struct.Struct("<BxxxIQQ")


class Answers:
    """Reads the records of the guest, by stream."""

    def __init__(self) -> None:
        self.tokens: dict[int, list[int]] = {}
        self.ends: dict[int, asyncio.Future[Any]] = {}

    def expect(self, stream: int) -> None:
        self.tokens[stream] = []
        self.ends[stream] = asyncio.get_running_loop().create_future()

    def add(self, record: bytes) -> None:
        if record[0] == wire.KIND_TOKENS:
            _, flags, finish, _, stream, _, _, count = TOKENS.unpack_from(record)
            self.tokens[stream] += array("i", record[TOKENS.size : TOKENS.size + 4 * count])
            if flags & wire.FLAG_FINISHED:
                self.ends[stream].set_result(finish)
        elif record[0] == wire.KIND_STEP:
            (count,) = struct.unpack_from("<I", record, 4)
            streams = array("Q", record[8 : 8 + 8 * count])
            for stream, token in zip(streams, array("i", record[8 + 8 * count :])):
                self.tokens[stream].append(token)
        elif record[0] == wire.KIND_VECTORS:
            count, stream, tokens = _VECTORS.unpack_from(record)[1:]
            lengths = array("I", record[_VECTORS.size : _VECTORS.size + 4 * count])
            floats = array("f", record[_VECTORS.size + 8 * count :])
            vectors = []
            for length in lengths:
                vectors.append(floats[: length // 4])
                floats = floats[length // 4 :]
            assert not floats, "floats that belong to no vector"
            self.ends[stream].set_result((tokens, vectors))
        elif record[0] == wire.KIND_FAILURE:
            _, stream, _, length = _TEXT.unpack_from(record)
            self.ends[stream].set_result(json.loads(record[_TEXT.size : _TEXT.size + length]))
