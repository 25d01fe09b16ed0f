"""What the host needs to know of a model as vLLM has configured it."""

from __future__ import annotations

import logging
from typing import Any

from . import grids, media

_LOGGER = logging.getLogger("dynamo_vllm.facts")


def describe(config: Any) -> dict[str, Any]:
    """All that the configuration says. What only a running engine knows is added by whoever runs one."""
    import vllm

    model, cache, scheduler, parallel = config.model_config, config.cache_config, config.scheduler_config, config.parallel_config
    reasoning = getattr(config, "structured_outputs_config", None)
    transfer = getattr(config, "kv_transfer_config", None)
    events = getattr(config, "kv_events_config", None)
    return {
        "vllm_version": vllm.__version__,
        "model": str(model.model),
        "model_facts": _model(model, cache),
        "max_model_len": model.max_model_len,
        "vocabulary_size": _vocabulary(model),
        "num_gpu_blocks": cache.num_gpu_blocks,
        "block_size": cache.block_size,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "data_parallel_rank": parallel.data_parallel_rank,
        "data_parallel_size": parallel.data_parallel_size,
        "data_parallel_size_local": getattr(parallel, "data_parallel_size_local", 1),
        "data_parallel_external_lb": bool(getattr(parallel, "data_parallel_external_lb", False)),
        "data_parallel_hybrid_lb": bool(getattr(parallel, "data_parallel_hybrid_lb", False)),
        "world_size": getattr(parallel, "world_size", 1),
        "reasoning_parser": str(getattr(reasoning, "reasoning_parser", "") or ""),
        "enable_in_reasoning": bool(getattr(reasoning, "enable_in_reasoning", False)),
        "tower_connector_lora": bool(getattr(getattr(config, "lora_config", None), "enable_tower_connector_lora", False)),
        "max_loras": getattr(getattr(config, "lora_config", None), "max_loras", None),
        "speculative": _speculative(getattr(config, "speculative_config", None)),
        "kv_connector": getattr(transfer, "kv_connector", None),
        "kv_connector_extra_config": getattr(transfer, "kv_connector_extra_config", None),
        "kv_engine_id": getattr(transfer, "engine_id", None),
        "mooncake_bootstrap": _mooncake_bootstrap(config, transfer),
        "kv_events": None
        if events is None
        else {"enabled": bool(events.enable_kv_cache_events), "publisher": events.publisher, "endpoint": events.endpoint, "topic": events.topic},
        "prefix_caching": bool(cache.enable_prefix_caching),
        "shutdown_timeout": getattr(config, "shutdown_timeout", 0) or 0,
        "labels": _labels(model),
        "multimodal": media.describe(config),
    }


def _model(model: Any, cache: Any) -> dict[str, Any]:
    """What the files of the model say of it. What a file does not say is empty."""
    files = getattr(model, "hf_config", None)
    ends = getattr(files, "eos_token_id", None)
    return {
        "tokenizer": str(getattr(model, "tokenizer", "") or ""),
        "type": str(getattr(files, "model_type", "") or ""),
        "architectures": [str(name) for name in getattr(model, "architectures", None) or getattr(files, "architectures", None) or ()],
        "eos_token_ids": [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)],
        "pad_token_id": getattr(files, "pad_token_id", None),
        "bos_token_id": getattr(files, "bos_token_id", None),
        "dtype": str(getattr(model, "dtype", "") or ""),
        "cache_dtype": str(getattr(cache, "cache_dtype", "") or ""),
    }


def _mooncake_bootstrap(config: Any, transfer: Any) -> str | None:
    if transfer is None or "Mooncake" not in f"{transfer.kv_connector}{transfer.kv_connector_extra_config}":
        return None
    try:
        from vllm.distributed.kv_transfer.kv_connector.v1.mooncake.mooncake_connector import get_mooncake_bootstrap_addr
    except ImportError:
        _LOGGER.warning("the Mooncake connector of this vLLM cannot be imported", exc_info=True)
        return None
    host, port = get_mooncake_bootstrap_addr(config)
    return f"http://{host}:{port}"


def _speculative(config: Any) -> dict[str, Any] | None:
    tokens = getattr(config, "num_speculative_tokens", 0) or 0
    return {"tokens": tokens, "method": getattr(config, "method", None)} if tokens > 0 else None


def _vocabulary(model: Any) -> int | None:
    try:
        return int(model.get_vocab_size())
    except Exception:  # noqa: BLE001 - boundary mapping: informational only
        return None


def _labels(model: Any) -> dict[str, str]:
    """Names of the classes that a classifying model tells apart, by number."""
    named = getattr(getattr(model, "hf_config", None), "id2label", None) or {}
    return {str(number): str(name) for number, name in named.items() if str(number).isdigit()}
