"""What passes between the front end and EngineCore, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

FINISH_REASON_STRINGS = ("stop", "length", "abort", "error", "repetition")


class FinishReason(IntEnum):
    STOP = 0
    LENGTH = 1
    ABORT = 2
    ERROR = 3
    REPETITION = 4

    def __str__(self) -> str:
        return FINISH_REASON_STRINGS[self.value]


# Look-up without the enum's call overhead, once per output of every step.
FINISH_REASONS = tuple(FinishReason)


class EngineCoreEventType(IntEnum):
    QUEUED = 1
    SCHEDULED = 2
    PREEMPTED = 3


class EngineCoreEvent(NamedTuple):
    type: EngineCoreEventType
    timestamp: float


@dataclass
class EngineCoreRequest:
    request_id: str
    prompt_token_ids: list[int] | None
    mm_features: list[Any] | None
    sampling_params: Any
    pooling_params: Any
    arrival_time: float
    lora_request: Any
    cache_salt: str | None
    data_parallel_rank: int | None
    prompt_embeds: Any = None
    prompt_is_token_ids: list[bool] | None = None
    client_index: int = 0
    current_wave: int = 0
    priority: int = 0
    trace_headers: Any = None
    resumable: bool = False
    external_req_id: str | None = None
    reasoning_ended: bool | None = None
    reasoning_parser_kwargs: dict[str, Any] | None = None
    abort_immediately: bool = False
    session_id: str | None = None
    kv_hints: Any = None
    # Not on vLLM's wire: tells the n children of one request apart.
    child_index: int = 0

    @property
    def params(self) -> Any:
        return self.sampling_params if self.pooling_params is None else self.pooling_params


class LogprobsLists(NamedTuple):
    """Row i: the sampled token, then the runners-up; its rank beside it."""

    logprob_token_ids: list[list[int]]
    logprobs: list[list[float]]
    sampled_token_ranks: list[int]
    cu_num_generated_tokens: list[int] | None = None


class EngineCoreOutput:
    """One request's share of a step.

    Defaults live on the class: most outputs carry an id and a token, and
    setting sixteen further fields per token would cost more than the rest.
    """

    request_id: str
    new_token_ids: list[int]
    new_logprobs: LogprobsLists | None = None
    new_prompt_logprobs_tensors: Any = None
    pooling_output: Any = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    events: list[EngineCoreEvent] | None = None
    kv_transfer_params: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    trace_headers: Any = None
    prefill_stats: Any = None
    routed_experts: Any = None
    num_nans_in_logits: int = 0
    mm_cache_miss_hashes: list[str] | None = None
    new_sampling_mask: Any = None
    spec_decode_metrics: Any = None
    prompt_token_id_logprobs: Any = None

    def __init__(self, request_id: str, new_token_ids: list[int], **fields: Any) -> None:
        self.request_id = request_id
        self.new_token_ids = new_token_ids
        if fields:
            self.__dict__.update(fields)

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items())
        return f"EngineCoreOutput({fields})"


@dataclass
class UtilityOutput:
    call_id: int
    failure_message: str | None = None
    result: Any = None


@dataclass
class EngineCoreOutputs:
    engine_index: int = 0
    outputs: list[EngineCoreOutput] = field(default_factory=list)
    scheduler_stats: Any = None
    timestamp: float = 0.0
    utility_output: UtilityOutput | None = None
    finished_requests: set[str] | None = None
    wave_complete: int | None = None
    start_wave: int | None = None
