"""What a request costs on the guest's event loop: requests of one token each, many at once, on the vLLM of the interpreter that runs this.

    python bench/guest/added_request.py MODEL [--guest DIR] [--drive raw] [--profile FILE] [-- vLLM's arguments]

Prints the CPU time of the loop's thread per request, in microseconds, one line a round. `--guest` takes another version of
the guest to compare with.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import struct
import sys
import time
from typing import Any

_HEAD = struct.Struct("<BQI")
_RECORD_TOKENS = 1


class Host:
    """The host's side of the border: hands messages over and counts what ends."""

    def __init__(self, drive: str) -> None:
        self.settings = json.dumps({"drive": drive})
        self.eventfd, self._signals = os.pipe2(os.O_NONBLOCK)
        self.replies: list[tuple[bool, Any]] = []
        self.failures: list[str] = []
        self.ended = 0
        self.on_batch: Any = lambda: None
        self._messages: list[bytes] = []

    def send(self, op: int, ident: int, body: Any, blob: bytes = b"") -> None:
        text = json.dumps(body).encode()
        message = _HEAD.pack(op, ident, len(text)) + text + blob
        self._messages.append(struct.pack("<I", len(message)) + message)

    def signal(self) -> None:
        os.write(self._signals, bytes(8))

    def take(self) -> bytes:
        taken, self._messages = self._messages, []
        return b"".join(taken)

    def post(self, batch: bytes) -> None:
        from dynamo_vllm import wire

        kind = batch[0]
        if kind == wire.KIND_LOG:
            level, name, text = struct.unpack_from("<BII", batch, 1)
            if level >= 3:
                print(batch[10 + name : 10 + name + text].decode(), file=sys.stderr)
            return
        self._read(batch, wire)
        self.on_batch()

    def _read(self, batch: bytes, wire: Any) -> None:
        """Only what one token a request can bring."""
        position = 0
        while position < len(batch):
            kind = batch[position]
            if kind == wire.KIND_TOKENS:
                _, flags, _, _, _, _, _, count = struct.unpack_from("<BBBxIQiiI", batch, position)
                self.ended += flags & wire.FLAG_FINISHED
                position += struct.calcsize("<BBBxIQiiI") + 4 * count
            elif kind == wire.KIND_STATS:
                position += struct.calcsize("<BxxxIdIIIQ")
            elif kind in (wire.KIND_REPLY, wire.KIND_FAILURE):
                _, _, ok, length = struct.unpack_from("<BQBI", batch, position)
                start = position + struct.calcsize("<BQBI")
                value = json.loads(batch[start : start + length])
                if kind == wire.KIND_REPLY:
                    self.replies.append((bool(ok), value))
                else:
                    self.failures.append(str(value))
                    self.ended += 1
                position = start + length
            else:
                raise ValueError(f"record of kind {kind}")


class Run:
    """Rounds of requests, driven from the host's callback: nothing of the measurement runs while it counts, but reading records."""

    def __init__(self, host: Host, options: Any, engine: list[str]) -> None:
        self._host, self._options = host, options
        self._round = -2
        self._expected = 0
        self._began = 0.0
        self._number = 0
        self._profile = cProfile.Profile(time.thread_time) if options.profile else None
        host.on_batch = self._step
        host.send(1, 1, {"arguments": ["--model", options.model, "--max-model-len", "512", "--enforce-eager", *engine]})
        host.signal()

    def _step(self) -> None:
        host = self._host
        for ok, value in host.replies:
            if not ok:
                raise SystemExit(f"the engine does not start: {value}")
        if self._round == -2 and len(host.replies) == 1:
            self._round = -1
            host.send(3, 2, {"overrides": {}})
            host.signal()
        elif self._round == -1 and len(host.replies) == 2:
            self._next()
        elif 0 <= self._round <= self._options.rounds and host.ended >= self._expected:
            self._report()
            self._next()

    def _report(self) -> None:
        spent = time.thread_time() - self._began
        if self._profile is not None:
            self._profile.disable()
        if self._host.failures:
            raise SystemExit(f"a request failed: {self._host.failures[0]}")
        print(f"{spent * 1e6 / self._options.streams:.1f}", flush=True)

    def _next(self) -> None:
        self._round += 1
        if self._round > self._options.rounds:
            self._host.send(7, 3, {"timeout": 5})
            self._host.signal()
            return
        blob = struct.pack("<100I", *range(5, 105))
        for _ in range(self._options.streams):
            self._number += 1
            sampling = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 1, "min_tokens": 0}
            fields = {"request_id": f"{self._number:032x}", "sampling": sampling}
            self._host.send(4, self._number, fields, blob)
        self._expected = self._number
        if self._profile is not None and self._round > 3:
            self._profile.enable()
        self._began = time.thread_time()
        self._host.signal()


def main() -> None:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--guest", default=os.path.join(os.path.dirname(__file__), "..", "..", "python"))
    parser.add_argument("--drive", default="raw")
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile")
    options = parser.parse_args(arguments[:split])
    sys.path.insert(0, os.path.abspath(options.guest))
    from dynamo_vllm import bridge

    host = Host(options.drive)
    run = Run(host, options, arguments[split + 1 :])
    bridge.main(host)
    if run._profile is not None:
        run._profile.dump_stats(options.profile)
    os._exit(0)


if __name__ == "__main__":
    main()
