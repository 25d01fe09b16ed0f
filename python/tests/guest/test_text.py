"""Text requests through the guest, beside what vLLM gives for the same prompts."""

from __future__ import annotations

import asyncio
import json
import struct
import unittest
from array import array
from typing import Any, AsyncIterator, Coroutine, cast

from .answers import Answers
from .running import RunningEngineTest
from dynamo_vllm import prompts, wire

from vllm.sampling_params import RequestOutputKind, SamplingParams

_LIMIT = 60.0
_HI = [{"role": "user", "content": "hi \u00e9\u6f22"}]


class TextAnswers(Answers):
    """With the texts of each stream, which stand at the end of a record."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[int, str] = {}
        #: Token ids of the prompts that were named.
        self.prompts: list[list[int]] = []

    def expect(self, stream: int) -> None:
        super().expect(stream)
        self.texts[stream] = ""

    def add(self, record: bytes) -> None:
        if record[0] == wire.KIND_TOKENS and record[1] & wire.FLAG_TEXT:
            (stream,) = struct.unpack_from("<Q", record, 8)
            (count,) = struct.unpack_from("<I", record, 24)
            position = 28 + 4 * count
            if record[1] & wire.FLAG_EXTRAS:
                (length,) = struct.unpack_from("<I", record, position)
                extras = json.loads(record[position + 4 : position + 4 + length])
                self.prompts += [extras["prompt_token_ids"]] if "prompt_token_ids" in extras else []
                position += 4 + length
            (length,) = struct.unpack_from("<I", record, position)
            assert position + 4 + length == len(record), "bytes that belong to nothing"
            self.texts[stream] += record[position + 4 :].decode()
        super().add(record)


class TextTest(RunningEngineTest):
    """Prompts as text, answers as text."""

    answers_type = TextAnswers

    answers: TextAnswers

    def test_texts_are_those_of_vllm(self) -> None:
        several: dict[str, Any] = {"max_tokens": 12, "n": 2, "temperature": 1.0, "seed": 1}
        cases: list[dict[str, Any]] = [{}, {"max_tokens": 40}, {"max_tokens": 40, "stop": ["e", "zz"]}, several]
        for sampling in cases:
            text = {"messages": _HI, "length": 50, "variables": [{"tokenize": True}, {"unused": 1}]}
            ours = self.run_one({"sampling": {"temperature": 0.0, **sampling}, "text": text})
            prompt = self.engine._llm.get_tokenizer().apply_chat_template(_HI, tokenize=False, add_generation_prompt=True)
            parameters: dict[str, Any] = {"temperature": 0.0, **sampling}
            self.assertEqual(ours, self.run_vllm(prompt, SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **parameters)))

    def test_a_prompt_is_text_or_token_ids(self) -> None:
        tokens = self.engine._llm.get_tokenizer().encode("hello")
        sampling = {"temperature": 0.0, "max_tokens": 8}
        ours = self.run_one({"sampling": sampling, "text": {"prompt": "hello"}})
        self.assertNotEqual("", ours)
        self.assertEqual(ours, self.run_one({"sampling": sampling, "text": {}}, array("i", tokens).tobytes()))

    def test_the_tokens_of_a_prompt_are_named_once_where_they_are_asked_for(self) -> None:
        tokens = self.engine._llm.get_tokenizer().encode("hello there")
        self.assertGreater(len(tokens), 2)
        sampling = {"temperature": 0.0, "max_tokens": 4}
        self.answers.prompts.clear()
        self.run_one({"sampling": sampling, "text": {"prompt": "hello there"}})
        self.run_one({"sampling": sampling, "text": {"prompt": "hello there", "names_tokens": True}})
        self.run_one({"sampling": sampling, "text": {"prompt": "hello there", "names_tokens": True, "tokens_max": 2}})
        self.assertEqual([tokens, 2], [self.answers.prompts[0], len(self.answers.prompts[1])])

    def test_special_tokens_are_shown_where_they_are_asked_for(self) -> None:
        end = self.engine._llm.get_tokenizer().eos_token_id
        blob = array("i", [5, 6]).tobytes()
        sampling = {"max_tokens": 2, "allowed_token_ids": [end], "ignore_eos": True}
        self.assertEqual("", self.run_one({"sampling": sampling, "text": {}}, blob))
        self.assertNotEqual("", self.run_one({"sampling": {**sampling, "skip_special_tokens": False}, "text": {}}, blob))

    def test_requests_without_text_have_none(self) -> None:
        self.assertEqual("", self.run_one({"sampling": {"max_tokens": 4}}, array("i", [1, 5]).tobytes()))

    def test_long_messages_are_filled_in_beside_the_loop(self) -> None:
        text = {"messages": _HI, "length": 1 << 20, "variables": []}
        tokenizer = self.engine._llm.get_tokenizer()
        filled = self.loop.run_until_complete(prompts.render(tokenizer, text))
        self.assertEqual(tokenizer.apply_chat_template(_HI, tokenize=False, add_generation_prompt=True), filled)

    def run_one(self, fields: dict[str, Any], blob: bytes = b"") -> str:
        """The text of a stream; the pieces of several choices come in any order, so of them the characters."""
        TextTest.number += 1
        number = TextTest.number

        async def run() -> str:
            self.answers.expect(number)
            self.engine.submit(number, {"request_id": "r", **fields}, blob)
            end = await asyncio.wait_for(self.answers.ends[number], _LIMIT)
            self.assertIsInstance(end, int, end)
            return self.answers.texts[number]

        return _told(self.loop.run_until_complete(run()), fields["sampling"].get("n", 1))

    def run_vllm(self, prompt: str, params: SamplingParams) -> str:
        async def run() -> str:
            texts = ""
            async for output in cast(AsyncIterator[Any], self.engine._llm.generate({"prompt": prompt}, params, "theirs")):
                texts = "".join(choice.text for choice in output.outputs)
            return texts

        work: Coroutine[Any, Any, str] = run()
        return _told(self.loop.run_until_complete(asyncio.wait_for(work, _LIMIT)), params.n)


def _told(text: str, choices: int) -> str:
    return text if choices == 1 else "".join(sorted(text))


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


class ReasoningTest(unittest.TestCase):
    """What assistants thought, for templates that know nothing of it."""

    def test_thoughts_are_put_before_what_was_said(self) -> None:
        cases: list[tuple[dict[str, Any], Any]] = [
            ({"content": "a", "reasoning_content": "b"}, "<think>b</think>a"),
            ({"content": None, "reasoning_content": ["b", "", "c"]}, "<think>b</think><think>c</think>"),
            ({"reasoning_content": "b"}, "<think>b</think>"),
            ({"content": [_part("a")], "reasoning_content": "b"}, [_part("<think>b</think>"), _part("a")]),
        ]
        for message, content in cases:
            given = {"role": "assistant", **message}
            folded = prompts.fold_reasoning(given)
            self.assertEqual({"role": "assistant", "content": content}, folded)
            self.assertIn("reasoning_content", given)

    def test_other_messages_stay_as_they_are(self) -> None:
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "a", "reasoning_content": "b"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "a", "reasoning_content": [""]},
            {"role": "assistant", "content": "a", "reasoning_content": 5},
        ]
        for message in messages:
            self.assertIs(message, prompts.fold_reasoning(message))
