"""Prompts into vectors: a task per prompt, so that vLLM can compute them together, and one record for all of a request."""

from __future__ import annotations

import asyncio
from array import array
from typing import TYPE_CHECKING, Any, Coroutine

from . import failures, wire

if TYPE_CHECKING:
    from .outbox import Outbox


class Encoder:
    """The requests of the host that are being encoded. Used on the event loop's thread only."""

    def __init__(self, llm: Any, outbox: "Outbox") -> None:
        self._llm = llm
        self._outbox = outbox
        self._requests: dict[int, asyncio.Task[None]] = {}

    def start(self, ident: int, fields: dict[str, Any], blob: bytes) -> None:
        """Every way ends in a record for the host."""
        task = asyncio.get_running_loop().create_task(self._run(ident, fields, blob))
        self._requests[ident] = task
        task.add_done_callback(lambda task: self._end(ident, task))

    def abort(self, ident: int) -> None:
        """Stops all of a request; unknown and finished ones are no error."""
        task = self._requests.get(ident)
        if task is not None:
            task.cancel()

    async def _run(self, ident: int, fields: dict[str, Any], blob: bytes) -> None:
        try:
            tokens, vectors = await self._encode(fields, blob)
            record = wire.pack_vectors(ident, tokens, vectors)
        except asyncio.CancelledError:
            raise  # answered at the end, as that of a task which had not begun
        except BaseException as error:  # noqa: BLE001 - boundary mapping: a request must end with an answer
            record = wire.pack_failure(ident, failures.describe(error))
        self._outbox.add(record)

    def _end(self, ident: int, task: "asyncio.Task[None]") -> None:
        del self._requests[ident]
        if task.cancelled():
            self._outbox.add(wire.pack_failure(ident, failures.describe(asyncio.CancelledError("the request was stopped"))))

    async def _encode(self, fields: dict[str, Any], blob: bytes) -> tuple[int, list[bytes]]:
        from vllm.pooling_params import PoolingParams

        params = PoolingParams(task="embed", dimensions=fields.get("dimensions"))
        # vLLM takes them for texts alone: tokens stay as they are.
        options = {"tokenization_kwargs": fields["tokenization"]} if fields.get("tokenization") and "texts" in fields else {}
        outputs = await _all(
            [
                self._encode_one(prompt, params, f"{fields['request_id']}-{index}", options)
                for index, prompt in enumerate(_prompts(fields, blob))
            ]
        )
        return sum(len(output.prompt_token_ids or ()) for output in outputs), [_float32(output.outputs.data) for output in outputs]

    async def _encode_one(self, prompt: Any, params: Any, request_id: str, options: dict[str, Any]) -> Any:
        last = None
        async for output in self._llm.encode(prompt, params, request_id, **options):
            last = output
        if last is None or not len(last.outputs.data):
            # What vLLM answers for a request that it was told to stop by somebody else.
            raise RuntimeError(f"the engine gave no vector for {request_id}")
        return last


async def _all(work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Their results in order. When one fails or nobody waits any more, the engine is not left with the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    try:
        results: list[Any] = await asyncio.gather(*tasks)
        return results
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _prompts(fields: dict[str, Any], blob: bytes) -> list[Any]:
    """In the forms that vLLM renders itself, so that its refusals are those of its own server."""
    if "texts" in fields:
        return list(fields["texts"])
    tokens = array("i")
    tokens.frombytes(blob)
    ids = tokens.tolist()
    prompts, start = [], 0
    for length in fields["lengths"]:
        prompts.append({"prompt_token_ids": ids[start : start + length]})
        start += length
    return prompts


def _float32(data: Any) -> bytes:
    """A vector as its 32-bit floats. vLLM may put a dimension of one around it, or give it in another type."""
    if isinstance(data, (list, tuple)):
        flat = [value for row in data for value in row] if data and isinstance(data[0], (list, tuple)) else data
        return array("f", flat).tobytes()
    vector: bytes = data.detach().cpu().flatten().float().contiguous().numpy().tobytes()
    return vector
