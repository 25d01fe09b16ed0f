"""Stat loggers, metrics text, data parallel routing."""

from __future__ import annotations

import asyncio
import os
import re
import unittest
from typing import Any

from .support import EngineTest, collect, delta, prompt, tokens_of

from vllm.v1.engine import FinishReason
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.prometheus import render_simulated_metrics, setup_multiprocess_prometheus


class Recorder(StatLoggerBase):
    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.engine_index = engine_index
        self.records: list[tuple[Any, Any, int]] = []
        self.initialized = 0
        self.blocks_at_init = vllm_config.cache_config.num_gpu_blocks
        self.sleeps: list[tuple[int, int]] = []

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None,
        engine_idx: int = 0, *args: object, **kwargs: object,
    ) -> None:
        self.records.append((scheduler_stats, iteration_stats, engine_idx))

    def log_engine_initialized(self) -> None:
        self.initialized += 1

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        self.sleeps.append((is_awake, level))


class StatisticsTest(EngineTest):
    def begin(self, **options: Any) -> list[Recorder]:
        made: list[Recorder] = []

        def factory(config: Any, rank: int) -> Recorder:
            made.append(Recorder(config, rank))
            return made[-1]

        self.start(stat_loggers=[factory], **options)
        return made

    async def test_one_record_per_step_and_an_idle_one(self) -> None:
        (recorder,) = self.begin()
        self.assertEqual((recorder.initialized, recorder.blocks_at_init), (1, 64))
        await self.run_one(name="r-plain")
        await self.until(lambda: len(recorder.records) == 5)
        first, _, _, last, idle = recorder.records
        stats, iteration, index = first
        self.assertEqual(len(vars(stats)), 17)
        self.assertEqual((stats.num_running_reqs, stats.num_waiting_reqs, index), (1, 0, 0))
        self.assertAlmostEqual(stats.kv_cache_usage, 2 / 63)
        prefix = stats.prefix_cache_stats
        self.assertEqual((prefix.requests, prefix.queries, prefix.hits), (1, 40, 0))
        self.assertEqual(iteration.prompt_token_stats.total, 40)
        self.assertEqual(len(iteration.time_to_first_tokens_iter), 1)
        self.assertEqual(last[0].kv_cache_usage, 0.0)
        (finished,) = last[1].finished_requests
        self.assertEqual(finished.finish_reason, FinishReason.LENGTH)
        self.assertEqual((finished.request_id, finished.num_generation_tokens), ("r-plain", 4))
        self.assertEqual(str(finished.finish_reason), "length")
        self.assertIsNone(idle[1])
        self.assertEqual((idle[0].num_running_reqs, idle[0].kv_cache_usage), (0, 0.0))
        await self.run_one()
        self.assertEqual(recorder.records[5][0].prefix_cache_stats.hits, 32)
        await self.engine.sleep(1)
        await self.engine.wake_up()
        self.assertEqual(recorder.sleeps, [(1, 1), (0, 0)])

    async def test_after_an_abort_usage_goes_back_to_zero(self) -> None:
        (recorder,) = self.begin()
        task = asyncio.create_task(self.run_one(name="a", max_tokens=500))
        await self.until(lambda: bool(recorder.records))
        await self.engine.abort("a")
        await task
        await self.until(lambda: recorder.records[-1][0].kv_cache_usage == 0.0)
        self.assertIsNone(recorder.records[-1][1])

    async def test_metrics_text(self) -> None:
        self.begin(model="served", served_model_name=["my\"model", "alias"])
        await self.run_one()
        await self.run_one(logit_bias={2: 100.0})
        await asyncio.sleep(0.05)
        text = render_simulated_metrics()
        labels = '{engine="0",model_name="my\\"model"}'
        for line in (
            f"vllm:num_requests_running{labels} 0.0",
            f"vllm:kv_cache_usage_perc{labels} 0.0",
            f"vllm:prefix_cache_queries_total{labels} 80.0",
            f"vllm:prefix_cache_hits_total{labels} 32.0",
            f"vllm:prompt_tokens_total{labels} 80.0",
            f"vllm:generation_tokens_total{labels} 5.0",
            'vllm:request_success_total{engine="0",finished_reason="stop",model_name="my\\"model"} 1.0',
            'vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="my\\"model"} 2.0',
            f"vllm:inter_token_latency_seconds_count{labels} 3.0",
            f"vllm:e2e_request_latency_seconds_count{labels} 2.0",
            "# TYPE vllm:e2e_request_latency_seconds histogram",
            "# TYPE vllm:prompt_tokens_total counter",
        ):
            self.assertIn(line + "\n", text)
        self.assertRegex(text, r'vllm:cache_config_info\{.*block_size="32".*num_gpu_blocks="64".*\} 1\.0')
        pattern = re.compile(r'^[a-zA-Z_:][\w:]*(\{(\w+="(\\.|[^"\\])*",?)*\})? \S+$')
        for line in text.splitlines():
            self.assertTrue(line.startswith("# ") or pattern.match(line), line)

    async def test_multiprocess_variable(self) -> None:
        saved = os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        try:
            setup_multiprocess_prometheus()
            self.assertTrue(os.path.isdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        finally:
            os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
            if saved is not None:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = saved

    async def test_data_parallel_ranks(self) -> None:
        recorders = self.begin(data_parallel_size=2)
        self.assertEqual([r.engine_index for r in recorders], [0, 1])
        self.assertEqual(self.engine.vllm_config.cache_config.num_gpu_blocks, 128)
        await collect(self.engine, prompt(), delta(), data_parallel_rank=1)
        await self.until(lambda: len(recorders[1].records) == 5)
        self.assertEqual({index for _, _, index in recorders[1].records}, {1})
        self.assertEqual(recorders[0].records, [])
        both = await asyncio.gather(*(self.run_one(name=f"r{i}") for i in range(4)))
        self.assertEqual(len({tuple(tokens_of(outputs)) for outputs in both}), 1)
        self.assertTrue(recorders[0].records)
        self.assertIn('engine="1"', render_simulated_metrics())

    async def test_hybrid_and_external_balancing_name_their_ranks(self) -> None:
        recorders = self.begin(data_parallel_size=4, data_parallel_rank=3)
        self.assertEqual([r.engine_index for r in recorders], [3])
        self.assertEqual(len(await self.run_one()), 4)
        self.engine.shutdown()
        recorders = self.begin(
            data_parallel_size=4, data_parallel_hybrid_lb=True,
            data_parallel_start_rank=2, data_parallel_size_local=2,
        )
        self.assertEqual([r.engine_index for r in recorders], [2, 3])
        outputs = await collect(self.engine, prompt(), delta(), data_parallel_rank=1)
        self.assertEqual(len(outputs), 4)


if __name__ == "__main__":
    unittest.main()
