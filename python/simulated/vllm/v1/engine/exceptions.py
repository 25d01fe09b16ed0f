"""Engine errors."""

from __future__ import annotations

from typing import Any

from vllm.exceptions import VLLMServerError


class EngineGenerateError(VLLMServerError):
    """One generate() call failed; the cause tells why. The engine lives on."""


class EngineDeadError(VLLMServerError):
    """EngineCore is gone for good."""

    def __init__(
        self, *args: Any, suppress_context: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(
            "EngineCore encountered an issue. See stack trace (above) "
            "for the root cause.",
            *args,
            **kwargs,
        )
        self.__suppress_context__ = suppress_context
