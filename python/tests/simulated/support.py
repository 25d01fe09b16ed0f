"""Engines for tests: small, quick, and always shut down."""

from __future__ import annotations

import asyncio
import os
import unittest
from typing import Any

from . import SIMULATED  # noqa: F401  (puts the package on the path)

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM


def make_config(**options: Any) -> Any:
    defaults = {
        "model": "no-such-folder/simulated",
        "block_size": 32,
        "num_gpu_blocks_override": 64,
        "max_model_len": 1024,
        "simulated_step_time_ms": 2.0,
    }
    return AsyncEngineArgs(**{**defaults, **options}).create_engine_config()


def delta(**fields: Any) -> SamplingParams:
    defaults = {
        "max_tokens": 4,
        "detokenize": False,
        "output_kind": RequestOutputKind.DELTA,
    }
    return SamplingParams(**{**defaults, **fields})


def prompt(length: int = 40, start: int = 10, **fields: Any) -> dict[str, Any]:
    return {"prompt_token_ids": [start + i % 1000 for i in range(length)], **fields}


async def collect(engine: Any, asked: Any, params: Any, name: str = "r", **kw: Any) -> list[Any]:
    return [output async for output in engine.generate(asked, params, name, **kw)]


def tokens_of(outputs: list[Any], index: int = 0) -> list[int]:
    return [
        token
        for output in outputs
        for completion in output.outputs
        if completion.index == index
        for token in completion.token_ids
    ]


class EngineTest(unittest.IsolatedAsyncioTestCase):
    """One engine per test, made by `start`."""

    engine: Any = None

    def start(self, stat_loggers: Any = None, cls: Any = AsyncLLM, **options: Any) -> Any:
        # Construction blocks by design; asyncio's debug mode would report it.
        asyncio.get_running_loop().slow_callback_duration = 10.0
        self.engine = cls.from_vllm_config(
            vllm_config=make_config(**options), stat_loggers=stat_loggers
        )
        self.addCleanup(self.engine.shutdown)
        return self.engine

    async def run_one(self, asked: Any = None, name: str = "r", **fields: Any) -> list[Any]:
        return await collect(self.engine, asked or prompt(), delta(**fields), name)

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                self.fail("condition not met in time")
            await asyncio.sleep(0.005)


class quiet_stderr:
    """For children started inside: their tracebacks are right, but clutter a report."""

    def __enter__(self) -> None:
        self._saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_: Any) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
