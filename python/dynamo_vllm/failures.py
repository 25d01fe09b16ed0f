"""Python exceptions as data: the host decides what they mean on the wire (behaviour.md, 15)."""

from __future__ import annotations

import traceback
from typing import Any


def describe(error: BaseException) -> dict[str, Any]:
    """Kind, class name and text of an exception. Classes are tested by name, since their bases change between vLLM releases."""
    names = {cls.__name__ for cls in type(error).__mro__}
    kind, status, shown = "unknown", 500, error
    if "EngineDeadError" in names:
        kind = "engine_dead"
    elif "VLLMClientError" in names:
        kind, status = "http", _client_status(names)
    elif "TransferError" in names:
        kind, status = "http", int(getattr(error, "http_status", 503))
    elif "MediaError" in names:
        kind, status = "media", int(getattr(error, "http_status", 400))
    elif "GracefulHTTPError" in names:
        kind, status = "http", int(getattr(error, "http_status", 503))
    elif "EngineGenerateError" in names and error.__cause__ is not None:
        # vLLM wraps what went wrong before the engine saw the request; the cause says whose fault it is.
        return describe(error.__cause__)
    elif isinstance(error, (ValueError, TypeError)):
        kind = "invalid_argument"
    elif isinstance(error, TimeoutError):
        kind = "timeout"
    elif isinstance(error, ConnectionError):
        kind = "disconnected"
    return {"kind": kind, "status": status, "type": type(shown).__name__, "message": str(shown)}


def is_refusal(error: BaseException) -> bool:
    """The request was found unacceptable, so the engine has never seen it."""
    return describe(error)["kind"] in ("http", "invalid_argument", "media")


def trace(error: BaseException) -> str:
    """The traceback as text, for the log."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _client_status(names: set[str]) -> int:
    if "VLLMUnprocessableEntityError" in names:
        return 422
    return 404 if "VLLMNotFoundError" in names else 400
