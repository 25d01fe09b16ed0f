"""AsyncLLM: the engine as an asyncio host sees it.

The control flow is vLLM's, because hosts hook into it: `add_request` makes a
`RequestOutputCollector` by this module's name for it, one output handler task
takes a step at a time, and outputs reach collectors before statistics reach
the loggers.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any, AsyncGenerator, Iterable, Mapping

from vllm.exceptions import (
    GracefulHTTPError,
    MaxQueuedTokensError,
    QueueOverflowError,
    VLLMClientError,
)
from vllm.logger import init_logger
from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.core_client import AsyncMPClient
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.engine.input_processor import InputProcessor, Renderer
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
from vllm.v1.engine.parallel_sampling import ParentRequest
from vllm.v1.metrics.loggers import StatLoggerFactory, StatLoggerManager
from vllm.v1.metrics.prometheus import shutdown_prometheus
from vllm.v1.metrics.stats import IterationStats

logger = init_logger(__name__)

# Between chunks of a large step other tasks get a turn.
OUTPUT_CHUNK = 128


class AsyncLLM:
    def __init__(
        self,
        vllm_config: Any,
        executor_class: Any = None,
        log_stats: bool = True,
        usage_context: UsageContext = UsageContext.ENGINE_CONTEXT,
        log_requests: bool = True,
        start_engine_loop: bool = True,
        stat_loggers: list[StatLoggerFactory] | None = None,
        aggregate_engine_logging: bool = False,
        client_addresses: dict[str, Any] | None = None,
        client_count: int = 1,
        client_index: int = 0,
    ) -> None:
        if client_addresses is not None:
            raise NotImplementedError("the simulated engine starts its own EngineCore")
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.scheduler_config = vllm_config.scheduler_config
        self.observability_config = vllm_config.observability_config
        self.log_requests = log_requests
        custom = list(stat_loggers or [])
        self.log_stats = log_stats or bool(custom)
        self.renderer = renderer = Renderer(vllm_config)
        self.input_processor = InputProcessor(vllm_config, renderer)
        self.output_processor = OutputProcessor(
            renderer.tokenizer,
            log_stats=self.log_stats,
            stream_interval=self.scheduler_config.stream_interval,
            model=self.model_config,
        )
        tokenizer = renderer.tokenizer or self.model_config.make_tokenizer()
        self.engine_core = AsyncMPClient(
            vllm_config, self.log_stats, tokenizer.all_special_ids
        )
        self.logger_manager: StatLoggerManager | None = None
        if self.log_stats:
            self.logger_manager = StatLoggerManager(
                vllm_config,
                self.engine_core.engine_ranks_managed,
                custom,
                enable_default_loggers=log_stats,
            )
            self.logger_manager.log_engine_initialized()
        self.output_handler: asyncio.Task[None] | None = None
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # no loop yet: the first request starts the handler
        self._run_output_handler()

    @classmethod
    def from_vllm_config(
        cls,
        vllm_config: Any,
        start_engine_loop: bool = True,
        usage_context: UsageContext = UsageContext.ENGINE_CONTEXT,
        stat_loggers: list[StatLoggerFactory] | None = None,
        enable_log_requests: bool = False,
        aggregate_engine_logging: bool = False,
        disable_log_stats: bool = False,
        client_addresses: dict[str, Any] | None = None,
        client_count: int = 1,
        client_index: int = 0,
    ) -> "AsyncLLM":
        """Blocks until the engine is ready."""
        return cls(
            vllm_config=vllm_config,
            log_stats=not disable_log_stats,
            usage_context=usage_context,
            log_requests=enable_log_requests,
            start_engine_loop=start_engine_loop,
            stat_loggers=stat_loggers,
            aggregate_engine_logging=aggregate_engine_logging,
            client_addresses=client_addresses,
            client_count=client_count,
            client_index=client_index,
        )

    @classmethod
    def from_engine_args(
        cls,
        engine_args: Any,
        start_engine_loop: bool = True,
        usage_context: UsageContext = UsageContext.ENGINE_CONTEXT,
        stat_loggers: list[StatLoggerFactory] | None = None,
    ) -> "AsyncLLM":
        return cls.from_vllm_config(
            engine_args.create_engine_config(usage_context),
            start_engine_loop=start_engine_loop,
            usage_context=usage_context,
            stat_loggers=stat_loggers,
            enable_log_requests=engine_args.enable_log_requests,
            disable_log_stats=engine_args.disable_log_stats,
        )

    def __del__(self) -> None:
        self.shutdown()

    def shutdown(self, timeout: float | None = None) -> None:
        """Synchronous and idempotent."""
        shutdown_prometheus()
        engine_core = getattr(self, "engine_core", None)
        if engine_core is not None:
            engine_core.shutdown(timeout=timeout)
        handler = getattr(self, "output_handler", None)
        if handler is None or handler.done():
            return
        loop = handler.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(handler.cancel)

    # -- properties ------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        return self.renderer.tokenizer

    def get_tokenizer(self) -> Any:
        return self.renderer.get_tokenizer()

    @property
    def is_running(self) -> bool:
        return self.output_handler is None or not self.output_handler.done()

    @property
    def is_stopped(self) -> bool:
        return self.errored

    @property
    def errored(self) -> bool:
        return self.engine_core.resources.engine_dead or not self.is_running

    @property
    def dead_error(self) -> BaseException:
        return EngineDeadError()

    # -- requests --------------------------------------------------------

    def get_num_unfinished_requests(self) -> int:
        return self.output_processor.get_num_unfinished_requests()

    def check_admission(self, n: int = 1, request_id: str | None = None) -> None:
        limit = self.scheduler_config.max_num_queued_reqs
        if limit is not None and self.get_num_unfinished_requests() + n > limit:
            raise QueueOverflowError()
        limit = self.scheduler_config.max_num_queued_tokens
        if limit is not None and self.output_processor.get_num_queued_tokens() >= limit:
            raise MaxQueuedTokensError()

    async def get_supported_tasks(self) -> tuple[str, ...]:
        tasks = self.__dict__.get("_supported_tasks")
        if tasks is None:
            tasks = await self.engine_core.get_supported_tasks_async()
            self.__dict__["_supported_tasks"] = tasks
        return tasks

    async def add_request(
        self,
        request_id: str,
        prompt: Any,
        params: SamplingParams | PoolingParams,
        arrival_time: float | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        trace_headers: Mapping[str, str] | None = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
        session_id: str | None = None,
        prompt_text: str | None = None,
        reasoning_ended: bool | None = None,
        reasoning_parser_kwargs: dict[str, Any] | None = None,
        kv_hints: Any = None,
    ) -> RequestOutputCollector:
        if self.errored:
            raise EngineDeadError()
        if isinstance(prompt, EngineCoreRequest):
            request = prompt
        else:
            request = self.input_processor.process_inputs(
                request_id,
                prompt,
                params,
                supported_tasks=await self.get_supported_tasks(),
                arrival_time=arrival_time,
                lora_request=lora_request,
                tokenization_kwargs=tokenization_kwargs,
                trace_headers=trace_headers,
                priority=priority,
                data_parallel_rank=data_parallel_rank,
                session_id=session_id,
                kv_hints=kv_hints,
            )
            if isinstance(prompt, dict):
                prompt_text = prompt_text or prompt.get("prompt")
            elif isinstance(prompt, str):
                prompt_text = prompt
        request.reasoning_ended = reasoning_ended
        request.reasoning_parser_kwargs = reasoning_parser_kwargs
        self.input_processor.assign_request_id(request)
        self._impose_choice(request)
        self._run_output_handler()
        params = request.params
        # By the module's name on purpose: a host may put its own class there.
        queue = RequestOutputCollector(params.output_kind, request.request_id)
        if params.n == 1:
            await self._add_request(request, prompt_text, None, 0, queue)
            return queue
        self.check_admission(params.n, request_id)
        parent = ParentRequest(request)
        children = []
        for index in range(params.n):
            child = copy.copy(request)
            child.request_id, child.sampling_params = parent.get_child_info(index)
            child.child_index = index
            self.output_processor.add_request(child, prompt_text, parent, index, queue)
            children.append(child)
        try:
            for child in children:
                await self.engine_core.add_request_async(child)
        except BaseException:
            await self.abort(parent.request_id, internal=True)
            raise
        return queue

    async def _add_request(
        self,
        request: EngineCoreRequest,
        prompt: str | None,
        parent_req: ParentRequest | None,
        index: int,
        queue: RequestOutputCollector,
    ) -> None:
        self.check_admission(1, request.request_id)
        # Known here before the first await, so that an abort finds it.
        self.output_processor.add_request(request, prompt, parent_req, index, queue)
        try:
            await self.engine_core.add_request_async(request)
        except BaseException:
            self.output_processor.request_states.pop(request.request_id, None)
            raise
        if self.log_requests:
            logger.info("Added request %s.", request.request_id)

    def _impose_choice(self, request: EngineCoreRequest) -> None:
        """Of the structured outputs only `choice` shapes the simulated answer."""
        if request.sampling_params is None:
            return
        constraint = request.sampling_params.structured_outputs
        if constraint is None or not constraint.choice:
            return
        tokens = self.get_tokenizer().encode(
            constraint.choice[0], add_special_tokens=False
        )
        eos = self.renderer.get_eos_token_id()
        if eos is not None:
            tokens.append(eos)
        request.params.simulated_forced_token_ids = tokens

    async def generate(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        prompt_text: str | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        trace_headers: Mapping[str, str] | None = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
        session_id: str | None = None,
        kv_hints: Any = None,
        reasoning_ended: bool | None = None,
        reasoning_parser_kwargs: dict[str, Any] | None = None,
    ) -> AsyncGenerator[RequestOutput, None]:
        queue: RequestOutputCollector | None = None
        try:
            queue = await self.add_request(
                request_id,
                prompt,
                sampling_params,
                lora_request=lora_request,
                tokenization_kwargs=tokenization_kwargs,
                trace_headers=trace_headers,
                priority=priority,
                data_parallel_rank=data_parallel_rank,
                session_id=session_id,
                kv_hints=kv_hints,
                prompt_text=prompt_text,
                reasoning_ended=reasoning_ended,
                reasoning_parser_kwargs=reasoning_parser_kwargs,
            )
            finished = False
            while not finished:
                output = queue.get_nowait() or await queue.get()
                finished = output.finished
                yield output
        except (asyncio.CancelledError, GeneratorExit):
            # The consumer has gone away.
            if queue is not None:
                await self.abort(queue.request_id, internal=True)
            raise
        except (EngineDeadError, VLLMClientError, GracefulHTTPError):
            raise
        except Exception as error:
            if queue is not None:
                await self.abort(queue.request_id, internal=True)
            raise EngineGenerateError() from error
        finally:
            if queue is not None:
                queue.close()

    async def encode(
        self,
        prompt: Any,
        pooling_params: PoolingParams,
        request_id: str,
        lora_request: Any = None,
        trace_headers: Mapping[str, str] | None = None,
        priority: int = 0,
        tokenization_kwargs: dict[str, Any] | None = None,
        reasoning_ended: bool | None = None,
    ) -> AsyncGenerator[PoolingRequestOutput, None]:
        queue: RequestOutputCollector | None = None
        try:
            queue = await self.add_request(
                request_id,
                prompt,
                pooling_params,
                lora_request=lora_request,
                tokenization_kwargs=tokenization_kwargs,
                trace_headers=trace_headers,
                priority=priority,
                reasoning_ended=reasoning_ended,
            )
            finished = False
            while not finished:
                output: Any = queue.get_nowait() or await queue.get()
                finished = output.finished
                yield output
        except asyncio.CancelledError:
            if queue is not None:
                await self.abort(queue.request_id, internal=True)
            raise
        except (EngineDeadError, VLLMClientError, GracefulHTTPError):
            raise
        except Exception as error:
            if queue is not None:
                await self.abort(queue.request_id, internal=True)
            raise EngineGenerateError() from error
        finally:
            if queue is not None:
                queue.close()

    def _run_output_handler(self) -> None:
        """Start the task that moves steps from EngineCore to the collectors."""
        if self.output_handler is not None:
            return
        # The task must not keep the engine object alive.
        engine_core = self.engine_core
        output_processor = self.output_processor
        logger_manager = self.logger_manager
        log_stats = self.log_stats
        renderer = self.renderer

        async def output_handler() -> None:
            try:
                while True:
                    step = await engine_core.get_output_async()
                    count = len(step.outputs)
                    iteration_stats = IterationStats() if log_stats and count else None
                    for start in range(0, count, OUTPUT_CHUNK):
                        if start:
                            await asyncio.sleep(0)
                        processed = output_processor.process_outputs(
                            step.outputs[start : start + OUTPUT_CHUNK],
                            step.timestamp,
                            iteration_stats,
                        )
                        if processed.reqs_to_abort:
                            await engine_core.abort_requests_async(
                                processed.reqs_to_abort
                            )
                    output_processor.update_scheduler_stats(step.scheduler_stats)
                    if logger_manager is not None:
                        logger_manager.record(
                            engine_idx=step.engine_index,
                            scheduler_stats=step.scheduler_stats,
                            iteration_stats=iteration_stats,
                            mm_cache_stats=renderer.stat_mm_cache(),
                        )
            except Exception as error:
                if not engine_core.closed:
                    logger.error("AsyncLLM output_handler failed: %r", error)
                output_processor.propagate_error(error)

        self.output_handler = asyncio.create_task(output_handler())

    async def abort(
        self, request_id: str | Iterable[str], internal: bool = False
    ) -> None:
        """Consumers get their last output at once; the engine at its next step."""
        ids = (request_id,) if isinstance(request_id, str) else tuple(request_id)
        ended = self.output_processor.abort_requests(ids, internal)
        await self.engine_core.abort_requests_async(ended)
        if self.log_requests:
            logger.info("Aborted request(s) %s.", ",".join(ids))

    # -- health and control ----------------------------------------------

    async def notify_kv_transfer_request_rejected(
        self,
        request_id: str,
        kv_transfer_params: dict[str, Any],
        *,
        data_parallel_rank: int | None = None,
    ) -> None:
        # Whether the engine drops it before or after the load, the other side hears.
        params = SamplingParams(
            max_tokens=1, extra_args={"kv_transfer_params": dict(kv_transfer_params)}
        )
        request = self.input_processor.process_inputs(
            request_id,
            {"type": "token", "prompt_token_ids": [0]},
            params,
            supported_tasks=await self.get_supported_tasks(),
            data_parallel_rank=data_parallel_rank,
        )
        await self.engine_core.add_request_async(request)
        await self.engine_core.abort_requests_async([request_id])

    async def check_health(self) -> None:
        if self.errored:
            raise self.dead_error

    async def is_tracing_enabled(self) -> bool:
        return self.observability_config.otlp_traces_endpoint is not None

    async def do_log_stats(self) -> None:
        if self.logger_manager is not None:
            self.logger_manager.log()

    async def pause_generation(
        self,
        *,
        mode: str = "abort",
        wait_for_inflight_requests: bool | None = None,
        clear_cache: bool = True,
    ) -> None:
        if wait_for_inflight_requests:
            mode = "wait"
        self._start()
        await self.engine_core.pause_scheduler_async(mode=mode, clear_cache=clear_cache)
        # Last outputs should be with their consumers before this returns.
        await asyncio.sleep(0.02)

    async def resume_generation(self) -> None:
        await self.engine_core.resume_scheduler_async()

    async def is_paused(self) -> bool:
        return await self.engine_core.is_scheduler_paused_async()

    async def sleep(self, level: int = 1, mode: str = "abort") -> None:
        self._start()
        await self.engine_core.sleep_async(level, mode)
        if self.logger_manager is not None:
            self.logger_manager.record_sleep_state(1, level)

    async def wake_up(self, tags: list[str] | None = None) -> None:
        await self.engine_core.wake_up_async(tags)
        if self.logger_manager is not None:
            self.logger_manager.record_sleep_state(0, 0)

    async def is_sleeping(self) -> bool:
        return await self.engine_core.is_sleeping_async()

    async def reset_prefix_cache(
        self, reset_running_requests: bool = False, reset_connector: bool = False
    ) -> bool:
        return await self.engine_core.reset_prefix_cache_async(
            reset_running_requests, reset_connector
        )

    async def reset_mm_cache(self) -> None:
        self.renderer.clear_mm_cache()
        await self.engine_core.reset_mm_cache_async()

    async def reset_encoder_cache(self) -> None:
        await self.engine_core.reset_encoder_cache_async()

    async def collective_rpc(
        self,
        method: str,
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        return await self.engine_core.collective_rpc_async(method, timeout, args, kwargs)

    async def add_lora(self, lora_request: Any) -> bool:
        return await self.engine_core.add_lora_async(lora_request)

    async def remove_lora(self, lora_id: int) -> bool:
        return await self.engine_core.remove_lora_async(lora_id)

    async def list_loras(self) -> set[int]:
        return await self.engine_core.list_loras_async()

    async def pin_lora(self, lora_id: int) -> bool:
        return await self.engine_core.pin_lora_async(lora_id)

    async def start_profile(self, profile_prefix: str | None = None) -> None:
        await self.engine_core.profile_async(True, profile_prefix)

    async def stop_profile(self) -> None:
        await self.engine_core.profile_async(False)

    async def get_weight_version(self) -> str:
        return await self.engine_core.get_weight_version_async()

    def get_kv_event_sources(self) -> dict[int, Any]:
        return {}

    async def scale_elastic_ep(
        self, new_data_parallel_size: int, drain_timeout: int = 300
    ) -> None:
        raise NotImplementedError

    async def wait_for_requests_to_drain(self, drain_timeout: int = 300) -> None:
        deadline = asyncio.get_running_loop().time() + drain_timeout
        while self.output_processor.has_unfinished_requests():
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(
                    f"Timeout reached after {drain_timeout} seconds "
                    "waiting for requests to drain."
                )
            await asyncio.sleep(0.05)

    def _start(self) -> None:
        """Control calls can produce outputs too (aborts), so someone must listen."""
        self._run_output_handler()
