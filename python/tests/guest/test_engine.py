"""Requests on their way into a running engine: the short way and vLLM's own end alike, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any, Awaitable, Callable, Coroutine, cast

from .running import RunningEngineTest
from dynamo_vllm import wire

_LIMIT = 60.0


class EngineTest(RunningEngineTest):
    """Each request both ways."""

    def setUp(self) -> None:
        self.llm = self.engine._llm
        assert self.engine._entry is not None
        self.entry = self.engine._entry

    def tearDown(self) -> None:
        self.engine._entry = self.entry
        self.assertEqual((self.engine._streams, self.llm.output_processor.request_states), ({}, {}))

    def test_an_answer_is_that_of_vllm_s_own_way(self) -> None:
        several: list[dict[str, Any]] = [
            {"temperature": 0, "max_tokens": 9}, {"temperature": 0, "max_tokens": 1},
            {"stop_token_ids": [5], "temperature": 0, "max_tokens": 6},
        ]
        for parameters in several:
            short = self.run_one(parameters)
            self.assertEqual(len(self.entry._templates) > 0, True)
            self.assertEqual(short, self.run_one(parameters, vllm=True))
            self.assertEqual(len(short[1]), parameters["max_tokens"])

    def test_nothing_waits_for_a_task(self) -> None:
        async def run() -> None:
            tasks = len(asyncio.all_tasks())
            stream = self.submit({"max_tokens": 2})
            self.assertEqual(len(asyncio.all_tasks()), tasks)
            self.assertEqual(len(self.llm.output_processor.request_states), 1)
            await self.end(stream)

        self.run_all(run())

    def test_a_full_queue_refuses_in_vllm_s_words(self) -> None:
        self.refused_alike(lambda: setattr(self.llm.scheduler_config, "max_num_queued_reqs", 0))

    def test_bad_parameters_are_refused_in_vllm_s_words(self) -> None:
        several: list[dict[str, Any]] = [{"temperature": -1.0}, {"logprobs": 1000}, {"min_tokens": 9}, {"max_tokens": 0}]
        for parameters in several:
            self.assertEqual(*(self.run_one({"max_tokens": 4, **parameters}, vllm=vllm)[0] for vllm in (False, True)))

    def test_a_bad_prompt_is_refused_in_vllm_s_words(self) -> None:
        several: list[list[int]] = [[], [5] * 512, [-1], [1 << 20]]
        for prompt in several:
            self.assertEqual(*(self.run_one({"max_tokens": 4}, prompt, vllm=vllm)[0] for vllm in (False, True)))

    def test_a_dead_engine_refuses_in_vllm_s_words(self) -> None:
        class Dead(type(self.llm)):  # type: ignore[misc]
            errored = property(lambda llm: True)

        before = type(self.llm)
        self.llm.__class__ = Dead
        try:
            short, own = (self.run_one({"max_tokens": 4}, vllm=vllm)[0] for vllm in (False, True))
        finally:
            self.llm.__class__ = before
        self.assertEqual((short, own["kind"]), (own, "engine_dead"))

    def test_an_abort_right_after_the_submit_ends_the_request(self) -> None:
        async def run() -> None:
            stream = self.submit({"max_tokens": 400, "ignore_eos": True})
            self.engine.abort(stream)
            self.assertEqual(await self.end(stream), wire.FINISH_CODES["abort"])

        self.run_all(run())

    def test_an_abort_while_the_engine_s_socket_is_full_ends_the_request(self) -> None:
        async def run() -> None:
            gate = asyncio.get_running_loop().create_future()
            add = self.llm.engine_core.add_request_async

            async def wait(request: Any) -> None:
                await gate
                await add(request)

            self.llm.engine_core.add_request_async = wait
            try:
                first, second = self.submit({"max_tokens": 400, "ignore_eos": True}), self.submit({"max_tokens": 3, "ignore_eos": True})
                self.engine.abort(first)
                await asyncio.sleep(0)
                gate.set_result(None)
                self.assertEqual(await self.end(first), wire.FINISH_CODES["abort"])
                self.assertEqual(await self.end(second), wire.FINISH_CODES["length"])
            finally:
                self.llm.engine_core.add_request_async = add
            self.assertEqual(len(self.answers.tokens[second]), 3)

        self.run_all(run())

    def test_an_error_of_the_send_ends_the_request_alone(self) -> None:
        async def run(later: bool) -> None:
            add = self.llm.engine_core.add_request_async

            async def fail(request: Any) -> None:
                if later:
                    await asyncio.sleep(0)
                raise ConnectionError("the socket is closed")

            self.llm.engine_core.add_request_async = fail
            try:
                self.assertEqual((await self.end(self.submit({"max_tokens": 4})))["message"], "the socket is closed")
            finally:
                self.llm.engine_core.add_request_async = add
            self.llm.output_processor.request_states.clear()  # vLLM leaves it there, too
            self.assertEqual(await self.end(self.submit({"max_tokens": 2, "ignore_eos": True})), wire.FINISH_CODES["length"])

        for later in (False, True):
            self.run_all(run(later))

    def test_a_request_of_a_paused_engine_runs_when_it_goes_on(self) -> None:
        async def run() -> None:
            await self.engine.call_pause("keep", False)
            stream = self.submit({"max_tokens": 3, "ignore_eos": True})
            await asyncio.sleep(0.2)
            self.assertEqual(self.answers.tokens[stream], [])
            await self.engine.call_resume()
            self.assertEqual(await self.end(stream), wire.FINISH_CODES["length"])

        self.run_all(run())

    def test_many_at_once_with_different_lengths_each_have_theirs(self) -> None:
        async def run() -> None:
            lengths = [1 + number % 7 for number in range(64)]
            streams = [self.submit({"max_tokens": length, "ignore_eos": True}) for length in lengths]
            for stream, length in zip(streams, lengths):
                self.assertEqual(await self.end(stream), wire.FINISH_CODES["length"])
                self.assertEqual(len(self.answers.tokens[stream]), length)

        self.run_all(run())

    def refused_alike(self, close: Callable[[], None]) -> None:
        config = self.llm.scheduler_config
        before = config.max_num_queued_reqs
        self.run_one({"max_tokens": 2})  # its parameters are known
        close()
        try:
            short, own = (self.run_one({"max_tokens": 2}, vllm=vllm)[0] for vllm in (False, True))
        finally:
            config.max_num_queued_reqs = before
        self.assertEqual((short, short["type"]), (own, "QueueOverflowError"))

    def run_one(self, parameters: dict[str, Any], prompt: list[int] | None = None, vllm: bool = False) -> tuple[Any, list[int]]:
        async def run() -> tuple[Any, list[int]]:
            self.engine._entry = None if vllm else self.entry
            stream = self.submit(parameters, prompt)
            return await self.end(stream), self.answers.tokens[stream]

        return cast("tuple[Any, list[int]]", self.run_all(run()))

    def run_all(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, _LIMIT))

    def submit(self, parameters: dict[str, Any], prompt: list[int] | None = None) -> int:
        EngineTest.number += 1
        self.answers.expect(EngineTest.number)
        tokens = array("i", [7, 8, 9] if prompt is None else prompt)
        self.engine.submit(EngineTest.number, {"request_id": "same", "sampling": parameters}, tokens.tobytes())
        return EngineTest.number

    def end(self, stream: int) -> Awaitable[Any]:
        return self.answers.ends[stream]
