"""The direct drive: the host exchanges usual requests with EngineCore itself, as a front end beside vLLM's own (decision 0015).

Here is what it cannot know by itself: how vLLM encodes a request with some set of parameters, and vLLM's loggers, which are to count the
steps that the host read as if the front end had read them.
"""

from __future__ import annotations

import contextlib
from copy import copy
from typing import TYPE_CHECKING, Any, Iterator

from . import entry, names, wire

if TYPE_CHECKING:
    from .entry import Template
    from .outbox import Outbox
    from .statistics import GroupedObservations, Origin

#: Written for the length of what is learnt: a value that is no default, so that it is always there to be replaced.
_LENGTH = 2**31 - 1


#: Number of vLLM's own front end among the engine's clients where the host is one, too. The host is client 0, for that one gets the
#: statistics of every step without outputs: a thousand a second while blocks of other workers are awaited.
_OWN_CLIENT = 1


@contextlib.contextmanager
def host_as_client(offer: dict[str, str] | None) -> Iterator[dict[str, int]]:
    """While the engine's processes are started, they are told of the host's sockets first. Gives what vLLM's front end is made with."""
    if offer is None:
        yield {}
        return
    from vllm.v1.engine import core_client

    sockets = offer  # that it is there holds for the function below, too
    original = core_client.launch_core_engines

    def with_host(vllm_config: Any, executor_class: Any, log_stats: Any, addresses: Any) -> Any:
        # vLLM's front end has bound its own by now, which it takes for the first.
        addresses.inputs.insert(0, sockets["input"])
        addresses.outputs.insert(0, sockets["output"])
        return original(vllm_config, executor_class, log_stats, addresses)

    core_client.launch_core_engines = with_host
    try:
        yield {"client_index": _OWN_CLIENT}
    finally:
        core_client.launch_core_engines = original


def obstacle_before_start(config: Any) -> str | None:
    """Why the engine should not even be told of the host's sockets."""
    if lacking := names.missing(names.DIRECT):
        return f"it lacks {', '.join(lacking)}"
    parallel = config.parallel_config
    if parallel.data_parallel_size > 1:
        return "there are several data-parallel ranks, among which vLLM's front end chooses"
    if getattr(parallel, "enable_elastic_ep", False) or getattr(parallel, "enable_fault_tolerance", False):
        return "the engine tells vLLM's front end of its scaling or faults, which it takes for client 0"
    if getattr(config.observability_config, "otlp_traces_endpoint", None) is not None:
        return "vLLM's front end writes traces of requests"
    for limit in ("max_num_queued_reqs", "max_num_queued_tokens"):
        if getattr(config.scheduler_config, limit, None) is not None:
            return f"vLLM's front end keeps to {limit}"
    auxiliary = getattr(config, "aux_output_config", config.model_config)
    if getattr(auxiliary, "enable_return_routed_experts", False) or getattr(config.model_config, "return_sampling_mask", False):
        return "every answer brings routed experts or a sampling mask, which vLLM's front end puts together"
    return None


def obstacle(llm: Any, observations: list["GroupedObservations"]) -> str | None:
    """Why the running engine, which has the host as a client, gets requests of vLLM's front end alone."""
    if not observations and not names.is_simulated():  # its histograms count by themselves
        return "vLLM's loggers or its metrics are not as expected"
    foreign = [type(logger).__name__ for logger in _loggers(llm) if type(logger).__module__.partition(".")[0] not in ("vllm", "dynamo_vllm")]
    if foreign:
        return f"there are loggers that want to see every step: {', '.join(foreign)}"
    return None


class Teacher:
    """Shows the host how vLLM encodes requests. Used on the event loop's thread."""

    def __init__(self, llm: Any, outbox: "Outbox", short: "entry.ShortEntry") -> None:
        self._llm = llm
        self._outbox = outbox
        self._longest = short.longest
        self._highest = short.highest

    def teach(self, question: int, template: "Template") -> None:
        """Shows the host how requests with these parameters are encoded, if their outputs are tokens and nothing else."""
        params = template.request.sampling_params
        if not template.is_plain or params.logprob_token_ids or getattr(params, "prompt_logprob_token_ids", None):
            return
        request = copy(template.request)
        request.prompt_token_ids = []
        request.sampling_params = copy(request.sampling_params)
        request.sampling_params.max_tokens = _LENGTH
        encoded = self._llm.engine_core.encoder.encode(request)
        if len(encoded) != 1:
            return  # something of it goes beside the message: this one stays with vLLM's front end
        facts = {
            "fields": entry.wire_fields(),
            "longest_prompt": self._longest,
            "highest_token": self._highest,
            "least_tokens": template.least_tokens,
        }
        self._outbox.add(wire.pack_template(question, wire.to_json(facts), bytes(encoded[0])))


