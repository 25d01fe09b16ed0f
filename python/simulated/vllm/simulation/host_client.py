"""Another front end beside the parent, the engine's client 0: requests and outputs in the layout of vLLM's EngineCore, over ZeroMQ.

The parent's own channel has a layout of its own; a host that speaks to EngineCore itself expects vLLM's.
"""

from __future__ import annotations

import socket
from typing import Any

from vllm.simulation.msgpack import packb, unpackb
from vllm.simulation.zmtp import FrameParser, encode_frame, encode_ready, parse_endpoint, GREETING

_ADD, _ABORT = b"\x00", b"\x01"
_MORE, _COMMAND = 1, 4
_RECEIVE_BYTES = 1 << 16
_CONNECT_S = 10.0

#: Positions in a request.
_REQUEST_ID, _PROMPT, _PARAMS, _ARRIVAL, _SALT, _PRIORITY, _SESSION = 0, 1, 3, 5, 7, 13, 20


class HostClient:
    """Both connections. Used by the engine's one thread."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.input = _connect(addresses["input"], b"DEALER")
        self._output = _connect(addresses["output"], b"PUSH")
        self._parser = FrameParser(greeted=True)
        self._frames: list[bytes] = []
        #: Ids of the requests that came this way and run.
        self.requests: set[str] = set()
        self.is_open = True
        self.input.sendall(encode_frame(packb({"vllm_version": "0.31.0"})))

    def receive(self) -> list[tuple[str, Any]]:
        """What has arrived: ("add", fields as the parent sends them) and ("abort", ids)."""
        try:
            data = self.input.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return []
        found: list[tuple[str, Any]] = []
        for flags, body in self._parser.feed(data):
            if flags & _COMMAND:
                continue
            self._frames.append(body)
            if flags & _MORE:
                continue
            kind, body = self._frames[0], self._frames[1]
            self._frames = []
            if kind == _ADD:
                found.append(("add", _fields(unpackb(body))))
            elif kind == _ABORT:
                ids = unpackb(body)
                self.requests.difference_update(ids)
                found.append(("abort", ids))
        return found

    def send(self, rows: list[tuple[Any, ...]], stats: tuple[Any, ...] | None, timestamp: float) -> None:
        """One step's outputs of this client's requests."""
        for row in rows:
            if row[2] is not None:
                self.requests.discard(row[0])
        outputs = [_output(*row) for row in rows]
        self._send(packb([0, outputs, None if stats is None else _stats(stats), timestamp, None, None, None, None]))

    def announce_death(self) -> None:
        """As vLLM's process does when its loop ends by an exception."""
        self._send(b"ENGINE_CORE_DEAD")

    def close(self) -> None:
        self.input.close()
        self._output.close()

    def _send(self, body: bytes) -> None:
        try:
            self._output.sendall(encode_frame(body))
        except OSError:
            self.is_open = False  # the host is gone: the parent's end will be seen, too


def encode_request(request: Any, params: dict[str, Any]) -> bytes:
    """The array of vLLM's layout, less what is not on its wire."""
    return packb(
        [
            request.request_id, request.prompt_token_ids, None, params, None, request.arrival_time, None, request.cache_salt,
            request.data_parallel_rank, None, None, request.client_index, request.current_wave, request.priority, request.trace_headers,
            request.resumable, request.external_req_id, None, None, request.abort_immediately, request.session_id, None,
        ]
    )


def _connect(address: str, kind: bytes) -> socket.socket:
    family, target = parse_endpoint(address)
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(_CONNECT_S)
    connection.connect(target)
    connection.sendall(GREETING + encode_ready(kind))
    _read_ready(connection)
    connection.settimeout(None)  # it is read when it is readable, and the host always reads
    return connection


def _read_ready(connection: socket.socket) -> None:
    """The greeting and READY of the other side, byte for byte: what follows belongs to the parser."""
    _read(connection, len(GREETING))
    head = _read(connection, 2)
    _read(connection, head[1])


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the host closed the connection")
        data += part
    return data


def _fields(request: list[Any]) -> dict[str, Any]:
    return {
        "request_id": request[_REQUEST_ID],
        "prompt_token_ids": request[_PROMPT],
        "arrival_time": request[_ARRIVAL],
        "lora": None,
        "cache_salt": request[_SALT],
        "embeds_digest": None,
        "session_id": request[_SESSION],
        "priority": request[_PRIORITY],
        "params": request[_PARAMS],
    }


def _output(request_id: str, tokens: list[int], finish: int | None, stop_reason: Any, extras: dict[str, Any] | None) -> list[Any]:
    output: list[Any] = [request_id, tokens, None, None, None, finish, stop_reason, None, None, None, None, None, None, 0, None, None, None, None]
    if extras:
        if "events" in extras:
            output[7] = [{"type": kind, "timestamp": timestamp} for kind, timestamp in extras["events"]]
        output[8] = extras.get("kv_transfer_params")
        if "prefill" in extras:
            names = ("prompt", "computed", "cached", "local_cached", "external_cached", "cache_creation")
            output[11] = {f"num_{name}_tokens": count for name, count in zip(names, extras["prefill"])}
    return output


def _stats(row: tuple[Any, ...]) -> dict[str, Any]:
    running, waiting, usage, reset, prefix, waiting_loras, running_loras = row
    names = ("requests", "queries", "hits", "preempted_requests", "preempted_queries", "preempted_hits")
    return {
        "num_running_reqs": running, "num_waiting_reqs": waiting, "num_skipped_waiting_reqs": 0, "step_counter": 0, "current_wave": 0,
        "kv_cache_usage": usage, "iteration_details": None, "prefix_cache_stats": {"reset": reset, **dict(zip(names, prefix))},
        "connector_prefix_cache_stats": None, "kv_cache_eviction_events": [], "spec_decoding_stats": None, "kv_connector_stats": None,
        "ec_connector_stats": None, "waiting_lora_adapters": waiting_loras, "running_lora_adapters": running_loras,
        "cudagraph_stats": None, "perf_stats": None,
    }
