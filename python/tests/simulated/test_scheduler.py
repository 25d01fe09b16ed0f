"""The scheduler by itself: random loads, and the corners a recording does not show."""

from __future__ import annotations

import random
import unittest
from typing import Any

from . import SIMULATED  # noqa: F401
from .test_fidelity import engine_config

from vllm.simulation.request import PREEMPTED, Request
from vllm.simulation.scheduler import PAUSED_ALL, PAUSED_NEW, RUNNING, Scheduler

HEADER = {
    "max_num_seqs": 8,
    "max_num_batched_tokens": 64,
    "max_model_len": 256,
    "chunked_prefill": True,
    "num_gpu_blocks": 40,
    "block_size": 8,
    "prefix_caching": True,
}


def make(number: int, prompt: list[int], max_tokens: int = 4, **fields: Any) -> Request:
    params: dict[str, Any] = {
        "index": 0, "temperature": 0.0, "seed": None, "max_tokens": max_tokens,
        "min_tokens": 0, "logprobs": None, "logprob_token_ids": None,
        "prompt_logprobs": None, "eos_token_id": 2, "stop_token_ids": [],
        "all_stop_token_ids": [2], "logit_bias": None, "allowed_token_ids": None,
        "bad_words": None, "skip_reading_prefix_cache": False,
        "kv_transfer_params": None, "forced": None,
    }  # fmt: skip
    message: dict[str, Any] = {
        "request_id": f"r{number}", "prompt_token_ids": prompt, "arrival_time": float(number),
        "lora": None, "cache_salt": None, "embeds_digest": None, "session_id": None,
        "priority": 0, "params": params,
    }  # fmt: skip
    for name, value in fields.items():
        (params if name in params else message)[name] = value
    return Request(message)


def scheduler(**changes: Any) -> Scheduler:
    return Scheduler({**engine_config(HEADER), **changes})


def step(one: Scheduler) -> list[tuple[Any, ...]]:
    return one.update(one.schedule())


class RandomLoadTest(unittest.TestCase):
    def check_blocks(self, one: Scheduler) -> None:
        pool = one.pool
        counts = [0] * pool.num_blocks
        for request in one.requests.values():
            self.assertEqual(len(set(request.blocks)), len(request.blocks))
            for block in request.blocks:
                counts[block] += 1
        self.assertEqual(counts, pool._references)
        self.assertEqual(counts[0], 0)
        self.assertEqual({b for b in range(1, len(counts)) if not counts[b]}, set(pool._free))
        for digest, blocks in pool._cached.items():
            for block in blocks:
                self.assertEqual(pool._hashes[block], digest)

    def play(self, seed: int, **changes: Any) -> int:
        chance = random.Random(seed)
        one = scheduler(**changes)
        prefixes = [[chance.randrange(3, 2048) for _ in range(60)] for _ in range(3)]
        produced: dict[str, int] = {}
        wanted: dict[str, int] = {}
        live_hashes: set[int] = set()
        preemptions = number = 0
        for turn in range(400):
            if turn < 300 and chance.random() < 0.3:
                prompt = chance.choice(prefixes)[: chance.randrange(1, 60)]
                prompt = prompt + [chance.randrange(3, 2048)] * chance.randrange(0, 30)
                tokens = chance.randrange(1, 60)
                lora = ["a", 1] if chance.random() < 0.2 else ["b", 2] if chance.random() < 0.1 else None
                one.add(make(number, prompt, tokens, lora=lora, priority=chance.randrange(3)))
                wanted[f"r{number}"] = tokens
                number += 1
            if chance.random() < 0.03 and one.requests:
                gone = chance.choice(list(one.requests))
                one.abort([gone])
                wanted.pop(gone)
            for name, ids, finish, _, extras in step(one):
                produced[name] = produced.get(name, 0) + len(ids)
                preemptions += sum(kind == PREEMPTED for kind, _ in (extras or {}).get("events", ()))
                if finish is not None:
                    self.assertEqual(produced[name], wanted.pop(name))
            for event in one.pool.take_events():
                if event["type"] == "BlockStored":
                    size = event["block_size"]
                    self.assertEqual(len(event["token_ids"]), size * len(event["block_hashes"]))
                    parent = event["parent_block_hash"]
                    if parent is not None:
                        self.assertIn(parent, live_hashes)
                    live_hashes.update(event["block_hashes"])
            self.check_blocks(one)
        while one.can_progress():
            for name, ids, finish, _, _ in step(one):
                produced[name] = produced.get(name, 0) + len(ids)
                if finish is not None:
                    self.assertEqual(produced[name], wanted.pop(name))
        self.assertEqual((wanted, one.requests), ({}, {}))
        self.assertEqual(one.pool.usage, 0.0)
        return preemptions

    def test_nothing_is_lost_whatever_happens(self) -> None:
        preemptions = 0
        for seed in range(12):
            for changes in (
                {},
                {"enable_prefix_caching": False},
                {"scheduling_policy": "priority"},
                {"max_loras": 1},
                {"enable_chunked_prefill": False, "max_num_batched_tokens": 256},
            ):
                with self.subTest(seed=seed, **changes):
                    preemptions += self.play(seed, **{"max_loras": 4, **changes})
        self.assertGreater(preemptions, 50)


