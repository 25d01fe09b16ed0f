"""A request inside the EngineCore child."""

from __future__ import annotations

import time
from typing import Any

QUEUED, SCHEDULED, PREEMPTED = 1, 2, 3  # event types on the wire
STOP, LENGTH, ABORT, ERROR = 0, 1, 2, 3  # finish reasons on the wire


class Request:
    __slots__ = (
        "request_id",
        "tokens",
        "num_prompt_tokens",
        "params",
        "max_tokens",
        "num_computed",
        "blocks",
        "block_hashes",
        "num_cached_blocks",
        "lora_name",
        "lora_id",
        "lora_revision",
        "cache_salt",
        "embeds_digest",
        "session_id",
        "priority",
        "arrival_time",
        "skip_reading_prefix_cache",
        "events",
        "prefill_stats",
        "num_preemptions",
        "kv_transfer_params",
        "context",
        "salt",
        "prompt_logprobs",
        "pooling",
    )

    def __init__(self, message: dict[str, Any]) -> None:
        params = message["params"]
        tokens = message["prompt_token_ids"]
        self.request_id: str = message["request_id"]
        self.tokens: list[int] = tokens
        self.num_prompt_tokens = len(tokens)
        self.params: dict[str, Any] = params
        self.max_tokens: int = params["max_tokens"]
        self.num_computed = 0
        self.blocks: list[int] = []
        self.block_hashes: list[bytes] = []
        self.num_cached_blocks = 0
        lora = message["lora"]
        self.lora_name: str | None = lora[0] if lora else None
        self.lora_id: int | None = lora[1] if lora else None
        self.lora_revision = 0
        self.cache_salt: str | None = message["cache_salt"]
        self.embeds_digest: bytes | None = message["embeds_digest"]
        self.session_id: str | None = message["session_id"]
        self.priority: int = message["priority"]
        self.arrival_time: float = message["arrival_time"]
        self.skip_reading_prefix_cache: bool = params["skip_reading_prefix_cache"]
        self.events: list[tuple[int, float]] = [(QUEUED, time.monotonic())]
        self.prefill_stats: tuple[int, int, int] | None = None
        self.num_preemptions = 0
        self.kv_transfer_params: dict[str, Any] | None = params["kv_transfer_params"]
        self.context = 0
        self.salt = 0
        self.prompt_logprobs: Any = None
        self.pooling: dict[str, Any] | None = message.get("pooling")

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    def forbidden_by_bad_words(self) -> set[int]:
        """Last tokens of banned sequences whose beginning has just been said.

        An empty sequence raises IndexError on purpose: in vLLM it takes the
        engine down, and a worker must have refused it before.
        """
        forbidden = set()
        for sequence in self.params["bad_words"]:
            last = sequence[-1]
            head = sequence[:-1]
            if not head or self.tokens[-len(head) :] == head:
                forbidden.add(last)
        return forbidden
