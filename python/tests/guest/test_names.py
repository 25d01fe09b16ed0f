"""An engine that is not what the guest expects is refused, or what can be done without is done without, in one line each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import unittest
from array import array
from types import SimpleNamespace
from typing import Any, Iterator, cast

from . import MODEL, REAL
from .answers import Answers
from dynamo_vllm import arguments, entry, names, raw, sampling, statistics
from dynamo_vllm.delivery import Delivery
from dynamo_vllm.engine import Engine
from dynamo_vllm.outbox import Outbox

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import async_llm
from vllm.v1.engine.output_processor import OutputProcessor

VERSION = str(vllm.__version__)
TABLES = (names.PARSER, names.REQUIRED, names.COLLECTOR, names.RAW, names.ENTRY, names.FEATURES)


@contextlib.contextmanager
def without(owner: Any, name: str) -> Iterator[None]:
    """The name is gone from a module or class meanwhile."""
    owner = next(cls for cls in getattr(owner, "__mro__", (owner,)) if name in vars(cls))
    value = vars(owner)[name]
    delattr(owner, name)
    try:
        yield
    finally:
        setattr(owner, name, value)


@contextlib.contextmanager
def instead(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Something else is there meanwhile."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


async def one_answer() -> int:
    """Tokens of one request to a new engine."""
    answers = Answers()
    collector = async_llm.RequestOutputCollector
    parsed, _, _ = arguments.parse(["--model", MODEL])
    engine = Engine(cast(Outbox, answers), "raw")
    engine.build(parsed, {}, {})
    try:
        await engine.open()
        answers.expect(1)
        engine.submit(1, {"request_id": "r", "sampling": {"max_tokens": 3, "ignore_eos": True}}, array("i", [5, 6]).tobytes())
        await asyncio.wait_for(answers.ends[1], 30)
        return len(answers.tokens[1])
    finally:
        engine.shutdown(1)
        async_llm.RequestOutputCollector = collector


class NamesTest(unittest.TestCase):
    def test_all_are_there(self) -> None:
        for table in TABLES:
            self.assertEqual(names.missing(table), [])
        names.check_parser()
        with self.assertNoLogs("dynamo_vllm"):
            names.check("raw")

    def test_a_class_that_is_gone_is_refused_by_name_and_version(self) -> None:
        with without(async_llm, "RequestOutputCollector"):
            self.refused("raw", "vllm.v1.engine.async_llm.RequestOutputCollector")
            self.refused("collector", "vllm.v1.engine.async_llm.RequestOutputCollector")
            names.check("stock")  # puts nothing in its place

    def test_all_that_is_missing_is_in_one_line(self) -> None:
        with without(async_llm.AsyncLLM, "add_request"), without(async_llm.AsyncLLM, "abort"):
            self.refused("raw", "vllm.v1.engine.async_llm.AsyncLLM.add_request, vllm.v1.engine.async_llm.AsyncLLM.abort")

    def test_a_parameter_that_is_gone_is_refused(self) -> None:
        async def abort(self: Any, request_id: str) -> None: ...

        with instead(async_llm.AsyncLLM, "abort", abort):
            self.refused("raw", "vllm.v1.engine.async_llm.AsyncLLM.abort(internal)")

    def test_a_collector_that_is_no_longer_looked_up_is_refused(self) -> None:
        async def add_request(self: Any, **options: Any) -> None: ...

        with instead(async_llm.AsyncLLM, "add_request", add_request):
            self.refused("raw", "AsyncLLM.add_request with RequestOutputCollector in it")

    def test_a_field_that_is_gone_is_refused(self) -> None:
        self.assertEqual(names._lacking(SamplingParams, "min_p"), [])
        self.assertEqual(names._lacking(SamplingParams, "min_q"), ["min_q"])
        self.assertEqual(names._lacking(RequestOutput, "finished"), [])
        self.assertEqual(names._lacking(RequestOutput, "is_finished"), ["is_finished"])

    def test_a_module_that_is_gone_is_named(self) -> None:
        self.assertEqual(names.missing({"vllm.no.such": ("a",), "vllm.outputs:Nothing": ("b",)}), ["vllm.no.such", "vllm.outputs.Nothing"])

    def test_the_parser_is_looked_at_before_it_is_used(self) -> None:
        with without(AsyncEngineArgs, "from_cli_args"):
            with self.assertRaisesRegex(names.UnsupportedEngineError, "AsyncEngineArgs.from_cli_args"):
                names.check_parser()

    def test_a_control_call_that_is_gone_is_said_and_the_rest_works(self) -> None:
        with without(async_llm.AsyncLLM, "start_profile"), self.assertLogs("dynamo_vllm", "WARNING") as said:
            names.check("raw")
        self.assertEqual(len(said.output), 1)
        self.assertIn(f"vLLM {VERSION} lacks vllm.v1.engine.async_llm.AsyncLLM.start_profile: ", said.output[0])

    def test_another_release_is_said_once(self) -> None:
        for version in ("0.32.0", "0.3.1", "1.0", "0.310"):
            with self.subTest(version), instead(vllm, "__version__", version), self.assertLogs("dynamo_vllm", "WARNING") as said:
                names.check("raw")
            self.assertEqual(len(said.output), 1)
            self.assertIn(f"vLLM {version} is not the release that this worker is run with (0.31)", said.output[0])
        for version in ("0.31", "0.31.0", "0.31.1rc2", "0.31.0+simulated"):
            self.assertTrue(names.is_tested(version))

    def test_without_a_name_of_the_raw_drive_the_reason_is_given(self) -> None:
        llm: Any = SimpleNamespace(output_processor=object())
        with without(OutputProcessor, "process_outputs"):
            reason = raw.install(llm, cast(Outbox, None), statistics.Origin())
        self.assertIn("vllm.v1.engine.output_processor.OutputProcessor.process_outputs", str(reason))

    def test_without_a_name_of_the_short_way_in_the_reason_is_given(self) -> None:
        with without(async_llm.AsyncLLM, "_add_request"):
            reason = entry.open_for(SimpleNamespace(), (), lambda fields: None, cast(Delivery, None))
        self.assertEqual(reason, "it lacks vllm.v1.engine.async_llm.AsyncLLM._add_request")

    def test_a_plugin_that_wraps_what_is_passed_over_sees_every_request(self) -> None:
        usual = async_llm.AsyncLLM.add_request

        @functools.wraps(usual)
        async def traced(*arguments: Any, **options: Any) -> Any:
            return await usual(*arguments, **options)

        with instead(async_llm.AsyncLLM, "add_request", traced):
            names.check("raw")
            reason = entry.open_for(SimpleNamespace(), (), lambda fields: None, cast(Delivery, None))
        self.assertEqual(reason, f"AsyncLLM.add_request has been replaced by one in {__file__}")

    def test_a_parameter_that_vllm_does_not_know_is_refused_not_dropped(self) -> None:
        with self.assertRaisesRegex(ValueError, "no sampling parameter 'field_of_tomorrow'"):
            sampling.build({}, {"max_tokens": 4, "field_of_tomorrow": 1})

    @unittest.skipIf(REAL, "an engine of its own, which the simulated one is enough for")
    def test_an_engine_without_the_short_ways_is_served_on_the_long_ones(self) -> None:
        usual_add, usual_loop = async_llm.AsyncLLM._add_request, async_llm.AsyncLLM._run_output_handler

        async def add(self: Any, renamed: Any, *rest: Any) -> None:
            await usual_add(self, renamed, *rest)

        def loop(self: Any) -> None:
            usual_loop(self)

        for name, changed, said in (
            ("_add_request", add, "every request goes vLLM's own way into the engine: it lacks"),
            ("_run_output_handler", loop, "the collector drive is used instead of the raw one: it lacks"),
        ):
            with instead(async_llm.AsyncLLM, name, changed), self.assertLogs("dynamo_vllm", "WARNING") as lines:
                self.assertEqual(asyncio.run(one_answer()), 3)
            self.assertEqual(len(lines.output), 1, lines.output)
            self.assertIn(f"{said} vllm.v1.engine.async_llm.AsyncLLM.{name}", lines.output[0])

    def refused(self, drive: str, what: str) -> None:
        with self.assertRaises(names.UnsupportedEngineError) as refusal:
            names.check(drive)
        text = str(refusal.exception)
        self.assertIn(what, text)
        self.assertIn(f"vLLM {VERSION} cannot be served", text)
        self.assertNotIn("\n", text)