class CornerTest(unittest.TestCase):
    def test_two_adapters_take_turns_when_one_fits(self) -> None:
        one = scheduler(max_loras=1)
        one.add(make(0, [5] * 9, 3, lora=["a", 1]))
        one.add(make(1, [5] * 9, 1, lora=["b", 2]))
        one.add(make(2, [5] * 9, 1))
        first = [row[0] for row in step(one)]
        self.assertEqual(first, ["r0", "r2"])
        order = [row[0] for _ in range(4) for row in step(one)]
        self.assertEqual(order, ["r0", "r0", "r1"])

    def test_adapters_do_not_share_blocks(self) -> None:
        one = scheduler(max_loras=2)
        cached = []
        for number, lora in enumerate((None, ["a", 1], ["b", 2], ["a", 1])):
            one.add(make(number, [7] * 20, 1, lora=lora))
            cached.append(step(one)[0][4]["prefill"][2])
        self.assertEqual(cached, [0, 0, 0, 16])

    def test_pausing(self) -> None:
        one = scheduler()
        one.add(make(0, [5], 3))
        step(one)
        one.pause_state = PAUSED_NEW
        one.add(make(1, [6], 1))
        self.assertEqual([row[0] for row in step(one)], ["r0"])
        one.pause_state = PAUSED_ALL
        self.assertFalse(one.can_progress())
        self.assertEqual(step(one), [])
        one.pause_state = RUNNING
        self.assertEqual([row[0] for row in step(one)], ["r0", "r1"])

    def test_reset_while_running(self) -> None:
        one = scheduler()
        one.add(make(0, [5] * 20, 5))
        step(one)
        self.assertFalse(one.reset_prefix_cache(False))
        self.assertTrue(one.reset_prefix_cache(True))
        rows = [row for _ in range(5) for row in step(one)]
        self.assertEqual(len(rows), 4)
        stats = one.stats()
        self.assertTrue(stats[3])  # the reset is reported once
        self.assertFalse(one.stats()[3])

    def test_abort_of_what_waits_and_of_what_is_unknown(self) -> None:
        one = scheduler(max_num_seqs=1)
        one.add(make(0, [5], 9))
        one.add(make(1, [6], 9))
        step(one)
        self.assertEqual(one.abort(["r1", "nobody"]), ["r1"])
        self.assertEqual(one.abort(["r1"]), [])
        self.assertEqual(one.stats()[:2], (1, 0))


if __name__ == "__main__":
    unittest.main()
