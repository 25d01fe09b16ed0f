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
