"""A profile begins and ends on one thread, whoever asks."""

import threading
import unittest
from types import SimpleNamespace

from dynamo_vllm import profiling


class ThreadBound:
    """As torch's: what another thread began, this one cannot end."""

    def __init__(self) -> None:
        self.began: int | None = None
        self.ended: int | None = None

    def start(self) -> None:
        self.began = threading.get_ident()

    def stop(self) -> None:
        self.ended = threading.get_ident()
        raise RuntimeError("the disk is full")


class ProfilingTests(unittest.TestCase):
    def test_start_and_stop_of_two_threads_share_a_third(self) -> None:
        profiler = ThreadBound()
        llm = SimpleNamespace(profiler=profiler)
        profiling.keep_on_one_thread(llm)
        starting = threading.Thread(target=llm.profiler.start)
        starting.start()
        starting.join()
        with self.assertRaisesRegex(RuntimeError, "the disk is full"):
            llm.profiler.stop()
        self.assertIsNotNone(profiler.began)
        self.assertEqual(profiler.began, profiler.ended)
        self.assertNotIn(profiler.began, (threading.get_ident(), starting.ident))

    def test_without_a_profiler_there_is_none(self) -> None:
        for llm in (SimpleNamespace(profiler=None), SimpleNamespace()):
            before = dict(vars(llm))
            profiling.keep_on_one_thread(llm)
            self.assertEqual(before, vars(llm))


if __name__ == "__main__":
    unittest.main()
