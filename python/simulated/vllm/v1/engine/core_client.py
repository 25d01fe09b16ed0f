"""The front end's side of the EngineCore processes.

One spawned child per data-parallel rank, each behind a socket pair.  The
socket is read by the event loop; a thread watches the processes, so that a
death is noticed with or without a loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import socket
import threading
import weakref
from collections import deque
from typing import Any

from vllm.logger import init_logger
from vllm.simulation import host_client
from vllm.simulation.wire import FrameReader, pack
from vllm.v1.engine import (
    FINISH_REASONS,
    EngineCoreEvent,
    EngineCoreEventType,
    EngineCoreOutput,
    EngineCoreOutputs,
    EngineCoreRequest,
    LogprobsLists,
)
from vllm.v1.engine.core import run_engine_core
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.utils import get_engine_zmq_addresses, launch_core_engines
from vllm.v1.metrics.stats import PrefillStats, PrefixCacheStats, SchedulerStats

logger = init_logger(__name__)

# Small on purpose: Python allocates this much for every call.
_RECEIVE_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 20
_EVENT_TYPES = {kind.value: kind for kind in EngineCoreEventType}


class BackgroundResources:
    """Only what others look at: whether the engine is gone."""

    def __init__(self) -> None:
        self.engine_dead = False


class EngineProcess:
    """One EngineCore child."""

    def __init__(self, index: int, config: dict[str, Any]) -> None:
        self.index = index
        context = multiprocessing.get_context("spawn")
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        name = "EngineCore" if config["data_parallel_size"] == 1 else f"EngineCore_DP{index}"
        # Daemonic: at interpreter exit it is terminated instead of waited for.
        self.process = context.Process(
            target=run_engine_core,
            args=(json.dumps(config), theirs),
            name=name,
            daemon=True,
        )
        self.channel = ours
        self.reader = FrameReader()
        self.unsent = bytearray()
        self.in_flight = 0
        try:
            self.process.start()
        finally:
            theirs.close()

    def wait_ready(self) -> dict[str, Any] | None:
        """Block for the ready message; None if the process ended before it."""
        while True:
            data = self.channel.recv(_RECEIVE_BYTES)
            if not data:
                return None
            for message in self.reader.feed(data):
                if message[0] == "ready":
                    return message[1]
                if message[0] == "dead":
                    return None


class RequestEncoder:
    """Requests in the layout of vLLM's own wire, which a second client of the engine uses."""

    def __init__(self, vllm_config: Any) -> None:
        self._config = vllm_config

    def encode(self, request: EngineCoreRequest) -> list[bytes]:
        """All frames: one."""
        return [host_client.encode_request(request, encode_request(request, self._config)["params"])]


