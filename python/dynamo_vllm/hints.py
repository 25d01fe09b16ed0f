"""Where blocks of a prompt can be fetched from, in vLLM's own type."""

from __future__ import annotations

from typing import Any


def build(hint: dict[str, Any]) -> Any:
    """The host has looked at its form. Names and versions are text for vLLM, whatever a router has sent."""
    try:
        from vllm.v1.kv_hints import KvHintAction, KvHintsEnvelope
    except ImportError as error:
        raise RuntimeError("This vLLM version does not support first-class KV hint request metadata") from error
    actions = [
        KvHintAction(
            action_id=str(action["action_id"]),
            action_type=str(action["action_type"]),
            action_version=str(action["action_version"]),
            payload=action["payload"],
        )
        for action in hint["actions"]
    ]
    return KvHintsEnvelope(protocol_version=str(hint["protocol_version"]), message_id=str(hint["message_id"]), actions=actions)
