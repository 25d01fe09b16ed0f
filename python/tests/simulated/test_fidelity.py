"""The scheduler against recorded steps of the real engine (vLLM 0.31.0, CPU).

The capture holds every engine step of 50 requests with the KV events between
them.  The simulated scheduler is driven step by step: requests arrive before
the step in which the recording first counts them, and the recorded tokens are
forced, so that everything else has to come out equal by itself.
"""

from __future__ import annotations

import json
import os
import unittest
from typing import Any

from . import ROOT

from vllm.simulation.request import PREEMPTED, QUEUED, SCHEDULED, Request
from vllm.simulation.scheduler import Scheduler

CAPTURE = os.path.join(ROOT, "tests", "golden", "vllm", "fidelity.jsonl")
EVENT_NAMES = {QUEUED: "QUEUED", SCHEDULED: "SCHEDULED", PREEMPTED: "PREEMPTED"}
FINISH_NAMES = ("stop", "length", "abort")
EOS = 2


def load() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header, and per phase its requests, steps and KV batches."""
    header: dict[str, Any] = {}
    phases: list[dict[str, Any]] = []
    with open(CAPTURE, encoding="utf-8") as stream:
        for line in stream:
            record = json.loads(line)
            kind = record["kind"]
            if kind == "header":
                header = record
            elif kind == "phase":
                phases.append({**record, "requests": [], "steps": [], "kv": []})
            elif kind == "request":
                phases[-1]["requests"].append(record)
            else:
                phases[-1][{"step": "steps", "kv": "kv"}[kind]].append(record)
    return header, phases


def engine_config(header: dict[str, Any]) -> dict[str, Any]:
    return {
        "max_num_seqs": header["max_num_seqs"],
        "max_num_batched_tokens": header["max_num_batched_tokens"],
        "max_model_len": header["max_model_len"],
        "max_loras": 0,
        "scheduling_policy": "fcfs",
        "enable_chunked_prefill": header["chunked_prefill"],
        "num_gpu_blocks": header["num_gpu_blocks"],
        "block_size": header["block_size"],
        "enable_prefix_caching": header["prefix_caching"],
        "kv_events": {},
        "vocab_size": 2048,
        "special_token_ids": [0, 1, EOS],
        "eos_interval": 0,
        "kv_transfer": None,
    }


def make_request(record: dict[str, Any]) -> Request:
    params = record["params"]
    ignore_eos = params.get("ignore_eos", False)
    stop_token_ids = params.get("stop_token_ids") or []
    bias = params.get("logit_bias")
    forced = [token for delta in record["deltas"] for token in delta[2]]
    return Request(
        {
            "request_id": record["id"],
            "prompt_token_ids": list(record["prompt_token_ids"]),
            "arrival_time": record["arrival_s"],
            "lora": None,
            "cache_salt": None,
            "embeds_digest": None,
            "session_id": None,
            "priority": 0,
            "params": {
                "index": 0,
                "temperature": 0.0,
                "seed": None,
                "max_tokens": params["max_tokens"],
                "min_tokens": params.get("min_tokens", 0),
                "logprobs": None,
                "logprob_token_ids": None,
                "prompt_logprobs": None,
                "eos_token_id": None if ignore_eos else EOS,
                "stop_token_ids": stop_token_ids,
                "all_stop_token_ids": [EOS, *stop_token_ids],
                "logit_bias": {int(k): v for k, v in bias.items()} if bias else None,
                "allowed_token_ids": None,
                "bad_words": None,
                "skip_reading_prefix_cache": False,
                "kv_transfer_params": None,
                "forced": forced,
            },
        }
    )


class Chains:
    """KV events without hash values: blocks are named by the tokens up to them."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[int, ...]] = {}

    def name(self, events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        named: list[tuple[Any, ...]] = []
        for event in events:
            kind = event["type"]
            if kind == "BlockStored":
                parent = event["parent_block_hash"]
                chain = () if parent is None else self._names[parent]
                size = event["block_size"]
                chunks = []
                for place, digest in enumerate(event["block_hashes"]):
                    chunk = tuple(event["token_ids"][place * size : (place + 1) * size])
                    chain = (*chain, *chunk)
                    self._names[digest] = chain
                    chunks.append(chunk)
                named.append((kind, chain, len(chunks)))
            elif kind == "BlockRemoved":
                named.append(
                    (kind, *(self._names[digest] for digest in event["block_hashes"]))
                )
            else:
                named.append((kind,))
        return named


class FidelityTest(unittest.TestCase):
    maxDiff = None

    def test_every_step_and_every_kv_event_is_as_recorded(self) -> None:
        header, phases = load()
        scheduler = Scheduler(engine_config(header))
        recorded_chains, simulated_chains = Chains(), Chains()
        steps = events = preemptions = 0
        scheduler.pool.reset()  # the recording begins with a reset as well
        for phase in phases:
            outcome = self._replay(scheduler, phase)
            steps += outcome["steps"]
            preemptions += outcome["preemptions"]
            with self.subTest(phase=phase["name"], what="kv events"):
                # Order and contents of events; how they share batches as well.
                want = [
                    recorded_chains.name([dict(event) for event in record["events"]])
                    for record in phase["kv"]
                ]
                got = [simulated_chains.name(batch) for batch in outcome["kv"]]
                self.assertEqual(got, want)
                events += sum(map(len, got))
        self.assertEqual(steps, 717)
        self.assertEqual(events, 102 + 209 + 1)
        self.assertGreater(preemptions, 0)

    def _replay(self, scheduler: Scheduler, phase: dict[str, Any]) -> dict[str, Any]:
        accepted = [r for r in phase["requests"] if r["error"] is None]
        arrivals = iter(accepted)
        to_abort = {r["id"]: _outputs_of(phase, r["id"]) for r in accepted
                    if r["finish_reason"] == "abort"}
        seen: dict[str, int] = {}
        tokens: dict[str, list[int]] = {r["id"]: [] for r in accepted}
        finish: dict[str, Any] = {}
        cached: dict[str, Any] = {}
        arrived = gone = preemptions = 0
        batches = []
        for number, step in enumerate(phase["steps"]):
            due = [i for i, count in to_abort.items() if seen.get(i) == count]
            if due:
                scheduler.abort(due)
                gone += len(due)
                for request_id in due:
                    del to_abort[request_id]
                    finish[request_id] = "abort"
            ending = sum(1 for row in step["out"] if row[2] is not None)
            known = step["run"] + step["wait"] + ending + gone
            while arrived < known:
                scheduler.add(make_request(next(arrivals)))
                arrived += 1
            outputs = scheduler.update(scheduler.schedule())
            gone += ending
            kv = scheduler.pool.take_events()
            if kv:
                batches.append(kv)
            rows = []
            for request_id, ids, finished, _stop, extras in outputs:
                seen[request_id] = seen.get(request_id, 0) + 1
                tokens[request_id] += ids
                extras = extras or {}
                names = [EVENT_NAMES[kind] for kind, _ in extras.get("events", ())]
                preemptions += names.count("PREEMPTED")
                prefill = extras.get("prefill")
                if prefill:
                    cached[request_id] = (prefill[2], prefill[5])
                reason = None if finished is None else FINISH_NAMES[finished]
                if reason:
                    finish[request_id] = reason
                rows.append(
                    [
                        request_id,
                        len(ids),
                        reason,
                        names or None,
                        list(prefill[:3]) if prefill else None,
                    ]
                )
            running, waiting, usage, _, prefix, _, _ = scheduler.stats()
            got = {
                "out": rows,
                "run": running,
                "wait": waiting,
                "kv": round(usage, 5),
                "pc": prefix[:4],
            }
            want = {key: step[key] for key in got}
            with self.subTest(phase=phase["name"], step=number):
                self.assertEqual(got, want)
        for record in accepted:
            with self.subTest(phase=phase["name"], request=record["id"]):
                self.assertEqual(finish[record["id"]], record["finish_reason"])
                self.assertEqual(
                    tokens[record["id"]], [t for d in record["deltas"] for t in d[2]]
                )
                self.assertEqual(
                    cached[record["id"]],
                    (record["num_cached_tokens"], record["num_cache_creation_tokens"]),
                )
        return {"kv": batches, "steps": len(phase["steps"]), "preemptions": preemptions}


def _outputs_of(phase: dict[str, Any], request_id: str) -> int:
    return sum(1 for step in phase["steps"] for row in step["out"] if row[0] == request_id)


if __name__ == "__main__":
    unittest.main()