class MPClient:
    """Requests out, outputs and answers in."""

    def __init__(self, vllm_config: Any, log_stats: bool, special_token_ids: list[int]) -> None:
        self.vllm_config = vllm_config
        self.resources = BackgroundResources()
        model = vllm_config.model_config
        self._tells_of_experts = model.enable_return_routed_experts or model.return_sampling_mask
        self.engine_ranks_managed: list[int] = vllm_config.parallel_config.managed_ranks()
        self._engines: list[EngineProcess] = []
        self._by_request: dict[str, EngineProcess] = {}
        self._outputs: deque[EngineCoreOutputs] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_call = 1
        self._next_engine = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._death_logged = False
        self.encoder = RequestEncoder(vllm_config)
        addresses = get_engine_zmq_addresses(vllm_config)
        try:
            with launch_core_engines(vllm_config, None, log_stats, addresses) as launched:
                for rank in self.engine_ranks_managed:
                    config = vllm_config.engine_core_config(rank, log_stats, special_token_ids)
                    config["host"] = launched.host()
                    self._engines.append(EngineProcess(rank, config))
                self._await_ready()
        except BaseException:
            self.shutdown(timeout=0)
            raise
        self._watch()

    @property
    def closed(self) -> bool:
        """Ended on purpose, as opposed to dead."""
        return self._closed

    # -- start and end ---------------------------------------------------

    def _await_ready(self) -> None:
        cache = self.vllm_config.cache_config
        blocks = 0
        for engine in self._engines:
            ready = engine.wait_ready()
            if ready is None:
                engine.process.join(1.0)
                failed = {
                    one.process.name: one.process.exitcode
                    for one in self._engines
                    if one.process.exitcode is not None
                }
                raise RuntimeError(
                    "Engine core initialization failed. See root cause above. "
                    f"Failed core proc(s): {failed}"
                )
            blocks += ready["num_gpu_blocks"]
            cache.block_size = ready["block_size"]
            model = self.vllm_config.model_config
            model.max_model_len = min(model.max_model_len, ready["max_model_len"])
            engine.channel.setblocking(False)
        cache.num_gpu_blocks = blocks
        cache.kv_cache_size_tokens = blocks * cache.block_size
        cache.kv_cache_max_concurrency = (
            cache.kv_cache_size_tokens / self.vllm_config.model_config.max_model_len
        )

    def _watch(self) -> None:
        """Processes are watched from outside the loop: it may not run yet, or block."""
        reference = weakref.ref(self)
        sentinels = [engine.process.sentinel for engine in self._engines]

        def watch() -> None:
            multiprocessing.connection.wait(sentinels)
            client = reference()
            if client is None or client._closed:
                return
            client.resources.engine_dead = True
            loop = client._loop
            del client
            if loop is not None:
                try:
                    loop.call_soon_threadsafe(_report_death, reference)
                except RuntimeError:
                    pass  # the loop is closed, nobody waits

        threading.Thread(target=watch, name="MPClientEngineMonitor", daemon=True).start()

    def _on_death(self) -> None:
        """The socket and the watching thread may both report it; log it once."""
        if self._closed:
            return
        self.resources.engine_dead = True
        if not self._death_logged:
            self._death_logged = True
            names = [e.process.name for e in self._engines if not e.process.is_alive()]
            logger.error(
                "Engine core proc %s died unexpectedly, shutting down client.",
                ", ".join(names) or "EngineCore",
            )
        self._fail_waiters()

    def _fail_waiters(self) -> None:
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(EngineDeadError())
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def shutdown(self, timeout: float | None = None) -> None:
        """End the children: politely, then for good. Idempotent."""
        if self._closed:
            return
        self._closed = True
        was_dead = self.resources.engine_dead
        self.resources.engine_dead = True
        self._detach()
        for engine in self._engines:
            if engine.process.is_alive() and not was_dead:
                engine.process.terminate()
        for engine in self._engines:
            engine.process.join(0 if was_dead else 5.0 if timeout is None else timeout)
            if engine.process.is_alive():
                engine.process.kill()
                engine.process.join(1.0)
            engine.channel.close()

    # -- event loop ------------------------------------------------------

    def attach(self) -> None:
        """Let the running loop read the sockets."""
        loop = asyncio.get_running_loop()
        if self._loop is loop or self._closed:
            return
        self._loop = loop
        for engine in self._engines:
            loop.add_reader(engine.channel.fileno(), self._on_readable, engine)
        if self.resources.engine_dead:
            self._fail_waiters()

    def _detach(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        descriptors = [engine.channel.fileno() for engine in self._engines]

        def remove() -> None:
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
                loop.remove_writer(descriptor)
            self._fail_waiters()

        try:
            running: Any = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop or not loop.is_running():
            remove()
            return
        done = threading.Event()
        try:
            loop.call_soon_threadsafe(lambda: (remove(), done.set()))
            done.wait(1.0)  # the descriptors are about to be closed
        except RuntimeError:
            pass

    def _on_readable(self, engine: EngineProcess) -> None:
        try:
            data = engine.channel.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            assert self._loop is not None
            self._loop.remove_reader(engine.channel.fileno())
            self._on_death()
            return
        for message in engine.reader.feed(data):
            kind = message[0]
            if kind == "out":
                self._outputs.append(self._decode(engine, message))
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_result(None)
            elif kind == "util":
                self._answer(message)
            elif kind == "dead":
                self._on_death()

    def _answer(self, message: tuple[Any, ...]) -> None:
        _, call_id, failure, result = message
        future = self._calls.pop(call_id, None)
        if future is None or future.done():
            return
        if failure is not None:
            future.set_exception(Exception(failure))
        else:
            future.set_result(result)

    def _decode(self, engine: EngineProcess, message: tuple[Any, ...]) -> EngineCoreOutputs:
        _, rows, stats, timestamp = message
        outputs = []
        for request_id, token_ids, finish, stop_reason, extras in rows:
            output = EngineCoreOutput(request_id, token_ids)
            if finish is not None:
                output.finish_reason = FINISH_REASONS[finish]
                output.stop_reason = stop_reason
                if self._by_request.pop(request_id, None) is not None:
                    engine.in_flight -= 1
            if extras:
                _decode_extras(output, extras)
            if self._tells_of_experts:
                # Each part says that it is more than a token; what is in them is put together at the end.
                output.routed_experts = output.new_sampling_mask = token_ids
            outputs.append(output)
        return EngineCoreOutputs(
            engine.index,
            outputs,
            None if stats is None else _decode_stats(stats),
            timestamp,
        )

    async def get_output_async(self) -> EngineCoreOutputs:
        """The next step's outputs; EngineDeadError once all have been given out."""
        self.attach()
        while not self._outputs:
            if self.resources.engine_dead:
                raise EngineDeadError()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._outputs.popleft()

    # -- sending ---------------------------------------------------------

    def _send(self, engine: EngineProcess, message: tuple[Any, ...]) -> None:
        if self.resources.engine_dead:
            raise EngineDeadError()
        self.attach()
        frame = pack(message)
        if engine.unsent:
            engine.unsent += frame
            return
        try:
            sent = engine.channel.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._on_death()
            raise EngineDeadError() from error
        if sent < len(frame):
            engine.unsent += frame[sent:]
            assert self._loop is not None
            self._loop.add_writer(engine.channel.fileno(), self._on_writable, engine)

    def _on_writable(self, engine: EngineProcess) -> None:
        try:
            sent = engine.channel.send(engine.unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(engine.unsent)  # reading will find out and report
        del engine.unsent[:sent]
        if not engine.unsent and self._loop is not None:
            self._loop.remove_writer(engine.channel.fileno())

    def _engine_for(self, rank: int | None) -> EngineProcess:
        if rank is not None:
            return self._engines[rank]
        count = len(self._engines)
        if count == 1:
            return self._engines[0]
        order = [(self._next_engine + i) % count for i in range(count)]
        chosen = min(order, key=lambda i: self._engines[i].in_flight)
        self._next_engine = (chosen + 1) % count
        return self._engines[chosen]

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        engine = self._engine_for(request.data_parallel_rank)
        try:
            self._send(engine, ("add", encode_request(request, self.vllm_config)))
        except ValueError as error:
            raise TypeError(
                f"request {request.request_id} holds something that cannot be sent: "
                f"{error}"
            ) from error
        self._by_request[request.request_id] = engine
        engine.in_flight += 1

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        if not request_ids or self.resources.engine_dead:
            return
        per_engine: dict[int, list[str]] = {}
        for request_id in request_ids:
            engine = self._by_request.pop(request_id, None)
            if engine is not None:
                engine.in_flight -= 1
                position = self._engines.index(engine)
                per_engine.setdefault(position, []).append(request_id)
        for position, ids in per_engine.items():
            self._send(self._engines[position], ("abort", ids))

    async def call_utility_async(self, method: str, *args: Any) -> Any:
        """Call every engine; the first one's answer counts."""
        results = await asyncio.gather(
            *(self._call(engine, method, args) for engine in self._engines)
        )
        return results[0]

    async def _call(self, engine: EngineProcess, method: str, args: tuple[Any, ...]) -> Any:
        call_id = self._next_call
        self._next_call += 1
        future = asyncio.get_running_loop().create_future()
        self._calls[call_id] = future
        try:
            self._send(engine, ("util", call_id, method, list(args)))
            return await future
        finally:
            self._calls.pop(call_id, None)

    # -- named calls -----------------------------------------------------

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        return tuple(await self.call_utility_async("get_supported_tasks"))

    async def pause_scheduler_async(
        self, mode: str = "abort", clear_cache: bool = True
    ) -> None:
        await self.call_utility_async("pause_scheduler", mode, clear_cache)

    async def resume_scheduler_async(self) -> None:
        await self.call_utility_async("resume_scheduler")

    async def is_scheduler_paused_async(self) -> bool:
        return await self.call_utility_async("is_scheduler_paused")

    async def profile_async(self, is_start: bool = True, prefix: str | None = None) -> None:
        await self.call_utility_async("profile", is_start, prefix)

    async def reset_mm_cache_async(self) -> None:
        await self.call_utility_async("reset_mm_cache")

    async def reset_encoder_cache_async(self) -> None:
        await self.call_utility_async("reset_encoder_cache")

    async def reset_prefix_cache_async(
        self, reset_running_requests: bool = False, reset_connector: bool = False
    ) -> bool:
        return await self.call_utility_async(
            "reset_prefix_cache", reset_running_requests, reset_connector
        )

    async def sleep_async(self, level: int = 1, mode: str = "abort") -> None:
        await self.call_utility_async("sleep", level, mode)

    async def wake_up_async(self, tags: list[str] | None = None) -> None:
        await self.call_utility_async("wake_up", tags)

    async def is_sleeping_async(self) -> bool:
        return await self.call_utility_async("is_sleeping")

    async def get_weight_version_async(self) -> str:
        return await self.call_utility_async("get_weight_version")

    async def add_lora_async(self, lora_request: Any) -> bool:
        described = [
            lora_request.lora_name,
            lora_request.lora_int_id,
            lora_request.lora_path,
        ]
        return await self.call_utility_async("add_lora", described)

    async def remove_lora_async(self, lora_id: int) -> bool:
        return await self.call_utility_async("remove_lora", lora_id)

    async def list_loras_async(self) -> set[int]:
        return set(await self.call_utility_async("list_loras"))

    async def pin_lora_async(self, lora_id: int) -> bool:
        return await self.call_utility_async("pin_lora", lora_id)

    async def collective_rpc_async(
        self,
        method: str,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        return await self.call_utility_async(
            "collective_rpc", method, timeout, list(args), kwargs
        )


class AsyncMPClient(MPClient):
    """The one that vLLM uses on an event loop; here there is no other."""


def _report_death(reference: "weakref.ref[MPClient]") -> None:
    client = reference()
    if client is not None:
        client._on_death()


def _decode_extras(output: EngineCoreOutput, extras: dict[str, Any]) -> None:
    for name, value in extras.items():
        if name == "events":
            output.events = [
                EngineCoreEvent(_EVENT_TYPES[kind], timestamp) for kind, timestamp in value
            ]
        elif name == "prefill":
            output.prefill_stats = PrefillStats(*value)
        elif name == "logprobs":
            ids, values, rank = value
            output.new_logprobs = LogprobsLists([ids], [values], [rank])
        elif name == "prompt_logprobs":
            output.new_prompt_logprobs_tensors = value
        elif name == "kv_transfer_params":
            output.kv_transfer_params = value
        elif name == "pooling":
            output.pooling_output = value


def _decode_stats(row: tuple[Any, ...]) -> SchedulerStats:
    running, waiting, usage, reset, prefix, waiting_loras, running_loras = row
    return SchedulerStats(
        num_running_reqs=running,
        num_waiting_reqs=waiting,
        kv_cache_usage=usage,
        prefix_cache_stats=PrefixCacheStats(reset, *prefix),
        waiting_lora_adapters=waiting_loras,
        running_lora_adapters=running_loras,
    )


_NO_SAMPLING: dict[str, Any] = {
    "index": 0,
    "temperature": 0.0,
    "seed": None,
    "max_tokens": 0,
    "min_tokens": 0,
    "logprobs": None,
    "logprob_token_ids": None,
    "prompt_logprobs": None,
    "eos_token_id": None,
    "stop_token_ids": [],
    "all_stop_token_ids": [],
    "logit_bias": None,
    "allowed_token_ids": None,
    "bad_words": [],
    "forced": None,
    "kv_transfer_params": None,
}


def encode_request(request: EngineCoreRequest, vllm_config: Any) -> dict[str, Any]:
    """Plain data for the child; the prompt list is the child's own after this."""
    if request.pooling_params is not None:
        return _encode_pooling(request)
    params = request.sampling_params
    extra = params.extra_args or {}
    transfer = extra.get("kv_transfer_params") if vllm_config.kv_transfer_config else None
    lora = request.lora_request
    token_ids = request.prompt_token_ids
    digest = None
    if token_ids is None:
        token_ids = [0] * len(request.prompt_embeds)
        digest = _digest_of_embeds(request.prompt_embeds)
    return {
        "request_id": request.request_id,
        "prompt_token_ids": token_ids,
        "arrival_time": request.arrival_time,
        "lora": [lora.lora_name, lora.lora_int_id] if lora is not None else None,
        "cache_salt": request.cache_salt,
        "embeds_digest": digest,
        "session_id": request.session_id,
        "priority": request.priority,
        "params": {
            "index": request.child_index,
            "temperature": params.temperature,
            "seed": params.seed,
            "max_tokens": params.max_tokens,
            "min_tokens": params.min_tokens,
            "logprobs": params.num_logprobs,
            "logprob_token_ids": params.logprob_token_ids,
            "prompt_logprobs": params.prompt_logprobs,
            "eos_token_id": params._eos_token_id,
            "stop_token_ids": list(params.stop_token_ids),
            "all_stop_token_ids": list(params._all_stop_token_ids),
            "logit_bias": params.logit_bias,
            "allowed_token_ids": params.allowed_token_ids,
            "bad_words": params._bad_words_token_ids,
            "skip_reading_prefix_cache": bool(params.skip_reading_prefix_cache),
            "forced": getattr(params, "simulated_forced_token_ids", None)
            or params.trace_decode_token_ids,
            "kv_transfer_params": dict(transfer) if isinstance(transfer, dict) else None,
        },
    }


def _encode_pooling(request: EngineCoreRequest) -> dict[str, Any]:
    params = request.pooling_params
    return {
        "request_id": request.request_id,
        "prompt_token_ids": request.prompt_token_ids,
        "arrival_time": request.arrival_time,
        "lora": None,
        "cache_salt": request.cache_salt,
        "embeds_digest": None,
        "session_id": request.session_id,
        "priority": request.priority,
        "pooling": {"dimensions": params.dimensions, "task": params.task},
        "params": {
            **_NO_SAMPLING,
            "skip_reading_prefix_cache": bool(params.skip_reading_prefix_cache),
        },
    }


def _digest_of_embeds(embeds: Any) -> bytes:
    """Tells prompts apart for the prefix cache; the values mean nothing here."""
    raw = getattr(embeds, "values", None) or repr(embeds).encode()
    return hashlib.sha256(raw).digest()

