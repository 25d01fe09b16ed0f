"""One stat logger per rank: each engine step becomes one small record beside its tokens."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Callable

from . import wire

if TYPE_CHECKING:
    from .outbox import Outbox


class Origin:
    """Who read the steps that are recorded: vLLM's front end, or the host."""

    def __init__(self) -> None:
        #: What is being recorded came from the host.
        self.is_host = False
        #: The last that the front end read, and when the engine had it, on its monotonic clock, which this process has, too.
        self.latest: Any = None
        self.latest_at = 0.0
        #: When the engine was through with the step that the front end is at; unknown in drives that leave its outputs alone.
        self.step_at: float | None = None


def logger_factory(outbox: "Outbox", origin: Origin) -> Callable[[Any, int], Any]:
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
            if scheduler_stats is None or origin.is_host:
                return  # the host knows its own
            origin.latest, origin.latest_at = scheduler_stats, time.monotonic() if origin.step_at is None else origin.step_at
            outbox.add(
                wire.pack_stats(
                    self._rank,
                    origin.latest_at,
                    scheduler_stats.kv_cache_usage,
                    scheduler_stats.num_running_reqs,
                    scheduler_stats.num_waiting_reqs,
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
    """In place of a histogram that is given a value per token, or a dozen of them per request: counted here, added when somebody reads.

    The histogram of prometheus_client walks its bounds and takes two locks for each value. Used on the event loop's thread only.
    """

    __slots__ = ("_histogram", "_bounds", "_counts", "_sum")

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._bounds: list[float] = list(histogram._upper_bounds)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Counts one value."""
        self._sum += amount
        self._counts[bisect_left(self._bounds, amount)] += 1  # the last bound is infinite

    def add(self, amount: float, count: int) -> None:
        """Counts a value as often as it came; a negative number takes back what was counted before."""
        self._sum += amount * count
        self._counts[bisect_left(self._bounds, amount)] += count

    def flush(self) -> None:
        """Hands everything on, as `observe` of the histogram would have done for each."""
        histogram = self._histogram
        if self._sum:
            histogram._sum.inc(self._sum)
        for bucket, count in zip(histogram._buckets, self._counts):
            if count:
                bucket.inc(count)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0


def group_observations(llm: Any) -> list[GroupedObservations]:
    """Puts one in front of each rank's histograms; none where vLLM or its metrics library is not as expected."""
    grouped: list[GroupedObservations] = []
    for logger in getattr(getattr(llm, "logger_manager", None), "stat_loggers", None) or ():
        for name, histograms in vars(logger).items():
            if not name.startswith("histogram_") or not isinstance(histograms, dict):
                continue
            for rank, histogram in histograms.items():
                if all(hasattr(histogram, attribute) for attribute in ("_sum", "_upper_bounds", "_buckets")):
                    histograms[rank] = GroupedObservations(histogram)
                    grouped.append(histograms[rank])
    return grouped
