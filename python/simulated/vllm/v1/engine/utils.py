"""Addresses of the engine's front ends; the one of this package has a socket pair in place of addresses."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Iterator

#: Of the front end that starts the engine here.
SOCKET_PAIR = "socketpair"


@dataclass
class EngineZmqAddresses:
    """One address for each client, in the order of their numbers."""

    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def host(self) -> dict[str, str] | None:
        """The first that is not this package's own."""
        pairs = zip(self.inputs, self.outputs)
        return next(({"input": entry, "output": out} for entry, out in pairs if entry != SOCKET_PAIR), None)


def get_engine_zmq_addresses(vllm_config: Any) -> EngineZmqAddresses:
    """Of the front end alone."""
    return EngineZmqAddresses([SOCKET_PAIR], [SOCKET_PAIR])


@contextlib.contextmanager
def launch_core_engines(
    vllm_config: Any, executor_class: Any, log_stats: bool, addresses: EngineZmqAddresses
) -> Iterator[EngineZmqAddresses]:
    """While the engines start; whoever wants to be a client, too, has added its addresses."""
    yield addresses
