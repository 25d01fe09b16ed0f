"""A simulated stand-in for the part of vLLM 0.31 that the worker's bridge uses.

Nothing here computes a model.  The package exists so that the demo and the
fast tests exercise the real control flow of a worker (a child EngineCore
process, batched steps, paged KV blocks, KV events over ZMQ, statistics,
engine death) on a machine that has nothing but a Python interpreter.

Import paths and signatures follow vLLM; `SIMULATED` lets a caller tell.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.31.0+simulated"
__version_tuple__ = (0, 31, 0)
SIMULATED = True

# Resolved on first use: spawning the EngineCore child imports this package,
# and the child should not pay for the front end's modules.
_LAZY = {
    "SamplingParams": "vllm.sampling_params",
    "PoolingParams": "vllm.pooling_params",
    "AsyncEngineArgs": "vllm.engine.arg_utils",
    "EngineArgs": "vllm.engine.arg_utils",
    "RequestOutput": "vllm.outputs",
    "CompletionOutput": "vllm.outputs",
    "PoolingRequestOutput": "vllm.outputs",
    "TokensPrompt": "vllm.inputs",
    "AsyncLLMEngine": "vllm.v1.engine.async_llm:AsyncLLM",
}


def __getattr__(name: str) -> Any:
    target = _LAZY.get(name)
    if target is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute or name)
