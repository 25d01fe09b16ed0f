"""Continuous batching with chunked prefill and preemption, one step at a time.

`schedule()` decides and allocates, `update()` "computes" what was scheduled.
No clock, no sockets: tests drive it against recorded steps of the real engine.
"""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from typing import Any

from vllm.simulation import kv_transfer
from vllm.simulation.blocks import BlockPool
from vllm.simulation.request import (
    ABORT,
    LENGTH,
    PREEMPTED,
    SCHEDULED,
    STOP,
    Request,
)
from vllm.simulation.tokens import TokenSource, context_of, follow, logprob_of_rank
from vllm.simulation.vectors import vector_of

RUNNING, PAUSED_NEW, PAUSED_ALL = 0, 1, 2

Batch = list[tuple[Request, int]]


class Scheduler:
    def __init__(self, config: dict[str, Any]) -> None:
        self.max_num_seqs: int = config["max_num_seqs"]
        self.max_num_batched_tokens: int = config["max_num_batched_tokens"]
        self.max_model_len: int = config["max_model_len"]
        self.max_loras: int = config["max_loras"]
        self.by_priority: bool = config["scheduling_policy"] == "priority"
        self.chunked_prefill: bool = config["enable_chunked_prefill"]
        self.pool = BlockPool(
            config["num_gpu_blocks"],
            config["block_size"],
            config["enable_prefix_caching"],
            config["kv_events"] is not None,
        )
        self.source = TokenSource(
            config["vocab_size"], config["special_token_ids"], config["eos_interval"]
        )
        self.transfer = (
            kv_transfer.Transfer(config["kv_transfer"], self.pool)
            if config["kv_transfer"] is not None
            else None
        )
        self.embedding_size: int = config.get("embedding_size", 0)
        self.requests: dict[str, Request] = {}
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        self.pause_state = RUNNING
        # Something finished and no step has reported the idle state yet.
        self.report_idle = False
        self._prefix_stats = [0, 0, 0, 0, 0, 0]
        self._reset_since_last_step = False

    # -- requests --------------------------------------------------------

    def add(self, request: Request) -> None:
        request.context = context_of(request.tokens)
        request.salt = self.source.salt(request.params, request.lora_name, request.lora_revision)
        self.requests[request.request_id] = request
        self._enqueue(request)

    def _enqueue(self, request: Request) -> None:
        if not self.by_priority:
            self.waiting.append(request)
            return
        queue = list(self.waiting)
        insort(queue, request, key=lambda r: (r.priority, r.arrival_time))
        self.waiting = deque(queue)

    def abort(self, request_ids: list[str]) -> list[str]:
        """Drop requests; unknown ids are no error (they may just have finished)."""
        gone = []
        for request_id in request_ids:
            request = self.requests.pop(request_id, None)
            if request is None:
                continue
            if request in self.running:
                self.running.remove(request)
            else:
                self.waiting.remove(request)
            if self.transfer is not None:
                self.transfer.abandoned(request)
            self.pool.release(request.blocks)
            request.blocks = []
            gone.append(request_id)
            self.report_idle = True
        return gone

    def has_unfinished(self) -> bool:
        return bool(self.running or self.waiting)

    def can_progress(self) -> bool:
        if self.pause_state == PAUSED_ALL:
            return False
        if self.pause_state == PAUSED_NEW:
            return bool(self.running)
        return self.has_unfinished()

    # -- one step --------------------------------------------------------

    def schedule(self) -> Batch:
        now = time.monotonic()
        budget = 0 if self.pause_state == PAUSED_ALL else self.max_num_batched_tokens
        batch: Batch = []
        preempted = False
        index = 0
        running = self.running
        while index < len(running) and budget > 0:
            request = running[index]
            count = min(len(request.tokens) - request.num_computed, budget)
            fits = self.pool.allocate(request, request.num_computed, count, [])
            while not fits:
                victim = self._pick_victim()
                position = running.index(victim)
                running.remove(victim)
                if position < index:
                    index -= 1
                    budget += _withdraw(batch, victim)
                self._preempt(victim, now)
                preempted = True
                if victim is request:
                    break
                fits = self.pool.allocate(request, request.num_computed, count, [])
            if not fits:
                break
            batch.append((request, count))
            budget -= count
            index += 1
        if not preempted and self.pause_state == RUNNING:
            self._admit(batch, budget, now)
        return batch

    def _admit(self, batch: Batch, budget: int, now: float) -> None:
        loras = {r.lora_id for r, _ in batch if r.lora_id is not None}
        passed_over = []
        while self.waiting and budget > 0 and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            if (
                request.lora_id is not None
                and request.lora_id not in loras
                and len(loras) >= self.max_loras
            ):
                passed_over.append(self.waiting.popleft())
                continue
            hits = self.pool.find_prefix(request)
            local = len(hits) * self.pool.block_size
            remote = 0
            if self.transfer is not None:
                remote = self.transfer.tokens_to_load(request, local)
            # Even when everything is there, the last token is computed again.
            computed = min(local + remote, len(request.tokens) - 1)
            count = len(request.tokens) - computed
            if count > budget and not self.chunked_prefill:
                break
            count = min(count, budget)
            if not self.pool.allocate(request, computed, count, hits, True):
                break
            self.waiting.popleft()
            self.running.append(request)
            request.num_computed = computed
            request.events.append((SCHEDULED, now))
            if not request.num_preemptions:
                request.prefill_stats = (request.num_prompt_tokens, local, remote)
            if remote:
                self.transfer.loaded(request)
            if self.pool.caching and not request.skip_reading_prefix_cache:
                offset = 3 if request.num_preemptions else 0
                self._prefix_stats[offset] += 1
                self._prefix_stats[offset + 1] += len(request.tokens)
                self._prefix_stats[offset + 2] += local
            if request.lora_id is not None:
                loras.add(request.lora_id)
            batch.append((request, count))
            budget -= count
        self.waiting.extendleft(reversed(passed_over))

    def _pick_victim(self) -> Request:
        if self.by_priority:
            return max(self.running, key=lambda r: (r.priority, r.arrival_time))
        return self.running[-1]

    def _preempt(self, request: Request, now: float) -> None:
        """Give the blocks back; the request starts over, its tokens kept."""
        self.pool.release(request.blocks)
        request.blocks = []
        request.num_cached_blocks = 0
        request.num_computed = 0
        request.num_preemptions += 1
        request.events.append((PREEMPTED, now))
        if self.by_priority:
            self._enqueue(request)
        else:
            self.waiting.appendleft(request)

    def update(self, batch: Batch) -> list[tuple[Any, ...]]:
        """Outputs of the step: (id, token ids, finish, stop reason, extras or None)."""
        outputs = []
        finished = False
        for request, count in batch:
            request.num_computed += count
            if request.num_computed < len(request.tokens):
                continue  # a chunk of a prompt: nothing to sample yet
            extras = self._first_output_extras(request)
            if request.pooling is not None:
                finished = True
                self._finish(request, STOP)
                vector = vector_of(request.context, self.embedding_size, request.pooling["dimensions"])
                outputs.append((request.request_id, [], STOP, None, {**(extras or {}), "pooling": vector}))
                continue
            token = self.source.next_token(request)
            if request.params["logprobs"] is not None:
                extras = extras or {}
                extras["logprobs"] = self._logprobs(request, token)
            request.tokens.append(token)
            request.context = follow(request.context, token)
            finish, stop_reason = self._check_stop(request, token)
            if finish is not None:
                finished = True
                held = self._finish(request, finish)
                if held is not None:
                    if extras and "prefill" in extras:
                        held["remote_prefill_cached_tokens"] = extras["prefill"][2]
                    extras = extras or {}
                    extras["kv_transfer_params"] = held
            outputs.append((request.request_id, [token], finish, stop_reason, extras))
        if finished:
            self.running = [r for r in self.running if r.request_id in self.requests]
            self.report_idle = True
        return outputs

    def _first_output_extras(self, request: Request) -> dict[str, Any] | None:
        extras: dict[str, Any] | None = None
        if request.events:
            extras = {"events": request.events}
            request.events = []
        if request.prefill_stats is not None:
            extras = extras or {}
            prompt, local, remote = request.prefill_stats
            request.prefill_stats = None
            size = self.pool.block_size
            cached = local + remote
            stored = prompt // size * size if self.pool.caching else 0
            # prompt, computed, cached, local, external, creation
            extras["prefill"] = (
                prompt,
                prompt - cached,
                cached,
                local,
                remote,
                max(0, stored - cached),
            )
            if request.params["prompt_logprobs"] is not None:
                extras["prompt_logprobs"] = self._prompt_logprobs(request)
        return extras

    def _check_stop(self, request: Request, token: int) -> tuple[int | None, Any]:
        params = request.params
        if token == params["eos_token_id"]:
            return STOP, None
        if token in params["stop_token_ids"]:
            return STOP, token
        if (
            len(request.tokens) >= self.max_model_len
            or request.num_output_tokens >= request.max_tokens
        ):
            return LENGTH, None
        return None, None

    def _finish(self, request: Request, finish: int) -> dict[str, Any] | None:
        del self.requests[request.request_id]
        if self.transfer is not None and finish in (STOP, LENGTH):
            offered = self.transfer.offer(request)
            if offered is not None:
                return offered
        self.pool.release(request.blocks)
        request.blocks = []
        return None

    # -- logprobs --------------------------------------------------------

    def _logprobs(
        self, request: Request, token: int
    ) -> tuple[list[int], list[float], int]:
        params = request.params
        wanted = params["logprob_token_ids"]
        if wanted:
            ids = [token, *(t for t in wanted if t != token)]
        else:
            count = params["logprobs"]
            count = self.source.vocab_size if count == -1 else max(count, 1)
            ids = self.source.rivals(request, token, count)
        values = [logprob_of_rank(rank, t) for rank, t in enumerate(ids, 1)]
        return ids, values, 1

    def _prompt_logprobs(
        self, request: Request
    ) -> list[tuple[list[int], list[float], int]]:
        """Per prompt token but the first: its own (middling) rank, then the best."""
        count = request.params["prompt_logprobs"]
        count = self.source.vocab_size if count == -1 else count
        rows = []
        prompt = request.tokens[: request.num_prompt_tokens]
        for token in prompt[1:]:
            rank = 1 + (token * 7 + 13) % (self.source.vocab_size // 2)
            ids, values = [token], [logprob_of_rank(rank, token)]
            best = self.source.rivals(request, (token + 1) % self.source.vocab_size, count)
            for place, rival in enumerate(best[:count], 1):
                ids.append(rival)
                values.append(logprob_of_rank(place, rival))
            rows.append((ids, values, rank))
        return rows

    # -- control ---------------------------------------------------------

    def reset_prefix_cache(self, reset_running: bool) -> bool:
        if reset_running:
            now = time.monotonic()
            while self.running:
                self._preempt(self.running.pop(), now)
        done = self.pool.reset()
        self._reset_since_last_step |= done
        return done

    def stats(self) -> tuple[Any, ...]:
        prefix, self._prefix_stats = self._prefix_stats, [0, 0, 0, 0, 0, 0]
        reset, self._reset_since_last_step = self._reset_since_last_step, False
        waiting_loras: dict[str, int] = {}
        running_loras: dict[str, int] = {}
        if self.max_loras:
            for counts, group in (
                (waiting_loras, self.waiting),
                (running_loras, self.running),
            ):
                for request in group:
                    if request.lora_name:
                        counts[request.lora_name] = counts.get(request.lora_name, 0) + 1
        return (
            len(self.running),
            len(self.waiting),
            self.pool.usage,
            reset,
            prefix,
            waiting_loras,
            running_loras,
        )


def _withdraw(batch: Batch, victim: Request) -> int:
    """Take an already scheduled victim out of the batch; its tokens come back."""
    for position, (request, count) in enumerate(batch):
        if request is victim:
            del batch[position]
            return count
    return 0


__all__ = ["ABORT", "Batch", "PAUSED_ALL", "PAUSED_NEW", "RUNNING", "Scheduler"]
