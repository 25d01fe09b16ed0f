"""Remote prefill in the shape of vLLM's NIXL connector, without moving bytes.

A prefill engine that finishes a request marked `do_remote_decode` keeps its
blocks and hands out where they are.  A decode engine given that answer counts
the prompt as loaded and tells the other side with one UDP datagram, so that
the blocks are released; without it a lease ends the wait.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.simulation.blocks import BlockPool
    from vllm.simulation.request import Request

_DEFAULT_LEASE_S = 480.0
_DEFAULT_PORT = 5600
_DATAGRAM = 4096


class Transfer:
    def __init__(self, config: dict[str, Any], pool: BlockPool) -> None:
        self._pool = pool
        self._engine_id: str = config["engine_id"]
        self._tp_size: int = config["tp_size"]
        self._pp_size: int = config["pp_size"]
        self._lease = float(
            os.environ.get("VLLM_NIXL_ABORT_REQUEST_TIMEOUT") or _DEFAULT_LEASE_S
        )
        self._host = os.environ.get("VLLM_NIXL_SIDE_CHANNEL_HOST") or "127.0.0.1"
        wanted = int(os.environ.get("VLLM_NIXL_SIDE_CHANNEL_PORT") or _DEFAULT_PORT)
        self.socket = _bind(self._host, wanted + config["rank"])
        self._port: int = self.socket.getsockname()[1]
        # id -> (when the lease ends, blocks); ids in order of expiry
        self._held: dict[str, tuple[float, list[int]]] = {}

    # -- decode side -----------------------------------------------------

    def tokens_to_load(self, request: Request, local: int) -> int:
        params = request.kv_transfer_params
        if not params or not params.get("do_remote_prefill"):
            return 0
        if not params.get("remote_block_ids"):
            return 0
        return max(0, request.num_prompt_tokens - local)

    def loaded(self, request: Request) -> None:
        params = request.kv_transfer_params or {}
        params["do_remote_prefill"] = False  # once: a preempted request recomputes
        try:
            self.socket.sendto(
                str(params["remote_request_id"]).encode(),
                (params["remote_host"], int(params["remote_port"])),
            )
        except (KeyError, OSError, ValueError):
            pass  # the lease on the other side will end the wait

    def abandoned(self, request: Request) -> None:
        """Aborted before the load: the blocks over there must not wait for it."""
        params = request.kv_transfer_params
        if params and params.get("do_remote_prefill"):
            self.loaded(request)

    # -- prefill side ----------------------------------------------------

    def offer(self, request: Request) -> dict[str, Any] | None:
        """Keep a finished request's blocks for a decoder, if one was announced."""
        params = request.kv_transfer_params
        if not params or not params.get("do_remote_decode"):
            return None
        # The sampled token's slot was never computed, so it is not offered.
        computed = len(request.tokens) - 1
        size = self._pool.block_size
        used = -(-computed // size)
        self._held[request.request_id] = (
            time.monotonic() + self._lease,
            request.blocks,
        )
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [request.blocks[:used]],
            "remote_engine_id": self._engine_id,
            "remote_request_id": request.request_id,
            "remote_host": self._host,
            "remote_port": self._port,
            "tp_size": self._tp_size,
            "dcp_size": 1,
            "pp_size": self._pp_size,
            "remote_num_tokens": computed,
            "remote_blocks_expiry_time": None,
            "transfer_mode": "pull",
        }

    def collect(self) -> bool:
        """Release what was read or has expired; True if anything changed."""
        released = False
        while True:
            try:
                raw = self.socket.recv(_DATAGRAM)
            except OSError:
                break
            released |= self._release(raw.decode("utf-8", "replace"))
        now = time.monotonic()
        while self._held:
            request_id, (deadline, _) = next(iter(self._held.items()))
            if deadline > now:
                break
            released |= self._release(request_id)
        return released

    def next_deadline(self) -> float | None:
        for deadline, _ in self._held.values():
            return deadline
        return None

    def _release(self, request_id: str) -> bool:
        entry = self._held.pop(request_id, None)
        if entry is None:
            return False
        self._pool.release(entry[1])
        return True

    def close(self) -> None:
        self.socket.close()


def _bind(host: str, port: int) -> socket.socket:
    """The configured port, or any free one: several workers share a test host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    channel = socket.socket(family, socket.SOCK_DGRAM)
    channel.setblocking(False)
    for candidate in ((host, port), (host, 0), ("", 0)):
        try:
            channel.bind(candidate)
            return channel
        except OSError:
            continue
    raise OSError(f"no UDP port for the side channel on {host}")
