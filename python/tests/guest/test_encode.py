"""Prompts into vectors through the guest, beside what vLLM gives for the same prompts."""

from __future__ import annotations

import asyncio
import math
from array import array
from typing import Any, AsyncIterator, Coroutine

from . import REAL
from .running import RunningEngineTest

from vllm.pooling_params import PoolingParams

_LIMIT = 60.0
_LONGEST = 512


class EncodeTest(RunningEngineTest):
    """Prompts into vectors."""

    longest = _LONGEST
    options = ("--runner", "pooling", "--convert", "embed")
    overrides = {"enable_prefix_caching": False}

    def setUp(self) -> None:
        self.llm = self.engine._llm

    def tearDown(self) -> None:
        assert self.engine._encoder is not None
        self.run_all(asyncio.sleep(0))  # a task that has ended is forgotten in the next turn
        self.assertEqual((self.engine._encoder._requests, self.llm.output_processor.request_states), ({}, {}))

    def test_the_engine_says_what_it_can_do(self) -> None:
        self.assertIn("embed", self.run_all(self.engine.describe())["tasks"])

    def test_texts_give_the_vectors_that_vllm_gives_for_them_in_their_order(self) -> None:
        texts = ["hello", "a b c", "", "hello"]
        tokens, vectors = self.encode(texts=texts)
        expected = [self.own(text) for text in texts]
        self.assertEqual(tokens, sum(len(output.prompt_token_ids) for output in expected))
        for vector, output in zip(vectors, expected):
            self.assert_close(vector, output)

    def test_tokens_give_the_vectors_that_vllm_gives_for_them_in_their_order(self) -> None:
        prompts = [[1, 5, 6], [1], [7] * _LONGEST]
        tokens, vectors = self.encode(prompts=prompts)
        self.assertEqual(tokens, 4 + _LONGEST)
        for vector, prompt in zip(vectors, prompts):
            self.assert_close(vector, self.own({"prompt_token_ids": prompt}))

    def test_a_vector_has_the_length_one(self) -> None:
        for vector in self.encode(texts=["hello", "a b c"])[1]:
            self.assertAlmostEqual(math.fsum(value * value for value in vector), 1.0, places=5)

    def test_a_text_is_cut_where_the_caller_says(self) -> None:
        for length, tokens in ((2, 2), (-1, _LONGEST)):
            self.assertEqual(self.encode(texts=["hello " * 600], tokenization={"truncate_prompt_tokens": length})[0], tokens)

    def test_special_tokens_are_left_out_where_the_caller_says(self) -> None:
        with_them, without = (self.encode(texts=["hello"], tokenization={"add_special_tokens": value})[0] for value in (True, False))
        self.assertEqual(with_them, without + 1)

    def test_what_vllm_refuses_is_refused_in_its_words(self) -> None:
        several: list[tuple[dict[str, Any], str]] = [
            ({"prompts": [[]]}, "The decoder prompt cannot be empty"),
            ({"prompts": [[1], [99999]]}, "Token id 99999 is out of vocabulary"),
            ({"prompts": [[1] * (_LONGEST + 1)]}, f"This model's maximum context length is {_LONGEST} tokens"),
            ({"texts": ["a "], "tokenization": {"truncate_prompt_tokens": 5000}}, "truncate_prompt_tokens=5000 cannot be greater than"),
            ({"texts": ["a"], "dimensions": 16}, "does not support Matryoshka embeddings; dimensions must be unset"),
        ]
        for request, text in several:
            failure = self.encode(**request)
            self.assertEqual((failure["kind"], failure["status"]), ("http", 400))
            self.assertIn(text, failure["message"])

    def test_one_that_fails_takes_the_others_out_of_the_engine(self) -> None:
        async def run() -> None:
            stop = self.hold_the_engine()
            try:
                request = self.submit(prompts=[[5, 6], [7, 8], []])
                self.assertEqual((await self.answers.ends[request])["message"], "The decoder prompt cannot be empty")
                self.assertEqual(self.llm.output_processor.request_states, {})
            finally:
                await stop()

        self.run_all(run())

    def test_an_abort_takes_all_of_a_request_out_of_the_engine_and_nothing_else(self) -> None:
        async def run() -> None:
            stop = self.hold_the_engine()
            try:
                first, second = self.submit(prompts=[[5, 6], [7, 8]]), self.submit(prompts=[[9]])
                while len(self.llm.output_processor.request_states) < 3:
                    await asyncio.sleep(0.01)
                self.engine.abort(first)
                self.engine.abort(first + 1000)
                self.assertEqual((await self.answers.ends[first])["type"], "CancelledError")
                self.assertEqual(len(self.llm.output_processor.request_states), 1)
            finally:
                await stop()
            self.assertEqual((await self.answers.ends[second])[0], 1)

        self.run_all(run())

    def test_an_abort_right_after_the_submit_ends_the_request(self) -> None:
        async def run() -> None:
            request = self.submit(texts=["hello"])
            self.engine.abort(request)
            self.assertEqual((await self.answers.ends[request])["type"], "CancelledError")

        self.run_all(run())

    def test_a_vector_that_the_engine_took_back_is_no_answer(self) -> None:
        async def run() -> None:
            stop = self.hold_the_engine()
            try:
                request = self.submit(prompts=[[5, 6]])
                while not self.llm.output_processor.request_states:
                    await asyncio.sleep(0.01)
                await self.llm.abort(list(self.llm.output_processor.request_states), internal=True)
                self.assertIn("gave no vector", (await self.answers.ends[request])["message"])
            finally:
                await stop()

        self.run_all(run())

    def test_many_at_once_each_have_theirs(self) -> None:
        async def run() -> None:
            requests = [self.submit(prompts=[[7 + number, 9]]) for number in range(64)]
            for number, request in enumerate(requests):
                tokens, (vector,) = await self.answers.ends[request]
                self.assertEqual(tokens, 2)
                self.assert_close(vector, await self.encode_own({"prompt_token_ids": [7 + number, 9]}))

        self.run_all(run())

    def test_a_type_of_floats_that_is_not_ours_becomes_ours(self) -> None:
        if not REAL:
            self.skipTest("torch comes with the real engine")
        import torch
        from dynamo_vllm.encode import _float32

        for data in (torch.tensor([0.5, -2.0], dtype=torch.bfloat16), torch.tensor([[0.5, -2.0]]), [[0.5, -2.0]], [0.5, -2.0]):
            self.assertEqual(array("f", _float32(data)), array("f", [0.5, -2.0]))

    def hold_the_engine(self) -> Any:
        """Requests reach it and are not computed, until what this returns is awaited."""
        sent: list[Any] = []
        add = self.llm.engine_core.add_request_async

        async def keep(request: Any) -> None:
            sent.append(request)

        self.llm.engine_core.add_request_async = keep

        async def release() -> None:
            self.llm.engine_core.add_request_async = add
            for request in sent:
                if self.llm.output_processor.request_states.get(request.request_id) is not None:
                    await add(request)

        return release

    def own(self, prompt: Any) -> Any:
        return self.run_all(self.encode_own(prompt))

    async def encode_own(self, prompt: Any) -> Any:
        outputs: AsyncIterator[Any] = self.llm.encode(prompt, PoolingParams(task="embed"), "own")
        return [output async for output in outputs][-1]

    def assert_close(self, vector: array[float], output: Any) -> None:
        data = output.outputs.data
        expected = data.tolist() if hasattr(data, "tolist") else data
        self.assertEqual(len(vector), len(expected))
        for value, wanted in zip(vector, expected):
            self.assertAlmostEqual(value, wanted, places=4)

    def encode(self, **request: Any) -> Any:
        async def run() -> Any:
            return await self.answers.ends[self.submit(**request)]

        return self.run_all(run())

    def run_all(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, _LIMIT))

    def submit(self, prompts: list[list[int]] | None = None, **fields: Any) -> int:
        EncodeTest.number += 1
        self.answers.expect(EncodeTest.number)
        blob = array("i")
        if prompts is not None:
            fields["lengths"] = [len(prompt) for prompt in prompts]
            blob.extend(token for prompt in prompts for token in prompt)
        self.engine.encode(EncodeTest.number, {"request_id": "same", **fields}, blob.tobytes())
        return EncodeTest.number
