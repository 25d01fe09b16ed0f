"""From EngineCoreOutputs to RequestOutputs in the collectors.

One pass per step over all outputs and no task per token: a consumer that is
behind finds merged deltas.  A request that wants nothing but token ids takes
the short path; text, logprobs and n > 1 cost extra only where asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Iterable

from vllm.logprobs import Logprob
from vllm.outputs import (
    CompletionOutput,
    PoolingOutput,
    PoolingRequestOutput,
    RequestOutput,
)
from vllm.sampling_params import RequestOutputKind
from vllm.simulation import experts
from vllm.v1.engine import FINISH_REASON_STRINGS, EngineCoreRequest, FinishReason
from vllm.v1.engine.parallel_sampling import ParentRequest
from vllm.v1.metrics.stats import IterationStats, RequestStateStats


class RequestOutputCollector:
    """Hand-over from the output handler to one consumer, merging what piles up."""

    def __init__(self, output_kind: RequestOutputKind, request_id: str) -> None:
        self.aggregate = output_kind == RequestOutputKind.DELTA
        self.request_id = request_id
        self.output: RequestOutput | Exception | None = None
        self.ready = asyncio.Event()

    def put(self, output: RequestOutput | Exception) -> None:
        held = self.output
        if held is None or isinstance(output, Exception):
            self.output = output
            self.ready.set()
        elif not isinstance(held, Exception):
            held.add(output, aggregate=self.aggregate)

    async def get(self) -> RequestOutput:
        while self.output is None:
            await self.ready.wait()
        return self._take()

    def get_nowait(self) -> RequestOutput | None:
        return None if self.output is None else self._take()

    def _take(self) -> RequestOutput:
        output = self.output
        self.output = None
        self.ready.clear()
        if isinstance(output, Exception):
            raise output
        assert output is not None
        return output

    def close(self) -> None:
        """The consumer is done; nothing is held open here."""


@dataclass
class OutputProcessorOutput:
    request_outputs: list[RequestOutput]
    reqs_to_abort: list[str]


class _Text:
    """Text of a sequence so far, and the search for stop strings in it."""

    def __init__(self, tokenizer: Any, params: Any) -> None:
        self._tokenizer = tokenizer
        self._stop: list[str] = params.stop
        self._keep_stop: bool = params.include_stop_str_in_output
        self._hold_back: int = params.output_text_buffer_length
        self._skip_special: bool = params.skip_special_tokens
        self._min_tokens: int = params.min_tokens
        self._count = 0
        self._text = ""
        self._sent = 0

    def update(self, token_ids: list[int], ended_by_token: bool) -> str | None:
        """Append; the stop string that ended the text, if one did."""
        if ended_by_token and not self._keep_stop:
            token_ids = token_ids[:-1]  # the token that ended it is not shown
        before = len(self._text)
        for token in token_ids:
            self._count += 1
            self._text += self._tokenizer.decode(
                token, skip_special_tokens=self._skip_special
            )
        if not self._stop or self._count <= self._min_tokens:
            return None
        for stop in self._stop:
            at = self._text.find(stop, max(0, before - len(stop) + 1))
            if at >= 0:
                end = at + len(stop) if self._keep_stop else at
                self._text = self._text[:end]
                return stop
        return None

    def next(self, finished: bool, delta: bool) -> str:
        end = len(self._text)
        if not finished and self._hold_back:
            end = max(0, end - self._hold_back)
        if not delta:
            return self._text[:end]
        start = self._sent
        self._sent = max(start, end)
        return self._text[start:end]


class RequestState:
    """What the front end keeps about one engine request."""

    def __init__(
        self,
        request: EngineCoreRequest,
        prompt: str | None,
        parent: ParentRequest | None,
        index: int,
        queue: RequestOutputCollector | None,
        tokenizer: Any,
        log_stats: bool,
        stream_interval: int,
    ) -> None:
        params = request.params
        self.is_pooling = request.pooling_params is not None
        self.request_id = request.request_id
        self.external_req_id = request.external_req_id or request.request_id
        self.parent_req = parent
        self.request_index = index
        self.queue = queue
        self.lora_request = request.lora_request
        self.output_kind = params.output_kind
        self.delta = params.output_kind == RequestOutputKind.DELTA
        self.prompt = prompt
        self.prompt_token_ids = request.prompt_token_ids
        if self.prompt_token_ids is None:
            self.prompt_token_ids = [0] * len(request.prompt_embeds)
        self.prompt_len = len(self.prompt_token_ids)
        self.max_tokens_param = None if self.is_pooling else params.max_tokens
        self.is_prefilling = True
        self.num_cached_tokens = 0
        self.num_cache_creation_tokens = 0
        self.stream_interval = stream_interval
        if not self.is_pooling:
            self.stream_interval = max(params.stream_interval or 1, stream_interval)
        self.sent_tokens_offset = 0
        self.stats = (
            RequestStateStats(arrival_time=request.arrival_time) if log_stats else None
        )
        detokenizes = not self.is_pooling and params.detokenize
        self.tokenizer = tokenizer if detokenizes else None
        self.text = _Text(tokenizer, params) if self.tokenizer is not None else None
        self.logprobs: list[dict[int, Logprob]] | None = (
            [] if not self.is_pooling and params.num_logprobs is not None else None
        )
        self.cumulative_logprob = None if self.logprobs is None else 0.0
        self.prompt_logprobs: list[Any] | None = None
        # All tokens are needed only where an output repeats or postpones some.
        self.keeps_tokens = not self.delta or self.stream_interval > 1
        self.token_ids: list[int] = []
        #: Of the parts that tell of experts and masks.
        self.part_tokens: list[int] = []
        self.routed_start = 0 if self.is_pooling else params.routed_experts_prompt_start
        self.remote_prefill_cached_tokens = (
            None if self.is_pooling else _remote_cached_tokens(params)
        )
        self.plain = (
            self.delta
            and self.text is None
            and self.logprobs is None
            and params.prompt_logprobs is None
            and parent is None
            and self.stream_interval == 1
        )

    def make_pooling_output(self, data: list[float]) -> PoolingRequestOutput:
        """The only output there is; of a request that was stopped, an empty one."""
        return PoolingRequestOutput(
            self.external_req_id,
            PoolingOutput(data),
            self.prompt_token_ids,
            self.num_cached_tokens,
            True,
        )

    def make_request_output(
        self,
        new_token_ids: list[int],
        finish_reason: FinishReason | None,
        stop_reason: int | str | None,
        kv_transfer_params: dict[str, Any] | None = None,
        ec_transfer_params: dict[str, Any] | None = None,
    ) -> RequestOutput | None:
        finished = finish_reason is not None
        if not finished and self.output_kind == RequestOutputKind.FINAL_ONLY:
            return None
        if self.stream_interval > 1:
            total = len(self.token_ids)
            unsent = total - self.sent_tokens_offset
            if not (
                finished
                or self.sent_tokens_offset == 0
                or unsent >= self.stream_interval
            ):
                return None
            if self.delta:
                new_token_ids = self.token_ids[self.sent_tokens_offset :]
            self.sent_tokens_offset = total
        text = "" if self.text is None else self.text.next(finished, self.delta)
        logprobs = self.logprobs
        if not self.delta:
            new_token_ids = list(self.token_ids)
            logprobs = None if logprobs is None else list(logprobs)
        elif logprobs is not None:
            # The list holds everything since the last output.
            self.logprobs = []
        output = CompletionOutput(
            self.request_index,
            text,
            new_token_ids,
            self.cumulative_logprob,
            logprobs,
            finish_reason=(
                None if finish_reason is None else FINISH_REASON_STRINGS[finish_reason]
            ),
            stop_reason=stop_reason if finished else None,
        )
        outputs = [output]
        if self.parent_req is not None:
            outputs, finished = self.parent_req.get_outputs(self.request_id, output)
            if not outputs:
                return None
        prompt_logprobs = self.prompt_logprobs
        if self.delta:
            self.prompt_logprobs = None  # on the first output only
        return RequestOutput(
            self.external_req_id,
            self.prompt,
            self.prompt_token_ids,
            prompt_logprobs,
            outputs,
            finished,
            self.stats,
            self.lora_request,
            None,
            None,
            self.num_cached_tokens,
            self.num_cache_creation_tokens,
            kv_transfer_params=kv_transfer_params,
            ec_transfer_params=ec_transfer_params,
        )

    def take_logprobs(self, output: Any) -> None:
        new = output.new_logprobs
        if new is not None and self.logprobs is not None:
            rows = zip(new.logprob_token_ids, new.logprobs, new.sampled_token_ranks)
            for ids, values, rank in rows:
                self.cumulative_logprob += values[0]
                self.logprobs.append(self._logprob_dict(ids, values, rank))
        rows = output.new_prompt_logprobs_tensors
        if rows is not None:
            self.prompt_logprobs = [None]
            for ids, values, rank in rows:
                self.prompt_logprobs.append(self._logprob_dict(ids, values, rank))

    def _logprob_dict(
        self, ids: list[int], values: list[float], rank: int
    ) -> dict[int, Logprob]:
        decode = None if self.tokenizer is None else self.tokenizer.decode
        entries: dict[int, Logprob] = {}
        # The token itself is row 0; if it was the best one, the next in line
        # has rank 2, else the runners-up are numbered from 1.
        place = 1 if rank == 1 else 0
        for position, (token, value) in enumerate(zip(ids, values)):
            shown = rank if position == 0 else place + position
            if token not in entries:
                text = None if decode is None else decode(token)
                entries[token] = Logprob(value, shown, text)
        return entries


def _remote_cached_tokens(params: Any) -> int | None:
    """After a remote prefill the prefill side's cache hits are the ones reported."""
    transfer = (params.extra_args or {}).get("kv_transfer_params")
    if isinstance(transfer, dict) and transfer.get("do_remote_prefill"):
        cached = transfer.get("remote_prefill_cached_tokens")
        if isinstance(cached, int):
            return cached
    return None


