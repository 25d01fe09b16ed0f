"""Requests in vLLM's own form, through the guest."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

from .running import RunningEngineTest
from dynamo_vllm.delivery import Stream

_LIMIT = 60.0
_IDS = [1, 5, 6, 7]


class NativeTest(RunningEngineTest):
    """Requests in vLLM's own form."""

    longest = 128

    def test_tokens_are_those_of_the_usual_form(self) -> None:
        parameters = {"temperature": 0.0, "max_tokens": 9}
        _, usual = self.run_one({"sampling": parameters})
        _, native = self.run_one({"native": {"sampling_params": parameters}, "sampling": {}})
        self.assertEqual(9, len(usual))
        self.assertEqual(usual, native)

    def test_without_a_length_the_context_is_filled(self) -> None:
        _, tokens = self.run_one({"native": {"sampling_params": {"temperature": 0.0, "ignore_eos": True}}, "sampling": {}})
        self.assertEqual(128 - len(_IDS), len(tokens))

    def test_what_vllm_refuses_is_said_in_its_words(self) -> None:
        end, _ = self.run_one({"native": {"sampling_params": {"temperature": -1.0}}, "sampling": {}})
        self.assertEqual(("http", 400), (end["kind"], end["status"]))
        self.assertIn("temperature must be non-negative", end["message"])

    def test_what_a_prefill_worker_left_goes_over_what_the_client_gave(self) -> None:
        fields = {
            "request_id": "r",
            "native": {"sampling_params": {"extra_args": {"a": 1}}, "kv_transfer_params": {"b": 1}, "priority": 3},
            "sampling": {"kv_transfer_params": {"c": 1}},
        }
        _, params, options = self.loop.run_until_complete(self.engine._prepare(Stream(0), fields, array("i", _IDS).tobytes()))
        self.assertEqual(({"a": 1, "kv_transfer_params": {"c": 1}}, 3), (params.extra_args, options["priority"]))

    def run_one(self, fields: dict[str, Any]) -> tuple[Any, list[int]]:
        NativeTest.number += 1
        number = NativeTest.number

        async def run() -> Any:
            self.answers.expect(number)
            self.engine.submit(number, {"request_id": "r", **fields}, array("i", _IDS).tobytes())
            return await asyncio.wait_for(self.answers.ends[number], _LIMIT)

        return self.loop.run_until_complete(run()), self.answers.tokens[number]
