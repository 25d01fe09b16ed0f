"""`vllm serve` of a node without an API server. The simulated engine has one node, so it waits for the end and does nothing."""

from __future__ import annotations

import argparse
import signal
from types import FrameType


def run_headless(args: argparse.Namespace) -> None:
    if args.api_server_count > 1:
        raise ValueError("api_server_count can't be set in headless mode")
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    print(f"headless node of {args.model}", flush=True)
    try:
        while True:
            signal.pause()
    finally:
        print("headless node ends", flush=True)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit
