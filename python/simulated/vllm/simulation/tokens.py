"""What the simulated model says.

The next token is a function of all tokens before it (a running CRC), of the
seed where sampling is on, and of the adapter.  So equal prompts get equal
answers, and a prompt that is continued elsewhere (migration, decode after
remote prefill) goes on with the same tokens.
"""

from __future__ import annotations

import zlib
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.simulation.request import Request

_MASK = (1 << 64) - 1
_STRONG_BIAS = 10.0  # a bias of this size decides; smaller ones are ignored
_FIRST_PLAIN_TOKEN = 3


def mix(value: int) -> int:
    """splitmix64: spreads a counter or CRC over 64 bits."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def context_of(tokens: list[int]) -> int:
    """Digest of a token sequence, extendable by `follow`."""
    return zlib.crc32(array("I", tokens).tobytes())


def follow(context: int, token: int) -> int:
    return zlib.crc32(token.to_bytes(4, "little"), context)


class TokenSource:
    def __init__(
        self, vocab_size: int, special_ids: list[int], eos_interval: int
    ) -> None:
        self.vocab_size = vocab_size
        self._special = frozenset(special_ids)
        first = _FIRST_PLAIN_TOKEN if vocab_size > 2 * _FIRST_PLAIN_TOKEN else 0
        self._first = first
        self._span = vocab_size - first
        self._eos_interval = eos_interval
        #: Differs between weights of different content; 0 for those that it started with.
        self.weights = 0

    def salt(self, params: dict[str, Any], lora_name: str | None, lora_revision: int = 0) -> int:
        """Per-request part of the function; greedy requests share one."""
        salt = 0
        if params["temperature"] >= 1e-5:
            # The n children of a seeded request already differ by their seeds.
            seed = params["seed"]
            if seed is not None:
                salt = mix(seed & _MASK)
            elif params["index"]:
                salt = mix(params["index"])
        if lora_name:
            salt ^= (zlib.crc32(lora_name.encode()) ^ lora_revision) << 16
        return salt

    def next_token(self, request: Request) -> int:
        position = len(request.tokens) - request.num_prompt_tokens
        params = request.params
        forced = params["forced"]
        if forced is not None and position < len(forced):
            return forced[position]
        banned: Any = ()
        if position < params["min_tokens"]:
            banned = params["all_stop_token_ids"]
        bias = params["logit_bias"]
        if bias:
            strongest = max(
                (item for item in bias.items() if item[0] not in banned),
                key=lambda item: (item[1], -item[0]),
                default=None,
            )
            if strongest is not None and strongest[1] >= _STRONG_BIAS:
                return strongest[0]
        if params["bad_words"]:
            banned = set(banned) | request.forbidden_by_bad_words()
        value = mix(request.context ^ request.salt ^ self.weights)
        allowed = params["allowed_token_ids"]
        if allowed:
            choices = [token for token in allowed if token not in banned] or allowed
            return choices[value % len(choices)]
        eos = params["eos_token_id"]
        if (
            self._eos_interval
            and eos is not None
            and eos not in banned
            and (value >> 32) % self._eos_interval == 0
        ):
            return eos
        special, first, span = self._special, self._first, self._span
        token = first + value % span
        attempts = 0
        while (token in special or token in banned) and attempts < 64:
            value = mix(value)
            token = first + value % span
            attempts += 1
        return token

    def rivals(self, request: Request, token: int, count: int) -> list[int]:
        """The sampled token followed by the runners-up of its step, no repeats."""
        if count >= self.vocab_size:
            return [token, *(t for t in range(self.vocab_size) if t != token)]
        chosen = [token]
        value = mix(request.context ^ 0x5DEECE66D)
        while len(chosen) < count:
            candidate = value % self.vocab_size
            if candidate not in chosen:
                chosen.append(candidate)
            value = mix(value)
        return chosen


def logprob_of_rank(rank: int, token: int) -> float:
    """A falling, never equal sequence: -0.25, -2.1, -2.7, ... plus token dust."""
    base = -0.25 if rank == 1 else -1.5 - 0.6 * rank**0.5
    return base - (token % 97) / 10000.0
