"""What vLLM's n-gram proposer takes from numba, without compiling anything: slow, and good enough for a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

prange = range


def jit(*arguments: Any, **options: Any) -> Any:
    """The decorator in both of its forms, with options and without."""
    if len(arguments) == 1 and callable(arguments[0]) and not options:
        return arguments[0]

    def leave(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    return leave


njit = jit


def get_num_threads() -> int:
    return 1


def set_num_threads(count: int) -> None:
    """There is one."""
