"""vLLM's profile of its own front end, on one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any


class OneThread:
    """A profiler whose start and stop share a thread.

    torch keeps a profile in the thread that began it, and vLLM asks for either on whichever thread of the pool is free: a stop on another
    one finds no profile, and writing it ends the process with a segmentation fault.
    """

    def __init__(self, profiler: Any) -> None:
        self._profiler = profiler
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="profile")

    def start(self) -> None:
        self._thread.submit(self._profiler.start).result()

    def stop(self) -> None:
        self._thread.submit(self._profiler.stop).result()


def keep_on_one_thread(llm: Any) -> None:
    """Where the front end is profiled at all (--profiler-config)."""
    if getattr(llm, "profiler", None) is not None:
        llm.profiler = OneThread(llm.profiler)
