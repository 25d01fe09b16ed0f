"""A node whose leader is elsewhere: vLLM's workers or engines, and nothing of Dynamo.

A program of its own, started with its settings as JSON: vLLM installs signal handlers and waits on the main thread, which the host keeps.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def main(settings: dict[str, Any]) -> None:
    """Returns when the leader has gone or SIGTERM came. `arguments` are vLLM's own, `overrides` what the host sets in them."""
    # The host may be killed, and nobody else would end this one.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
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


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
