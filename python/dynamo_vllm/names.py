"""The names of vLLM that the guest relies on, looked for at the start.

A release that renamed one is refused in one line, not request by request.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from types import CodeType
from typing import Any, Mapping, Sequence

from . import sampling

_LOGGER = logging.getLogger("dynamo_vllm.names")

#: Release of vLLM that the worker is run with (docs/compatibility.md, Releases).
RELEASE = "0.31"

#: "module:Class" or "module" to what it must have: attributes, fields, methods; in parentheses the parameters that are passed by name,
#: after "->" a name that the function must look up, since the guest puts something of its own there.
Names = Mapping[str, Sequence[str]]

PARSER: Names = {
    "vllm": ("__version__",),
    "vllm.engine.arg_utils:AsyncEngineArgs": ("add_cli_args(async_args_only)", "from_cli_args", "create_engine_config(usage_context)"),
    "vllm.utils.argparse_utils": ("FlexibleArgumentParser",),
}

REQUIRED: Names = {
    "vllm.usage.usage_lib:UsageContext": ("OPENAI_API_SERVER",),
    "vllm.v1.metrics.prometheus": ("setup_multiprocess_prometheus",),
    "vllm.v1.metrics.loggers:StatLoggerBase": ("record(scheduler_stats, iteration_stats)", "log_engine_initialized"),
    "vllm.v1.metrics.stats:SchedulerStats": ("kv_cache_usage", "num_running_reqs", "num_waiting_reqs"),
    "vllm.v1.engine.async_llm:AsyncLLM": (
        "from_vllm_config(vllm_config, usage_context, stat_loggers, enable_log_requests, disable_log_stats)",
        "generate(lora_request, data_parallel_rank, trace_headers, priority)",
        "add_request(lora_request, data_parallel_rank, trace_headers, priority)",
        "abort(internal)", "shutdown(timeout)", "check_health", "is_sleeping", "get_tokenizer", "get_supported_tasks", "vllm_config",
    ),
    "vllm.config:VllmConfig": ("model_config", "cache_config", "scheduler_config", "parallel_config", "additional_config"),
    "vllm.config:ModelConfig": ("model", "max_model_len", "get_diff_sampling_param"),
    "vllm.config:CacheConfig": ("num_gpu_blocks", "block_size", "enable_prefix_caching"),
    "vllm.config:SchedulerConfig": ("max_num_seqs", "max_num_batched_tokens"),
    "vllm.config:ParallelConfig": ("data_parallel_rank", "data_parallel_size"),
    "vllm.config:KVEventsConfig": ("enable_kv_cache_events", "publisher", "endpoint", "topic"),
    "vllm.sampling_params:SamplingParams": (
        *sampling.FIELDS, "structured_outputs", "_bad_words_token_ids", "extra_args", "detokenize", "output_kind", "__post_init__",
    ),
    "vllm.sampling_params:StructuredOutputsParams": sampling.STRUCTURED,
    "vllm.sampling_params:RequestOutputKind": ("DELTA",),
    "vllm.outputs:RequestOutput": ("prompt_token_ids", "num_cached_tokens", "outputs", "finished", "prompt_logprobs", "kv_transfer_params"),
    "vllm.outputs:CompletionOutput": ("index", "token_ids", "logprobs", "finish_reason", "stop_reason", "text"),
    "vllm.logprobs:Logprob": ("logprob", "rank", "decoded_token"),
    # Errors are told apart by the names of their classes (failures.py).
    "vllm.v1.engine.exceptions": ("EngineDeadError", "EngineGenerateError"),
    "vllm.exceptions": ("VLLMClientError", "VLLMUnprocessableEntityError", "VLLMNotFoundError", "GracefulHTTPError"),
}

#: Of all drives but the stock one, which puts nothing of its own into vLLM.
COLLECTOR: Names = {
    "vllm.v1.engine.async_llm:RequestOutputCollector": ("__init__(output_kind, request_id)", "put"),
    "vllm.v1.engine.async_llm:AsyncLLM": ("add_request -> RequestOutputCollector",),
}

#: Without one of these the collector drive is used.
RAW: Names = {
    "vllm.v1.engine.async_llm:AsyncLLM": ("_run_output_handler -> process_outputs",),
    "vllm.v1.engine.output_processor:OutputProcessor": (
        "request_states", "process_outputs(engine_core_outputs, engine_core_timestamp, iteration_stats)",
    ),
    "vllm.v1.engine.output_processor:RequestState": ("queue", "is_prefilling", "stats"),
    "vllm.v1.metrics.stats:RequestStateStats": ("num_generation_tokens", "last_token_ts"),
    "vllm.v1.metrics.stats:IterationStats": ("num_generation_tokens", "inter_token_latencies_iter"),
}

#: Without one of these, requests go vLLM's own way into the engine.
ENTRY: Names = {
    "vllm.v1.engine.async_llm:AsyncLLM": (
        "_add_request(request, prompt, parent_req, index, queue)", "errored", "output_handler", "input_processor", "model_config",
    ),
    "vllm.v1.engine.input_processor:InputProcessor": (
        "process_inputs(request_id, prompt, params, supported_tasks, data_parallel_rank)", "tokenizer", "assign_request_id",
    ),
    "vllm.config:ModelConfig": ("max_model_len", "get_vocab_size"),
    "vllm.sampling_params:SamplingParams": ("n", "max_tokens", "min_tokens"),
}

#: Without one of these, the host has no way to the engine of its own.
DIRECT: Names = {
    "vllm.v1.engine.async_llm:AsyncLLM": ("from_vllm_config(client_index)",),
    "vllm.v1.engine.core_client": ("launch_core_engines(vllm_config, executor_class, log_stats, addresses)",),
    "vllm.v1.engine.core_client:MPClient": ("encoder", "__init__ -> launch_core_engines"),
    "vllm.v1.engine.utils:EngineZmqAddresses": ("inputs", "outputs"),
    "vllm.v1.engine.output_processor:OutputProcessor": ("update_scheduler_stats(scheduler_stats)",),
    "vllm.v1.engine:FinishReason": ("STOP",),
    "vllm.v1.metrics.loggers:StatLoggerManager": ("record(engine_idx, scheduler_stats, iteration_stats)", "stat_loggers"),
    "vllm.v1.metrics.stats:SchedulerStats": (
        "num_running_reqs", "num_waiting_reqs", "num_skipped_waiting_reqs", "kv_cache_usage", "prefix_cache_stats",
        "connector_prefix_cache_stats",
    ),
    "vllm.v1.metrics.stats:PrefixCacheStats": (
        "requests", "queries", "hits", "preempted_requests", "preempted_queries", "preempted_hits",
    ),
    "vllm.v1.metrics.stats:IterationStats": (
        "iteration_timestamp", "num_generation_tokens", "num_preempted_reqs", "prompt_token_stats", "time_to_first_tokens_iter",
        "finished_requests", "max_num_generation_tokens_iter", "n_params_iter",
    ),
    "vllm.v1.metrics.stats:PromptTokenStats": ("total", "computed", "cached_tokens", "local_cache_hit", "external_kv_transfer"),
    "vllm.v1.metrics.stats:FinishedRequestStats": (
        "finish_reason", "e2e_latency", "num_prompt_tokens", "num_preemptions", "num_generation_tokens", "max_tokens_param", "queued_time",
        "prefill_time", "decode_time", "inference_time", "mean_time_per_output_token", "num_cached_tokens",
    ),
}

#: Without one of these, a single control call or feature is refused when it is asked for, or the engine's card lacks a fact.
FEATURES: Names = {
    "vllm.config:VllmConfig": (
        "kv_transfer_config", "kv_events_config", "structured_outputs_config", "lora_config", "speculative_config", "shutdown_timeout",
    ),
    "vllm.config:ParallelConfig": ("data_parallel_size_local", "data_parallel_external_lb", "data_parallel_hybrid_lb", "world_size"),
    "vllm.config:StructuredOutputsConfig": ("reasoning_parser", "enable_in_reasoning"),
    "vllm.config:LoRAConfig": ("enable_tower_connector_lora", "max_loras"),
    "vllm.config:KVTransferConfig": ("kv_connector", "kv_connector_extra_config", "engine_id"),
    "vllm.config:SpeculativeConfig": ("num_speculative_tokens", "method"),
    "vllm.v1.engine.async_llm:AsyncLLM": (
        "do_log_stats", "reset_prefix_cache(reset_connector)", "pause_generation(mode, clear_cache)", "resume_generation", "sleep",
        "wake_up", "start_profile", "stop_profile", "collective_rpc(kwargs)", "add_lora", "remove_lora",
        "add_request(session_id, reasoning_ended, reasoning_parser_kwargs, kv_hints)", "notify_kv_transfer_request_rejected(data_parallel_rank)",
        "encode(tokenization_kwargs)",
    ),
    "vllm.outputs:CompletionOutput": ("routed_experts", "sampling_mask"),
    "vllm.outputs:SamplingMask": ("token_ids",),
    "vllm.v1.kv_hints:KvHintAction": ("action_id", "action_type", "action_version", "payload"),
    "vllm.v1.kv_hints:KvHintsEnvelope": ("protocol_version", "message_id", "actions"),
    "vllm.lora.request:LoRARequest": ("lora_name", "lora_int_id", "lora_path"),
    "vllm.renderers.embed_utils": ("safe_load_prompt_embeds",),
    "vllm.pooling_params:PoolingParams": ("task", "dimensions"),
    "vllm.outputs:PoolingRequestOutput": ("prompt_token_ids", "outputs"),
    "vllm.outputs:PoolingOutput": ("data",),
}


class UnsupportedEngineError(Exception):
    """This vLLM lacks names without which nothing works. The text is one line for the operator."""


def check_parser() -> None:
    """Before vLLM's arguments are read."""
    _refuse(PARSER)


