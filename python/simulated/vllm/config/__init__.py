"""Configuration objects: the attributes a host reads, and what the child needs."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from vllm.tokenizers import SimulatedTokenizer

_T = TypeVar("_T")


def from_mapping(cls: type[_T], value: Any) -> _T:
    """Build a config from JSON or a dict; unknown keys are an error, as in vLLM."""
    if isinstance(value, cls):
        return value
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise ValueError(f"{cls.__name__} must be a JSON object, got {value!r}")
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"{cls.__name__}: unexpected keyword(s) {', '.join(unknown)}")
    return cls(**value)


@dataclass
class KVEventsConfig:
    enable_kv_cache_events: bool = False
    publisher: str | None = None
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    buffer_steps: int = 10_000
    hwm: int = 100_000
    max_queue_size: int = 100_000
    topic: str = ""

    def __post_init__(self) -> None:
        if self.publisher is None:
            self.publisher = "zmq" if self.enable_kv_cache_events else "null"
        if self.publisher not in ("zmq", "null"):
            raise ValueError(f"publisher: Input should be 'null' or 'zmq', got {self.publisher!r}")


@dataclass
class KVTransferConfig:
    kv_connector: str | None = None
    engine_id: str | None = None
    kv_buffer_device: str = "cpu"
    kv_buffer_size: float = 1e9
    kv_role: str | None = None
    kv_rank: int | None = None
    kv_parallel_size: int = 1
    kv_ip: str = "127.0.0.1"
    kv_port: int = 14579
    kv_connector_extra_config: dict[str, Any] = field(default_factory=dict)
    kv_connector_module_path: str | None = None
    enable_permute_local_kv: bool = False
    kv_load_failure_policy: str = "fail"

    def __post_init__(self) -> None:
        if self.engine_id is None:
            self.engine_id = str(uuid.uuid4())
        if self.kv_role not in (None, "kv_producer", "kv_consumer", "kv_both"):
            raise ValueError(
                f"Unsupported kv_role: {self.kv_role}. Supported roles are "
                "('kv_producer', 'kv_both', 'kv_consumer')"
            )
        if self.kv_connector is not None and self.kv_role is None:
            raise ValueError(
                "Please specify kv_role when kv_connector is set, supported roles "
                "are ('kv_producer', 'kv_both', 'kv_consumer')"
            )

    @property
    def is_kv_transfer_instance(self) -> bool:
        return self.kv_connector is not None

    def get_from_extra_config(self, key: str, default: Any) -> Any:
        return self.kv_connector_extra_config.get(key, default)


@dataclass
class ECTransferConfig:
    ec_connector: str | None = None
    engine_id: str | None = None
    ec_role: str | None = None
    ec_connector_module_path: str | None = None
    ec_connector_extra_config: dict[str, Any] = field(default_factory=dict)


@dataclass
class StructuredOutputsConfig:
    backend: str = "auto"
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    reasoning_parser: str = ""
    reasoning_parser_plugin: str = ""
    enable_in_reasoning: bool = False


@dataclass
class ProfilerConfig:
    profiler: str | None = None
    torch_profiler_dir: str = ""
    torch_profiler_activities: list[str] | None = None
    ignore_frontend: bool = False


@dataclass
class LoRAConfig:
    max_lora_rank: int = 16
    max_loras: int = 1
    max_cpu_loras: int | None = None
    fully_sharded_loras: bool = False
    lora_dtype: str = "auto"
    enable_tower_connector_lora: bool = False
    default_mm_loras: dict[str, str] | None = None


@dataclass
class SpeculativeConfig:
    num_speculative_tokens: int | None = None
    method: str | None = None


@dataclass
class CacheConfig:
    block_size: int = 16
    gpu_memory_utilization: float = 0.92
    cache_dtype: str = "auto"
    num_gpu_blocks: int | None = None
    num_gpu_blocks_override: int | None = None
    enable_prefix_caching: bool = True
    prefix_caching_hash_algo: str = "sha256"
    kv_cache_memory_bytes: int | None = None
    kv_sharing_fast_prefill: bool = False
    sliding_window: int | None = None
    kv_cache_size_tokens: int | None = None
    kv_cache_max_concurrency: float | None = None
    user_specified_block_size: bool = False

    def metrics_info(self) -> dict[str, str]:
        facts = {key: str(value) for key, value in vars(self).items()}
        return {**facts, "is_attention_free": "False"}


@dataclass
class SchedulerConfig:
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 4096
    enable_chunked_prefill: bool = True
    policy: str = "fcfs"
    stream_interval: int = 1
    scheduler_cls: str | None = None
    async_scheduling: bool = False
    disable_hybrid_kv_cache_manager: bool = False
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    long_prefill_token_threshold: int = 0
    scheduler_reserve_full_isl: bool = True
    watermark: float = 0.0


@dataclass
class ParallelConfig:
    pipeline_parallel_size: int = 1
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    data_parallel_size_local: int = 1
    data_parallel_rank: int = 0
    data_parallel_rank_local: int | None = None
    data_parallel_backend: str = "mp"
    data_parallel_external_lb: bool = False
    data_parallel_hybrid_lb: bool = False
    data_parallel_master_ip: str = "127.0.0.1"
    data_parallel_rpc_port: int = 29550
    decode_context_parallel_size: int = 1
    prefill_context_parallel_size: int = 1
    enable_elastic_ep: bool = False
    enable_expert_parallel: bool = False
    worker_cls: str = "auto"
    worker_extension_cls: str = ""
    distributed_executor_backend: str | None = None
    nnodes: int = 1
    node_rank: int = 0

    @property
    def world_size(self) -> int:
        return (
            self.pipeline_parallel_size
            * self.tensor_parallel_size
            * self.prefill_context_parallel_size
        )

    @property
    def world_size_across_dp(self) -> int:
        return self.world_size * self.data_parallel_size

    @property
    def local_engines_only(self) -> bool:
        return self.data_parallel_external_lb or self.data_parallel_hybrid_lb

    def managed_ranks(self) -> list[int]:
        """Global ranks of the engines that this front end runs."""
        if self.data_parallel_external_lb:
            return [self.data_parallel_rank]
        if self.data_parallel_hybrid_lb:
            first = self.data_parallel_rank
            return list(range(first, first + self.data_parallel_size_local))
        return list(range(self.data_parallel_size))


class HfConfig:
    """config.json by attribute; a missing key is a missing attribute."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def get_text_config(self) -> "HfConfig":
        return self


