"""A coroutine that is run at once, and goes on in a task."""

from __future__ import annotations

import asyncio
import unittest

from dynamo_vllm import eager


class EagerTest(unittest.IsolatedAsyncioTestCase):
    async def test_what_need_not_wait_is_done_at_once(self) -> None:
        steps = []
        done = asyncio.get_running_loop().create_future()
        done.set_result(1)

        async def work() -> None:
            steps.append(await done)

        self.assertIsNone(eager.start(work()))
        self.assertEqual(steps, [1])

    async def test_what_must_wait_goes_on_in_a_task(self) -> None:
        steps = []
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))

        async def work() -> None:
            steps.append(await first)
            steps.append(await second)
            await asyncio.sleep(0)
            steps.append(3)

        rest = eager.start(work())
        assert rest is not None
        task = asyncio.ensure_future(rest)
        first.set_result(1)
        await asyncio.sleep(0.01)
        self.assertEqual(steps, [1])
        second.set_result(2)
        await task
        self.assertEqual(steps, [1, 2, 3])

    async def test_several_may_wait_for_the_same_future(self) -> None:
        gate: "asyncio.Future[int]" = asyncio.get_running_loop().create_future()
        steps = []

        async def work() -> None:
            steps.append(await gate)

        rests = [eager.start(work()), eager.start(work())]
        other = asyncio.ensure_future(work())
        tasks = [asyncio.ensure_future(rest) for rest in rests if rest is not None]
        await asyncio.sleep(0)
        gate.set_result(1)
        await asyncio.gather(*tasks, other)
        self.assertEqual(steps, [1, 1, 1])

    async def test_errors_come_out_at_once_and_later(self) -> None:
        gate = asyncio.get_running_loop().create_future()

        async def work(wait: bool) -> None:
            if wait:
                await gate
            raise ValueError("no")

        with self.assertRaisesRegex(ValueError, "no"):
            eager.start(work(False))
        rest = eager.start(work(True))
        assert rest is not None
        gate.set_result(None)
        with self.assertRaisesRegex(ValueError, "no"):
            await rest

    async def test_an_error_of_what_is_awaited_and_a_cancellation_reach_the_coroutine(self) -> None:
        seen = []

        async def work(gate: "asyncio.Future[None]") -> None:
            try:
                await gate
            except BaseException as error:
                seen.append(type(error))
                raise

        for kind in (OSError, asyncio.CancelledError):
            gate: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
            rest = eager.start(work(gate))
            assert rest is not None
            task = asyncio.ensure_future(rest)
            await asyncio.sleep(0)
            if kind is OSError:
                gate.set_exception(OSError())
            else:
                task.cancel()
            with self.assertRaises(kind):
                await task
        self.assertEqual(seen, [OSError, asyncio.CancelledError])
