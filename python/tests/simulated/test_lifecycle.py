"""Start, death, shutdown, threads, control calls."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
from typing import Any

from . import SIMULATED
from .support import (
    EngineTest,
    collect,
    delta,
    make_config,
    prompt,
    quiet_stderr,
    tokens_of,
)

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError


def process_of(engine: Any) -> Any:
    return engine.engine_core._engines[0].process


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class DeathTest(EngineTest):
    async def test_kill_reaches_every_stream_within_100_ms(self) -> None:
        engine = self.start(simulated_step_time_ms=20.0)
        times: list[float] = []

        async def ask(number: int) -> None:
            try:
                await collect(engine, prompt(), delta(max_tokens=900), f"r{number}")
            except EngineDeadError:
                times.append(time.monotonic())

        tasks = [asyncio.create_task(ask(number)) for number in range(3)]
        await asyncio.sleep(0.1)
        killed = time.monotonic()
        os.kill(process_of(engine).pid, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*tasks), 2)
        self.assertEqual(len(times), 3)
        self.assertLess(max(times) - killed, 0.1)
        self.assertEqual((engine.errored, engine.is_running, engine.is_stopped), (True, False, True))
        with self.assertRaises(EngineDeadError):
            await engine.check_health()
        with self.assertRaises(EngineDeadError):
            await self.run_one()
        with self.assertRaises(EngineDeadError):
            await engine.is_sleeping()
        await engine.abort("r0")
        begun = time.monotonic()
        engine.shutdown()
        self.assertLess(time.monotonic() - begun, 0.1)

    async def test_death_while_idle_is_noticed(self) -> None:
        engine = self.start()
        os.kill(process_of(engine).pid, signal.SIGKILL)
        await self.until(lambda: engine.errored, 1.0)

    async def test_an_empty_bad_words_sequence_kills_the_core(self) -> None:
        with quiet_stderr():
            engine = self.start()
        params = delta()
        params._bad_words_token_ids = [[]]
        with self.assertRaises(EngineDeadError):
            await collect(engine, prompt(), params)

    async def test_a_stopped_core_raises_nothing_but_answers_nothing(self) -> None:
        engine = self.start()
        pid = process_of(engine).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await engine.check_health()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(engine.is_sleeping(), 0.2)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertFalse(await engine.is_sleeping())


class ShutdownTest(EngineTest):
    async def test_shutdown_ends_the_child_and_is_idempotent(self) -> None:
        engine = self.start()
        pid = process_of(engine).pid
        await self.run_one()
        begun = time.monotonic()
        engine.shutdown()
        engine.shutdown(timeout=1)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertFalse(alive(pid))
        self.assertTrue(engine.errored)

    async def test_sigterm_to_the_core_aborts_what_runs(self) -> None:
        engine = self.start()
        task = asyncio.create_task(collect(engine, prompt(), delta(max_tokens=900)))
        await self.until(lambda: engine.get_num_unfinished_requests() == 1)
        await asyncio.sleep(0.05)
        os.kill(process_of(engine).pid, signal.SIGTERM)
        outputs = await asyncio.wait_for(task, 2)
        self.assertEqual(outputs[-1].outputs[0].finish_reason, "abort")
        await self.until(lambda: engine.errored)

    async def test_sigterm_drains_within_the_shutdown_timeout(self) -> None:
        engine = self.start(shutdown_timeout=5)
        task = asyncio.create_task(collect(engine, prompt(), delta(max_tokens=50)))
        await asyncio.sleep(0.05)
        os.kill(process_of(engine).pid, signal.SIGTERM)
        outputs = await asyncio.wait_for(task, 4)
        self.assertEqual(len(tokens_of(outputs)), 50)

    def test_the_child_ends_with_its_parent(self) -> None:
        code = (
            "import sys, time\n"
            f"sys.path.insert(0, {SIMULATED!r})\n"
            "from vllm.engine.arg_utils import AsyncEngineArgs\n"
            "from vllm.v1.engine.async_llm import AsyncLLM\n"
            "if __name__ == '__main__':\n"
            "    config = AsyncEngineArgs(model='x').create_engine_config()\n"
            "    engine = AsyncLLM.from_vllm_config(vllm_config=config)\n"
            "    print(engine.engine_core._engines[0].process.pid, flush=True)\n"
            "    time.sleep(60)\n"
        )
        host = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
        )
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        self.assertTrue(alive(pid))
        host.kill()
        host.wait()
        host.stdout.close()
        deadline = time.monotonic() + 5
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(alive(pid))


class StartTest(unittest.TestCase):
    def test_loading_blocks_construction(self) -> None:
        begun = time.monotonic()
        engine = AsyncLLM.from_vllm_config(vllm_config=make_config(simulated_load_time_ms=300.0))
        self.addCleanup(engine.shutdown)
        self.assertGreater(time.monotonic() - begun, 0.3)
        cache = engine.vllm_config.cache_config
        self.assertEqual((cache.num_gpu_blocks, cache.block_size), (64, 32))

    def test_sigterm_while_loading_leaves_nothing_behind(self) -> None:
        code = (
            "import sys\n"
            f"sys.path.insert(0, {SIMULATED!r})\n"
            "from vllm.engine.arg_utils import AsyncEngineArgs\n"
            "from vllm.v1.engine.async_llm import AsyncLLM\n"
            "if __name__ == '__main__':\n"
            "    args = AsyncEngineArgs(model='no/x', simulated_load_time_ms=60000.0)\n"
            "    print('loading', flush=True)\n"
            "    AsyncLLM.from_vllm_config(vllm_config=args.create_engine_config())\n"
        )
        host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert host.stdout is not None
        host.stdout.readline()
        children: list[int] = []
        deadline = time.monotonic() + 5
        while len(children) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            path = f"/proc/{host.pid}/task/{host.pid}/children"
            with open(path, encoding="ascii") as stream:
                children = [int(word) for word in stream.read().split()]
        time.sleep(0.2)
        host.terminate()
        self.assertEqual(host.wait(5), -signal.SIGTERM)
        host.stdout.close()
        self.assertEqual(len(children), 2)  # the core and multiprocessing's tracker
        while any(map(alive, children)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(any(map(alive, children)))

    def test_a_start_that_fails(self) -> None:
        config = make_config(num_gpu_blocks_override=4)
        failed = self.assertRaisesRegex(RuntimeError, "Engine core initialization failed")
        with failed, quiet_stderr():
            AsyncLLM.from_vllm_config(vllm_config=config)

    def test_works_on_a_thread_with_its_own_loop(self) -> None:
        result: list[Any] = []

        async def drive() -> None:
            engine = AsyncLLM.from_vllm_config(vllm_config=make_config())
            result.append(tokens_of(await collect(engine, prompt(), delta())))
            os.kill(process_of(engine).pid, signal.SIGKILL)
            while not engine.errored:
                await asyncio.sleep(0.005)
            engine.shutdown()

        thread = threading.Thread(target=lambda: asyncio.run(drive()))
        thread.start()
        thread.join(10)
        self.assertEqual(len(result[0]), 4)

    def test_built_without_a_loop_used_in_one(self) -> None:
        engine = AsyncLLM.from_vllm_config(vllm_config=make_config())
        self.addCleanup(engine.shutdown)
        self.assertIsNone(engine.output_handler)
        self.assertEqual(len(tokens_of(asyncio.run(collect(engine, prompt(), delta())))), 4)

    def test_shutdown_from_another_thread(self) -> None:
        async def drive() -> None:
            engine = AsyncLLM.from_vllm_config(vllm_config=make_config())
            await collect(engine, prompt(), delta())
            await asyncio.get_running_loop().run_in_executor(None, engine.shutdown)
            self.assertTrue(engine.errored)

        asyncio.run(drive())


class ControlTest(EngineTest):
    async def test_sleep_wake_reset_and_names(self) -> None:
        engine = self.start()
        self.assertFalse(await engine.is_sleeping())
        await engine.sleep(1)
        self.assertTrue(await engine.is_sleeping())
        await engine.wake_up()
        self.assertFalse(await engine.is_sleeping())
        await self.run_one()
        self.assertTrue(await engine.reset_prefix_cache())
        self.assertEqual((await self.run_one())[0].num_cached_tokens, 0)
        self.assertEqual(await engine.get_weight_version(), "default")
        self.assertEqual(await engine.get_supported_tasks(), ("generate",))
        self.assertEqual(await engine.collective_rpc("check_health"), [None])
        self.assertFalse(await engine.is_tracing_enabled())
        self.assertEqual(
            (await engine.engine_core.call_utility_async("get_kv_cache_group_metadata"))[0]["kind"],
            "full_attention",
        )
        await engine.do_log_stats()
        with self.assertRaises(NotImplementedError):
            await engine.scale_elastic_ep(2)

    async def test_failures_carry_the_engines_text(self) -> None:
        engine = self.start()
        tail = ", please check the stack trace above for the root cause"
        for call, text in (
            (engine.collective_rpc("nosuch"), "Call to collective_rpc method failed: Worker failed "
             "with error ''CPUWorker' object has no attribute 'nosuch''" + tail),
            (engine.list_loras(), "Call to list_loras method failed: Worker failed with error "
             "'LoRA is not enabled. Use --enable-lora to enable LoRA.'" + tail),
        ):
            with self.assertRaises(Exception) as caught:
                await call
            self.assertEqual(str(caught.exception), text)
        with self.assertRaisesRegex(Exception, "Profiling is not enabled"):
            await engine.start_profile()

    async def test_pause_modes(self) -> None:
        engine = self.start()
        for mode, reason in (("abort", "abort"), ("wait", "length"), ("keep", "length")):
            with self.subTest(mode):
                task = asyncio.create_task(collect(engine, prompt(), delta(max_tokens=60)))
                await asyncio.sleep(0.03)
                await engine.pause_generation(mode=mode)
                self.assertTrue(await engine.is_paused())
                self.assertEqual(task.done(), mode != "keep")
                waiting = asyncio.create_task(self.run_one(name="later"))
                await asyncio.sleep(0.03)
                self.assertFalse(waiting.done())
                await engine.resume_generation()
                outputs = await asyncio.wait_for(task, 2)
                self.assertEqual(outputs[-1].outputs[0].finish_reason, reason)
                self.assertEqual(len(tokens_of(await waiting)), 4)


if __name__ == "__main__":
    unittest.main()
