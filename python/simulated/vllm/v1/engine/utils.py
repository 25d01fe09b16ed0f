"""Addresses of further front ends; the first one has a socket pair of its own here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class EngineZmqAddresses:
    """One address for each client."""

    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def get_engine_zmq_addresses(vllm_config: Any) -> EngineZmqAddresses:
    """None: whoever wants to be a client adds its own."""
    return EngineZmqAddresses()
