"""Observations that are added later come to the same as those that are added at once."""

from __future__ import annotations

import random
import unittest
from types import SimpleNamespace
from typing import Any

from . import REAL
from dynamo_vllm import statistics


@unittest.skipUnless(REAL, "vLLM's metrics library is needed")
class GroupedObservationsTest(unittest.TestCase):
    def test_the_text_is_that_of_the_library(self) -> None:
        from prometheus_client import CollectorRegistry, Histogram, generate_latest

        bounds = (0.001, 0.01, 0.1, 1.0, 10.0)
        registries = [CollectorRegistry(), CollectorRegistry()]
        usual, grouped = (
            Histogram("seconds", "help", ["engine"], buckets=bounds, registry=registry).labels("0") for registry in registries
        )
        observations = statistics.GroupedObservations(grouped)
        generator = random.Random(5)
        values = [0.0, *bounds, 1e9, *(generator.choice((0.25, 0.5, 2.0, 64.0)) for _ in range(1000))]
        for index, value in enumerate(values):
            usual.observe(value)
            observations.observe(value)
            if index % 100 == 0:
                observations.flush()
        observations.flush()
        observations.flush()
        texts = [[line for line in generate_latest(registry).decode().splitlines() if "_created" not in line] for registry in registries]
        self.assertEqual(texts[0], texts[1])

    def test_all_histograms_of_a_logger_get_one_and_nothing_else(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        registry = CollectorRegistry()
        logger: Any = SimpleNamespace(
            histogram_a={0: Histogram("a", "help", registry=registry)},
            histogram_b={0: Histogram("b", "help", registry=registry), 1: Histogram("c", "help", registry=registry)},
            histogram_other=object(),
            counter_d={0: Counter("d", "help", registry=registry)},
        )
        found = statistics.group_observations(SimpleNamespace(logger_manager=SimpleNamespace(stat_loggers=[object.__new__(_Bare), logger])))
        self.assertEqual(found, [logger.histogram_a[0], logger.histogram_b[0], logger.histogram_b[1]])
        self.assertIsInstance(logger.counter_d[0], Counter)


class _Bare:
    """A logger of somebody else's."""
