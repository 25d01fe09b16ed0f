"""One stat logger per rank: each engine step becomes one small record beside its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from . import wire

if TYPE_CHECKING:
    from .outbox import Outbox


def logger_factory(outbox: "Outbox") -> Callable[[Any, int], Any]:
    """What vLLM calls once per rank while it starts."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class HostStatLogger(StatLoggerBase):  # type: ignore[misc]
        """Copies the numbers that the router and the gauges need; the Prometheus logger of vLLM does the rest."""

        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            self._rank = engine_index

        def record(
            self,
            scheduler_stats: Any,
            iteration_stats: Any,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
            *args: Any,
            **kwargs: Any,
        ) -> None:
            if scheduler_stats is None:
                return
            preempted = generated = 0
            if iteration_stats is not None:
                preempted = iteration_stats.num_preempted_reqs
                generated = iteration_stats.num_generation_tokens
            outbox.add(
                wire.pack_stats(
                    self._rank,
                    scheduler_stats.kv_cache_usage,
                    scheduler_stats.num_running_reqs,
                    scheduler_stats.num_waiting_reqs,
                    preempted,
                    generated,
                )
            )

        def log_engine_initialized(self) -> None:
            """Nothing to say: the host logs the start."""

        def log(self, *args: Any, **kwargs: Any) -> None:
            """vLLM's own logging logger writes the periodic line."""

        def record_sleep_state(self, *args: Any, **kwargs: Any) -> None:
            """The host asked for the sleep and knows."""

    return HostStatLogger


class GroupedObservations:
    """In place of a histogram that is given one value per token: equal values are added at once.

    All streams that were in two steps one after the other have the same latency, so a step of 256 tokens has a handful of values.
    """

    #: Distinct values that may wait; the next scrape takes them in any case.
    _LIMIT = 256

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._counts: dict[float, int] = {}

    def observe(self, amount: float) -> None:
        """Counts one value."""
        counts = self._counts
        counts[amount] = counts.get(amount, 0) + 1
        if len(counts) > self._LIMIT:
            self.flush()

    def flush(self) -> None:
        """Hands everything on, as `observe` of the histogram would have done."""
        counts, self._counts = self._counts, {}
        histogram = self._histogram
        for amount, count in counts.items():
            histogram._sum.inc(amount * count)
            for bound, bucket in zip(histogram._upper_bounds, histogram._buckets):
                if amount <= bound:
                    bucket.inc(count)
                    break


def group_latencies(llm: Any) -> list[GroupedObservations]:
    """Puts one in front of each rank's histogram of inter-token latencies; none where vLLM or its metrics library is not as expected."""
    grouped: list[GroupedObservations] = []
    for logger in getattr(getattr(llm, "logger_manager", None), "stat_loggers", None) or ():
        histograms = getattr(logger, "histogram_inter_token_latency", None)
        if not isinstance(histograms, dict):
            continue
        for rank, histogram in histograms.items():
            if all(hasattr(histogram, name) for name in ("_sum", "_upper_bounds", "_buckets")):
                histograms[rank] = GroupedObservations(histogram)
                grouped.append(histograms[rank])
    return grouped