class MultiModalConfig:
    """How many media of a kind a prompt may hold."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits

    def get_limit_per_prompt(self, modality: str) -> int:
        if modality != "image":
            return 0
        limit = self._limits.get(modality, 999)
        return int(limit["count"] if isinstance(limit, dict) else limit)


@dataclass
class ModelConfig:
    model: str = ""
    model_weights: str = ""
    tokenizer: str = ""
    served_model_name: str | list[str] | None = None
    max_model_len: int = 4096
    dtype: str = "auto"
    seed: int = 0
    revision: str | None = None
    quantization: str | None = None
    enforce_eager: bool = False
    max_logprobs: int = 20
    logprobs_mode: str = "raw_logprobs"
    skip_tokenizer_init: bool = False
    enable_prompt_embeds: bool = False
    enable_sleep_mode: bool = False
    # vLLM has the first one in a configuration of its own.
    enable_return_routed_experts: bool = False
    return_sampling_mask: bool = False
    trust_remote_code: bool = False
    runner_type: str = "generate"
    convert_type: str = "none"
    generation_config: str = "auto"
    override_generation_config: dict[str, Any] = field(default_factory=dict)
    vocab_size: int = 2048
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    hf_config: HfConfig = field(default_factory=lambda: HfConfig({}))
    generation_defaults: dict[str, Any] = field(default_factory=dict)
    is_multimodal_model: bool = False
    is_moe: bool = False
    is_diffusion: bool = False
    enable_trace_replay: bool = True
    multimodal_config: Any = None

    @property
    def hf_text_config(self) -> HfConfig:
        return self.hf_config

    @property
    def supports_multimodal_inputs(self) -> bool:
        return self.is_multimodal_model

    @property
    def is_model_dir(self) -> bool:
        return os.path.isdir(self.model)

    @property
    def embedding_size(self) -> int:
        return int(getattr(self.hf_config, "hidden_size", 64))

    @property
    def matryoshka_dimensions(self) -> list[int] | None:
        return getattr(self.hf_config, "matryoshka_dimensions", None)

    @property
    def is_matryoshka(self) -> bool:
        return bool(
            self.matryoshka_dimensions or getattr(self.hf_config, "is_matryoshka", False)
        )

    def get_vocab_size(self) -> int:
        return self.vocab_size

    def get_hidden_size(self) -> int:
        return int(getattr(self.hf_config, "hidden_size", 0))

    def try_get_generation_config(self) -> dict[str, Any]:
        return dict(self.generation_defaults)

    def get_diff_sampling_param(self) -> dict[str, Any]:
        """Default sampling values of the model; {} when it states none."""
        source = dict(self.generation_defaults) if self.generation_config != "vllm" else {}
        source.update(self.override_generation_config)
        names = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
        found = {n: source[n] for n in names if source.get(n) is not None}
        if source.get("max_new_tokens") is not None:
            found["max_tokens"] = source["max_new_tokens"]
        return found

    def make_tokenizer(self) -> SimulatedTokenizer:
        directory = self.tokenizer if os.path.isdir(self.tokenizer) else None
        return SimulatedTokenizer(
            self.vocab_size, self.bos_token_id, self.eos_token_id, directory
        )


@dataclass
class ObservabilityConfig:
    otlp_traces_endpoint: str | None = None
    kv_cache_metrics: bool = False


@dataclass
class SimulationConfig:
    """What the simulated engine is like; no counterpart in vLLM."""

    step_time_ms: float = 10.0
    load_time_ms: float = 0.0
    eos_interval: int = 0


@dataclass
class VllmConfig:
    model_config: ModelConfig = field(default_factory=ModelConfig)
    cache_config: CacheConfig = field(default_factory=CacheConfig)
    parallel_config: ParallelConfig = field(default_factory=ParallelConfig)
    scheduler_config: SchedulerConfig = field(default_factory=SchedulerConfig)
    lora_config: LoRAConfig | None = None
    speculative_config: Any = None
    structured_outputs_config: StructuredOutputsConfig = field(
        default_factory=StructuredOutputsConfig
    )
    observability_config: ObservabilityConfig = field(default_factory=ObservabilityConfig)
    profiler_config: ProfilerConfig = field(default_factory=ProfilerConfig)
    kv_transfer_config: KVTransferConfig | None = None
    kv_events_config: KVEventsConfig | None = None
    ec_transfer_config: ECTransferConfig | None = None
    reasoning_config: Any = None
    logging_config: Any = None
    additional_config: dict[str, Any] = field(default_factory=dict)
    shutdown_timeout: int = 0
    instance_id: str = field(default_factory=lambda: uuid.uuid4().hex[:5])
    simulation_config: SimulationConfig = field(default_factory=SimulationConfig)

    def engine_core_config(
        self, rank: int, log_stats: bool, special_token_ids: list[int]
    ) -> dict[str, Any]:
        """Plain data for the EngineCore child of one rank."""
        cache, scheduler = self.cache_config, self.scheduler_config
        parallel, simulation = self.parallel_config, self.simulation_config
        events, transfer = self.kv_events_config, self.kv_transfer_config
        publishes = (
            events is not None
            and events.enable_kv_cache_events
            and events.publisher == "zmq"
            and cache.enable_prefix_caching
        )
        return {
            "rank": rank,
            "data_parallel_size": parallel.data_parallel_size,
            "world_size": parallel.world_size,
            "log_stats": log_stats,
            "step_time_ms": simulation.step_time_ms,
            "load_time_ms": simulation.load_time_ms,
            "eos_interval": simulation.eos_interval,
            "shutdown_timeout": self.shutdown_timeout,
            "max_model_len": self.model_config.max_model_len,
            "vocab_size": self.model_config.vocab_size,
            "runner": self.model_config.runner_type,
            "embedding_size": self.model_config.embedding_size,
            "special_token_ids": special_token_ids,
            "block_size": cache.block_size,
            "num_gpu_blocks": cache.num_gpu_blocks_override or DEFAULT_NUM_BLOCKS,
            "enable_prefix_caching": cache.enable_prefix_caching,
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "enable_chunked_prefill": scheduler.enable_chunked_prefill,
            "scheduling_policy": scheduler.policy,
            "max_loras": self.lora_config.max_loras if self.lora_config else 0,
            "max_lora_rank": self.lora_config.max_lora_rank if self.lora_config else 0,
            "kv_events": vars(events) if publishes else None,
            "host": None,
            "kv_transfer": (
                {
                    "engine_id": transfer.engine_id,
                    "tp_size": parallel.tensor_parallel_size,
                    "pp_size": parallel.pipeline_parallel_size,
                    "rank": rank,
                }
                if transfer is not None and transfer.kv_connector is not None
                else None
            ),
        }


DEFAULT_NUM_BLOCKS = 8192
DEFAULT_BLOCK_SIZE = 16
