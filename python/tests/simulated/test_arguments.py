"""Option parsing, configuration, sampling parameter checks."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
import unittest
from typing import Any

from . import SIMULATED  # noqa: F401

import vllm
from vllm import exceptions
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser, human_readable_int
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError


def parse(*words: str) -> AsyncEngineArgs:
    parser = FlexibleArgumentParser(allow_abbrev=False)
    AsyncEngineArgs.add_cli_args(parser, async_args_only=False)
    return AsyncEngineArgs.from_cli_args(parser.parse_args(list(words)))


class ParserTest(unittest.TestCase):
    def refused(self, *words: str) -> str:
        text = io.StringIO()
        with contextlib.redirect_stderr(text), self.assertRaises(SystemExit) as caught:
            parse(*words)
        self.assertEqual(caught.exception.code, 2)
        return text.getvalue()

    def test_defaults_are_those_of_the_table(self) -> None:
        args = parse()
        self.assertEqual(args.model, "Qwen/Qwen3-0.6B")
        self.assertEqual((args.block_size, args.enable_prefix_caching), (None, None))
        self.assertEqual((args.gpu_memory_utilization, args.max_logprobs), (0.92, 20))
        self.assertEqual((args.stream_interval, args.shutdown_timeout), (1, 0))
        self.assertEqual(args.additional_config, {})
        self.assertIsNone(args.kv_events_config)

    def test_spelling_and_short_flags(self) -> None:
        args = parse("--max_model_len", "1k", "--tensor-parallel-size=2", "-dp", "3", "-pp", "2")
        self.assertEqual((args.max_model_len, args.tensor_parallel_size), (1000, 2))
        self.assertEqual((args.data_parallel_size, args.pipeline_parallel_size), (3, 2))
        self.assertEqual(parse("--served-model-name", "a", "b").served_model_name, ["a", "b"])
        self.assertFalse(parse("--no-enable-prefix-caching").enable_prefix_caching)
        self.assertTrue(parse("--enable_prefix_caching").enable_prefix_caching)
        self.assertEqual(parse("-O3").optimization_level, "3")

    def test_readable_numbers(self) -> None:
        for text, value in (("1k", 1000), ("1K", 1024), ("25.6k", 25600), ("2M", 2 << 20), ("7", 7)):
            self.assertEqual(human_readable_int(text), value)
        self.assertEqual(parse("--max-model-len", "auto").max_model_len, -1)
        self.assertEqual(parse("--max-num-queued-tokens", "1k").max_num_queued_tokens, 1000)
        self.assertIn("cannot be converted", self.refused("--num-gpu-blocks-override", "1k"))
        self.assertIn("Decimals are not allowed", self.refused("--max-num-batched-tokens", "2.5K"))

    def test_json_and_dotted_keys(self) -> None:
        events = parse(
            "--kv-events-config.enable_kv_cache_events", "true",
            "--kv-events-config.endpoint=tcp://*:7000",
        ).kv_events_config
        self.assertEqual((events.publisher, events.endpoint, events.hwm), ("zmq", "tcp://*:7000", 100000))
        transfer = parse("--kv-transfer-config",
                         '{"kv_connector":"NixlConnector","kv_role":"kv_both"}').kv_transfer_config
        self.assertEqual(transfer.kv_connector, "NixlConnector")
        self.assertTrue(transfer.engine_id)
        extra = parse("--additional-config.a.b", "1", "--additional_config.list+", "x,y").additional_config
        self.assertEqual(extra, {"a": {"b": 1}, "list": ["x", "y"]})
        self.assertEqual(parse("--speculative-config", '{"num": 3}').speculative_config, {"num": 3})

    def test_errors(self) -> None:
        self.assertIn("unrecognized arguments: --nonsense", self.refused("--nonsense"))
        self.assertIn("invalid choice", self.refused("--runner", "other"))
        self.assertIn("invalid int value", self.refused("--block-size", "x"))
        self.assertIn("unexpected keyword", self.refused("--kv-events-config", '{"nope": 1}'))
        self.assertIn("--kv-transfer-config", self.refused("--kv-transfer-config", "{"))

    def test_config_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "engine.yaml")
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(
                    "# engine\nmodel: /m\nblock-size: 64   # tokens\nenforce-eager: true\n"
                    "enable-prefix-caching: false\nserved-model-name:\n  - one\n  - 'two'\n"
                    'kv-events-config: {"enable_kv_cache_events": true}\n'
                )
            args = parse("--config", path, "--block-size", "16")
            self.assertEqual((args.model, args.block_size), ("/m", 16))
            self.assertEqual(args.served_model_name, ["one", "two"])
            self.assertEqual((args.enforce_eager, args.enable_prefix_caching), (True, False))
            self.assertTrue(args.kv_events_config.enable_kv_cache_events)
            with self.assertRaisesRegex(ValueError, "yaml/yml"):
                parse("--config", path + ".txt")


class ConfigTest(unittest.TestCase):
    def test_model_folder(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            args = AsyncEngineArgs(model=folder)
            with self.assertRaises(ValueError):
                args.create_engine_config()
            config = {"max_position_embeddings": 512, "vocab_size": 300, "bos_token_id": 7, "eos_token_id": 8}
            generation = {"temperature": 0.6, "top_k": 20, "max_new_tokens": 99, "eos_token_id": [8, 9]}
            for name, content in (("config.json", config), ("generation_config.json", generation)):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
                    json.dump(content, stream)
            made = args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
            model = made.model_config
            self.assertEqual((model.max_model_len, model.get_vocab_size(), model.eos_token_id), (512, 300, 8))
            self.assertEqual(model.get_diff_sampling_param(), {"temperature": 0.6, "top_k": 20, "max_tokens": 99})
            self.assertEqual(model.hf_config.bos_token_id, 7)
            with self.assertRaisesRegex(ValueError, "greater than the derived max_model_len"):
                AsyncEngineArgs(model=folder, max_model_len=600).create_engine_config()

    def test_defaults_and_what_a_worker_reads(self) -> None:
        made = AsyncEngineArgs(model="x").create_engine_config()
        model, parallel = made.model_config, made.parallel_config
        self.assertEqual((model.max_model_len, model.vocab_size, model.bos_token_id, model.eos_token_id), (4096, 2048, 1, 2))
        self.assertEqual(model.get_diff_sampling_param(), {})
        self.assertIsNone(made.cache_config.num_gpu_blocks)
        self.assertTrue(made.cache_config.enable_prefix_caching)
        self.assertEqual((parallel.data_parallel_rank, parallel.data_parallel_size_local, parallel.world_size), (0, 1, 1))
        self.assertFalse(made.structured_outputs_config.enable_in_reasoning)
        self.assertFalse(hasattr(model.hf_config, "video_token_id"))
        for name in ("lora_config", "speculative_config", "kv_transfer_config"):
            self.assertIsNone(getattr(made, name))
        self.assertEqual((made.additional_config, made.shutdown_timeout), ({}, 0))

    def test_contradictions(self) -> None:
        for options in ({"max_num_seqs": 9, "max_num_batched_tokens": 8}, {"data_parallel_size": 0},
                        {"data_parallel_size": 2, "data_parallel_rank": 2}, {"block_size": 0}):
            with self.subTest(options), self.assertRaises(ValueError):
                AsyncEngineArgs(model="x", **options).create_engine_config()


class SamplingParamsTest(unittest.TestCase):
    CASES: tuple[tuple[dict[str, Any], str], ...] = (
        ({"temperature": -1}, "temperature must be non-negative, got -1. (parameter=temperature, value=-1)"),
        ({"temperature": math.nan}, "temperature must be a finite number, got nan. (parameter=temperature, value=nan)"),
        ({"top_p": 0}, "top_p must be in (0, 1], got 0. (parameter=top_p, value=0)"),
        ({"top_p": 1.5}, "top_p must be in (0, 1], got 1.5. (parameter=top_p, value=1.5)"),
        ({"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
        ({"min_p": 2}, "min_p must be in [0, 1], got 2."),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
        ({"min_tokens": -1}, "min_tokens must be greater than or equal to 0, got -1."),
        ({"min_tokens": 5, "max_tokens": 2}, "min_tokens must be less than or equal to max_tokens=2, got 5."),
        ({"n": 0}, "n must be at least 1, got 0."),
        ({"n": 2, "temperature": 0}, "n must be 1 when using greedy sampling, got 2."),
        ({"presence_penalty": 5}, "presence_penalty must be in [-2, 2], got 5."),
        ({"repetition_penalty": 0}, "repetition_penalty must be greater than zero, got 0."),
        ({"logprobs": -2}, "logprobs must be non-negative or -1, got -2. (parameter=logprobs, value=-2)"),
        ({"prompt_logprobs": -2}, "prompt_logprobs must be non-negative or -1, got -2. (parameter=prompt_logprobs, value=-2)"),
        ({"stop": [""]}, "stop cannot contain an empty string."),
        ({"stop": ["x"], "detokenize": False}, "stop strings are only supported when detokenize is True. Set detokenize=True to use stop."),
        ({"stop_token_ids": ["a"]}, "stop_token_ids must contain only integers, got ['a']."),
        ({"bad_words": [""]}, "bad_words cannot contain an empty string. Got bad_words=['']"),
        ({"stream_interval": 0}, "stream_interval must be at least 1, got 0. (parameter=stream_interval, value=0)"),
    )

    def test_captured_texts(self) -> None:
        for fields, text in self.CASES:
            with self.subTest(fields), self.assertRaises(VLLMValidationError) as caught:
                SamplingParams(**fields)
            self.assertEqual(str(caught.exception), text)

    def test_accepted_and_adjusted(self) -> None:
        for fields in ({"seed": "x"}, {"logit_bias": {"a": 1}}, {"allowed_token_ids": []}, {"top_k": 0}):
            SamplingParams(**fields)
        self.assertEqual(SamplingParams(temperature=0.001).temperature, 0.01)
        greedy = SamplingParams(temperature=0, top_p=0.5, top_k=3, min_p=0.1)
        self.assertEqual((greedy.top_p, greedy.top_k, greedy.min_p), (1.0, 0, 0.0))
        with self.assertRaisesRegex(TypeError, "^Unexpected keyword argument 'foo'$"):
            SamplingParams(foo=1)

    def test_fields_can_be_set_and_checked_again(self) -> None:
        params = SamplingParams()
        params.top_p = 1.5
        params._bad_words_token_ids = [[5]]
        params.output_kind = RequestOutputKind.DELTA
        with self.assertRaises(VLLMValidationError):
            params.__post_init__()
        params.top_p = 0.5
        params.__post_init__()
        self.assertTrue(hasattr(params, "thinking_token_budget"))
        self.assertFalse(hasattr(params, "best_of"))

    def test_structured_outputs(self) -> None:
        with self.assertRaisesRegex(VLLMValidationError, "^You must use one kind of structured outputs constraint but none are specified: "):
            StructuredOutputsParams()
        with self.assertRaisesRegex(VLLMValidationError, "^You can only use one kind"):
            StructuredOutputsParams(regex="a", choice=["b"])


class ErrorTreeTest(unittest.TestCase):
    def test_bases(self) -> None:
        def names(cls: type) -> list[str]:
            return [base.__name__ for base in cls.__mro__[:-3]]

        self.assertEqual(names(VLLMValidationError), ["VLLMValidationError", "VLLMClientError", "VLLMError"])
        self.assertEqual(names(EngineDeadError), ["EngineDeadError", "VLLMServerError", "VLLMError"])
        self.assertEqual(names(EngineGenerateError), ["EngineGenerateError", "VLLMServerError", "VLLMError"])
        self.assertTrue(issubclass(exceptions.LoRAAdapterNotFoundError, exceptions.VLLMNotFoundError))
        self.assertFalse(issubclass(VLLMValidationError, ValueError))
        self.assertEqual(
            str(EngineDeadError()),
            "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        )

    def test_package(self) -> None:
        self.assertTrue(vllm.SIMULATED)
        self.assertEqual(vllm.__version__, "0.31.0+simulated")
        self.assertIs(vllm.SamplingParams, SamplingParams)


if __name__ == "__main__":
    unittest.main()
