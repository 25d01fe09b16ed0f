"""KV event batches on their way to subscribers."""

from __future__ import annotations

import time
from typing import Any

from vllm.simulation.msgpack import packb
from vllm.simulation.zmtp import Publisher


def endpoint_of_rank(endpoint: str, rank: int) -> str:
    """Rank r publishes on the configured port + r; port 0 and paths are left alone."""
    if rank == 0 or not endpoint.startswith("tcp://"):
        return endpoint
    head, separator, port = endpoint.rpartition(":")
    if not separator or not port.isdigit() or int(port) == 0:
        return endpoint
    return f"{head}:{int(port) + rank}"


class KVEventPublisher:
    """Numbers batches and sends `[topic][sequence][[ts, events, rank]]`."""

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        self._topic = config["topic"].encode()
        self._rank = rank
        self._sequence = 0
        self._publisher = Publisher(
            endpoint_of_rank(config["endpoint"], rank), config["hwm"]
        )

    def publish(self, events: list[dict[str, Any]]) -> None:
        sequence = self._sequence.to_bytes(8, "big")
        self._sequence += 1
        batch = [time.time(), events, self._rank]
        topic = self._topic
        # Encoding happens on the publisher's thread, out of the step's way.
        self._publisher.send(lambda: (topic, sequence, packb(batch)))

    def close(self) -> None:
        self._publisher.close()
