"""Requests through AsyncLLM and a real child process."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import pathlib
import re
import shutil
import tempfile
import unittest
from typing import Any

from . import ROOT, SIMULATED
from .support import EngineTest, collect, delta, make_config, prompt, quiet_stderr, tokens_of
from .test_fidelity import load

from vllm.exceptions import QueueOverflowError, VLLMValidationError
from vllm.lora.request import LoRARequest
from vllm.renderers.embed_utils import safe_load_prompt_embeds
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine import async_llm
from vllm.v1.engine.exceptions import EngineGenerateError


class OutputTest(EngineTest):
    async def test_plain_deltas_end_with_length_in_the_last_token(self) -> None:
        self.start()
        outputs = await self.run_one(name="r-1")
        self.assertEqual([len(o.outputs[0].token_ids) for o in outputs], [1, 1, 1, 1])
        self.assertEqual([o.finished for o in outputs], [False, False, False, True])
        last = outputs[-1].outputs[0]
        self.assertEqual((last.finish_reason, last.stop_reason), ("length", None))
        self.assertEqual(outputs[0].request_id, "r-1")
        self.assertEqual(outputs[0].prompt_token_ids, prompt()["prompt_token_ids"])
        self.assertEqual((last.text, last.logprobs), ("", None))

    async def test_same_prompt_same_tokens_and_a_prefix_hit(self) -> None:
        self.start()
        first, second = await self.run_one(), await self.run_one()
        self.assertEqual(tokens_of(first), tokens_of(second))
        self.assertEqual({o.num_cached_tokens for o in first}, {0})
        self.assertEqual({o.num_cached_tokens for o in second}, {32})
        self.assertEqual(first[0].num_cache_creation_tokens, 32)

    async def test_continued_elsewhere_the_answer_goes_on_the_same(self) -> None:
        self.start()
        whole = tokens_of(await self.run_one(max_tokens=8))
        begun = prompt()["prompt_token_ids"] + whole[:3]
        rest = tokens_of(await self.run_one({"prompt_token_ids": begun}, max_tokens=5))
        self.assertEqual(rest, whole[3:])

    async def test_cumulative_and_final_only(self) -> None:
        engine = self.start()
        grown = await collect(
            engine, prompt(), SamplingParams(max_tokens=3, detokenize=False)
        )
        self.assertEqual([len(o.outputs[0].token_ids) for o in grown], [1, 2, 3])
        final = await collect(
            engine,
            prompt(),
            delta(max_tokens=3, output_kind=RequestOutputKind.FINAL_ONLY),
        )
        self.assertEqual(len(final), 1)
        self.assertEqual(final[0].outputs[0].token_ids, grown[-1].outputs[0].token_ids)

    async def test_slow_consumer_gets_merged_deltas(self) -> None:
        engine = self.start()
        outputs = []
        async for output in engine.generate(prompt(), delta(max_tokens=30), "slow"):
            outputs.append(output)
            await asyncio.sleep(0.02)
        self.assertLess(len(outputs), 25)
        self.assertEqual(len(tokens_of(outputs)), 30)

    async def test_stream_interval_holds_tokens_back(self) -> None:
        self.start(stream_interval=5)
        outputs = await self.run_one(max_tokens=12)
        self.assertEqual([len(o.outputs[0].token_ids) for o in outputs], [1, 5, 5, 1])

    async def test_n_gives_indexed_sequences_of_their_own(self) -> None:
        self.start()
        outputs = await self.run_one(n=3, max_tokens=5, seed=7)
        answers = [tokens_of(outputs, index) for index in range(3)]
        self.assertEqual([len(answer) for answer in answers], [5, 5, 5])
        self.assertEqual(len({tuple(answer) for answer in answers}), 3)
        self.assertEqual([o.finished for o in outputs].count(True), 1)
        self.assertTrue(outputs[-1].finished)
        # seed + index: the second sequence is the first of the next seed
        alone = tokens_of(await self.run_one(max_tokens=5, seed=8))
        self.assertEqual(answers[1], alone)

    async def test_logprobs(self) -> None:
        self.start()
        outputs = await self.run_one(max_tokens=2, logprobs=2)
        for output in outputs:
            completion = output.outputs[0]
            (entry,) = completion.logprobs
            self.assertEqual(next(iter(entry)), completion.token_ids[0])
            self.assertEqual([item.rank for item in entry.values()], [1, 2])
            self.assertIsNone(next(iter(entry.values())).decoded_token)
        total = sum(next(iter(o.outputs[0].logprobs[0].values())).logprob for o in outputs)
        self.assertAlmostEqual(outputs[-1].outputs[0].cumulative_logprob, total)
        sampled_only = await self.run_one(max_tokens=1, logprobs=0)
        self.assertEqual(len(sampled_only[0].outputs[0].logprobs[0]), 1)
        chosen = await self.run_one(max_tokens=1, logprob_token_ids=[5, 6])
        self.assertLessEqual({5, 6}, set(chosen[0].outputs[0].logprobs[0]))

    async def test_prompt_logprobs_come_once_and_skip_the_cache(self) -> None:
        self.start()
        await self.run_one()
        outputs = await self.run_one(max_tokens=2, prompt_logprobs=1)
        rows = outputs[0].prompt_logprobs
        self.assertEqual(len(rows), 40)
        self.assertIsNone(rows[0])
        self.assertEqual(next(iter(rows[1])), 11)
        self.assertEqual([entry.rank for entry in rows[1].values()][-1], 1)
        self.assertIsNone(outputs[1].prompt_logprobs)
        self.assertEqual(outputs[0].num_cached_tokens, 0)

    async def test_text_stop_strings_and_decoded_tokens(self) -> None:
        engine = self.start()
        params = delta(max_tokens=6, detokenize=True, logprobs=1)
        outputs = await collect(engine, prompt(), params)
        texts = [o.outputs[0].text for o in outputs]
        decode = engine.tokenizer.decode
        self.assertEqual("".join(texts), decode(tokens_of(outputs)))
        first = next(iter(outputs[0].outputs[0].logprobs[0].values()))
        self.assertEqual(first.decoded_token, texts[0])
        word = texts[2].strip()
        stopped = await collect(
            engine, prompt(), delta(max_tokens=6, detokenize=True, stop=[word])
        )
        last = stopped[-1].outputs[0]
        self.assertEqual((last.finish_reason, last.stop_reason), ("stop", word))
        whole = "".join(o.outputs[0].text for o in stopped)
        self.assertEqual(whole, texts[0] + texts[1] + " ")
        await self.until(lambda: engine.get_num_unfinished_requests() == 0)


class StopTest(EngineTest):
    async def test_eos_stop_token_min_tokens_ignore_eos(self) -> None:
        self.start()
        bias = {2: 100.0}
        eos = await self.run_one(logit_bias=bias, max_tokens=9)
        self.assertEqual(tokens_of(eos), [2])
        last = eos[-1].outputs[0]
        self.assertEqual((last.finish_reason, last.stop_reason), ("stop", None))
        late = await self.run_one(logit_bias=bias, max_tokens=9, min_tokens=3)
        self.assertEqual(len(tokens_of(late)), 4)
        through = await self.run_one(logit_bias=bias, max_tokens=5, ignore_eos=True)
        self.assertEqual(tokens_of(through), [2] * 5)
        stop = await self.run_one(logit_bias={77: 100.0}, stop_token_ids=[77])
        self.assertEqual(tokens_of(stop), [77])
        self.assertEqual(stop[-1].outputs[0].stop_reason, 77)

    async def test_a_token_of_the_answer_can_stop_it(self) -> None:
        self.start()
        answer = tokens_of(await self.run_one(max_tokens=6))
        outputs = await self.run_one(max_tokens=6, stop_token_ids=[answer[3]])
        self.assertEqual(tokens_of(outputs), answer[:4])
        self.assertEqual(outputs[-1].outputs[0].stop_reason, answer[3])

    async def test_context_length_ends_with_length(self) -> None:
        self.start(max_model_len=512)
        outputs = await self.run_one(prompt(508), max_tokens=50)
        self.assertEqual(len(tokens_of(outputs)), 4)
        self.assertEqual(outputs[-1].outputs[0].finish_reason, "length")

    async def test_eos_interval_makes_answers_end(self) -> None:
        self.start(simulated_eos_interval=5, simulated_step_time_ms=0.0)
        ends = [await self.run_one(prompt(20, i), max_tokens=100) for i in range(10, 16)]
        reasons = {o[-1].outputs[0].finish_reason for o in ends}
        self.assertIn("stop", reasons)

    async def test_allowed_tokens_and_bad_words(self) -> None:
        engine = self.start()
        allowed = tokens_of(await self.run_one(allowed_token_ids=[50, 51], max_tokens=8))
        self.assertLessEqual(set(allowed), {50, 51})
        plain = tokens_of(await self.run_one(max_tokens=3))
        params = delta(max_tokens=3)
        params._bad_words_token_ids = [[plain[1]], [plain[0], plain[1]]]
        avoided = tokens_of(await collect(engine, prompt(), params))
        self.assertEqual(avoided[0], plain[0])
        self.assertNotEqual(avoided[1], plain[1])

    async def test_choice_is_spelled_out(self) -> None:
        engine = self.start()
        params = delta(
            max_tokens=20,
            detokenize=True,
            structured_outputs=StructuredOutputsParams(choice=["no", "yes"]),
        )
        outputs = await collect(engine, prompt(), params)
        self.assertEqual("".join(o.outputs[0].text for o in outputs), "no")
        self.assertEqual(len(outputs), 3)
        self.assertEqual(outputs[-1].outputs[0].finish_reason, "stop")


class AbortTest(EngineTest):
    async def test_abort_ends_the_stream_at_once(self) -> None:
        engine = self.start(simulated_step_time_ms=50.0)
        outputs = []
        loop = asyncio.get_running_loop()
        async for output in engine.generate(prompt(), delta(max_tokens=400), "gone"):
            outputs.append(output)
            if len(outputs) == 2:
                begun = loop.time()
                await engine.abort("gone")
        self.assertLess(loop.time() - begun, 0.02)
        last = outputs[-1]
        self.assertTrue(last.finished)
        self.assertEqual((last.outputs[0].token_ids, last.outputs[0].finish_reason), ([], "abort"))
        await engine.abort("gone")  # unknown by now: no error

    async def test_same_id_twice_is_served_twice_and_aborted_twice(self) -> None:
        engine = self.start()
        tasks = [
            asyncio.create_task(collect(engine, prompt(), delta(max_tokens=500), "twin"))
            for _ in range(2)
        ]
        await self.until(lambda: engine.get_num_unfinished_requests() == 2)
        ids = list(engine.output_processor.request_states)
        self.assertRegex(ids[0], r"^twin-[0-9a-f]{8}$")
        await engine.abort("twin")
        for outputs in await asyncio.gather(*tasks):
            self.assertEqual(outputs[-1].outputs[0].finish_reason, "abort")

    async def test_cancelling_the_consumer_aborts(self) -> None:
        engine = self.start()
        task = asyncio.create_task(collect(engine, prompt(), delta(max_tokens=500)))
        await self.until(lambda: engine.get_num_unfinished_requests() == 1)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(engine.get_num_unfinished_requests(), 0)

    async def test_abort_of_parallel_sequences(self) -> None:
        engine = self.start()
        queue = await engine.add_request("many", prompt(), delta(n=2, max_tokens=500))
        await asyncio.sleep(0.02)
        await engine.abort(queue.request_id, internal=True)
        output = await queue.get()
        self.assertTrue(output.finished)
        self.assertEqual(engine.get_num_unfinished_requests(), 0)
        self.assertEqual(len(await self.run_one()), 4)


class RefusalTest(EngineTest):
    async def refused(self, text: str, asked: Any = None, kind: Any = VLLMValidationError, **kw: Any) -> Any:
        params = kw.pop("params", None) or delta(**kw.pop("fields", {}))
        with self.assertRaises(kind) as caught:
            await collect(self.engine, prompt() if asked is None else asked, params, "bad", **kw)
        self.assertEqual(str(caught.exception), text)
        return caught.exception

    async def test_texts_of_generate(self) -> None:
        self.start(max_model_len=512)
        refused = self.refused
        await refused("The decoder prompt cannot be empty", prompt(0))
        await refused("Token id 99999 is out of vocabulary", {"prompt_token_ids": [1, 99999]})
        await refused("Token id -5 is out of vocabulary", {"prompt_token_ids": [-5]})
        await refused(
            "This model's maximum context length is 512 tokens. However, you requested 0 "
            "output tokens and your prompt contains 600 input tokens, for a total of 600 "
            "tokens. Please reduce the length of the input prompt or the number of "
            "requested output tokens. (parameter=input_tokens, value=600)",
            prompt(600),
        )
        await refused(
            "The decoder prompt (length 512) plus the number of requested output tokens "
            "(at least 1) is longer than the maximum model length of 512. Make sure that "
            "`max_model_len` is no smaller than the number of text tokens (prompt + "
            "requested output tokens).",
            prompt(512),
        )
        await refused(
            "Requested sample logprobs of 50, which is greater than max allowed: 20 "
            "(parameter=logprobs, value=50)",
            fields={"logprobs": 50},
        )
        await refused(
            "allowed_token_ids contains out-of-vocab token id! "
            "(parameter=allowed_token_ids, value=[99999])",
            fields={"allowed_token_ids": [99999]},
        )
        await refused(
            "token_id(s) [99999] in logit_bias contain out-of-vocab token ids. Vocabulary "
            "size: 2048 (parameter=logit_bias, value=[99999])",
            fields={"logit_bias": {99999: 1.0}},
        )
        await refused(
            "Got lora_request LoRARequest(lora_name='x', lora_int_id=1, "
            "lora_path='/nonexistent', base_model_name=None, tensorizer_config_dict=None, "
            "load_inplace=False, is_3d_lora_weight=False) but LoRA is not enabled!",
            lora_request=LoRARequest("x", 1, "/nonexistent"),
        )
        await refused(
            "data_parallel_rank 3 is out of range [0, 1).", data_parallel_rank=3
        )
        error = await refused("", {"prompt_embeds": [[0.0]]}, EngineGenerateError)
        self.assertIsInstance(error.__cause__, ValueError)
        self.assertEqual(
            str(error.__cause__),
            "You must set `--enable-prompt-embeds` to input `prompt_embeds`.",
        )
        error = await refused("", {"prompt_token_ids": "text"}, EngineGenerateError)
        self.assertIsInstance(error.__cause__, TypeError)
        with self.assertRaises(EngineGenerateError) as caught:
            await collect(self.engine, prompt(), None)
        self.assertEqual(
            str(caught.exception.__cause__),
            "params must be either SamplingParams or PoolingParams, but got NoneType",
        )
        # add_request does not wrap
        with self.assertRaises(TypeError):
            await self.engine.add_request("x", {"prompt_token_ids": "text"}, delta())
        bad = StructuredOutputsParams(grammar="root ::= @@@")
        with self.assertRaises(VLLMValidationError) as caught_grammar:
            await self.run_one(structured_outputs=bad)
        self.assertTrue(str(caught_grammar.exception).startswith("Invalid grammar specification: "))
        self.assertEqual(len(tokens_of(await self.run_one())), 4)

    async def test_admission_limit(self) -> None:
        engine = self.start(max_num_queued_reqs=1)
        queue = await engine.add_request("one", prompt(), delta(max_tokens=500))
        with self.assertRaises(QueueOverflowError) as caught:
            await self.run_one()
        self.assertEqual(caught.exception.http_status, 503)
        await engine.abort(queue.request_id, internal=True)

    async def test_a_non_integer_token_makes_the_engine_deaf(self) -> None:
        with quiet_stderr():
            engine = self.start()
        await engine.add_request("bad", {"prompt_token_ids": [1.5, 2]}, delta())
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(self.run_one(), 0.3)
        await engine.check_health()  # content, as in vLLM


class SchedulingTest(EngineTest):
    async def test_recorded_sequential_phases_end_to_end(self) -> None:
        self.start(max_num_seqs=8, max_num_batched_tokens=256, simulated_step_time_ms=0.0)
        _, phases = load()
        for phase in phases[:2]:
            for record in phase["requests"]:
                fields = {k: v for k, v in record["params"].items() if k in ("max_tokens", "ignore_eos")}
                forced = [t for d in record["deltas"] for t in d[2]]
                asked = {"prompt_token_ids": record["prompt_token_ids"]}
                outputs = await self.run_one(asked, trace_decode_token_ids=forced, **fields)
                with self.subTest(record["id"]):
                    self.assertEqual(tokens_of(outputs), forced)
                    self.assertEqual(outputs[-1].outputs[0].finish_reason, record["finish_reason"])
                    self.assertEqual(outputs[-1].num_cached_tokens, record["num_cached_tokens"])

    async def test_preempted_requests_still_give_the_whole_answer(self) -> None:
        self.start(
            max_num_seqs=8,
            max_num_batched_tokens=256,
            num_gpu_blocks_override=33,
            simulated_step_time_ms=0.5,
        )
        asked = [prompt(100, 10 + 100 * i) for i in range(6)]
        many = await asyncio.gather(
            *(self.run_one(one, f"p{i}", max_tokens=150) for i, one in enumerate(asked))
        )
        self.assertGreater(sum(o[-1].metrics.num_preemptions for o in many), 0)
        for one, outputs in zip(asked, many):
            self.assertEqual(len(tokens_of(outputs)), 150)
            self.assertEqual(tokens_of(outputs), tokens_of(await self.run_one(one, max_tokens=150)))

    async def test_cache_salt_separates_prefixes(self) -> None:
        self.start()
        await self.run_one(prompt(40, cache_salt="a"))
        other = await self.run_one(prompt(40, cache_salt="b"))
        same = await self.run_one(prompt(40, cache_salt="a"))
        self.assertEqual((other[0].num_cached_tokens, same[0].num_cached_tokens), (0, 32))

    async def test_priorities(self) -> None:
        engine = self.start(scheduling_policy="priority", max_num_seqs=1)
        order: list[str] = []

        async def ask(name: str, priority: int) -> None:
            await collect(engine, prompt(8), delta(max_tokens=20), name, priority=priority)
            order.append(name)

        tasks = [asyncio.create_task(ask("first", 0))]
        await asyncio.sleep(0.02)
        tasks += [asyncio.create_task(ask("low", 5)), asyncio.create_task(ask("high", -5))]
        await asyncio.gather(*tasks)
        self.assertLess(order.index("high"), order.index("low"))

    async def test_lora(self) -> None:
        engine = self.start(enable_lora=True, max_loras=1)
        one, other, broken = (self.adapter(f"{index}") for index in range(3))
        self.assertTrue(await engine.add_lora(LoRARequest("a", 1, one)))
        self.assertFalse(await engine.add_lora(LoRARequest("a", 1, one)))
        self.assertEqual(await engine.list_loras(), {1})
        plain, adapted = await asyncio.gather(
            self.run_one(),
            collect(engine, prompt(), delta(), lora_request=LoRARequest("a", 1, one)),
        )
        self.assertNotEqual(tokens_of(plain), tokens_of(adapted))
        self.assertTrue(await engine.pin_lora(1))
        self.assertTrue(await engine.remove_lora(1))
        self.assertFalse(await engine.remove_lora(1))
        self.assertTrue(await engine.add_lora(LoRARequest("a", 1, other)))
        swapped = await collect(engine, prompt(), delta(), lora_request=LoRARequest("a", 1, other))
        self.assertNotEqual(tokens_of(swapped), tokens_of(adapted))
        for settings, text in (
            (None, f"Loading lora b failed: No adapter found for {broken}"),
            ("{", "Expecting property name enclosed in double quotes"),
            ('{"r": 64}', "LoRA rank 64 is greater than max_lora_rank 16."),
            ('{"r": 8}', f"{broken} doesn't contain tensors"),
        ):
            self.break_adapter(broken, settings)
            with self.assertRaisesRegex(Exception, re.escape(text)):
                await engine.add_lora(LoRARequest("b", 2, broken))

    def adapter(self, content: str) -> str:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        pathlib.Path(folder, "adapter_config.json").write_text('{"r": 8}')
        pathlib.Path(folder, "adapter_model.safetensors").write_text(content)
        return folder

    @staticmethod
    def break_adapter(folder: str, settings: str | None) -> None:
        pathlib.Path(folder, "adapter_model.safetensors").unlink(missing_ok=True)
        path = pathlib.Path(folder, "adapter_config.json")
        path.unlink(missing_ok=True)
        if settings is not None:
            path.write_text(settings)

    async def test_prompt_embeds(self) -> None:
        self.start(enable_prompt_embeds=True)
        outputs = await self.run_one({"prompt_embeds": [[0.5, 1.0]] * 7})
        self.assertEqual(outputs[0].prompt_token_ids, [0] * 7)
        self.assertEqual(len(tokens_of(outputs)), 4)


    def test_embeddings_are_loaded_from_their_base64_text(self) -> None:
        model = make_config(enable_prompt_embeds=True, model=os.path.join(SIMULATED, "model")).model_config
        golden = os.path.join(ROOT, "tests", "golden", "embeds", "float32.b64")
        with open(golden, "rb") as file:
            text = file.read()
        tensor = safe_load_prompt_embeds(model, text)
        self.assertEqual((tensor.shape, tensor.dtype), ((3, 128), "torch.float32"))
        with self.assertRaises(binascii.Error):
            safe_load_prompt_embeds(model, base64.b64decode(text))


class CollectorTest(EngineTest):
    async def test_the_collector_class_can_be_replaced(self) -> None:
        engine = self.start()
        received: list[Any] = []

        class Mine(async_llm.RequestOutputCollector):
            def put(self, output: Any) -> None:
                received.append((self.request_id, output))

        original = async_llm.RequestOutputCollector
        async_llm.RequestOutputCollector = Mine  # type: ignore[misc]
        try:
            queue = await engine.add_request("mine", prompt(), delta(max_tokens=3))
        finally:
            async_llm.RequestOutputCollector = original  # type: ignore[misc]
        self.assertIsInstance(queue, Mine)
        await self.until(lambda: len(received) == 3)
        self.assertEqual({name for name, _ in received}, {queue.request_id})
        self.assertTrue(received[-1][1].finished)

    async def test_all_outputs_of_a_step_come_in_one_turn_of_the_loop(self) -> None:
        engine = self.start(simulated_step_time_ms=20.0, max_num_seqs=64)
        turns: list[int] = []
        received = 0

        class Counting(async_llm.RequestOutputCollector):
            def put(self, output: Any) -> None:
                nonlocal received
                received += 1
                if turns[-1:] != [0]:
                    turns.append(0)
                    asyncio.get_running_loop().call_soon(turns.append, 1)

        original = async_llm.RequestOutputCollector
        async_llm.RequestOutputCollector = Counting  # type: ignore[misc]
        try:
            for number in range(32):
                await engine.add_request(f"r{number}", prompt(8), delta(max_tokens=5))
        finally:
            async_llm.RequestOutputCollector = original  # type: ignore[misc]
        await self.until(lambda: received == 160)
        self.assertLessEqual(turns.count(1), 8)


class TransferTest(EngineTest):
    NIXL = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    ASK = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
           "remote_block_ids": None, "remote_host": None, "remote_port": None}

    async def test_prefill_holds_blocks_until_the_decoder_has_read_them(self) -> None:
        prefill = self.start(kv_transfer_config=dict(self.NIXL))
        outputs = await self.run_one(
            prompt(100), max_tokens=1, extra_args={"kv_transfer_params": dict(self.ASK)}
        )
        offered = outputs[-1].kv_transfer_params
        self.assertEqual(
            sorted(offered),
            sorted("do_remote_prefill do_remote_decode remote_block_ids remote_engine_id "
                   "remote_request_id remote_host remote_port tp_size dcp_size pp_size "
                   "remote_num_tokens remote_blocks_expiry_time transfer_mode "
                   "remote_prefill_cached_tokens".split()),
        )
        self.assertEqual(len(offered["remote_block_ids"][0]), 4)
        self.assertEqual(offered["remote_num_tokens"], 100)
        self.assertTrue(offered["remote_request_id"].startswith("r-"))
        self.assertFalse(await prefill.reset_prefix_cache())  # blocks are held
        json.dumps(offered)

        decode = self.start(kv_transfer_config=dict(self.NIXL))
        plain = tokens_of(outputs)
        told = {k: v for k, v in offered.items() if k != "remote_prefill_cached_tokens"}
        answer = await collect(
            decode, prompt(100), delta(extra_args={"kv_transfer_params": told})
        )
        self.assertEqual(tokens_of(answer)[:1], plain)
        self.assertEqual(answer[0].num_cached_tokens, 100)
        await asyncio.sleep(0.05)
        self.assertTrue(await prefill.reset_prefix_cache())
        again = await collect(
            decode, prompt(100), delta(extra_args={"kv_transfer_params": offered})
        )
        self.assertEqual(again[0].num_cached_tokens, 0)  # the prefill side's hits

    async def test_without_a_connector_the_parameters_are_ignored(self) -> None:
        self.start()
        outputs = await self.run_one(extra_args={"kv_transfer_params": dict(self.ASK)})
        self.assertIsNone(outputs[-1].kv_transfer_params)


if __name__ == "__main__":
    unittest.main()
