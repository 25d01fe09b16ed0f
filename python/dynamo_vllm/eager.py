"""A coroutine run at once, as far as it goes."""

from __future__ import annotations

from typing import Any, Awaitable, Coroutine, Generator

#: By this attribute a future tells the task that it is awaited. Whoever takes a future out of a coroutine answers for it, as a task does.
_AWAITED = "_asyncio_future_blocking"


def start(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Runs it until it must wait. Returns what is left, to be awaited in a task; None when it is done. Raises what it raises."""
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    if hasattr(awaited, _AWAITED):
        setattr(awaited, _AWAITED, False)  # others may await it, too, before the task does
    return _Rest(coroutine, awaited)


class _Rest:
    """Goes on where the coroutine stopped: the task that awaits this one waits for the same future first."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        awaited = self._awaited
        if hasattr(awaited, _AWAITED):
            setattr(awaited, _AWAITED, True)
        try:
            while True:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001 - handed on, a cancellation too
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(value)
        except StopIteration:
            return
