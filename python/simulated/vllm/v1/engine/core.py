"""The EngineCore child process: a step clock around the scheduler.

Imports stay light; the process has to be up within a blink.  Requests are
taken in between steps, one message per step goes out, and the process ends
when the parent's end of the socket closes.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
import zlib
from typing import Any

from vllm.simulation.adapters import AdapterError, load as load_adapter
from vllm.simulation.host_client import HostClient
from vllm.simulation.kv_events import KVEventPublisher
from vllm.simulation.request import ABORT, Request
from vllm.simulation.scheduler import PAUSED_ALL, PAUSED_NEW, RUNNING, Scheduler
from vllm.simulation.wire import FrameReader, pack

_PR_SET_NAME = 15
# Small on purpose: Python allocates this much for every call.
_RECEIVE_BYTES = 1 << 16
_WORKER_METHODS = ("check_health", "reload_weights", "get_model", "execute_dummy_batch")


def _readable(sources: list[Any], timeout: float | None) -> list[Any]:
    """Those that have something to read, or have ended. By poll: select takes no descriptor above 1,023, and a busy host has such."""
    poll = select.poll()
    by_descriptor = {source.fileno(): source for source in sources}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return [by_descriptor[found] for found, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))]


class UtilityFailure(Exception):
    """A control call failed; the text is what the caller gets to see."""


def run_engine_core(config_text: str, channel: socket.socket) -> None:
    """Target of the spawned process."""
    config = json.loads(config_text)
    core = EngineCore(config, channel)
    try:
        core.start()
        core.run()
    except (BrokenPipeError, ConnectionError):
        pass  # the parent is gone, nobody is left to tell
    except Exception:
        traceback.print_exc()
        core.announce_death()
        core.close()
        sys.exit(1)
    core.close()


def _set_title(title: str) -> None:
    """Process name as seen by ps and top; a convenience, so failures are ignored."""
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NAME, title.encode()[:15], 0, 0, 0)
    except (OSError, AttributeError):
        pass


class EngineCore:
    def __init__(self, config: dict[str, Any], channel: socket.socket) -> None:
        self.config = config
        self.rank: int = config["rank"]
        self.step_s: float = config["step_time_ms"] / 1000.0
        self.log_stats: bool = config["log_stats"]
        self.channel = channel
        self.reader = FrameReader()
        self.scheduler: Scheduler
        self.publisher: KVEventPublisher | None = None
        self.host: HostClient | None = None
        self.deaf = False
        self.stopping = False
        self.parent_gone = False
        self.sleep_level = 0
        self.weight_version = "default"
        self.loras: dict[int, int] = {}
        self.pinned: set[int] = set()
        self.idle_callers: list[tuple[int, bool]] = []
        self.next_step_at = 0.0
        self.was_idle = True
        self._signal_receive, self._signal_send = socket.socketpair()

    # -- life cycle ------------------------------------------------------

    def start(self) -> None:
        config = self.config
        title = "VLLM::EngineCore"
        if config["data_parallel_size"] > 1:
            title += f"_DP{self.rank}"
        _set_title(title)
        self._signal_receive.setblocking(False)
        self._signal_send.setblocking(False)
        signal.set_wakeup_fd(self._signal_send.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        if config["load_time_ms"]:
            self._load(config["load_time_ms"] / 1000.0)
        usable = (config["num_gpu_blocks"] - 1) * config["block_size"]
        if usable < config["max_model_len"]:
            raise ValueError(
                "To serve at least one request with the model's max seq len "
                f"({config['max_model_len']}), more KV cache is needed than the "
                f"{usable} tokens available. Try increasing num_gpu_blocks_override "
                "or decreasing max_model_len."
            )
        self.scheduler = Scheduler(config)
        if config["kv_events"] is not None:
            self.publisher = KVEventPublisher(config["kv_events"], self.rank)
        if config["host"] is not None:
            self.host = HostClient(config["host"])
        self._send(
            (
                "ready",
                {
                    "num_gpu_blocks": config["num_gpu_blocks"],
                    "block_size": config["block_size"],
                    "max_model_len": config["max_model_len"],
                    "max_num_seqs": config["max_num_seqs"],
                    "max_num_batched_tokens": config["max_num_batched_tokens"],
                },
            )
        )

    def _load(self, seconds: float) -> None:
        """Pretend to load weights, with vLLM's words for it, but notice when nobody waits any more."""
        bar = "\rLoading safetensors checkpoint shards: {0:3.0f}% Completed | {1}/2 [00:00<00:00, 1.0it/s]\n"
        print("(EngineCore) INFO [gpu_model_runner.py:5256] Starting to load model simulated...", flush=True)
        for shard in (0, 1):
            print(bar.format(shard * 50, shard), file=sys.stderr, end="", flush=True)
            _readable([self.channel, self._signal_receive], seconds / 2)
            if self.stopping:
                sys.exit(0)
        print(bar.format(100, 2), file=sys.stderr, end="", flush=True)
        print(f"(EngineCore) INFO [default_loader.py:485] Loading weights took {seconds:.2f} seconds", flush=True)

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self.stopping = True

    def announce_death(self) -> None:
        try:
            self._send(("dead",))
        except OSError:
            pass
        if self.host is not None:
            self.host.announce_death()

    def close(self) -> None:
        if self.publisher is not None:
            self.publisher.close()
        if self.host is not None:
            self.host.close()
        self.channel.close()

    # -- loop ------------------------------------------------------------

    def run(self) -> None:
        scheduler = self.scheduler
        while not self.stopping and not self.parent_gone:
            busy = scheduler.can_progress() or scheduler.report_idle
            self.was_idle |= not busy
            self._receive(block=not busy)
            if self.stopping or self.parent_gone:
                break
            self._step_or_report()
        if not self.parent_gone:
            self._stop()

    def _step_or_report(self) -> None:
        scheduler = self.scheduler
        if scheduler.can_progress():
            self._step()
        elif scheduler.report_idle:
            # One more message with fresh statistics after the last request.
            scheduler.report_idle = False
            self._emit([])
            self._answer_idle_callers()

    def _stop(self) -> None:
        """Signalled: drain if a timeout is configured, abort what is left."""
        scheduler = self.scheduler
        deadline = time.monotonic() + self.config["shutdown_timeout"]
        while scheduler.can_progress() and time.monotonic() < deadline:
            self._receive(block=False)
            if self.parent_gone:
                return
            self._step()
        left = scheduler.abort(list(scheduler.requests))
        if left:
            self._emit([(request_id, [], ABORT, None, None) for request_id in left])

    def _step(self) -> None:
        started = time.monotonic()
        batch = self.scheduler.schedule()
        if self.step_s:
            # A fixed beat while there is work: a step begins where the last one
            # ended, unless the engine was idle or has fallen a whole step behind.
            begin = self.next_step_at
            if begin < started - self.step_s or self.was_idle:
                begin = started
            self.was_idle = False
            end = begin + self.step_s
            pause = end - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self.next_step_at = end
        outputs = self.scheduler.update(batch)
        self._emit(outputs)

    def _emit(self, outputs: list[tuple[Any, ...]]) -> None:
        if self.publisher is not None:
            events = self.scheduler.pool.take_events()
            if events:
                self.publisher.publish(events)
        stats = self.scheduler.stats() if self.log_stats else None
        now = time.monotonic()
        if self.host is not None:
            # Statistics go with the outputs of one client, as in vLLM; without outputs to client 0, which is the host.
            theirs = [row for row in outputs if row[0] in self.host.requests]
            outputs = [row for row in outputs if row[0] not in self.host.requests]
            if theirs or not outputs:
                self.host.send(theirs, None if outputs else stats, now)
            if not outputs:
                return
        self._send(("out", outputs, stats, now))

    def _send(self, message: tuple[Any, ...]) -> None:
        self.channel.sendall(pack(message))

    def _answer_idle_callers(self) -> None:
        if self.idle_callers and not self.scheduler.running:
            for call_id, clear_cache in self.idle_callers:
                if clear_cache:
                    self.scheduler.reset_prefix_cache(False)
                self._send(("util", call_id, None, None))
            self.idle_callers.clear()

    # -- input -----------------------------------------------------------

    def _receive(self, block: bool) -> None:
        """Take in what has arrived; wait for something if there is nothing to do."""
        transfer = self.scheduler.transfer
        watched: list[Any] = [self.channel, self._signal_receive]
        host = self.host if self.host is not None and self.host.is_open else None
        if host is not None:
            watched.append(host.input)
        timeout: float | None = None if block else 0.0
        if transfer is not None:
            watched.append(transfer.socket)
            deadline = transfer.next_deadline()
            if block and deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())
        readable = _readable(watched, timeout)
        if transfer is not None and transfer.collect():
            self.scheduler.report_idle = True
        if self._signal_receive in readable:
            try:
                self._signal_receive.recv(64)
            except BlockingIOError:
                pass
        if host is not None and host.input in readable:
            self._receive_from(host)
        if self.channel not in readable:
            return
        data = self.channel.recv(_RECEIVE_BYTES)
        if not data:
            self.parent_gone = True
            return
        for message in self.reader.feed(data):
            if not self.deaf:
                self._handle(message)

    def _receive_from(self, host: HostClient) -> None:
        for kind, value in host.receive():
            if self.deaf:
                continue
            if kind == "add":
                host.requests.add(value["request_id"])
            self._handle((kind, value))

    def _handle(self, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == "add":
            self._add(message[1])
        elif kind == "abort":
            self.scheduler.abort(message[1])
        elif kind == "util":
            self._call(message[1], message[2], message[3])
        elif kind == "stop":
            self.stopping = True

    def _add(self, fields: dict[str, Any]) -> None:
        fault = _type_fault(fields)
        if fault is not None:
            # vLLM decodes strictly on a thread without a net: a wrong type
            # ends that thread, and the living process never hears again.
            print(
                f"(EngineCore pid={os.getpid()}) input thread died: {fault}",
                file=sys.stderr,
                flush=True,
            )
            self.deaf = True
            return
        request = Request(fields)
        request.lora_revision = self.loras.get(request.lora_id, 0) if request.lora_id else 0
        if self.stopping:
            self._emit([(request.request_id, [], ABORT, None, None)])
            return
        self.scheduler.add(request)

    # -- control calls ---------------------------------------------------

    def _call(self, call_id: int, name: str, arguments: list[Any]) -> None:
        method = getattr(self, f"utility_{name}", None)
        failure: str | None = None
        result: Any = None
        try:
            if method is None:
                raise UtilityFailure(
                    f"'EngineCoreProc' object has no attribute '{name}'"
                )
            if name == "pause_scheduler":
                if self._pause(call_id, *arguments):
                    return  # answered when idle
            else:
                result = method(*arguments)
        except Exception as error:
            failure = f"Call to {name} method failed: {error}"
        self._send(("util", call_id, failure, result))

    def _pause(self, call_id: int, mode: str = "abort", clear: bool = True) -> bool:
        scheduler = self.scheduler
        if mode not in ("abort", "wait", "keep"):
            raise UtilityFailure(f"Invalid pause mode: {mode}")
        if mode == "keep":
            scheduler.pause_state = PAUSED_ALL
            return False
        scheduler.pause_state = PAUSED_NEW
        if mode == "wait" and scheduler.running:
            self.idle_callers.append((call_id, clear))
            return True
        if mode == "abort":
            left = scheduler.abort(list(scheduler.requests))
            if left:
                self._emit([(rid, [], ABORT, None, None) for rid in left])
        if clear:
            scheduler.reset_prefix_cache(False)
        return False

    def utility_pause_scheduler(self) -> None:
        """Marks the name as known; see `_pause`."""

    def utility_resume_scheduler(self) -> None:
        self.scheduler.pause_state = RUNNING

    def utility_is_scheduler_paused(self) -> bool:
        return self.scheduler.pause_state != RUNNING

    def utility_get_supported_tasks(self) -> list[str]:
        return ["generate"] if self.config["runner"] != "pooling" else ["token_embed", "embed"]

    def utility_is_sleeping(self) -> bool:
        return self.sleep_level > 0

    def utility_sleep(self, level: int = 1, mode: str = "abort") -> None:
        self._pause(0, mode if mode != "wait" else "keep", level > 0)
        self.sleep_level = max(level, 1)

    def utility_wake_up(self, tags: list[str] | None = None) -> None:
        self.sleep_level = 0
        self.scheduler.pause_state = RUNNING

    def utility_reset_prefix_cache(
        self, reset_running: bool = False, _reset_connector: bool = False
    ) -> bool:
        return self.scheduler.reset_prefix_cache(reset_running)

    def utility_reset_mm_cache(self) -> None:
        pass

    def utility_reset_encoder_cache(self) -> None:
        pass

    def utility_execute_dummy_batch(self) -> None:
        pass

    def utility_release_kv_cache_memory(self) -> None:
        pass

    def utility_get_weight_version(self) -> str:
        return self.weight_version

    def utility_set_weight_version(self, version: str) -> None:
        self.weight_version = version

    def utility_get_kv_cache_group_metadata(self) -> list[dict[str, Any]]:
        return [
            {
                "group_idx": 0,
                "kind": "full_attention",
                "block_size": self.config["block_size"],
                "sliding_window": None,
            }
        ]

    def utility_profile(self, _is_start: bool = True, _prefix: Any = None) -> None:
        raise _worker_failure(
            "Profiling is not enabled. Please set --profiler-config to enable "
            "profiling. Example: '--profiler-config.profiler=torch "
            "--profiler-config.torch_profiler_dir=YOUR_DIR_PATH_TO_DUMP_TRACE'"
        )

    def utility_collective_rpc(
        self,
        method: str,
        _timeout: float | None = None,
        _args: Any = (),
        _kwargs: Any = None,
    ) -> list[Any]:
        if method not in _WORKER_METHODS:
            raise _worker_failure(f"'CPUWorker' object has no attribute '{method}'")
        if method == "reload_weights":
            self.scheduler.source.weights = _read_weights((_kwargs or {}).get("weights_path"))
        return [None] * self.config["world_size"]

    def _require_lora(self) -> None:
        if not self.config["max_loras"]:
            raise _worker_failure(
                "LoRA is not enabled. Use --enable-lora to enable LoRA."
            )

    def utility_add_lora(self, lora: list[Any]) -> bool:
        self._require_lora()
        name, identifier, path = lora[:3]
        known = identifier in self.loras
        if not known:
            try:
                self.loras[identifier] = load_adapter(name, path, self.config["max_lora_rank"])
            except AdapterError as error:
                raise _worker_failure(str(error)) from error
        return not known

    def utility_remove_lora(self, identifier: int) -> bool:
        self._require_lora()
        known = identifier in self.loras
        self.loras.pop(identifier, None)
        self.pinned.discard(identifier)
        return known

    def utility_pin_lora(self, identifier: int) -> bool:
        self._require_lora()
        if identifier not in self.loras:
            raise _worker_failure(
                f"Pinning failed. LoRA {identifier} is not registered."
            )
        self.pinned.add(identifier)
        return True

    def utility_list_loras(self) -> list[int]:
        self._require_lora()
        return sorted(self.loras)


def _worker_failure(text: str) -> UtilityFailure:
    return UtilityFailure(
        f"Worker failed with error '{text}', please check the stack trace above "
        "for the root cause"
    )


def _read_weights(path: Any) -> int:
    """The tokens depend on it."""
    if path is None:
        return 0
    try:
        with open(os.path.join(path, "model.safetensors"), "rb") as file:
            return zlib.crc32(file.read()) or 1
    except (OSError, TypeError) as error:
        raise _worker_failure(str(error)) from error


def _type_fault(fields: dict[str, Any]) -> str | None:
    """What vLLM's strict decoder would stumble over; None if the types are right."""
    for token in fields["prompt_token_ids"]:
        if type(token) is not int:
            return f"Expected `int`, got `{type(token).__name__}` in prompt_token_ids"
    params = fields["params"]
    for name in ("seed", "max_tokens", "min_tokens", "logprobs", "prompt_logprobs"):
        value = params[name]
        if value is not None and type(value) is not int:
            return f"Expected `int | null`, got `{type(value).__name__}` in {name}"
    for token in params["logit_bias"] or ():
        if type(token) is not int:
            return f"Expected `int`, got `{type(token).__name__}` in logit_bias"
    for name in ("allowed_token_ids", "stop_token_ids"):
        for token in params[name] or ():
            if type(token) is not int:
                return f"Expected `int`, got `{type(token).__name__}` in {name}"
    if fields["cache_salt"] is not None and type(fields["cache_salt"]) is not str:
        return "Expected `str | null` in cache_salt"
    return None
