"""vLLM's exception tree: same names and bases, because hosts classify by them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class VLLMError(Exception):
    """Root of everything vLLM raises on purpose."""


class VLLMClientError(VLLMError):
    """The request was wrong (4xx)."""


class VLLMServerError(VLLMError):
    """The server failed (5xx)."""


def _annotated_init(
    self: Any, message: str, *, parameter: str | None = None, value: Any = None
) -> None:
    VLLMClientError.__init__(self, message)
    self.parameter = parameter
    self.value = value


def _annotated_str(self: Any) -> str:
    """The text ends with the parameter and value at fault, where known."""
    notes = [
        f"{label}={content}"
        for label, content in (("parameter", self.parameter), ("value", self.value))
        if content is not None
    ]
    text = Exception.__str__(self)
    return f"{text} ({', '.join(notes)})" if notes else text


# The next two share functions, not a base: the captured method resolution
# order has nothing between them and VLLMClientError.
class VLLMValidationError(VLLMClientError):
    """A parameter or prompt failed validation."""

    __init__ = _annotated_init
    __str__ = _annotated_str


class VLLMUnprocessableEntityError(VLLMClientError):
    """Request content that cannot be processed (422)."""

    __init__ = _annotated_init
    __str__ = _annotated_str


class VLLMNotFoundError(VLLMClientError):
    """Something the request names does not exist (404)."""


class LoRAAdapterNotFoundError(VLLMNotFoundError):
    """No adapter at the given path."""

    def __init__(self, lora_name: str, lora_path: str) -> None:
        self.message = (
            f"Loading lora {lora_name} failed: No adapter found for {lora_path}"
        )
        super().__init__(self.message)


class GenerationError(VLLMServerError):
    """finish_reason says internal error (500)."""

    def __init__(self, message: str = "Internal server error") -> None:
        super().__init__(message)
        self.status_code = HTTPStatus.INTERNAL_SERVER_ERROR


class GracefulHTTPError(VLLMError):
    """An expected refusal that carries its own HTTP status."""

    def __init__(self, message: str, http_status: HTTPStatus) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status


class QueueOverflowError(GracefulHTTPError):
    """max_num_queued_reqs would be exceeded."""

    def __init__(self) -> None:
        super().__init__(
            "The engine is currently busy and cannot accept new requests. "
            "Please try again later or on a different instance.",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


class MaxQueuedTokensError(GracefulHTTPError):
    """max_num_queued_tokens is reached."""

    def __init__(self) -> None:
        super().__init__(
            "The engine has reached its prefill token backlog limit. "
            "Please try again later or on a different instance.",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )
