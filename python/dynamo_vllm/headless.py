"""A node whose leader is elsewhere: vLLM's workers or engines, and nothing of Dynamo.

A program of its own, started with its settings as JSON: vLLM installs signal handlers and waits on the main thread, which the host keeps.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any


def main(settings: dict[str, Any]) -> None:
    """Returns when the leader has gone or SIGTERM came. `arguments` are vLLM's own, `overrides` what the host sets in them."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.cli.serve import run_headless
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    AsyncEngineArgs.add_cli_args(parser)
    arguments = parser.parse_args(settings["arguments"])
    for name, value in settings["overrides"].items():
        setattr(arguments, name, value)
    arguments.api_server_count = 0
    if not hasattr(arguments, "reasoning_parser_plugin"):
        arguments.reasoning_parser_plugin = ""
    run_headless(arguments)


def _end_with(parent: int) -> None:
    """A host that is killed ends nobody. The kernel's signal for that comes with the end of the thread that started this process, and the
    host's threads come and go."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
