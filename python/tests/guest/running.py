"""A running engine of the guest, for the tests of a class."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, ClassVar, cast

from . import ENGINE_ARGUMENTS, MODEL
from .answers import Answers
from dynamo_vllm import arguments
from dynamo_vllm.engine import Engine
from dynamo_vllm.outbox import Outbox

from vllm.v1.engine import async_llm


class RunningEngineTest(unittest.TestCase):
    """One engine for all, since a real one takes its time to start."""

    #: Where its answers go, and what differs from the other classes' engines.
    answers_type: ClassVar[type[Answers]] = Answers
    longest: ClassVar[int] = 512
    options: ClassVar[tuple[str, ...]] = ()
    overrides: ClassVar[dict[str, Any]] = {}

    loop: asyncio.AbstractEventLoop
    answers: Answers
    engine: Engine
    collector: Any
    number = 0

    @classmethod
    def setUpClass(cls) -> None:
        cls.loop = asyncio.new_event_loop()
        cls.answers = cls.answers_type()
        cls.collector = async_llm.RequestOutputCollector
        cls.loop.run_until_complete(cls.start())

    @classmethod
    async def start(cls) -> None:
        options = ["--model", MODEL, "--max-model-len", str(cls.longest), "--enforce-eager", "--max-num-seqs", "8", *ENGINE_ARGUMENTS]
        parsed, _, _ = arguments.parse([*options, *cls.options])
        cls.engine = Engine(cast(Outbox, cls.answers), "raw")
        cls.engine.build(parsed, dict(cls.overrides), {})
        await cls.engine.open()

    @classmethod
    def tearDownClass(cls) -> None:
        async def stop() -> None:
            cls.engine.shutdown(5)

        cls.loop.run_until_complete(stop())
        async_llm.RequestOutputCollector = cls.collector
        cls.loop.close()
