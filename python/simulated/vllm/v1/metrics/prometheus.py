"""The `vllm:` metric families, counted and rendered without prometheus_client.

`render_simulated_metrics()` gives the text that a scrape of the real engine
would give for these families.
"""

from __future__ import annotations

import os
import tempfile
import time
from bisect import bisect_left
from typing import Any, Iterable

from vllm.logger import init_logger

logger = init_logger(__name__)

_SECONDS_SHORT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_SECONDS_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_SECONDS_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
    120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_ITERATION = tuple(float(n) for n in (1, *(8 * 2**i for i in range(12))))
_N_PARAMS = (1.0, 2.0, 5.0, 10.0, 20.0)
_PREEMPTIONS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
_FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
_SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
_SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")


def _one_two_five(limit: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, ... up to the context length."""
    buckets, power = [], 1
    while True:
        for factor in (1, 2, 5):
            if factor * power > limit:
                return tuple(buckets)
            buckets.append(float(factor * power))
        power *= 10


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escape(labels[key])}"' for key in sorted(labels))
    return f"{name}{{{inner}}} {float(value)!r}"


class _Family:
    """One metric: name, help, and its series by extra label values."""

    kind = ""

    def __init__(
        self, name: str, text: str, label: str | None = None, values: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.text = text
        self.label = label
        self.values = values
        self.created = time.time()
        self.series: dict[tuple[str, str | None], Any] = {}

    def open(self, engine: str) -> None:
        for value in self.values or (None,):
            self.series[engine, value] = self._new()

    def _new(self) -> Any:
        return 0.0

    def _labels(self, base: dict[str, str], engine: str, value: str | None) -> dict[str, str]:
        labels = {**base, "engine": engine}
        if self.label is not None and value is not None:
            labels[self.label] = value
        return labels

    def render(self, base: dict[str, str]) -> Iterable[str]:
        raise NotImplementedError


class _Gauge(_Family):
    def set(self, engine: str, number: float, value: str | None = None) -> None:
        self.series[engine, value] = number

    def render(self, base: dict[str, str]) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} gauge"
        for (engine, value), number in self.series.items():
            yield _line(self.name, self._labels(base, engine, value), number)


class _Counter(_Family):
    def add(self, engine: str, number: float, value: str | None = None) -> None:
        self.series[engine, value] += number

    def render(self, base: dict[str, str]) -> Iterable[str]:
        for suffix, kind in (("_total", "counter"), ("_created", "gauge")):
            name = self.name + suffix
            yield f"# HELP {name} {self.text}"
            yield f"# TYPE {name} {kind}"
            for (engine, value), number in self.series.items():
                shown = number if suffix == "_total" else self.created
                yield _line(name, self._labels(base, engine, value), shown)


class _Histogram(_Family):
    def __init__(self, name: str, text: str, buckets: tuple[float, ...]) -> None:
        super().__init__(name, text)
        self.buckets = buckets

    def _new(self) -> Any:
        return [[0] * (len(self.buckets) + 1), 0.0]

    def observe(self, engine: str, number: float, count: int = 1) -> None:
        series = self.series[engine, None]
        series[0][bisect_left(self.buckets, number)] += count
        series[1] += number * count

    def render(self, base: dict[str, str]) -> Iterable[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        for (engine, _), (counts, total) in self.series.items():
            labels = self._labels(base, engine, None)
            running = 0
            for bound, count in zip((*map(repr, self.buckets), "+Inf"), counts):
                running += count
                yield _line(f"{self.name}_bucket", {**labels, "le": bound}, running)
            yield _line(f"{self.name}_count", labels, running)
            yield _line(f"{self.name}_sum", labels, total)
        name = f"{self.name}_created"
        yield f"# HELP {name} {self.text}"
        yield f"# TYPE {name} gauge"
        for engine, _ in self.series:
            yield _line(name, self._labels(base, engine, None), self.created)


class _Series:
    """A histogram of one engine, under the name that it has in vLLM's logger."""

    def __init__(self, histogram: _Histogram, engine: int) -> None:
        self._histogram = histogram
        self._engine = str(engine)

    def add(self, number: float, count: int) -> None:
        self._histogram.observe(self._engine, number, count)


class PrometheusStatLogger:
    """Counts what the stat loggers are told."""

    def __init__(self, vllm_config: Any, engine_indexes: list[int]) -> None:
        model = vllm_config.model_config
        served = model.served_model_name
        name = served[0] if isinstance(served, list) and served else served
        self._base = {"model_name": str(name or model.model)}
        self._config = vllm_config
        self._engines = [str(index) for index in engine_indexes]
        lengths = _one_two_five(model.max_model_len)
        self._families: list[_Family] = []
        add = self._add
        self.running = add(
            _Gauge(
                "vllm:num_requests_running",
                "Number of requests in model execution batches.",
            )
        )
        self.waiting = add(
            _Gauge(
                "vllm:num_requests_waiting",
                "Number of requests waiting to be processed.",
            )
        )
        self.waiting_by_reason = add(
            _Gauge(
                "vllm:num_requests_waiting_by_reason",
                "Number of waiting requests by reason.",
                "reason",
                ("capacity", "deferred"),
            )
        )
        self.sleep_state = add(
            _Gauge(
                "vllm:engine_sleep_state",
                "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 "
                "means engine is awake; weights_offloaded = 1 means sleep level 1; "
                "discard_all = 1 means sleep level 2.",
                "sleep_state",
                _SLEEP_STATES,
            )
        )
        self.usage = add(
            _Gauge(
                "vllm:kv_cache_usage_perc",
                "KV-cache usage. 1 means 100 percent usage.",
            )
        )
        self.prefix_queries = add(
            _Counter(
                "vllm:prefix_cache_queries",
                "Prefix cache queries, in terms of number of queried tokens.",
            )
        )
        self.prefix_hits = add(
            _Counter(
                "vllm:prefix_cache_hits",
                "Prefix cache hits, in terms of number of cached tokens.",
            )
        )
        self.external_queries = add(
            _Counter(
                "vllm:external_prefix_cache_queries",
                "External prefix cache queries from KV connector cross-instance "
                "cache sharing, in terms of number of queried tokens.",
            )
        )
        self.external_hits = add(
            _Counter(
                "vllm:external_prefix_cache_hits",
                "External prefix cache hits from KV connector cross-instance "
                "cache sharing, in terms of number of cached tokens.",
            )
        )
        self.preemptions = add(
            _Counter(
                "vllm:num_preemptions",
                "Cumulative number of preemption from the engine.",
            )
        )
        self.prompt_tokens = add(
            _Counter("vllm:prompt_tokens", "Number of prefill tokens processed.")
        )
        self.prompt_by_source = add(
            _Counter(
                "vllm:prompt_tokens_by_source",
                "Number of prompt tokens by source.",
                "source",
                _SOURCES,
            )
        )
        self.prompt_cached = add(
            _Counter(
                "vllm:prompt_tokens_cached",
                "Number of cached prompt tokens (local + external).",
            )
        )
        self.generation_tokens = add(
            _Counter(
                "vllm:generation_tokens", "Number of generation tokens processed."
            )
        )
        self.success = add(
            _Counter(
                "vllm:request_success",
                "Count of successfully processed requests.",
                "finished_reason",
                _FINISH_REASONS,
            )
        )
        histogram = self._histogram
        self.request_prompt = histogram(
            "request_prompt_tokens", "Number of prefill tokens processed.", lengths
        )
        self.request_generation = histogram(
            "request_generation_tokens",
            "Number of generation tokens processed.",
            lengths,
        )
        self.iteration_tokens = histogram(
            "iteration_tokens_total",
            "Histogram of number of tokens per engine_step.",
            _ITERATION,
        )
        self.request_max_generation = histogram(
            "request_max_num_generation_tokens",
            "Histogram of maximum number of requested generation tokens.",
            lengths,
        )
        self.request_n = histogram(
            "request_params_n", "Histogram of the n request parameter.", _N_PARAMS
        )
        self.request_max_tokens = histogram(
            "request_params_max_tokens",
            "Histogram of the max_tokens request parameter.",
            lengths,
        )
        self.first_token = histogram(
            "time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            _SECONDS_SHORT,
        )
        self.inter_token = histogram(
            "inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            _SECONDS_TOKEN,
        )
        self.per_token = histogram(
            "request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            _SECONDS_TOKEN,
        )
        self.end_to_end = histogram(
            "e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            _SECONDS_REQUEST,
        )
        self.queue_time = histogram(
            "request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            _SECONDS_REQUEST,
        )
        self.inference_time = histogram(
            "request_inference_time_seconds",
            "Histogram of time spent in RUNNING phase for request.",
            _SECONDS_REQUEST,
        )
        self.prefill_time = histogram(
            "request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
            _SECONDS_REQUEST,
        )
        self.decode_time = histogram(
            "request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.",
            _SECONDS_REQUEST,
        )
        self.request_preemptions = histogram(
            "request_num_preemptions",
            "Histogram of the number of times a request was preempted.",
            _PREEMPTIONS,
        )
        self.kv_computed = histogram(
            "request_prefill_kv_computed_tokens",
            "Histogram of new KV tokens computed during prefill "
            "(excluding cached tokens).",
            lengths,
        )
        self.histogram_iteration_tokens = {index: _Series(self.iteration_tokens, index) for index in engine_indexes}
        self.histogram_inter_token_latency = {index: _Series(self.inter_token, index) for index in engine_indexes}
        self.record_sleep_state(0, 0)

    def _add(self, family: Any) -> Any:
        for engine in self._engines:
            family.open(engine)
        self._families.append(family)
        return family

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Any:
        return self._add(_Histogram(f"vllm:{name}", text, buckets))

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        engine = str(engine_idx)
        if scheduler_stats is not None:
            self.running.set(engine, scheduler_stats.num_running_reqs)
            waiting = scheduler_stats.num_waiting_reqs
            deferred = scheduler_stats.num_skipped_waiting_reqs
            self.waiting.set(engine, waiting + deferred)
            self.waiting_by_reason.set(engine, waiting, "capacity")
            self.waiting_by_reason.set(engine, deferred, "deferred")
            self.usage.set(engine, scheduler_stats.kv_cache_usage)
            self.prefix_queries.add(engine, scheduler_stats.prefix_cache_stats.queries)
            self.prefix_hits.add(engine, scheduler_stats.prefix_cache_stats.hits)
        if iteration_stats is not None:
            self._record_iteration(engine, iteration_stats)

    def _record_iteration(self, engine: str, stats: Any) -> None:
        prompt = stats.prompt_token_stats
        if stats.num_preempted_reqs:
            self.preemptions.add(engine, stats.num_preempted_reqs)
        if prompt.total:
            self.prompt_tokens.add(engine, prompt.total)
            self.prompt_cached.add(engine, prompt.cached_tokens)
            for source, count in zip(
                _SOURCES,
                (prompt.computed, prompt.local_cache_hit, prompt.external_kv_transfer),
            ):
                self.prompt_by_source.add(engine, count, source)
        self.generation_tokens.add(engine, stats.num_generation_tokens)
        self.iteration_tokens.observe(
            engine, prompt.computed + stats.num_generation_tokens
        )
        for count in stats.max_num_generation_tokens_iter:
            self.request_max_generation.observe(engine, count)
        for count in stats.n_params_iter:
            self.request_n.observe(engine, count)
        for seconds in stats.time_to_first_tokens_iter:
            self.first_token.observe(engine, seconds)
        for seconds in stats.inter_token_latencies_iter:
            self.inter_token.observe(engine, seconds)
        for finished in stats.finished_requests:
            self._record_finished(engine, finished)

    def _record_finished(self, engine: str, finished: Any) -> None:
        self.success.add(engine, 1, str(finished.finish_reason))
        self.end_to_end.observe(engine, finished.e2e_latency)
        self.queue_time.observe(engine, finished.queued_time)
        self.prefill_time.observe(engine, finished.prefill_time)
        self.inference_time.observe(engine, finished.inference_time)
        self.decode_time.observe(engine, finished.decode_time)
        self.request_preemptions.observe(engine, finished.num_preemptions)
        self.kv_computed.observe(
            engine, finished.num_prompt_tokens - max(finished.num_cached_tokens, 0)
        )
        self.request_prompt.observe(engine, finished.num_prompt_tokens)
        self.request_generation.observe(engine, finished.num_generation_tokens)
        self.per_token.observe(engine, finished.mean_time_per_output_token)
        if finished.max_tokens_param:
            self.request_max_tokens.observe(engine, finished.max_tokens_param)

    def record_sleep_state(self, is_sleeping: int = 0, level: int = 0) -> None:
        awake = 0 if is_sleeping else 1
        for engine in self._engines:
            self.sleep_state.set(engine, awake, "awake")
            self.sleep_state.set(engine, int(level == 1), "weights_offloaded")
            self.sleep_state.set(engine, int(level == 2), "discard_all")

    def log(self) -> None:
        """Scraped, not logged."""

    def log_engine_initialized(self) -> None:
        _active[:] = [self]

    def render(self) -> str:
        lines: list[str] = []
        for family in self._families:
            lines.extend(family.render(self._base))
        lines.append("# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig")
        lines.append("# TYPE vllm:cache_config_info gauge")
        facts = self._config.cache_config.metrics_info()
        for engine in self._engines:
            lines.append(
                _line("vllm:cache_config_info", {**facts, "engine": engine}, 1.0)
            )
        return "\n".join(lines) + "\n"


# The logger of the engine that was initialised last; one engine per process is
# the rule, and after a restart in a test the old numbers must not linger.
_active: list[PrometheusStatLogger] = []
_multiproc_dir: tempfile.TemporaryDirectory[str] | None = None


def render_simulated_metrics() -> str:
    """Prometheus text of the current engine; empty before there is one."""
    return "".join(stat_logger.render() for stat_logger in _active)


def setup_multiprocess_prometheus() -> None:
    """Keep the variable's contract: set it unless the user has."""
    global _multiproc_dir
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        logger.warning(
            "Found PROMETHEUS_MULTIPROC_DIR was set by user. "
            "This directory must be wiped between vLLM runs or "
            "you will find inaccurate metrics. Unset the variable "
            "and vLLM will properly handle cleanup."
        )
        return
    _multiproc_dir = tempfile.TemporaryDirectory()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _multiproc_dir.name


def shutdown_prometheus() -> None:
    """Nothing is left behind in files here."""