class OutputProcessor:
    def __init__(
        self, tokenizer: Any, *, log_stats: bool, stream_interval: int = 1, model: Any = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.log_stats = log_stats
        self.stream_interval = stream_interval
        self.tracing_enabled = False
        self.request_states: dict[str, RequestState] = {}
        self.parent_requests: dict[str, ParentRequest] = {}
        self.external_req_ids: dict[str, list[str]] = {}

    def get_num_unfinished_requests(self) -> int:
        return len(self.request_states)

    def has_unfinished_requests(self) -> bool:
        return bool(self.request_states)

    def has_request(self, request_id: str) -> bool:
        return request_id in self.request_states

    def get_num_queued_tokens(self) -> int:
        return sum(
            state.prompt_len
            for state in self.request_states.values()
            if state.is_prefilling
        )

    def add_request(
        self,
        request: EngineCoreRequest,
        prompt: str | None,
        parent_req: ParentRequest | None = None,
        request_index: int = 0,
        queue: RequestOutputCollector | None = None,
    ) -> None:
        state = RequestState(
            request,
            prompt,
            parent_req,
            request_index,
            queue,
            self.tokenizer,
            self.log_stats,
            self.stream_interval,
        )
        self.request_states[state.request_id] = state
        if parent_req is not None:
            self.parent_requests[parent_req.request_id] = parent_req
        self.external_req_ids.setdefault(state.external_req_id, []).append(
            state.request_id
        )

    def propagate_error(self, error: Exception) -> None:
        for state in self.request_states.values():
            if state.queue is not None:
                state.queue.put(error)

    def abort_requests(self, request_ids: Iterable[str], internal: bool) -> list[str]:
        """End requests for their consumers at once; ids to end in the engine."""
        internal_ids: list[str] = []
        for request_id in request_ids:
            if internal:
                internal_ids.append(request_id)
            else:
                internal_ids.extend(self.external_req_ids.get(request_id, ()))
        ended: list[str] = []
        for request_id in internal_ids:
            state = self.request_states.get(request_id)
            if state is not None:
                self._forget(state)
                ended.append(request_id)
                output: Any = (
                    state.make_pooling_output([])
                    if state.is_pooling
                    else state.make_request_output([], FinishReason.ABORT, None)
                )
                if output is not None and state.queue is not None:
                    state.queue.put(output)
                continue
            parent = self.parent_requests.pop(request_id, None)
            if parent is not None:
                ended += self.abort_requests(sorted(parent.child_requests), True)
        return ended

    def _forget(self, state: RequestState) -> None:
        del self.request_states[state.request_id]
        siblings = self.external_req_ids.get(state.external_req_id)
        if siblings is not None:
            siblings.remove(state.request_id)
            if not siblings:
                del self.external_req_ids[state.external_req_id]
        parent = state.parent_req
        if parent is not None and not parent.child_requests:
            self.parent_requests.pop(parent.request_id, None)

    def process_outputs(
        self,
        engine_core_outputs: list[Any],
        engine_core_timestamp: float | None = None,
        iteration_stats: IterationStats | None = None,
    ) -> OutputProcessorOutput:
        produced: list[RequestOutput] = []
        to_abort: list[str] = []
        states = self.request_states
        for core_output in engine_core_outputs:
            state = states.get(core_output.request_id)
            if state is None:
                continue  # aborted meanwhile
            if iteration_stats is not None and state.stats is not None:
                iteration_stats.update_from_output(
                    core_output,
                    engine_core_timestamp or 0.0,
                    state.is_prefilling,
                    state.stats,
                )
            if state.is_prefilling:
                _take_prefill(state, core_output)
            token_ids = core_output.new_token_ids
            finish_reason = core_output.finish_reason
            stop_reason = core_output.stop_reason
            if not state.plain and not state.is_pooling:
                if state.keeps_tokens:
                    state.token_ids.extend(token_ids)
                if state.text is not None:
                    stop = state.text.update(
                        token_ids, finish_reason is FinishReason.STOP
                    )
                    if stop is not None:
                        if finish_reason is None:
                            to_abort.append(state.request_id)
                        finish_reason, stop_reason = FinishReason.STOP, stop
                state.take_logprobs(core_output)
            if core_output.routed_experts is not None:
                state.part_tokens.extend(core_output.routed_experts)
            output: Any
            if state.is_pooling:
                # An engine that goes down ends it without a vector.
                output = state.make_pooling_output(core_output.pooling_output or [])
            else:
                output = state.make_request_output(
                    token_ids,
                    finish_reason,
                    stop_reason,
                    core_output.kv_transfer_params,
                    core_output.ec_transfer_params,
                )
                if finish_reason is not None and state.part_tokens and output is not None:
                    for choice in output.outputs:
                        experts.add_to(choice, state.prompt_token_ids, state.routed_start, state.part_tokens, self.model)
            if output is not None:
                if state.queue is not None:
                    state.queue.put(output)
                else:
                    produced.append(output)
            if finish_reason is not None:
                self._forget(state)
                if iteration_stats is not None and state.stats is not None:
                    self._count_finished(state, finish_reason, iteration_stats)
        return OutputProcessorOutput(produced, to_abort)

    def update_scheduler_stats(self, scheduler_stats: Any) -> None:
        """Per-adapter counts come ready made from the engine here."""

    @staticmethod
    def _count_finished(
        state: RequestState, finish_reason: FinishReason, stats: IterationStats
    ) -> None:
        assert state.stats is not None
        stats.update_from_finished_request(
            finish_reason=finish_reason,
            request_id=state.external_req_id,
            num_prompt_tokens=state.prompt_len,
            max_tokens_param=state.max_tokens_param,
            req_stats=state.stats,
            num_cached_tokens=state.num_cached_tokens,
        )
        generated = state.stats.num_generation_tokens
        parent = state.parent_req
        if parent is not None:
            generated = max(generated, parent.max_num_generation_tokens)
            parent.max_num_generation_tokens = generated
        if parent is None or not parent.child_requests:
            stats.max_num_generation_tokens_iter.append(generated)
            stats.n_params_iter.append(1 if parent is None else parent.n)


def _take_prefill(state: RequestState, core_output: Any) -> None:
    prefill = core_output.prefill_stats
    if prefill is not None:
        state.num_cached_tokens = prefill.num_cached_tokens
        state.num_cache_creation_tokens = prefill.num_cache_creation_tokens
    if state.remote_prefill_cached_tokens is not None:
        state.num_cached_tokens = state.remote_prefill_cached_tokens
    state.is_prefilling = False
