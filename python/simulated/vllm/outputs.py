"""RequestOutput and CompletionOutput.

These are made once per token and request, so they are plain slotted objects.
"""

from __future__ import annotations

from typing import Any


class SamplingMask:
    def __init__(self, token_ids: list[list[int]]) -> None:
        #: For each token of a choice those that survived the filters.
        self.token_ids = token_ids


class CompletionOutput:
    """One of a request's n sequences: the news, or everything so far."""

    __slots__ = (
        "index",
        "text",
        "token_ids",
        "cumulative_logprob",
        "logprobs",
        "routed_experts",
        "finish_reason",
        "stop_reason",
        "lora_request",
        "sampling_mask",
        "spec_decode_metrics",
    )

    def __init__(
        self,
        index: int,
        text: str,
        token_ids: list[int],
        cumulative_logprob: float | None,
        logprobs: list[Any] | None,
        routed_experts: Any = None,
        finish_reason: str | None = None,
        stop_reason: int | str | None = None,
        lora_request: Any = None,
        sampling_mask: Any = None,
        spec_decode_metrics: Any = None,
    ) -> None:
        self.index = index
        self.text = text
        self.token_ids = token_ids
        self.cumulative_logprob = cumulative_logprob
        self.logprobs = logprobs
        self.routed_experts = routed_experts
        self.finish_reason = finish_reason
        self.stop_reason = stop_reason
        self.lora_request = lora_request
        self.sampling_mask = sampling_mask
        self.spec_decode_metrics = spec_decode_metrics

    def finished(self) -> bool:
        return self.finish_reason is not None

    def __repr__(self) -> str:
        return (
            f"CompletionOutput(index={self.index}, text={self.text!r}, "
            f"token_ids={self.token_ids}, routed_experts={self.routed_experts}, "
            f"sampling_mask={self.sampling_mask}, "
            f"cumulative_logprob={self.cumulative_logprob}, "
            f"logprobs={self.logprobs}, finish_reason={self.finish_reason}, "
            f"stop_reason={self.stop_reason})"
        )


class RequestOutput:
    """What a consumer of one request gets."""

    __slots__ = (
        "request_id",
        "prompt",
        "prompt_token_ids",
        "prompt_logprobs",
        "prompt_token_id_logprobs",
        "outputs",
        "finished",
        "metrics",
        "lora_request",
        "encoder_prompt",
        "encoder_prompt_token_ids",
        "num_cached_tokens",
        "num_cache_creation_tokens",
        "kv_transfer_params",
        "ec_transfer_params",
    )

    def __init__(
        self,
        request_id: str,
        prompt: str | None,
        prompt_token_ids: list[int] | None,
        prompt_logprobs: list[Any] | None,
        outputs: list[CompletionOutput],
        finished: bool,
        metrics: Any = None,
        lora_request: Any = None,
        encoder_prompt: str | None = None,
        encoder_prompt_token_ids: list[int] | None = None,
        num_cached_tokens: int | None = None,
        num_cache_creation_tokens: int | None = None,
        *,
        prompt_token_id_logprobs: Any = None,
        kv_transfer_params: dict[str, Any] | None = None,
        ec_transfer_params: dict[str, Any] | None = None,
    ) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.prompt_token_ids = prompt_token_ids
        self.prompt_logprobs = prompt_logprobs
        self.prompt_token_id_logprobs = prompt_token_id_logprobs
        self.outputs = outputs
        self.finished = finished
        self.metrics = metrics
        self.lora_request = lora_request
        self.encoder_prompt = encoder_prompt
        self.encoder_prompt_token_ids = encoder_prompt_token_ids
        self.num_cached_tokens = num_cached_tokens
        self.num_cache_creation_tokens = num_cache_creation_tokens
        self.kv_transfer_params = kv_transfer_params
        self.ec_transfer_params = ec_transfer_params

    def add(self, next_output: "RequestOutput", aggregate: bool) -> None:
        """Merge a later output into this one (a consumer that is behind)."""
        self.finished |= next_output.finished
        self.kv_transfer_params = next_output.kv_transfer_params
        self.ec_transfer_params = next_output.ec_transfer_params
        mine = {c.index: position for position, c in enumerate(self.outputs)}
        for news in next_output.outputs:
            position = mine.get(news.index)
            if position is None:
                self.outputs.append(news)
            elif aggregate:
                _extend(self.outputs[position], news)
            else:
                self.outputs[position] = news

    def __repr__(self) -> str:
        return (
            f"RequestOutput(request_id={self.request_id}, prompt={self.prompt!r}, "
            f"prompt_token_ids={self.prompt_token_ids}, "
            f"encoder_prompt={self.encoder_prompt!r}, "
            f"encoder_prompt_token_ids={self.encoder_prompt_token_ids}, "
            f"prompt_logprobs={self.prompt_logprobs}, "
            f"prompt_token_id_logprobs={self.prompt_token_id_logprobs}, "
            f"outputs={self.outputs}, finished={self.finished}, "
            f"metrics={self.metrics}, lora_request={self.lora_request}, "
            f"num_cached_tokens={self.num_cached_tokens}, "
            f"num_cache_creation_tokens={self.num_cache_creation_tokens})"
        )


class PoolingOutput:
    """The vector of a prompt. vLLM's is a tensor; here it is a list of floats."""

    __slots__ = ("data",)

    def __init__(self, data: list[float]) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"PoolingOutput(data={self.data})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PoolingOutput) and self.data == other.data


class PoolingRequestOutput:
    """What a consumer of one pooling request gets, once."""

    __slots__ = ("request_id", "outputs", "prompt_token_ids", "num_cached_tokens", "finished")

    def __init__(
        self,
        request_id: str,
        outputs: PoolingOutput,
        prompt_token_ids: list[int],
        num_cached_tokens: int,
        finished: bool,
    ) -> None:
        self.request_id = request_id
        self.outputs = outputs
        self.prompt_token_ids = prompt_token_ids
        self.num_cached_tokens = num_cached_tokens
        self.finished = finished

    def __repr__(self) -> str:
        return (
            f"PoolingRequestOutput(request_id={self.request_id!r}, "
            f"outputs={self.outputs!r}, prompt_token_ids={self.prompt_token_ids}, "
            f"num_cached_tokens={self.num_cached_tokens}, finished={self.finished})"
        )


def _extend(held: CompletionOutput, news: CompletionOutput) -> None:
    held.text += news.text
    # A fresh list: the held one may be shared with whoever made the output.
    held.token_ids = [*held.token_ids, *news.token_ids]
    if news.logprobs:
        held.logprobs = [*(held.logprobs or ()), *news.logprobs]
    held.cumulative_logprob = news.cumulative_logprob
    held.finish_reason = news.finish_reason
    held.stop_reason = news.stop_reason
    held.spec_decode_metrics = news.spec_decode_metrics
