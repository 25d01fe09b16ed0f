"""AsyncEngineArgs: vLLM's option table plus the simulation's own options.

The names, types, choices and defaults come from `options-0.31.tsv`, which was
read off the real parser.  Options that mean nothing to a simulation are
accepted and kept, so that a real command line works unchanged.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Callable, NamedTuple

from vllm.config import (
    DEFAULT_BLOCK_SIZE,
    CacheConfig,
    ECTransferConfig,
    HfConfig,
    KVEventsConfig,
    KVTransferConfig,
    LoRAConfig,
    ModelConfig,
    MultiModalConfig,
    ObservabilityConfig,
    ParallelConfig,
    ProfilerConfig,
    SchedulerConfig,
    SimulationConfig,
    StructuredOutputsConfig,
    VllmConfig,
    from_mapping,
)
from vllm.logger import init_logger
from vllm.utils.argparse_utils import human_readable_int, human_readable_int_or_auto

logger = init_logger(__name__)

_TABLE = os.path.join(os.path.dirname(__file__), "options-0.31.tsv")
_ASYNC_ONLY = ("enable_log_requests",)

_DATACLASSES: dict[str, type] = {
    "kv_events_config": KVEventsConfig,
    "kv_transfer_config": KVTransferConfig,
    "ec_transfer_config": ECTransferConfig,
    "structured_outputs_config": StructuredOutputsConfig,
    "profiler_config": ProfilerConfig,
}
_OPTIONAL_INTS = (
    "num_gpu_blocks_override max_num_active_seqs "
    "max_num_queued_reqs max_cpu_loras mamba_block_size "
    "prefix_match_unit distributed_timeout_seconds cpu_distributed_timeout_seconds "
    "max_parallel_loading_workers spec_tokens max_lora_cls_labels "
    "prefix_cache_retention_interval"
).split()
_OPTIONAL_READABLE_INTS = (
    "kv_cache_memory_bytes",
    "max_num_queued_tokens",
    "max_num_scheduled_tokens",
)
_OPTIONAL_FLOATS = ("kv_offloading_size", "video_pruning_rate")
_OPTIONAL_JSON = (
    "quantization_config pooler_config speculative_config watermark_config "
    "diffusion_config engram_config reasoning_config mm_processor_kwargs "
    "default_mm_loras weight_transfer_config"
).split()

# Options that exist in the simulation only: flag, type, default, help.
_SIMULATION = (
    (
        "simulated_step_time_ms",
        float,
        10.0,
        "Duration of one engine step in milliseconds; 0 runs as fast as it can.",
    ),
    (
        "simulated_load_time_ms",
        float,
        0.0,
        "How long loading the model takes; construction blocks that long.",
    ),
    (
        "simulated_vocab_size",
        int,
        None,
        "Vocabulary size; default from config.json, else 2048.",
    ),
    (
        "simulated_eos_interval",
        int,
        0,
        "Mean number of tokens until the simulated model says EOS; 0 never does.",
    ),
)


class _Option(NamedTuple):
    flags: list[str]
    dest: str
    kind: str
    type_name: str
    nargs: str
    default: Any
    choices: list[str]


def _read_table() -> list[_Option]:
    options = []
    with open(_TABLE, encoding="utf-8") as stream:
        next(stream)
        for line in stream:
            cells = (line.rstrip("\n") + "\t" * 7).split("\t")
            flags, dest, kind, type_name, nargs, default, choices = cells[:7]
            options.append(
                _Option(
                    flags.split(","),
                    dest,
                    kind,
                    type_name,
                    nargs,
                    _default_of(dest, type_name, default),
                    choices.split(",") if choices else [],
                )
            )
    return options


def _default_of(dest: str, type_name: str, text: str) -> Any:
    if dest in _DATACLASSES and type_name == "parse_dataclass":
        return None  # made fresh in create_engine_config
    try:
        value = json.loads(text)
    except ValueError:
        return None  # the table shows reprs of real config objects, cut short
    if value == "==SUPPRESS==":
        return argparse.SUPPRESS
    if isinstance(value, str) and type_name == "parse_dataclass":
        return None
    return set() if value == "set()" else value


def _json_value(text: str) -> Any:
    return json.loads(text)


def _json_or_text(text: str) -> Any:
    return json.loads(text) if text[:1] in "{[" else text


def _optional(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text in ("", "None"):
            return None
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"Value {text} cannot be converted to {convert}."
            ) from error

    return parse


def _config_parser(cls: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return from_mapping(cls, text)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _type_of(option: _Option) -> Callable[[str], Any] | None:
    dest, name = option.dest, option.type_name
    if dest in _DATACLASSES:
        return _optional(_config_parser(_DATACLASSES[dest]))
    if name == "_optional_type":
        if dest in _OPTIONAL_INTS:
            return _optional(int)
        if dest in _OPTIONAL_READABLE_INTS:
            return _optional(human_readable_int)
        if dest in _OPTIONAL_FLOATS:
            return _optional(float)
        if dest in _OPTIONAL_JSON:
            return _optional(_json_value)
        return _optional(str)
    return {
        "int": int,
        "float": float,
        "str": str,
        "human_readable_int": human_readable_int,
        "human_readable_int_or_auto": human_readable_int_or_auto,
        "_parse_type": _optional(_json_value),
        "parse_dataclass": _optional(_json_value),
        "union_dict_and_str": _json_or_text,
    }.get(name)


def _add_option(group: Any, option: _Option) -> None:
    keywords: dict[str, Any] = {"dest": option.dest, "default": option.default}
    if option.kind == "BooleanOptional":
        # The action makes the --no- forms itself.
        flags = [flag for flag in option.flags if not flag.startswith("--no-")]
        group.add_argument(
            *flags, action=argparse.BooleanOptionalAction, **keywords
        )
        return
    if option.kind == "StoreTrue":
        group.add_argument(*option.flags, action="store_true", **keywords)
        return
    convert = _type_of(option)
    if convert is not None:
        keywords["type"] = convert
    if option.nargs:
        keywords["nargs"] = option.nargs
    if option.choices:
        choices: list[Any] = list(option.choices)
        if convert is int:
            choices = [int(choice) for choice in choices]
        if "None" in choices:
            choices.append(None)
        keywords["choices"] = choices
        keywords["metavar"] = "{" + ",".join(option.choices) + "}"
    group.add_argument(*option.flags, **keywords)


_OPTIONS = _read_table()
_DEFAULTS: dict[str, Any] = {
    option.dest: None if option.default is argparse.SUPPRESS else option.default
    for option in _OPTIONS
}
_DEFAULTS.update({dest: default for dest, _, default, _ in _SIMULATION})


class AsyncEngineArgs:
    """All engine options as attributes."""

    def __init__(self, **values: Any) -> None:
        for dest, default in _DEFAULTS.items():
            if isinstance(default, (dict, list, set)):
                default = type(default)(default)
            setattr(self, dest, default)
        for name, value in values.items():
            if name not in _DEFAULTS:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword "
                    f"argument '{name}'"
                )
            setattr(self, name, value)
        for dest, cls in _DATACLASSES.items():
            value = getattr(self, dest)
            if isinstance(value, dict):
                setattr(self, dest, from_mapping(cls, value))

    @staticmethod
    def add_cli_args(parser: Any, async_args_only: bool = False) -> Any:
        group = parser.add_argument_group("AsyncEngineArgs")
        for option in _OPTIONS:
            if not async_args_only or option.dest in _ASYNC_ONLY:
                _add_option(group, option)
        if not async_args_only:
            simulation = parser.add_argument_group(
                "Simulation", "The simulated engine; unknown to the real one."
            )
            for dest, convert, default, text in _SIMULATION:
                simulation.add_argument(
                    "--" + dest.replace("_", "-"),
                    dest=dest,
                    type=convert,
                    default=default,
                    help=text,
                )
        return parser

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> "AsyncEngineArgs":
        given = vars(args)
        return cls(**{dest: given[dest] for dest in _DEFAULTS if dest in given})

    # -- VllmConfig ------------------------------------------------------

    def create_model_config(self) -> ModelConfig:
        directory = self.model if os.path.isdir(self.model) else None
        hf = _read_json(directory, "config.json")
        if directory is not None and hf is None:
            raise ValueError(
                f"Invalid repository ID or local directory specified: {self.model!r}. "
                "Please verify: a local directory needs a config.json file."
            )
        hf = hf or {}
        generation = _read_json(directory, "generation_config.json") or {}
        text = hf.get("text_config") or hf
        native = int(text.get("max_position_embeddings") or 4096)
        eos = generation.get("eos_token_id", text.get("eos_token_id", 2))
        if isinstance(eos, list):
            generation.setdefault("eos_token_id", eos)  # the further ids stop as well
        served = self.served_model_name
        if served is None:
            served = self.model
        elif isinstance(served, list):
            served = served[0]
        return ModelConfig(
            model=self.model,
            model_weights="",
            tokenizer=self.tokenizer or self.model,
            served_model_name=served,
            max_model_len=self._context_length(native),
            dtype=self.dtype,
            seed=self.seed,
            revision=self.revision,
            quantization=self.quantization,
            enforce_eager=self.enforce_eager,
            max_logprobs=self.max_logprobs,
            logprobs_mode=self.logprobs_mode,
            skip_tokenizer_init=self.skip_tokenizer_init,
            enable_prompt_embeds=self.enable_prompt_embeds,
            enable_sleep_mode=self.enable_sleep_mode,
            enable_return_routed_experts=bool(self.enable_return_routed_experts),
            return_sampling_mask=bool(self.return_sampling_mask),
            trust_remote_code=self.trust_remote_code,
            runner_type="pooling" if self.runner == "pooling" else "generate",
            generation_config=self.generation_config,
            override_generation_config=self.override_generation_config or {},
            vocab_size=self.simulated_vocab_size or int(text.get("vocab_size") or 2048),
            bos_token_id=text.get("bos_token_id", 1),
            eos_token_id=eos[0] if isinstance(eos, list) and eos else eos,
            hf_config=HfConfig(hf),
            generation_defaults=generation,
            is_multimodal_model="image_token_id" in hf,
            multimodal_config=MultiModalConfig(self.limit_mm_per_prompt or {})
            if "image_token_id" in hf
            else None,
            is_moe=any("num_experts" in key or key == "num_local_experts" for key in text),
        )

    def _context_length(self, native: int) -> int:
        wanted = self.max_model_len
        if wanted is None or wanted == -1:
            return native
        if wanted > native and not os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN"):
            raise ValueError(
                f"User-specified max_model_len ({wanted}) is greater than the derived "
                f"max_model_len (max_position_embeddings={native} or "
                "model_max_length=None in model's config.json). To allow overriding "
                "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
            )
        if wanted < 1:
            raise ValueError(f"max_model_len must be a positive integer, got {wanted}.")
        return wanted

    def create_engine_config(
        self, usage_context: Any = None, headless: bool = False
    ) -> VllmConfig:
        model = self.create_model_config()
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.block_size is not None and self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {self.block_size}.")
        caching = self.enable_prefix_caching
        events = self.kv_events_config
        if events is not None and not isinstance(events, KVEventsConfig):
            events = from_mapping(KVEventsConfig, events)
        transfer = self.kv_transfer_config
        if transfer is not None and not isinstance(transfer, KVTransferConfig):
            transfer = from_mapping(KVTransferConfig, transfer)
        additional = self.additional_config
        return VllmConfig(
            model_config=model,
            cache_config=CacheConfig(
                block_size=self.block_size or DEFAULT_BLOCK_SIZE,
                gpu_memory_utilization=self.gpu_memory_utilization,
                cache_dtype=self.kv_cache_dtype,
                num_gpu_blocks_override=self.num_gpu_blocks_override,
                enable_prefix_caching=True if caching is None else caching,
                prefix_caching_hash_algo=self.prefix_caching_hash_algo,
                kv_cache_memory_bytes=self.kv_cache_memory_bytes,
                user_specified_block_size=self.block_size is not None,
            ),
            parallel_config=self._parallel_config(),
            scheduler_config=self._scheduler_config(model),
            lora_config=(
                LoRAConfig(
                    max_lora_rank=self.max_lora_rank,
                    max_loras=self.max_loras,
                    max_cpu_loras=self.max_cpu_loras,
                    fully_sharded_loras=self.fully_sharded_loras,
                    lora_dtype=self.lora_dtype,
                    enable_tower_connector_lora=self.enable_tower_connector_lora,
                    default_mm_loras=self.default_mm_loras,
                )
                if self.enable_lora
                else None
            ),
            speculative_config=self.speculative_config,
            structured_outputs_config=self._structured_outputs_config(),
            observability_config=ObservabilityConfig(
                otlp_traces_endpoint=self.otlp_traces_endpoint,
                kv_cache_metrics=self.kv_cache_metrics,
            ),
            profiler_config=self.profiler_config or ProfilerConfig(),
            kv_transfer_config=transfer,
            kv_events_config=events,
            ec_transfer_config=self.ec_transfer_config,
            reasoning_config=self.reasoning_config,
            additional_config=dict(additional) if isinstance(additional, dict) else {},
            shutdown_timeout=self.shutdown_timeout,
            simulation_config=SimulationConfig(
                step_time_ms=self.simulated_step_time_ms,
                load_time_ms=self.simulated_load_time_ms,
                eos_interval=self.simulated_eos_interval,
            ),
        )

    def _structured_outputs_config(self) -> StructuredOutputsConfig:
        config = self.structured_outputs_config or StructuredOutputsConfig()
        if self.reasoning_parser:
            config.reasoning_parser = self.reasoning_parser
        return config

    def _scheduler_config(self, model: ModelConfig) -> SchedulerConfig:
        seqs = self.max_num_seqs or 256
        tokens = self.max_num_batched_tokens
        if tokens is None:
            tokens = max(2048, seqs)
        if tokens < seqs:
            raise ValueError(
                f"max_num_batched_tokens ({tokens}) must be greater than or equal "
                f"to max_num_seqs ({seqs})."
            )
        chunked = self.enable_chunked_prefill
        chunked = True if chunked is None else chunked
        if not chunked and tokens < model.max_model_len:
            raise ValueError(
                f"max_num_batched_tokens ({tokens}) is smaller than max_model_len "
                f"({model.max_model_len}). This effectively limits the maximum "
                "sequence length to max_num_batched_tokens and makes vLLM reject "
                "longer sequences."
            )
        return SchedulerConfig(
            max_num_seqs=seqs,
            max_num_batched_tokens=tokens,
            max_model_len=model.max_model_len,
            enable_chunked_prefill=chunked,
            policy=self.scheduling_policy,
            stream_interval=self.stream_interval,
            scheduler_cls=self.scheduler_cls,
            async_scheduling=bool(self.async_scheduling),
            disable_hybrid_kv_cache_manager=bool(self.disable_hybrid_kv_cache_manager),
            max_num_queued_reqs=self.max_num_queued_reqs,
            max_num_queued_tokens=self.max_num_queued_tokens,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            scheduler_reserve_full_isl=self.scheduler_reserve_full_isl,
            watermark=self.watermark,
        )

    def _parallel_config(self) -> ParallelConfig:
        size = self.data_parallel_size
        external = self.data_parallel_external_lb or (
            self.data_parallel_rank is not None and size > 1
        )
        hybrid = self.data_parallel_hybrid_lb and not external
        rank = self.data_parallel_rank or 0
        local = self.data_parallel_size_local
        if external:
            local = 1
        elif hybrid:
            rank = self.data_parallel_start_rank or rank
            local = local or 1
        elif local is None:
            local = size
        if rank >= size:
            raise ValueError(
                f"data_parallel_rank ({rank}) must be in the range [0, {size})"
            )
        return ParallelConfig(
            pipeline_parallel_size=self.pipeline_parallel_size,
            tensor_parallel_size=self.tensor_parallel_size,
            data_parallel_size=size,
            data_parallel_size_local=local,
            data_parallel_rank=rank,
            data_parallel_backend=self.data_parallel_backend,
            data_parallel_external_lb=external,
            data_parallel_hybrid_lb=hybrid,
            data_parallel_master_ip=self.data_parallel_address or "127.0.0.1",
            data_parallel_rpc_port=self.data_parallel_rpc_port or 29550,
            decode_context_parallel_size=self.decode_context_parallel_size,
            prefill_context_parallel_size=self.prefill_context_parallel_size,
            enable_elastic_ep=self.enable_elastic_ep,
            enable_expert_parallel=self.enable_expert_parallel,
            worker_cls=self.worker_cls,
            worker_extension_cls=self.worker_extension_cls,
            distributed_executor_backend=self.distributed_executor_backend,
            nnodes=self.nnodes,
            node_rank=self.node_rank,
        )

    def __repr__(self) -> str:
        changed = {k: v for k, v in vars(self).items() if v != _DEFAULTS.get(k)}
        inner = ", ".join(f"{key}={value!r}" for key, value in changed.items())
        return f"AsyncEngineArgs({inner})"


EngineArgs = AsyncEngineArgs


def _read_json(directory: str | None, name: str) -> dict[str, Any] | None:
    if directory is None:
        return None
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
