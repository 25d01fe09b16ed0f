"""Where blocks of a prompt can be fetched from. The simulated engine fetches none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KvHintAction:
    action_id: str
    action_type: str
    action_version: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class KvHintsEnvelope:
    protocol_version: str
    message_id: str
    actions: list[KvHintAction]
