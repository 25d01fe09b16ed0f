"""The raw drive: most tokens go to the host without the objects that vLLM would make of them.

For every token vLLM's OutputProcessor updates a detokenizer and builds a RequestOutput with a CompletionOutput in it. An output that is one more
token in the middle of a plain request needs none of that: it is counted as vLLM counts it and packed with the others of its step. Whatever
else there is (first and last outputs, logprobs, several choices, preemptions, media, errors) takes vLLM's own way through the collector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import names, wire

if TYPE_CHECKING:
    from .outbox import Outbox
    from .statistics import Origin

#: An output in which one of these is set is more than a token. Named one by one in `_has_more`, which runs for every token.
_RARE = frozenset(
    {
        "finish_reason", "events", "kv_transfer_params", "new_logprobs", "ec_transfer_params", "routed_experts", "mm_cache_miss_hashes",
        "new_sampling_mask", "spec_decode_metrics",
    }
)

#: Fields that say nothing in the middle of a plain request. One that is in neither set is unknown, and could be lost.
_KNOWN = _RARE | {
    "request_id", "new_token_ids", "new_prompt_logprobs_tensors", "pooling_output", "stop_reason", "trace_headers", "prefill_stats",
    "num_nans_in_logits", "prompt_token_id_logprobs",
}


def is_plain(params: Any) -> bool:
    """Nothing but token ids is asked for, in one choice. Texts are never asked for."""
    return (
        params.n == 1
        and params.logprobs is None
        and params.prompt_logprobs is None
        and not params.detokenize
        and getattr(params, "stream_interval", None) in (None, 1)
    )


def install(llm: Any, outbox: "Outbox", origin: "Origin") -> str | None:
    """Puts the short way in front of the processor's own. Returns why not, if this vLLM is not as expected."""
    processor: Any = llm.output_processor
    if lacking := names.missing(names.RAW):
        return f"it lacks {', '.join(lacking)}"
    if problem := _unexpected_fields():
        return problem
    if getattr(llm.vllm_config.scheduler_config, "stream_interval", 1) > 1:
        return "--stream-interval is above 1"
    if _computes_nans():
        return "VLLM_COMPUTE_NANS_IN_LOGITS is set"
    # The output loop looks the method up at each step.
    processor.process_outputs = ShortWay(processor, outbox, origin).process_outputs
    return None


class ShortWay:
    """Takes the outputs of a step apart: tokens for the host, and the rest for vLLM."""

    def __init__(self, processor: Any, outbox: "Outbox", origin: "Origin") -> None:
        self._states = processor.request_states
        self._usual = processor.process_outputs
        self._outbox = outbox
        self._origin = origin

    def process_outputs(
        self, engine_core_outputs: list[Any], engine_core_timestamp: float | None = None, iteration_stats: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """In vLLM's place. The order within a request is kept, since a step has one output of each at most."""
        self._origin.step_at = engine_core_timestamp  # vLLM processes a step, then tells its loggers
        states = self._states
        latencies = None if iteration_stats is None else iteration_stats.inter_token_latencies_iter
        streams: list[int] = []
        tokens: list[int] = []
        rest = []
        for output in engine_core_outputs:
            state = states.get(output.request_id)
            if state is None:
                continue  # aborted meanwhile
            stream = getattr(state.queue, "plain_stream", None)
            new = output.new_token_ids
            if stream is None or len(new) != 1 or state.is_prefilling or _has_more(output):
                rest.append(output)
                continue
            if latencies is not None:
                iteration_stats.num_generation_tokens += 1
                stats = state.stats
                stats.num_generation_tokens += 1
                latencies.append(engine_core_timestamp - stats.last_token_ts)
                stats.last_token_ts = engine_core_timestamp
            if not stream.done:
                streams.append(stream.id)
                tokens.append(new[0])
        if streams:
            self._outbox.add(wire.pack_step(streams, tokens))
        return self._usual(rest, engine_core_timestamp, iteration_stats, *args, **kwargs)


def _has_more(output: Any) -> bool:
    return (
        output.finish_reason is not None
        or output.events is not None
        or output.kv_transfer_params is not None
        or output.new_logprobs is not None
        or output.ec_transfer_params is not None
        or output.routed_experts is not None
        or output.mm_cache_miss_hashes is not None
        or output.new_sampling_mask is not None
        or output.spec_decode_metrics is not None
    )


def _unexpected_fields() -> str | None:
    """Other releases of vLLM have other outputs."""
    from vllm.v1.engine import EngineCoreOutput

    fields = frozenset(getattr(EngineCoreOutput, "__struct_fields__", None) or EngineCoreOutput.__annotations__)
    if fields - _KNOWN:
        return f"outputs of this vLLM have fields that are not known: {', '.join(sorted(fields - _KNOWN))}"
    if _RARE - fields:
        return f"outputs of this vLLM lack fields: {', '.join(sorted(_RARE - fields))}"
    return None


def _computes_nans() -> bool:
    try:
        from vllm import envs
    except ImportError:
        return False  # the simulated engine has none
    return bool(getattr(envs, "VLLM_COMPUTE_NANS_IN_LOGITS", False))
