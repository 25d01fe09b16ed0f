"""Features that vLLM has on a GPU alone: the official worker and ours, with the same flags, answer the same requests.

    compare.py --python PYTHON --worker WORKER.dll --model MODEL [--experts-model MODEL] [--flags "..."] [ROW...]

PYTHON is an interpreter with the official worker and vLLM, WORKER.dll a published Dynamo.Vllm.Worker, MODEL a folder of a model (weights may
be dummies: --flags "--load-format dummy"). Rows: mask (--return-sampling-mask), experts (--enable-return-routed-experts, a mixture of
experts), offload (OffloadingConnector: a prompt comes back from the host's memory after the GPU's blocks are cleared). Both workers of a row
run at a time, one started after the other, so --flags should hold a --gpu-memory-utilization that leaves room for two.
Prints one line for each request; the exit code says whether all were answered alike.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_LIMIT = 300.0  # seconds; a cold start of the official worker on an H200 took 90
CALL_LIMIT = 60.0
STOP_LIMIT = 30.0
OFFLOAD_BYTES = 2 << 30
SETTLE = 2.0  # seconds: blocks have been copied to the host, and statistics of a step are on the page a second after it
COUNTED = re.compile(r"vllm:(external_prefix|prefix_cache|kv_offload|prompt_tokens)\w*")
TIMED = re.compile(r"_bucket|_created|time|seconds")
PLACE = "127.0.0.1"

Request = dict[str, Any]


def request(token_ids: list[int], most: int, **sampling: float) -> Request:
    fields = {"extra_fields": ["engine_data"]}
    return {
        "token_ids": token_ids,
        "stop_conditions": {"max_tokens": most, "ignore_eos": True},
        "sampling_options": sampling,
        "output_options": {"logprobs": 2},
        "nvext": fields,
        "extra_args": {"nvext": fields},
    }


SHORT = [1, 45, 375, 319, 17, 18, 19]
LONG = [place * 7 % 2000 + 6 for place in range(700)]


@dataclass(frozen=True)
class Row:
    flags: tuple[str, ...]
    requests: tuple[Request, ...]
    refused: tuple[Request, ...] = ()
    clears: bool = False


ROWS = {
    "mask": Row(
        ("--return-sampling-mask", "--logprobs-mode", "processed_logprobs"),
        (
            request(SHORT, 8, temperature=1.0, top_k=5, seed=7),
            request(SHORT, 8, temperature=0.7, top_p=0.5, top_k=9, seed=1),
            request(SHORT, 6, temperature=1.0, min_p=0.3, top_k=20, seed=2),
            request(SHORT, 4, temperature=1.0, top_k=3, seed=7, n=2),
        ),
        (request(SHORT, 6, temperature=0.0), request(SHORT, 6, temperature=1.0, seed=4)),
    ),
    "experts": Row(
        ("--enable-return-routed-experts",),
        (
            request(SHORT, 8, temperature=0.0),
            request(LONG, 6, temperature=0.0),
            request(SHORT, 8, temperature=0.0, routed_experts_prompt_start=3),
            request(SHORT, 5, temperature=1.0, seed=3, n=2),
        ),
    ),
    "offload": Row(
        (
            "--kv-transfer-config",
            json.dumps(
                {
                    "kv_connector": "OffloadingConnector",
                    "kv_role": "kv_both",
                    "kv_connector_extra_config": {"cpu_bytes_to_use": OFFLOAD_BYTES},
                }
            ),
        ),
        (request(LONG, 6, temperature=0.0), request(LONG, 6, temperature=0.0), request(LONG[:300], 6, temperature=0.0)),
        clears=True,
    ),
}


@dataclass(frozen=True)
class Worker:
    name: str
    process: subprocess.Popen[bytes]
    port: int
    variables: dict[str, str]
    dll: Path
    log: Path

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{PLACE}:{self.port}{path}", timeout=CALL_LIMIT) as answer:
            text: str = answer.read().decode()
        return text

    def await_ready(self) -> None:
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            if (code := self.process.poll()) is not None:
                raise RuntimeError(f"{self.name} ended with {code}:\n{self.tail()}")
            with suppress(OSError, ValueError):
                if json.loads(self.page("/health"))["status"] in ("ready", "healthy"):
                    return
            time.sleep(0.5)
        raise RuntimeError(f"{self.name} was not ready within {START_LIMIT:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def call(self, endpoint: str, body: Request) -> list[Request]:
        command = ["dotnet", str(self.dll), "call", "--endpoint", endpoint, "--body", json.dumps(body)]
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=CALL_LIMIT, check=False)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def counts(self) -> list[str]:
        """Values of the page that depend on what was asked, and not on when; without the instance, labels in one order."""
        found = []
        for line in self.page("/metrics").splitlines():
            if COUNTED.match(line) and not TIMED.search(line):
                name, rest = line.split("{", 1)
                labels, value = rest.rsplit("}", 1)
                told = sorted(label for label in re.findall(r'\w+="[^"]*"', labels) if not label.startswith("worker_id"))
                found.append(f"{name}{{{','.join(told)}}}{value}")
        return sorted(found)


@contextmanager
def started(name: str, command: list[str], port: int, dll: Path, folder: Path) -> Iterator[Worker]:
    store = folder / f"{name}-store"
    store.mkdir()
    variables = os.environ | {
        "DYN_DISCOVERY_BACKEND": "file",
        "DYN_FILE_KV": str(store),
        "DYN_REQUEST_PLANE": "tcp",
        "DYN_EVENT_PLANE": "zmq",
        "DYN_TCP_RPC_HOST": PLACE,
        "DYN_TCP_RESPONSE_STREAM_HOST": PLACE,
        "DYN_EVENT_PLANE_HOST": PLACE,
        "DYN_SYSTEM_HOST": PLACE,
        "DYN_SYSTEM_PORT": str(port),
    }
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)
        try:
            worker = Worker(name, process, port, variables, dll, log)
            worker.await_ready()
            yield worker
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(STOP_LIMIT)


def answer(worker: Worker, body: Request) -> dict[str, Any]:
    """An answer without the places where it was cut into items, which differ from run to run."""
    items = [item.get("data", item) for item in worker.call("generate", body)]
    joined: dict[str, Any] = {"items": len(items) > 0, "ends": []}
    for item in items:
        choice = joined.setdefault(str(item.get("index", 0)), {"token_ids": [], "log_probs": [], "top_logprobs": []})
        for part, values in choice.items():
            values.extend(item.get(part) or [])
        if "finish_reason" in item or "event" in item:
            parts = ("token_ids", "log_probs", "top_logprobs")
            joined["ends"].append({key: value for key, value in item.items() if key not in parts})
    return joined


def is_refusal(told: dict[str, Any]) -> bool:
    return any(end.get("event") == "error" for end in told["ends"])


def same(name: str, official: object, ours: object) -> bool:
    if official == ours:
        print(f"{name}: alike")
        return True
    print(f"{name}: DIFFERENT\n  official {json.dumps(official)[:2000]}\n  ours     {json.dumps(ours)[:2000]}")
    return False


def compare(name: str, row: Row, pair: tuple[Worker, Worker]) -> bool:
    alike = True
    for number, body in enumerate(row.requests):
        told = [answer(worker, body) for worker in pair]
        alike &= same(f"{name}, request {number}", *told)
        if any(is_refusal(one) or not one["ends"] for one in told):
            print(f"{name}, request {number}: not answered")
            alike = False
        if row.clears and number == 0:
            time.sleep(SETTLE)
            alike &= same(f"{name}, cleared", *(worker.call("clear_kv_blocks", {}) for worker in pair))
    for number, body in enumerate(row.refused):  # in whose words is another matter: ours names the mistake
        alike &= same(f"{name}, refusal {number}", *(is_refusal(answer(worker, body)) for worker in pair))
    time.sleep(SETTLE)
    return same(f"{name}, counts", *(worker.counts() for worker in pair)) and alike


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--worker", required=True, type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--experts-model", help="a mixture of experts, for the row of that name")
    parser.add_argument("--flags", default="", help="further flags of both workers")
    parser.add_argument("--port", default=9300, type=int, help="status port of the first worker; the second has the next")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=list(ROWS))
    options = parser.parse_args()
    alike = True
    for name in options.rows:
        row = ROWS[name]
        model = options.experts_model if name == "experts" else options.model
        if model is None:
            parser.error("the row experts needs --experts-model")
        flags = ["--model", model, "--served-model-name", "model", *shlex.split(options.flags), *row.flags]
        first = [options.python, "-m", "dynamo.vllm", *flags]
        second = ["dotnet", str(options.worker), "--python", options.python, *flags]
        with (
            tempfile.TemporaryDirectory() as folder,
            started("official", first, options.port, options.worker, Path(folder)) as official,
            started("ours", second, options.port + 1, options.worker, Path(folder)) as ours,
        ):
            alike &= compare(name, row, (official, ours))
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
