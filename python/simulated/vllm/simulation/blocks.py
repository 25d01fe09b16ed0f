"""Paged KV blocks with prefix caching, as vLLM's block pool behaves.

Block 0 is reserved, so `num_blocks - 1` are usable.  Full blocks are known by
a hash chained over everything before them.  Freed blocks keep their hash and
join the end of the free list (tail of a sequence first), so the least recently
used leaf is evicted first; blocks without a hash go to the front and are
reused at once.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.simulation.request import Request

_ROOT = hashlib.sha256(b"vllm.simulation: no parent").digest()
_MEDIUM = "GPU"
_GROUP = 0


def event_hash(digest: bytes) -> int:
    """The form in which a block hash is published: the low 64 bits."""
    return int.from_bytes(digest[-8:], "big")


def extra_keys(request: Request, block_index: int) -> list[Any] | None:
    """What besides tokens tells blocks apart: adapter, salt (first block), embeds."""
    keys: list[Any] = []
    if request.lora_name is not None:
        keys.append(request.lora_name)
    if block_index == 0 and request.cache_salt:
        keys.append(request.cache_salt)
    if request.embeds_digest is not None:
        keys.append(request.embeds_digest)
    return keys or None


class BlockPool:
    def __init__(
        self, num_blocks: int, block_size: int, caching: bool, events: bool
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.caching = caching
        self.events_enabled = events
        self._references = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))
        # A hash may have several blocks: a fully cached prompt recomputes its
        # last block and stores it a second time.
        self._cached: dict[bytes, dict[int, None]] = {}
        self._events: list[dict[str, Any]] = []

    # -- state -----------------------------------------------------------

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def usage(self) -> float:
        usable = self.num_blocks - 1
        return 1.0 - len(self._free) / usable if usable else 0.0

    def take_events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    # -- prefix cache ----------------------------------------------------

    def extend_hashes(self, request: Request) -> None:
        """Hash the blocks that the request's tokens have filled since last time."""
        size, hashes = self.block_size, request.block_hashes
        start = len(hashes) * size
        tokens = request.tokens
        parent = hashes[-1] if hashes else _ROOT
        while start + size <= len(tokens):
            digest = hashlib.sha256(parent)
            digest.update(array("I", tokens[start : start + size]).tobytes())
            keys = extra_keys(request, len(hashes))
            if keys:
                digest.update(repr(keys).encode())
            parent = digest.digest()
            hashes.append(parent)
            start += size

    def find_prefix(self, request: Request) -> list[int]:
        """Cached blocks of the longest known prefix.

        At least one token must be computed to sample from, so a full hit
        gives up its last block.
        """
        if not self.caching or request.skip_reading_prefix_cache:
            return []
        self.extend_hashes(request)
        limit = (len(request.tokens) - 1) // self.block_size
        found = []
        for digest in request.block_hashes[:limit]:
            blocks = self._cached.get(digest)
            if not blocks:
                break
            found.append(next(iter(blocks)))
        return found

    def allocate(
        self,
        request: Request,
        computed: int,
        new_tokens: int,
        hits: list[int],
        whole_sequence_must_fit: bool = False,
    ) -> bool:
        """Give the request slots for `new_tokens` after `computed`; False if none."""
        size = self.block_size
        held = len(request.blocks) + len(hits)
        from_free = sum(1 for block in hits if not self._references[block])
        wanted = -(-(computed + new_tokens) // size) - held
        if whole_sequence_must_fit:
            whole = -(-len(request.tokens) // size) - held + from_free
            if whole > len(self._free):
                return False
        if max(wanted, 0) + from_free > len(self._free):
            return False
        for block in hits:
            if not self._references[block]:
                del self._free[block]
            self._references[block] += 1
        request.blocks.extend(hits)
        request.num_cached_blocks = max(request.num_cached_blocks, len(hits))
        for _ in range(wanted):
            block, _none = self._free.popitem(last=False)
            self._evict(block)
            self._references[block] = 1
            request.blocks.append(block)
        if self.caching:
            full = min(computed + new_tokens, len(request.tokens)) // size
            if full > request.num_cached_blocks:
                self._store(request, full)
        return True

    def _store(self, request: Request, full: int) -> None:
        self.extend_hashes(request)
        first = request.num_cached_blocks
        digests = request.block_hashes[first:full]
        for block, digest in zip(request.blocks[first:full], digests):
            if self._hashes[block] is None:
                self._hashes[block] = digest
                self._cached.setdefault(digest, {})[block] = None
        request.num_cached_blocks = full
        if not self.events_enabled:
            return
        size = self.block_size
        event: dict[str, Any] = {
            "type": "BlockStored",
            "block_hashes": [event_hash(digest) for digest in digests],
            "parent_block_hash": (
                event_hash(request.block_hashes[first - 1]) if first else None
            ),
            "token_ids": request.tokens[first * size : full * size],
            "block_size": size,
            "lora_id": request.lora_id,
            "medium": _MEDIUM,
            "lora_name": request.lora_name,
            "extra_keys": [extra_keys(request, i) for i in range(first, full)],
            "group_idx": _GROUP,
            "kv_cache_spec_kind": "full_attention",
        }
        if request.session_id is not None:
            event["session_id"] = request.session_id
        self._events.append(event)

    def _evict(self, block: int) -> None:
        digest = self._hashes[block]
        if digest is None:
            return
        self._hashes[block] = None
        blocks = self._cached.get(digest)
        if blocks is None or block not in blocks:
            return
        del blocks[block]
        if not blocks:
            del self._cached[digest]
        if self.events_enabled:
            self._events.append(
                {
                    "type": "BlockRemoved",
                    "block_hashes": [event_hash(digest)],
                    "medium": _MEDIUM,
                    "group_idx": _GROUP,
                }
            )

    # -- release ---------------------------------------------------------

    def release(self, blocks: list[int]) -> None:
        reuse_first = []
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block]:
                continue
            if self._hashes[block] is None:
                reuse_first.append(block)
            else:
                self._free[block] = None
        for block in reversed(reuse_first):
            self._free[block] = None
            self._free.move_to_end(block, last=False)

    def reset(self) -> bool:
        """Forget all prefixes; refused while any block is in use."""
        if len(self._free) != self.num_blocks - 1:
            return False
        self._cached.clear()
        self._hashes = [None] * self.num_blocks
        if self.events_enabled:
            self._events.append({"type": "AllBlocksCleared"})
        return True
