"""Logging: a logger per module below `vllm`, configured once, to stdout.

vLLM configures the logger named `vllm` on import unless
VLLM_CONFIGURE_LOGGING=0; a host relies on being able to switch that off.
"""

from __future__ import annotations

import logging
import os
import sys

_configured = False


def _configure() -> None:
    global _configured
    _configured = True
    if os.environ.get("VLLM_CONFIGURE_LOGGING", "1") == "0":
        return
    root = logging.getLogger("vllm")
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        logging.Formatter(
            "%(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s",
            "%m-%d %H:%M:%S",
        )
    )
    root.addHandler(handler)
    root.setLevel(os.environ.get("VLLM_LOGGING_LEVEL", "INFO").upper())
    root.propagate = False


def init_logger(name: str) -> logging.Logger:
    if not _configured:
        _configure()
    return logging.getLogger(name)
