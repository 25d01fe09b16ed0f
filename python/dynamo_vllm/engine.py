"""Construction of the engine, and every call that the host makes on it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
from array import array
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Coroutine

from . import (
    children, delivery, direct, elastic, encode, entry, facts, failures, hints, media, names, native, profiling, prompts, raw, sampling,
    statistics, vision,
)

if TYPE_CHECKING:
    from .outbox import Outbox

_LOGGER = logging.getLogger("dynamo_vllm.engine")

#: Kinds of cache group whose block size is the one that KV events count in (cli.md, 4.4).
_MAIN_GROUPS = ("full_attention", "mla_attention", "sink_full_attention")


class Engine:
    """vLLM's AsyncLLM with the requests of the host in it. Lives on the event loop's thread."""

    def __init__(self, outbox: "Outbox", drive: str) -> None:
        self._outbox = outbox
        self._drive = drive
        self._streams: dict[int, delivery.Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._delivery = delivery.Delivery(outbox, self._forget)
        self._llm: Any = None
        self._entry: entry.ShortEntry | None = None
        self._recorder: direct.StepRecorder | None = None
        self._is_taught = False
        self._encoder: encode.Encoder | None = None
        self._media: media.Media | None = None
        self._vision: vision.VisionEncoder | None = None
        self._defaults: dict[str, Any] = {}
        self._sampling_cache: Any = None
        self._metrics_registry: Any = None
        self._gpus = elastic.GpuCapacity()
        self._observations: list[statistics.GroupedObservations] = []
        self._origin = statistics.Origin()

    # -- construction ---------------------------------------------------------------------------------------------

    def build(self, engine_args: Any, overrides: dict[str, Any], settings: dict[str, Any]) -> None:
        """Blocks until vLLM is ready: the loop stands still meanwhile, which is why the host answers probes itself."""
        names.check(self._drive)
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine import async_llm
        from vllm.v1.metrics.prometheus import setup_multiprocess_prometheus

        with contextlib.suppress(ImportError):
            # Before the variables below are set: it decides at its import where values are kept.
            import prometheus_client  # noqa: F401
        for name, value in (settings.get("environment") or {}).items():
            # os.environ also changes the C environment, which the children inherit.
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        setup_multiprocess_prometheus()
        for name, value in overrides.items():
            setattr(engine_args, name, value)
        if settings.get("vision") is not None:
            self._vision = vision.VisionEncoder.load(engine_args, settings["vision"])
            return
        if isinstance(overrides.get("kv_events_config"), dict):
            from vllm.config import KVEventsConfig

            engine_args.kv_events_config = KVEventsConfig(**overrides["kv_events_config"])
        context = UsageContext.OPENAI_API_SERVER
        config = engine_args.create_engine_config(usage_context=context)
        switch_hybrid_cache(config)
        if "benchmark" in config.additional_config and config.parallel_config.data_parallel_size > 1 and not config.model_config.is_moe:
            raise ValueError(
                f"--benchmark-mode cannot be combined with --data-parallel-size {config.parallel_config.data_parallel_size} on a dense "
                "(non-MoE) model. The attention-DP self-benchmark requires an MoE model because vLLM runs dense data-parallel ranks as "
                "independent engines. Use --data-parallel-size 1 or benchmark an MoE model."
            )
        self._defaults = dict(config.model_config.get_diff_sampling_param())
        config.additional_config["consolidator_endpoints"] = None
        if self._drive != "stock":
            async_llm.RequestOutputCollector = delivery.collector_class(async_llm.RequestOutputCollector, self._delivery)
        offer = self._offered(settings.get("direct"), config)
        with direct.host_as_client(offer) as client:
            self._llm = async_llm.AsyncLLM.from_vllm_config(
                vllm_config=config,
                usage_context=context,
                stat_loggers=[statistics.logger_factory(self._outbox, self._origin)],
                enable_log_requests=False,
                disable_log_stats=False,
                **client,
            )
        if offer is not None:
            self._recorder = direct.StepRecorder(self._llm, self._origin)
        profiling.keep_on_one_thread(self._llm)
        self._encoder = encode.Encoder(self._llm, self._outbox)
        self._media = media.Media(config, settings.get("embeddings_by"))
        self._delivery.decode = self._decode_token
        if self._drive in ("raw", "direct"):
            problem = raw.install(self._llm, self._outbox, self._origin)
            if problem is None:
                self._observations = statistics.group_observations(self._llm)
                if not self._observations and not names.is_simulated():
                    _LOGGER.warning("values of vLLM's histograms are added one by one: its loggers or its metrics are not as expected")
            else:
                _LOGGER.warning("the collector drive is used instead of the raw one: %s", problem)
                self._drive = "collector"
        _keep_environment()
        # What was imported and built lives as long as the process: without it a full collection stops the loop for milliseconds, not for
        # a good part of a second.
        gc.collect()
        gc.freeze()

    async def open(self) -> None:
        """What needs the running engine, before the first request."""
        if self._vision is not None:
            return
        tasks = await self._llm.get_supported_tasks()
        if self._drive not in ("raw", "direct") or "generate" not in tasks:
            return
        found = entry.open_for(self._llm, tasks, lambda fields: sampling.build(self._defaults, fields), self._delivery)
        if isinstance(found, str):
            _LOGGER.warning("every request goes vLLM's own way into the engine: %s", found)
        else:
            self._entry = found
            if self._drive == "direct" and self._recorder is not None:
                self._open_direct(found)

    def _offered(self, offer: dict[str, str] | None, config: Any) -> dict[str, str] | None:
        """The host's sockets, if there is a use for them."""
        if offer is None:
            return None
        if problem := direct.obstacle_before_start(config):
            _LOGGER.warning("the raw drive is used instead of the direct one: %s", problem)
            return None
        return offer

    def _open_direct(self, short: entry.ShortEntry) -> None:
        if problem := direct.obstacle(self._llm, self._observations):
            _LOGGER.warning("the raw drive is used instead of the direct one: %s", problem)
            return
        short.teacher = direct.Teacher(self._llm, self._outbox, short)
        self._is_taught = True

    def record_steps(self, steps: dict[str, Any], rare: bytes) -> None:
        """Steps of the engine that the host has read itself."""
        assert self._recorder is not None
        try:
            self._recorder.record(steps, rare)
        except Exception:  # noqa: BLE001 - boundary mapping: numbers are lost, the loop goes on
            _LOGGER.exception("statistics of the engine's steps cannot be recorded")

    async def describe(self) -> dict[str, Any]:
        """All that the host needs to know of the running engine. Final only after `build`."""
        if self._vision is not None:
            return self._vision.describe()
        config = self._llm.vllm_config
        found = facts.describe(config)
        found.update(
            kv_event_block_size=await self._event_block_size(config.cache_config.block_size),
            default_sampling=self._defaults,
            bos_token_id=_bos(self._llm),
            tasks=list(await self._llm.get_supported_tasks()),
            # What the host, if it is a client of the engine, is one for.
            direct=None if self._recorder is None else "requests" if self._is_taught else "statistics",
        )
        return found

    async def _event_block_size(self, fallback: int) -> int:
        try:
            groups = await self._llm.engine_core.call_utility_async("get_kv_cache_group_metadata")
        except Exception:  # noqa: BLE001 - boundary mapping: an older engine lacks the call, the cache's own size then counts
            _LOGGER.warning("KV cache groups are unknown, using the cache block size %s for KV events", fallback, exc_info=True)
            return fallback
        return next((group["block_size"] for group in groups if group.get("kind") in _MAIN_GROUPS), fallback)

    def _decode_token(self, token: int) -> str:
        try:
            text: str = self._llm.get_tokenizer().decode([token])
            return text
        except Exception:  # noqa: BLE001 - boundary mapping: ids above the tokenizer's last one have no text
            return ""

    # -- requests -------------------------------------------------------------------------------------------------

    def submit(self, stream_id: int, fields: dict[str, Any], blob: bytes) -> None:
        """Starts a request. Every way ends in a record for the host."""
        stream = delivery.Stream(stream_id)
        stream.has_text = "text" in fields
        stream.names_prompt = stream.has_text and "names_tokens" in fields["text"]
        for name in ("max_tokens", "kv_transfer_params"):  # apart, since they differ where all the rest is the same
            if name in fields:
                fields["sampling"][name] = fields.pop(name)
        self._streams[stream_id] = stream
        if self._enter(stream, fields, blob):
            return
        run = self._run_stock if self._drive == "stock" else self._run_collector
        self._start(run(stream, fields, blob))

    def encode(self, request_id: int, fields: dict[str, Any], blob: bytes) -> None:
        """Starts to encode the prompts of a request, which ends in one record for the host."""
        assert self._encoder is not None
        self._encoder.start(request_id, fields, blob)

    async def encode_images(self, fields: dict[str, Any], blob: bytes) -> list[dict[str, Any]]:
        """Of each image of a request where its embeddings can be taken from."""
        assert self._vision is not None
        return await self._vision.encode(fields, blob)

    def abort(self, stream_id: int) -> None:
        """Stops a request; unknown and finished ones are no error."""
        stream = self._streams.get(stream_id)
        if stream is None and self._encoder is not None:
            self._encoder.abort(stream_id)
        if stream is None or stream.cancelled:
            return
        stream.cancelled = True
        if stream.internal_id is not None:
            self._spawn(self._llm.abort(stream.internal_id, internal=True))
        elif stream.request_id is not None:
            self._spawn(self._llm.abort(stream.request_id))

    def _enter(self, stream: delivery.Stream, fields: dict[str, Any], blob: bytes) -> bool:
        """Adds a usual request at once: no task, and what vLLM makes of its parameters is known. False: it must go the long way."""
        if self._entry is None or not self._entry.is_open():
            return False
        try:
            found = self._entry.request(fields, blob)
            if found is None:
                return False
            request, stream.is_plain = found
            rest = self._entry.add(stream, request)
        except BaseException as error:  # noqa: BLE001 - boundary mapping: a request must end with an answer
            self._delivery.fail(stream, error)
            self._release_remote(fields, error)
            return True
        if rest is not None:
            self._start(self._finish_entry(stream, rest))
        return True

    async def _finish_entry(self, stream: delivery.Stream, rest: Awaitable[None]) -> None:
        try:
            await rest
            if stream.cancelled:
                await self._llm.abort(stream.internal_id, internal=True)
        except BaseException as error:  # noqa: BLE001 - boundary mapping: a request must end with an answer
            self._delivery.fail(stream, error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_collector(self, stream: delivery.Stream, fields: dict[str, Any], blob: bytes) -> None:
        try:
            prompt, params, options = await self._prepare(stream, fields, blob)
            stream.routed_start = getattr(params, "routed_experts_prompt_start", 0) or 0
            stream.is_plain = raw.is_plain(params)
            delivery.CURRENT_STREAM.set(stream)
            await self._llm.add_request(fields["request_id"], prompt, params, **options)
            if stream.cancelled:
                await self._llm.abort(stream.internal_id, internal=True)
        except BaseException as error:  # noqa: BLE001 - boundary mapping: a request must end with an answer
            if "media" in fields:
                error = media.explain(error)
            self._delivery.fail(stream, error)
            self._release_remote(fields, error)

    async def _run_stock(self, stream: delivery.Stream, fields: dict[str, Any], blob: bytes) -> None:
        try:
            prompt, params, options = await self._prepare(stream, fields, blob)
            stream.routed_start = getattr(params, "routed_experts_prompt_start", 0) or 0
            # The given id is what abort takes here; it is made unique because the host may send one id twice.
            request_id = f"{fields['request_id']}-{stream.id}"
            stream.request_id = request_id
            outputs = self._llm.generate(prompt, params, request_id, **options)
            async for output in outputs:
                self._delivery.deliver(stream, output)
                if stream.cancelled and not stream.done:
                    await self._llm.abort(request_id)
        except BaseException as error:  # noqa: BLE001 - boundary mapping: a request must end with an answer
            if "media" in fields:
                error = media.explain(error)
            self._delivery.fail(stream, error)
            self._release_remote(fields, error)

    def _release_remote(self, fields: dict[str, Any], error: BaseException) -> None:
        """A prefill worker holds blocks for a request that is refused here, and only this connector can tell it that nobody comes for them."""
        params = fields["sampling"].get("kv_transfer_params")
        if not isinstance(params, dict) or not params.get("do_remote_prefill") or not failures.is_refusal(error):
            return
        notify = getattr(self._llm, "notify_kv_transfer_request_rejected", None)  # older vLLM releases lack it: the lease ends the wait
        if notify is not None and getattr(self._llm.vllm_config, "kv_transfer_config", None) is not None:
            self._spawn(notify(fields["request_id"], params, data_parallel_rank=fields.get("data_parallel_rank")))

    async def _prepare(self, stream: delivery.Stream, fields: dict[str, Any], blob: bytes) -> tuple[Any, Any, dict[str, Any]]:
        priority = fields.get("priority", 0)
        if "native" in fields:
            params, priority = native.read(fields["native"], len(blob) // 4, self._defaults, self._llm.vllm_config.model_config)
            sampling.transfer(params, fields["sampling"])
        else:
            defaults = {} if fields.get("plain_defaults") else self._defaults
            params = sampling.build(defaults, fields["sampling"], gives_text="text" in fields)
        prompt = await self._prompt(stream, fields, blob)
        options: dict[str, Any] = {
            "lora_request": _lora(*fields["lora"]) if "lora" in fields else None,
            "data_parallel_rank": fields.get("data_parallel_rank"),
            "trace_headers": fields.get("trace_headers"),
            "priority": priority,
        }
        for optional in ("session_id", "reasoning_ended", "reasoning_parser_kwargs"):
            # Passed only when set: older vLLM releases lack them.
            if fields.get(optional) is not None:
                options[optional] = fields[optional]
        if "tokens_max" in fields.get("text", ()):
            options["tokenization_kwargs"] = {"truncate_prompt_tokens": fields["text"]["tokens_max"]}
        if "kv_hints" in fields:
            options["kv_hints"] = hints.build(fields["kv_hints"])
        return prompt, params, options

    async def _prompt(self, stream: delivery.Stream, fields: dict[str, Any], blob: bytes) -> dict[str, Any]:
        prompt: dict[str, Any]
        if "prompt_embeds" in fields:
            # Up to 10 MiB to decode, check and cast: not while every stream waits.
            prompt = {"prompt_embeds": await asyncio.to_thread(self._load_embeds, fields["prompt_embeds"])}
        elif "media" in fields:
            assert self._media is not None
            prompt, stream.hand_over = await self._media.prepare(fields["media"], blob)
        elif "prompt" in fields.get("text", ()) or "messages" in fields.get("text", ()):
            prompt = {"prompt": await prompts.render(self._llm.get_tokenizer(), fields["text"])}
        else:
            tokens = array("i")
            tokens.frombytes(blob)
            # With a type the prompt counts as rendered and is processed here and now, without a hop to a thread pool.
            prompt = {"type": "token", "prompt_token_ids": tokens.tolist()}
        if fields.get("cache_salt"):
            prompt["cache_salt"] = fields["cache_salt"]
        return prompt

    def _load_embeds(self, encoded: str) -> Any:
        from vllm.renderers.embed_utils import safe_load_prompt_embeds

        try:
            # It wants the base64 text: vLLM decodes it.
            return safe_load_prompt_embeds(self._llm.vllm_config.model_config, encoded.encode())
        except MemoryError:
            raise  # ours to answer for, not the caller's
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":
                raise  # torch's
            raise ValueError(f"Failed to decode prompt_embeds as PyTorch tensor: {error}") from error

    def _forget(self, stream: delivery.Stream) -> None:
        self._streams.pop(stream.id, None)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._report)

    def _report(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOGGER.warning("a request cannot be withdrawn from the engine: %r", task.exception())

    # -- control --------------------------------------------------------------------------------------------------

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """One control call, by a name from the table below and no other."""
        handler: Callable[..., Awaitable[Any]] | None = getattr(self, f"call_{method}", None)
        if handler is None:
            raise ValueError(f"unknown engine call {method!r}")
        return await handler(**arguments)

    async def call_check_health(self) -> None:
        if self._llm is not None:
            await self._llm.check_health()

    async def call_round_trip(self) -> bool:
        """Asks the engine process itself: the only probe that a hung engine fails."""
        return self._llm is not None and bool(await self._llm.is_sleeping())

    async def call_log_stats(self) -> None:
        if self._llm is not None:
            await self._llm.do_log_stats()

    async def call_reset_prefix_cache(self, reset_connector: bool = False, reset_running_requests: bool = False) -> bool:
        return bool(await self._llm.reset_prefix_cache(reset_running_requests=reset_running_requests, reset_connector=reset_connector))

    async def call_pause(self, mode: str = "abort", clear_cache: bool = True) -> None:
        await self._llm.pause_generation(mode=mode, clear_cache=clear_cache)

    async def call_resume(self) -> None:
        await self._llm.resume_generation()

    async def call_sleep(self, level: int = 1) -> None:
        await self._llm.sleep(level)

    async def call_wake_up(self, tags: list[str] | None = None) -> None:
        await self._llm.wake_up(tags)

    async def call_start_profile(self, profile_prefix: str | None = None) -> None:
        await self._llm.start_profile(profile_prefix)

    async def call_stop_profile(self) -> None:
        await self._llm.stop_profile()

    async def call_collective_rpc(self, name: Any, kwargs: dict[str, Any]) -> None:
        await self._llm.collective_rpc(name, kwargs=kwargs)

    async def call_parallelism(self) -> dict[str, Any]:
        return elastic.parallelism(self._llm.vllm_config.parallel_config)

    async def call_gpu_capacity(self) -> dict[str, Any]:
        return await self._gpus.read()

    async def call_scale(self, size: int) -> None:
        await elastic.scale(self._llm, size)

    async def call_add_lora(self, name: str, lora_id: int, path: str) -> bool:
        return bool(await self._llm.add_lora(_lora(name, lora_id, path)))

    async def call_remove_lora(self, lora_id: int) -> bool:
        return bool(await self._llm.remove_lora(lora_id))

    async def call_metrics(self) -> str:
        """Prometheus text of vLLM's families; the host adds labels."""
        for observations in self._observations:
            observations.flush()
        if names.is_simulated():
            from vllm.v1.metrics.prometheus import render_simulated_metrics

            return str(render_simulated_metrics())
        from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess

        if self._metrics_registry is None:
            self._metrics_registry = REGISTRY
            if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
                try:
                    multiprocess.MultiProcessCollector(REGISTRY)
                except ValueError:
                    # The deployment set the directory itself, so the families are registered twice: read the files alone.
                    self._metrics_registry = CollectorRegistry()
                    multiprocess.MultiProcessCollector(self._metrics_registry)
        return str(generate_latest(self._metrics_registry), "utf-8")

    async def call_installed_packages(self) -> dict[str, Any]:
        """For the configuration dump."""
        from importlib import metadata

        import vllm

        packages = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
        return {"packages": packages, "vllm": vllm.__version__}

    async def call_metadata(self) -> dict[str, Any]:
        return await self.describe()

    def shutdown(self, timeout: float) -> None:
        """Ends the engine and its processes. Blocks; nothing else runs on this loop any more."""
        if self._llm is not None:
            self._llm.shutdown(timeout=timeout)
        if self._vision is not None:
            self._vision.close()
        children.release_tracker()


def load_settings(text: str) -> dict[str, Any]:
    """Settings of the host."""
    settings: dict[str, Any] = json.loads(text)
    return settings


def _keep_environment() -> None:
    """vLLM reads a variable of its environment for each output; its own processes keep what they read once they are up."""
    try:
        from vllm.envs import enable_envs_cache
    except ImportError:
        return  # the simulated engine, or another release: it goes on reading them
    enable_envs_cache()


def _lora(name: str, lora_id: int, path: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora_name=name, lora_int_id=lora_id, lora_path=path)


def switch_hybrid_cache(config: Any) -> None:
    """Off, before vLLM builds its cache groups, where a connector inside a PdConnector knows one group only."""
    transfer = getattr(config, "kv_transfer_config", None)
    if getattr(transfer, "kv_connector", None) == "PdConnector" and not _children_support_hybrid_cache(transfer):
        config.scheduler_config.disable_hybrid_kv_cache_manager = True


def _children_support_hybrid_cache(transfer: Any) -> bool:
    from vllm.distributed.kv_transfer.kv_connector.v1.multi_connector import MultiConnector

    return bool(MultiConnector.all_children_support_hma(transfer))


def _bos(llm: Any) -> int | None:
    try:
        token = getattr(llm.get_tokenizer(), "bos_token_id", None)
        return token if isinstance(token, int) else None
    except Exception:  # noqa: BLE001 - boundary mapping: no tokenizer, then the host uses the reference's default
        return None
