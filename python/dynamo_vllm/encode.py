"""Prompts into vectors or classes: a task per prompt, so that vLLM can compute them together, and one record for all of a request."""

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

    async def _encode(self, fields: dict[str, Any], blob: bytes) -> tuple[int, list[tuple[bytes, int]]]:
        from vllm.pooling_params import PoolingParams

        pooling = fields.get("pooling")
        prompts = _prompts(fields, blob)
        options: dict[str, Any] = {}
        if fields.get("tokenization") and "texts" in fields:
            options["tokenization_kwargs"] = fields["tokenization"]  # vLLM takes them for texts alone
        if pooling is None:
            params = PoolingParams(task="embed", dimensions=fields.get("dimensions"))
        else:
            params = PoolingParams(task=pooling.get("task") or await self._usual_task(), use_activation=pooling.get("use_activation"))
            prompts = [self._complete(prompt, fields) for prompt in prompts]
            if "priority" in fields:
                options["priority"] = fields["priority"]
        outputs = await _all(
            [self._encode_one(prompt, params, f"{fields['request_id']}-{index}", options) for index, prompt in enumerate(prompts)]
        )
        data = [output.outputs.data for output in outputs]
        vectors = [(_float32(one), -1) for one in data] if pooling is None else [_numbers(one, pooling) for one in data]
        return sum(len(output.prompt_token_ids or ()) for output in outputs), vectors

    async def _usual_task(self) -> Any:
        """What the model is for, as vLLM's own server finds it."""
        tasks = await self._llm.get_supported_tasks()
        task = self._llm.model_config.get_pooling_task(tasks)
        if task is None:
            raise ValueError(f"No default pooling task is available; supported tasks: {tasks}")
        return task

    def _complete(self, prompt: Any, fields: dict[str, Any]) -> Any:
        """With the salt; and tokens are cut as vLLM's server cuts them, which `encode` does for texts alone."""
        salt = fields.get("cache_salt")
        if isinstance(prompt, str):
            return {"prompt": prompt, "cache_salt": salt} if salt else prompt
        if salt:
            prompt["cache_salt"] = salt
        renderer = self._llm.renderer
        parameters = renderer.default_cmpl_tok_params
        if fields.get("tokenization"):
            parameters = parameters.with_kwargs(**fields["tokenization"])
        return parameters.apply_post_tokenization(renderer.tokenizer, prompt)

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


def _numbers(data: Any, pooling: dict[str, Any]) -> tuple[bytes, int]:
    """The numbers of a tensor and its rows, -1 if it has one dimension; 32-bit floats, or what was asked for."""
    import torch

    tensor = torch.as_tensor(data).detach().cpu()
    if pooling.get("one_row") and tensor.ndim == 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if pooling.get("one_row") and tensor.ndim != 1 or tensor.ndim not in (1, 2):
        wanted = "one vector" if pooling.get("one_row") else "one vector or a list of them"
        raise ValueError(f"the model gives a tensor of shape {tuple(tensor.shape)} for a prompt, not {wanted}")
    rows = -1 if tensor.ndim == 1 else tensor.shape[0]
    if "dtype" not in pooling:
        return tensor.float().contiguous().numpy().tobytes(), rows
    from vllm.utils.serial_utils import tensor2binary

    return tensor2binary(tensor, pooling["dtype"], pooling["endianness"]), rows