class StepRecorder:
    """Tells vLLM's loggers of the steps that the host has read: those of its requests, and all without outputs. On the loop's thread."""

    def __init__(self, llm: Any, origin: "Origin") -> None:
        self._llm = llm
        self._origin = origin

    def record(self, steps: dict[str, Any], rare: bytes) -> None:
        """Tells vLLM's loggers of steps. `rare` are the scheduler's statistics of the last one, where they are more than numbers."""
        scheduler = self._scheduler_stats(steps, rare)
        self._llm.output_processor.update_scheduler_stats(scheduler)
        iterations = steps["iterations"]
        iteration = self._iteration_stats(steps) if iterations else None
        self._origin.is_host = True
        try:
            self._llm.logger_manager.record(engine_idx=0, scheduler_stats=scheduler, iteration_stats=iteration)
        finally:
            self._origin.is_host = False
        if iteration is not None:
            self._add_single_values(iteration, iterations, steps["token_times"])

    def _scheduler_stats(self, steps: dict[str, Any], rare: bytes) -> Any:
        from vllm.v1.metrics.stats import PrefixCacheStats, SchedulerStats

        if "scheduler" not in steps:
            return None
        stats = _decode(rare) if rare else SchedulerStats(**steps["scheduler"])
        stats.prefix_cache_stats = PrefixCacheStats(**steps["prefix_cache"])  # of all steps, not of the last one alone
        if "connector_cache" in steps:
            stats.connector_prefix_cache_stats = PrefixCacheStats(**steps["connector_cache"])
        if self._origin.latest_at > steps["sampled_at"]:
            # vLLM's front end has heard of a later step meanwhile.
            for name in steps["scheduler"]:
                setattr(stats, name, getattr(self._origin.latest, name))
        return stats

    def _iteration_stats(self, steps: dict[str, Any]) -> Any:
        from vllm.v1.engine import FinishReason
        from vllm.v1.metrics.stats import FinishedRequestStats, IterationStats

        iteration = IterationStats()
        iteration.iteration_timestamp = steps["time"]
        iteration.num_generation_tokens = steps["generated"]
        iteration.num_preempted_reqs = steps["preempted"]
        prompts = iteration.prompt_token_stats
        prompts.total, prompts.computed, prompts.cached_tokens, prompts.local_cache_hit, prompts.external_kv_transfer = steps["prefill"]
        iteration.time_to_first_tokens_iter = steps["first_token_times"]
        for request in steps["finished"]:
            request["finish_reason"] = FinishReason(request["finish_reason"])
            iteration.finished_requests.append(FinishedRequestStats(**request))
            iteration.max_num_generation_tokens_iter.append(request["num_generation_tokens"])
            iteration.n_params_iter.append(1)
        return iteration

    def _add_single_values(self, iteration: Any, iterations: list[list[float]], token_times: list[list[float]]) -> None:
        """What is counted per step or token: the loggers took all steps for one, which is put right here."""
        together = iteration.prompt_token_stats.computed + iteration.num_generation_tokens
        for logger in _loggers(self._llm):
            sizes = getattr(logger, "histogram_iteration_tokens", {}).get(0)
            times = getattr(logger, "histogram_inter_token_latency", {}).get(0)
            if sizes is not None:
                sizes.add(together, -1)
                for size, count in iterations:
                    sizes.add(size, count)
            if times is not None:
                for time, count in token_times:
                    times.add(time, count)


def _decode(statistics: bytes) -> Any:
    from vllm.v1.metrics.stats import SchedulerStats

    if names.is_simulated():
        from vllm.simulation.msgpack import unpackb

        return SchedulerStats(**unpackb(statistics))
    import msgspec  # vLLM's own

    return msgspec.msgpack.decode(statistics, type=SchedulerStats)


def _loggers(llm: Any) -> list[Any]:
    """Each by itself, also those that stand in one for all ranks."""
    found: list[Any] = []
    for logger in llm.logger_manager.stat_loggers:
        found.extend(getattr(logger, "per_engine_stat_loggers", {}).values())
        if not hasattr(logger, "per_engine_stat_loggers"):
            found.append(logger)
    return found
