"""Layout of the messages that cross the border. The host's side is GuestRecords.cs; both change together.

Host to guest: u32 length, then <B op><Q id><I json length><json><blob>.
Guest to host: records back to back, each starting with <B kind>. All little-endian.
"""

from __future__ import annotations

import json
import struct
from array import array
from typing import Any, Iterator, NamedTuple, Sequence

OP_PARSE = 1
OP_HELP = 2
OP_BUILD = 3
OP_SUBMIT = 4
OP_ABORT = 5
OP_CALL = 6
OP_SHUTDOWN = 7
OP_ENCODE = 8
OP_FETCH = 9
OP_ENCODE_IMAGES = 10
OP_STEPS = 20

KIND_TOKENS = 1
KIND_FAILURE = 2
KIND_REPLY = 3
KIND_LOG = 4
KIND_STATS = 5
KIND_TOKEN_TEXT = 6
KIND_STEP = 7
KIND_VECTORS = 8
KIND_PROGRESS = 9
KIND_TEMPLATE = 20

FLAG_FINISHED = 1
FLAG_EXTRAS = 2
FLAG_LOGPROBS = 4
FLAG_TEXT = 8

FINISH_NONE = 0
FINISH_NO_OUTPUTS = 6
FINISH_OTHER = 255
FINISH_CODES = {None: FINISH_NONE, "stop": 1, "length": 2, "abort": 3, "error": 4, "repetition": 5}

_MESSAGE = struct.Struct("<BQI")
_LENGTH = struct.Struct("<I")
_TOKENS = struct.Struct("<BBBxIQiiI")
_TEXT = struct.Struct("<BQBI")
_LOG = struct.Struct("<BBII")
_STATS = struct.Struct("<BxxxIddII")
_TOKEN_TEXT = struct.Struct("<BII")
_CANDIDATE = struct.Struct("<iid")

_DECODER = json.JSONDecoder()

_STEP = struct.Struct("<BxxxI")
_SINGLE = struct.Struct("<BBBxIQiiIi")
_VECTORS = struct.Struct("<BxxxIQQ")
_PROGRESS = struct.Struct("<BxxxxxxxIIQQ")
_TEMPLATE = struct.Struct("<BxxxIII")


class Message(NamedTuple):
    """One message of the host. A body that is not JSON is the exception that says so: its sender still gets an answer."""

    op: int
    id: int
    body: Any
    blob: bytes


def read_messages(batch: bytes) -> Iterator[Message]:
    """Splits what `take` returned."""
    position = 0
    while position < len(batch):
        (length,) = _LENGTH.unpack_from(batch, position)
        position += _LENGTH.size
        op, ident, json_length = _MESSAGE.unpack_from(batch, position)
        start = position + _MESSAGE.size
        blob = start + json_length
        position += length
        body: Any = None
        if json_length:
            try:
                body = _read_json(batch[start:blob].decode())
            except ValueError as error:
                body = error
        yield Message(op, ident, body, batch[blob:position])


def _read_json(text: str) -> Any:
    """As `json.loads` does it, less what that spends on white space around the value: the host writes none."""
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def pack_token(stream: int, index: int, finish: int, flags: int, prompt: int, cached: int, token: int) -> bytes:
    """A record with exactly one token and nothing rare: the shape of nearly every record, in one call."""
    return _SINGLE.pack(KIND_TOKENS, flags, finish, index, stream, prompt, cached, 1, token)


def pack_tokens(
    stream: int,
    index: int,
    finish: int,
    flags: int,
    prompt: int,
    cached: int,
    tokens: Sequence[int],
    logprobs: bytes = b"",
    extras: bytes = b"",
    text: bytes = b"",
) -> bytes:
    """Any record of tokens. `logprobs`, `extras` and `text` must agree with `flags`."""
    head = _TOKENS.pack(KIND_TOKENS, flags, finish, index, stream, prompt, cached, len(tokens))
    tail = _LENGTH.pack(len(extras)) + extras if flags & FLAG_EXTRAS else b""
    if flags & FLAG_TEXT:
        tail += _LENGTH.pack(len(text)) + text
    return head + array("i", tokens).tobytes() + logprobs + tail


def pack_step(streams: Sequence[int], tokens: Sequence[int]) -> bytes:
    """One more token for each of these streams: index 0, no end, counts as before."""
    return _STEP.pack(KIND_STEP, len(streams)) + array("Q", streams).tobytes() + array("i", tokens).tobytes()


def pack_logprobs(positions: Sequence[Sequence[tuple[int, int, float]]]) -> bytes:
    """Candidates per token: (id, rank or 0, logprob), the selected one first."""
    parts = []
    for candidates in positions:
        parts.append(_LENGTH.pack(len(candidates)))
        parts.extend(_CANDIDATE.pack(*candidate) for candidate in candidates)
    return b"".join(parts)


def pack_vectors(request: int, prompt_tokens: int, vectors: Sequence[tuple[bytes, int]]) -> bytes:
    """All that was asked for: how many, how many bytes each has and in how many rows, and their numbers back to back.

    A vector has -1 rows: it is one, and not a list of them.
    """
    head = _VECTORS.pack(KIND_VECTORS, len(vectors), request, prompt_tokens)
    lengths, rows = array("I", (len(data) for data, _ in vectors)), array("i", (count for _, count in vectors))
    return b"".join((head, lengths.tobytes(), rows.tobytes(), *(data for data, _ in vectors)))


def pack_failure(stream: int, failure: dict[str, Any]) -> bytes:
    """The stream ends with an error."""
    text = to_json(failure)
    return _TEXT.pack(KIND_FAILURE, stream, 0, len(text)) + text


def pack_reply(call: int, ok: bool, value: Any) -> bytes:
    """Answer to a call."""
    text = to_json(value)
    return _TEXT.pack(KIND_REPLY, call, 1 if ok else 0, len(text)) + text


def pack_log(level: int, name: str, message: str) -> bytes:
    """One log line, level as in Python's logging divided by ten."""
    name_bytes, message_bytes = name.encode("utf-8", "replace"), message.encode("utf-8", "replace")
    return _LOG.pack(KIND_LOG, level, len(name_bytes), len(message_bytes)) + name_bytes + message_bytes


def pack_stats(rank: int, sampled_at: float, kv_usage: float, running: int, waiting: int) -> bytes:
    """Load of one rank after one engine step, which it was through with at that time of its monotonic clock."""
    return _STATS.pack(KIND_STATS, rank, sampled_at, kv_usage, running, waiting)


def pack_token_text(token: int, text: str) -> bytes:
    """Text of one vocabulary entry, sent before the first record that needs it."""
    data = text.encode("utf-8", "replace")
    return _TOKEN_TEXT.pack(KIND_TOKEN_TEXT, token, len(data)) + data


def pack_progress(files_done: int, files: int, bytes_done: int, total: int) -> bytes:
    """How far the fetch of a model is."""
    return _PROGRESS.pack(KIND_PROGRESS, files_done, files, bytes_done, total)


def pack_template(question: int, facts: bytes, encoded: bytes) -> bytes:
    """How vLLM encodes a request with the parameters that were asked for."""
    return _TEMPLATE.pack(KIND_TEMPLATE, question, len(facts), len(encoded)) + facts + encoded


def to_json(value: Any) -> bytes:
    """Compact JSON; what JSON lacks becomes text, and non-finite numbers are written as large ones by the callers."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        # JSON has no NaN and no infinity; text keeps the rest readable for the host.
        text = json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    return str(value)
