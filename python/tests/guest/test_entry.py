"""The short way in sends what vLLM itself would send, or nothing."""

from __future__ import annotations

import dataclasses
import unittest
from array import array
from types import SimpleNamespace
from typing import Any, cast

from . import MODEL, REAL
from dynamo_vllm import entry, sampling
from dynamo_vllm.delivery import Delivery, Stream
from dynamo_vllm.outbox import Outbox

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.input_processor import InputProcessor

DEFAULTS: dict[str, Any] = {"temperature": 0.6, "top_p": 0.95}

#: All that the host may send for a usual request; `max_tokens` is added to each.
USUAL: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05},
    {"n": 1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.1},
    {"ignore_eos": True, "min_tokens": 3},
    {"stop_token_ids": [7, 8, 9, 8]},
    {"stop_token_ids": [2], "ignore_eos": True},
    {"include_stop_str_in_output": True, "skip_reading_prefix_cache": True},
    {"logprobs": 3},
    {"logprobs": 0, "temperature": 0},
    {"allowed_token_ids": [10, 11, 12]},
    {"logprob_token_ids": [10, 11]},
    {"temperature": 0.0001},
]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"cache_salt": "s"},
    {"priority": -3, "session_id": "agent"},
    {"trace_headers": {"traceparent": "00-1-2-01"}},
    {"data_parallel_rank": 0},
]