def check(drive: str) -> None:
    """Before the engine is built. Raises what cannot be done without, and says what is done without."""
    import vllm

    if not is_tested(vllm.__version__):
        _LOGGER.warning(
            "vLLM %s is not the release that this worker is run with (%s): names are checked, behaviour is not", vllm.__version__, RELEASE
        )
    _refuse(REQUIRED if drive == "stock" else {**REQUIRED, **_joined(REQUIRED, COLLECTOR)})
    lacking = missing(FEATURES)
    if lacking:
        _LOGGER.warning(
            "vLLM %s lacks %s: requests, calls and facts of the card that need it will be wrong or missing",
            vllm.__version__, ", ".join(lacking),
        )


def is_tested(version: str) -> bool:
    """Whether it is the release above, whatever comes behind it."""
    return version == RELEASE or version.startswith(RELEASE + ".")


def is_simulated() -> bool:
    """Whether the package named vllm is the simulated engine's, which lacks libraries that vLLM brings along."""
    import vllm

    return bool(getattr(vllm, "SIMULATED", False))


def missing(names: Names) -> list[str]:
    """Those that are not there, each with its module."""
    found = []
    for owner_name, members in names.items():
        module_name, _, class_name = owner_name.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise  # what it imports is missing: an installation that is broken, and says so better itself
            found.append(module_name)
            continue
        owner = getattr(module, class_name, None) if class_name else module
        if owner is None:
            found.append(f"{module_name}.{class_name}")
            continue
        prefix = owner_name.replace(":", ".")
        found.extend(f"{prefix}.{lacking}" for member in members for lacking in _lacking(owner, member))
    return found


