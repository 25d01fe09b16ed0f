"""Statistics objects with vLLM's field names; loggers and hosts read them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class PrefixCacheStats:
    reset: bool = False
    requests: int = 0
    queries: int = 0
    hits: int = 0
    preempted_requests: int = 0
    preempted_queries: int = 0
    preempted_hits: int = 0


@dataclass
class MultiModalCacheStats:
    reset: bool = False
    requests: int = 0
    queries: int = 0
    hits: int = 0


@dataclass
class SchedulerStats:
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    num_skipped_waiting_reqs: int = 0
    step_counter: int = 0
    current_wave: int = 0
    kv_cache_usage: float = 0.0
    iteration_details: Any = None
    prefix_cache_stats: PrefixCacheStats = field(default_factory=PrefixCacheStats)
    connector_prefix_cache_stats: PrefixCacheStats | None = None
    kv_cache_eviction_events: list[Any] = field(default_factory=list)
    spec_decoding_stats: Any = None
    kv_connector_stats: dict[str, Any] | None = None
    ec_connector_stats: dict[str, Any] | None = None
    waiting_lora_adapters: dict[str, int] = field(default_factory=dict)
    running_lora_adapters: dict[str, int] = field(default_factory=dict)
    cudagraph_stats: Any = None
    perf_stats: Any = None


@dataclass
class RequestStateStats:
    num_generation_tokens: int = 0
    num_preemptions: int = 0
    arrival_time: float = 0.0
    queued_ts: float = 0.0
    scheduled_ts: float = 0.0
    first_token_ts: float = 0.0
    last_token_ts: float = 0.0
    first_token_latency: float = 0.0
    is_corrupted: bool = False


@dataclass
class FinishedRequestStats:
    finish_reason: Any
    request_id: str | None = None
    e2e_latency: float = 0.0
    num_prompt_tokens: int = 0
    num_preemptions: int = 0
    num_generation_tokens: int = 0
    max_tokens_param: int | None = None
    queued_time: float = 0.0
    prefill_time: float = 0.0
    inference_time: float = 0.0
    decode_time: float = 0.0
    mean_time_per_output_token: float = 0.0
    is_corrupted: bool = False
    num_cached_tokens: int = 0


@dataclass
class PrefillStats:
    num_prompt_tokens: int = 0
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    num_local_cached_tokens: int = 0
    num_external_cached_tokens: int = 0
    num_cache_creation_tokens: int = 0


@dataclass
class PromptTokenStats:
    ALL_SOURCES: ClassVar[tuple[str, ...]] = (
        "local_compute",
        "local_cache_hit",
        "external_kv_transfer",
    )

    computed: int = 0
    local_cache_hit: int = 0
    external_kv_transfer: int = 0
    cached_tokens: int = 0
    total: int = 0

    def update_from_output(self, prefill: PrefillStats) -> None:
        self.computed += prefill.num_computed_tokens
        self.local_cache_hit += prefill.num_local_cached_tokens
        self.external_kv_transfer += prefill.num_external_cached_tokens
        self.cached_tokens += prefill.num_cached_tokens
        self.total += prefill.num_prompt_tokens


class IterationStats:
    """What one step brought, collected while its outputs are processed."""

    def __init__(self) -> None:
        self.iteration_timestamp = time.time()
        self.num_generation_tokens = 0
        self.prompt_token_stats = PromptTokenStats()
        self.num_preempted_reqs = 0
        self.finished_requests: list[FinishedRequestStats] = []
        self.max_num_generation_tokens_iter: list[int] = []
        self.n_params_iter: list[int] = []
        self.time_to_first_tokens_iter: list[float] = []
        self.inter_token_latencies_iter: list[float] = []
        self.num_corrupted_reqs = 0

    @property
    def num_prompt_tokens(self) -> int:
        return self.prompt_token_stats.total

    def update_from_output(
        self,
        output: Any,
        engine_core_timestamp: float,
        is_prefilling: bool,
        req_stats: RequestStateStats,
    ) -> None:
        count = len(output.new_token_ids)
        self.num_generation_tokens += count
        req_stats.num_generation_tokens += count
        if output.events is not None:
            self._apply_events(output.events, req_stats)
        if is_prefilling:
            if output.prefill_stats is not None:
                self.prompt_token_stats.update_from_output(output.prefill_stats)
            latency = self.iteration_timestamp - req_stats.arrival_time
            self.time_to_first_tokens_iter.append(latency)
            req_stats.first_token_latency = latency
            req_stats.first_token_ts = engine_core_timestamp
        else:
            self.inter_token_latencies_iter.append(
                engine_core_timestamp - req_stats.last_token_ts
            )
        req_stats.last_token_ts = engine_core_timestamp

    def _apply_events(self, events: list[Any], req_stats: RequestStateStats) -> None:
        for kind, timestamp in events:
            if kind == 1:
                req_stats.queued_ts = timestamp
            elif kind == 2:
                if not req_stats.scheduled_ts:  # the first time counts
                    req_stats.scheduled_ts = timestamp
            else:
                self.num_preempted_reqs += 1
                req_stats.num_preemptions += 1

    def update_from_finished_request(
        self,
        finish_reason: Any,
        request_id: str,
        num_prompt_tokens: int,
        max_tokens_param: int | None,
        req_stats: RequestStateStats,
        num_cached_tokens: int = 0,
    ) -> None:
        decode = req_stats.last_token_ts - req_stats.first_token_ts
        gaps = req_stats.num_generation_tokens - 1
        self.finished_requests.append(
            FinishedRequestStats(
                finish_reason=finish_reason,
                request_id=request_id,
                e2e_latency=self.iteration_timestamp - req_stats.arrival_time,
                num_prompt_tokens=num_prompt_tokens,
                num_preemptions=req_stats.num_preemptions,
                num_generation_tokens=req_stats.num_generation_tokens,
                max_tokens_param=max_tokens_param,
                queued_time=req_stats.scheduled_ts - req_stats.queued_ts,
                prefill_time=req_stats.first_token_ts - req_stats.scheduled_ts,
                inference_time=req_stats.last_token_ts - req_stats.scheduled_ts,
                decode_time=decode,
                mean_time_per_output_token=decode / gaps if gaps > 0 else 0,
                is_corrupted=req_stats.is_corrupted,
                num_cached_tokens=num_cached_tokens,
            )
        )

    def __repr__(self) -> str:
        fields = ", ".join(f"{key}={value}" for key, value in vars(self).items())
        return f"IterationStats({fields})"
