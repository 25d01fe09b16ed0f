"""Stat loggers: the base class hosts derive from, a log line, Prometheus."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, Callable

from vllm.logger import init_logger
from vllm.v1.metrics.prometheus import PrometheusStatLogger

logger = init_logger(__name__)


class StatLoggerBase(ABC):
    @abstractmethod
    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

    @abstractmethod
    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None: ...

    @abstractmethod
    def log_engine_initialized(self) -> None: ...

    def log(self) -> None:
        """Called by do_log_stats."""

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        """Called when the engine goes to sleep or wakes up."""


StatLoggerFactory = Callable[[Any, int], StatLoggerBase]


class LoggingStatLogger(StatLoggerBase):
    """Throughput since the last line, when asked to log."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.engine_index = engine_index
        self.vllm_config = vllm_config
        self._since = time.monotonic()
        self._prompt_tokens = 0
        self._generation_tokens = 0
        self._last: Any = None

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if iteration_stats is not None:
            self._prompt_tokens += iteration_stats.num_prompt_tokens
            self._generation_tokens += iteration_stats.num_generation_tokens
        if scheduler_stats is not None:
            self._last = scheduler_stats

    def log_engine_initialized(self) -> None:
        cache = self.vllm_config.cache_config
        logger.info(
            "Engine %03d: %s KV blocks of %s tokens (simulated)",
            self.engine_index,
            cache.num_gpu_blocks,
            cache.block_size,
        )

    def log(self) -> None:
        now = time.monotonic()
        elapsed = max(now - self._since, 1e-9)
        last = self._last
        busy = self._prompt_tokens or self._generation_tokens
        if busy and last is not None:
            logger.info(
                "Engine %03d: Avg prompt throughput: %.1f tokens/s, "
                "Avg generation throughput: %.1f tokens/s, Running: %d reqs, "
                "Waiting: %d reqs, GPU KV cache usage: %.1f%%",
                self.engine_index,
                self._prompt_tokens / elapsed,
                self._generation_tokens / elapsed,
                last.num_running_reqs,
                last.num_waiting_reqs,
                last.kv_cache_usage * 100,
            )
        self._since = now
        self._prompt_tokens = self._generation_tokens = 0


class StatLoggerManager:
    """Fans one record out to every logger of the engine it came from."""

    def __init__(
        self,
        vllm_config: Any,
        engine_idxs: list[int] | None = None,
        custom_stat_loggers: list[StatLoggerFactory] | None = None,
        enable_default_loggers: bool = True,
    ) -> None:
        self.engine_indexes = engine_idxs or [0]
        factories = list(custom_stat_loggers or [])
        if enable_default_loggers:
            factories.append(LoggingStatLogger)
        self._per_engine = {
            index: [factory(vllm_config, index) for factory in factories]
            for index in self.engine_indexes
        }
        self.prometheus = PrometheusStatLogger(vllm_config, self.engine_indexes)

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int | None = None,
    ) -> None:
        index = engine_idx or 0
        for stat_logger in self._per_engine.get(index, ()):
            stat_logger.record(
                scheduler_stats,
                iteration_stats,
                mm_cache_stats=mm_cache_stats,
                engine_idx=index,
            )
        self.prometheus.record(
            scheduler_stats,
            iteration_stats,
            mm_cache_stats=mm_cache_stats,
            engine_idx=index,
        )

    @property
    def stat_loggers(self) -> list[Any]:
        """Each by itself."""
        return [*self._all(), self.prometheus]

    def _all(self) -> list[Any]:
        return [one for group in self._per_engine.values() for one in group]

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        for stat_logger in [*self._all(), self.prometheus]:
            stat_logger.record_sleep_state(sleep, level)

    def log(self) -> None:
        for stat_logger in self._all():
            stat_logger.log()

    def log_engine_initialized(self) -> None:
        for stat_logger in [*self._all(), self.prometheus]:
            stat_logger.log_engine_initialized()


__all__ = [
    "LoggingStatLogger",
    "PrometheusStatLogger",
    "StatLoggerBase",
    "StatLoggerFactory",
    "StatLoggerManager",
]