def replaced(owner: type, function: str) -> str | None:
    """The file of a plugin or an instrumentation whose function stands in place of the class's own; none in most processes."""
    file = getattr(getattr(getattr(owner, function), "__code__", None), "co_filename", "another")
    own = importlib.import_module(owner.__module__).__file__
    return None if file == own else str(file)


def _refuse(names: Names) -> None:
    lacking = missing(names)
    if lacking:
        version = getattr(importlib.import_module("vllm"), "__version__", "of an unknown version")
        text = f"vLLM {version} cannot be served, it lacks {', '.join(lacking)}; this worker is run with vLLM {RELEASE}"
        raise UnsupportedEngineError(text)


def _joined(first: Names, second: Names) -> Names:
    return {owner: (*first.get(owner, ()), *members) for owner, members in second.items()}


def _lacking(owner: Any, member: str) -> list[str]:
    member, _, used = member.partition(" -> ")
    name, _, rest = member.partition("(")
    if not _has(owner, name):
        return [name]
    if used:
        return [] if _looks_up(_code(getattr(owner, name)), used) else [f"{name} with {used} in it"]
    if not rest:
        return []
    parameters = inspect.signature(getattr(owner, name)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    return [f"{name}({wanted})" for wanted in rest.rstrip(")").split(", ") if wanted not in parameters]


def _has(owner: Any, name: str) -> bool:
    if hasattr(owner, name):
        # What a class that can be made only inherits as an idea, it does not have.
        return inspect.isabstract(owner) or not getattr(getattr(owner, name), "__isabstractmethod__", False)
    if not isinstance(owner, type):
        return False
    for cls in owner.__mro__:
        fields = cls.__dict__.get("__struct_fields__")
        if name in cls.__dict__.get("__annotations__", ()) or (isinstance(fields, tuple) and name in fields):
            return True
        # What an instance gets when it is made: the only place where a plain class names its attributes.
        code = _code(cls.__dict__.get("__init__"))
        if code is not None and name in code.co_names:
            return True
    return False


def _code(function: Any) -> CodeType | None:
    code: CodeType | None = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    return code


def _looks_up(code: CodeType | None, name: str) -> bool:
    if code is None:
        return False
    return name in code.co_names or any(_looks_up(inner, name) for inner in code.co_consts if isinstance(inner, CodeType))
