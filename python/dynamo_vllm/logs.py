"""Python's log lines become the host's: one format, one level setting, no second writer on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Callable

from . import wire


class HostHandler(logging.Handler):
    """Posts each record at once; called on any Python thread, which is safe because the post only copies."""

    def __init__(self, post: Callable[[bytes], object]) -> None:
        super().__init__()
        self._post = post

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            self._post(wire.pack_log(min(record.levelno // 10, 5), record.name, message))
        except Exception:  # noqa: BLE001 - best-effort: a log line must not break what it reports on
            self.handleError(record)


def install(post: Callable[[bytes], object]) -> HostHandler:
    """Takes over the root logger."""
    handler = HostHandler(post)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # One line for each request of the hub's library, with its address: those of large files are signed, so whoever reads the log could
    # fetch them.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return handler


def take_over_vllm(handler: HostHandler) -> None:
    """vLLM gives its logger a handler of its own on import; its level stays as it set it."""
    logger = logging.getLogger("vllm")
    logger.handlers = [handler]
    logger.propagate = False


def redirect_errors(descriptor: int) -> None:
    """What is printed to stderr goes to the host's pipe, which is always read: a full descriptor 2 would stop the engine's thread.

    Native code still writes to descriptor 2 itself, so that the last words of a crash are seen.
    """
    sys.stderr = sys.__stderr__ = open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