class EntryTest(unittest.TestCase):
    processor: Any
    llm: Any
    #: What vLLM's own method was called with.
    last: tuple[Any, ...]

    @classmethod
    def setUpClass(cls) -> None:
        config = AsyncEngineArgs(model=MODEL, max_model_len=512, enforce_eager=True).create_engine_config()
        cls.processor = InputProcessor(config)
        cls.llm = SimpleNamespace(
            input_processor=cls.processor, model_config=config.model_config, errored=False, output_handler=object(), _add_request=cls.added
        )

    @staticmethod
    async def added(*arguments: Any) -> None:
        EntryTest.last = arguments

    def setUp(self) -> None:
        self.records: list[bytes] = []
        self.ended: list[Stream] = []
        self.delivery = Delivery(cast(Outbox, SimpleNamespace(add=self.records.append)), self.ended.append)
        opened = entry.open_for(self.llm, ("generate",), lambda fields: sampling.build(DEFAULTS, fields), self.delivery)
        assert not isinstance(opened, str), opened
        self.entry = opened

    def test_a_request_equals_vllm_s_own_in_every_field(self) -> None:
        for parameters in USUAL:
            for options in OPTIONS:
                # The first makes the template, the second has its length, the others do not.
                for length, prompt in ((20, [5, 6]), (20, [7] * 40), (4, [9]), (300, list(range(10, 60)))):
                    with self.subTest(parameters=parameters, options=options, length=length):
                        fields = {"request_id": "r", "sampling": {**parameters, "max_tokens": length}, **options}
                        found = self.entry.request(fields, blob(prompt))
                        assert found is not None
                        self.assert_equal(self.by_vllm(fields, prompt), found[0])

    def test_a_request_is_plain_if_it_wants_nothing_but_tokens(self) -> None:
        several: list[tuple[dict[str, Any], bool]] = [({}, True), ({"logprobs": 1}, False), ({"stop_token_ids": [5]}, True)]
        for parameters, plain in several:
            found = self.entry.request({"request_id": "r", "sampling": {**parameters, "max_tokens": 5}}, blob([5]))
            assert found is not None
            self.assertEqual(found[1], plain)

    def test_what_is_rare_goes_the_long_way(self) -> None:
        rare: list[dict[str, Any]] = [
            {"seed": 1}, {"n": 2}, {"structured_outputs": {"choice": ["a"]}}, {"kv_transfer_params": {}}, {"bad_words_token_ids": [[5]]},
            {"logit_bias": {"5": 1.0}}, {"prompt_logprobs": 1}, {"routed_experts_prompt_start": 1}, {"max_tokens": 0}, {"max_tokens": None},
            {"thinking_token_budget": 5}, {"field_of_tomorrow": 1}, {"stop_token_ids": list(range(1000))},
        ]
        for parameters in rare:
            with self.subTest(parameters=parameters):
                self.assertIsNone(self.entry.request({"request_id": "r", "sampling": {"max_tokens": 5, **parameters}}, blob([5])))
        self.assertIsNone(self.entry.request({"request_id": "r", "sampling": {}}, blob([5])))
        for option in ("lora", "prompt_embeds", "reasoning_ended", "reasoning_parser_kwargs", "field_of_tomorrow"):
            fields: dict[str, Any] = {"request_id": "r", "sampling": {"max_tokens": 5}, option: "x"}
            self.assertIsNone(self.entry.request(fields, blob([5])))
        self.assertEqual(self.entry._templates, {})

    def test_a_length_that_vllm_refuses_is_left_to_it(self) -> None:
        fields: dict[str, Any] = {"request_id": "r", "sampling": {"min_tokens": 6, "max_tokens": 8}}
        self.assertIsNotNone(self.entry.request(fields, blob([5])))
        for length in (5, 0, -1):
            fields["sampling"]["max_tokens"] = length
            self.assertIsNone(self.entry.request(fields, blob([5])))
            with self.assertRaisesRegex(Exception, "max_tokens"):
                self.by_vllm(fields, [5])

    def test_nothing_of_a_request_is_seen_in_another(self) -> None:
        first = {
            "request_id": "a", "sampling": {"max_tokens": 5}, "cache_salt": "s", "priority": 1,
            "trace_headers": {"a": "b"}, "session_id": "c",
        }
        self.entry.request(first, blob([5, 6, 7]))
        for template in self.entry._templates.values():
            self.assertIsNone(template.request.prompt_token_ids)
        others: list[dict[str, Any]] = [{"request_id": name, "sampling": {"max_tokens": length}} for name, length in (("b", 7), ("c", 9))]
        for other, pair in zip(others, [self.entry.request(other, blob([8])) for other in others]):
            assert pair is not None
            self.assert_equal(self.by_vllm(other, [8]), pair[0])

    def test_a_prompt_that_vllm_refuses_is_left_to_it(self) -> None:
        several: list[list[int]] = [[], [5] * 512, [5, -1], [5, 1 << 20]]
        for prompt in several:
            fields = {"request_id": "r", "sampling": {"max_tokens": 5}}
            self.assertIsNone(self.entry.request(fields, blob(prompt)))
            with self.assertRaises(Exception):
                self.by_vllm(fields, prompt)

    def test_refused_parameters_are_refused_each_time_in_vllm_s_words(self) -> None:
        several: list[dict[str, Any]] = [
            {"temperature": -1}, {"logprobs": 1000}, {"stop_token_ids": [-4]}, {"top_p": 2}, {"allowed_token_ids": [99999]},
            {"min_tokens": 6},
        ]
        for parameters in several:
            fields = {"request_id": "r", "sampling": {**parameters, "max_tokens": 5}}
            with self.subTest(parameters=parameters):
                try:
                    self.by_vllm(fields, [5])
                except Exception as error:  # noqa: BLE001 - compared below
                    expected = (type(error), str(error))
                else:
                    self.skipTest("accepted")
                for _ in range(2):
                    with self.assertRaises(expected[0]) as refusal:
                        self.entry.request(fields, blob([5]))
                    self.assertEqual(str(refusal.exception), expected[1])

    def test_templates_are_bounded(self) -> None:
        for value in range(2 * entry._TEMPLATES + 5):
            self.entry.request({"request_id": "r", "sampling": {"temperature": 0.5 + value / 1000, "max_tokens": 5}}, blob([5]))
            self.assertLessEqual(len(self.entry._templates), entry._TEMPLATES)

    def test_ids_are_unique_and_vllm_finds_the_given_one(self) -> None:
        seen = set()
        for number in (1, 2, 0xABCDEF0123):
            found = self.entry.request({"request_id": "same", "sampling": {"max_tokens": 5}}, blob([5]))
            assert found is not None
            self.assertIsNone(self.entry.add(Stream(number), found[0]))
            request, prompt, parent, index, queue = EntryTest.last
            self.assertEqual((request.external_req_id, prompt, parent, index), ("same", None, None, 0))
            self.assertEqual(queue.request_id, request.request_id)
            self.assertIsNone(queue.plain_stream)
            seen.add(request.request_id)
        self.assertEqual(len(seen), 3)

    def test_what_vllm_puts_into_the_queue_reaches_the_stream(self) -> None:
        stream = Stream(7)
        stream.is_plain = True
        found = self.entry.request({"request_id": "r", "sampling": {"max_tokens": 5}}, blob([5]))
        assert found is not None
        self.entry.add(stream, found[0])
        queue = EntryTest.last[-1]
        self.assertIs(queue.plain_stream, stream)
        self.assertEqual(stream.internal_id, found[0].request_id)
        queue.put(RuntimeError("the engine is gone"))
        self.assertEqual((self.ended, stream.done, len(self.records)), ([stream], True, 1))
        self.assertIn(b"the engine is gone", self.records[0])

    def test_logits_processors_of_the_deployment_see_every_request(self) -> None:
        model = self.llm.model_config
        before = getattr(model, "logits_processors", None)
        model.logits_processors = ["some.module:Processor"]
        try:
            self.assertIn("logits processors", str(entry.open_for(self.llm, (), lambda fields: None, self.delivery)))
        finally:
            model.logits_processors = before

    def test_another_release_is_not_guessed_at(self) -> None:
        import vllm

        release, vllm.__version__ = vllm.__version__, "0.32.0"
        try:
            self.assertIn("0.32.0", str(entry.open_for(self.llm, (), lambda fields: None, self.delivery)))
        finally:
            vllm.__version__ = release

    def by_vllm(self, fields: dict[str, Any], prompt: list[int]) -> Any:
        """As `AsyncLLM.add_request` does with what the long way hands it."""
        tokens: dict[str, Any] = {"type": "token", "prompt_token_ids": prompt}
        if "cache_salt" in fields:
            tokens["cache_salt"] = fields["cache_salt"]
        options = {name: fields[name] for name in ("priority", "session_id", "trace_headers", "data_parallel_rank") if name in fields}
        params = sampling.build(DEFAULTS, fields["sampling"])
        return self.processor.process_inputs(fields["request_id"], tokens, params, supported_tasks=("generate",), **options)

    def assert_equal(self, expected: Any, actual: Any) -> None:
        actual.arrival_time = expected.arrival_time
        names = getattr(EngineCoreRequest, "__struct_fields__", None) or [field.name for field in dataclasses.fields(EngineCoreRequest)]
        for name in names:
            if name != "sampling_params":
                self.assertEqual(getattr(expected, name), getattr(actual, name), name)
        self.assertEqual(values(expected.sampling_params), values(actual.sampling_params))
        if REAL:
            from vllm.v1.serial_utils import MsgpackEncoder

            self.assertEqual(MsgpackEncoder().encode(expected), MsgpackEncoder().encode(actual))


def values(params: Any) -> dict[str, Any]:
    names = getattr(params, "__struct_fields__", None) or vars(params)
    return {name: getattr(params, name) for name in names}


def blob(prompt: list[int]) -> bytes:
    return array("i", prompt).tobytes()
