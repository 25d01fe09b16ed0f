"""What the host needs for its own way to the engine: how requests are encoded, and steps that it read counted as vLLM counts its own."""

from __future__ import annotations

import json
import struct
import unittest
from types import SimpleNamespace
from typing import Any, cast

from . import MODEL, REAL
from dynamo_vllm import direct, entry, sampling, statistics
from dynamo_vllm.delivery import Delivery
from dynamo_vllm.outbox import Outbox

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType, EngineCoreOutput, EngineCoreRequest, FinishReason
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.metrics.loggers import StatLoggerManager
from vllm.v1.metrics.stats import IterationStats, PrefillStats, PrefixCacheStats, RequestStateStats, SchedulerStats

#: Series that say when, not what.
_WHEN = ("_created", "process_", "python_")


def config() -> Any:
    return AsyncEngineArgs(model=MODEL, max_model_len=512, enforce_eager=True).create_engine_config()


def encoder(vllm_config: Any) -> Any:
    if REAL:
        from vllm.v1.serial_utils import MsgpackEncoder

        return MsgpackEncoder()
    from vllm.v1.engine.core_client import RequestEncoder

    return RequestEncoder(vllm_config)


def unpacked(data: bytes) -> Any:
    if REAL:
        import msgspec

        return msgspec.msgpack.decode(data)
    from vllm.simulation.msgpack import unpackb

    return unpackb(data)


class TeachingTest(unittest.TestCase):
    def test_what_is_taught_is_what_vllm_sends_but_for_what_a_request_has_of_its_own(self) -> None:
        vllm_config = config()
        records: list[bytes] = []
        outbox = cast(Outbox, SimpleNamespace(add=records.append))
        llm = SimpleNamespace(
            input_processor=InputProcessor(vllm_config), model_config=vllm_config.model_config, errored=False, output_handler=object(),
            engine_core=SimpleNamespace(encoder=encoder(vllm_config)),
        )
        delivery = Delivery(outbox, lambda stream: None)
        short = entry.open_for(llm, ("generate",), lambda fields: sampling.build({}, fields), delivery)
        assert not isinstance(short, str), short
        short.teacher = direct.Teacher(llm, outbox, short)
        parameters: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "stop_token_ids": [7, 8], "min_tokens": 2, "max_tokens": 16}
        prompt = struct.pack("<3I", 5, 6, 7)

        found = short.request({"request_id": "r", "sampling": dict(parameters), "teach": 3}, prompt)
        assert found is not None
        sent = unpacked(bytes(llm.engine_core.encoder.encode(found[0])[0]))
        kind, question, size, _ = struct.unpack_from("<BxxxIII", records[0])
        facts = json.loads(records[0][16 : 16 + size])
        taught = unpacked(records[0][16 + size :])
        names = facts["fields"]
        self.assertEqual((20, 3, 511, 2), (kind, question, facts["longest_prompt"], facts["least_tokens"]))
        self.assertEqual(len(names), len(taught))
        own = {"request_id", "prompt_token_ids", "arrival_time", "external_req_id"}
        for name, theirs, ours in zip(names, sent, taught):
            if name == "sampling_params":
                # vLLM leaves out a length that is its default, as 16 is.
                self.assertEqual(2**31 - 1, ours.pop("max_tokens"))
                theirs.pop("max_tokens", None)
            if name not in own:
                self.assertEqual(theirs, ours, name)

        # A hand-over is taught without it, and goes vLLM's own way itself.
        with_transfer = {**parameters, "top_p": 0.8, "kv_transfer_params": {"do_remote_decode": True}}
        self.assertIsNone(short.request({"request_id": "r", "sampling": with_transfer, "teach": 4}, prompt))
        self.assertEqual(2, len(records))
        self.assertNotIn(b"do_remote_decode", records[1])

        # More than tokens is not taught.
        surplus: list[dict[str, Any]] = [{"logprobs": 1}, {"logprob_token_ids": [5, 6]}]
        for more in surplus:
            short.request({"request_id": "r", "sampling": {**parameters, **more}, "teach": 5}, prompt)
            self.assertEqual(2, len(records), more)


class RecordingTest(unittest.TestCase):
    """The same steps, once as vLLM's front end tells its loggers of them, once as the host reports them."""

    def setUp(self) -> None:
        self.config = config()

    def test_the_page_is_the_same(self) -> None:
        theirs = self.page(self.record_steps)
        ours = self.page(self.record_report)
        self.assertTrue(any(line.startswith("vllm:generation_tokens_total") and line.endswith(" 4.0") for line in ours), ours)
        if REAL:
            self.assertTrue(any(line.startswith("vllm:external_prefix_cache_hits_total") and line.endswith(" 20.0") for line in ours), ours)
        self.assertEqual(theirs, ours)

    def test_the_load_is_that_of_the_later_sample(self) -> None:
        def record(llm: Any) -> None:
            origin = statistics.Origin()
            origin.latest, origin.latest_at = SchedulerStats(num_running_reqs=0), 50.0
            direct.StepRecorder(llm, origin).record(self.report(), b"")

        self.assertTrue(any(line.startswith("vllm:num_requests_running") and line.endswith(" 0.0") for line in self.page(record)))

    def record_steps(self, llm: Any) -> None:
        stats = RequestStateStats(arrival_time=0.0)
        outputs = (
            (1.0, [5], None, PrefillStats(40, 30, 10, 10, 0, 20)), (1.25, [6], None, None), (1.75, [7, 8], FinishReason.LENGTH, None),
        )
        for step, (timestamp, tokens, finish, prefill) in enumerate(outputs):
            iteration = IterationStats()
            iteration.iteration_timestamp = 10.0 + timestamp
            events = [EngineCoreEvent(EngineCoreEventType.QUEUED, 0.25), EngineCoreEvent(EngineCoreEventType.SCHEDULED, 0.5)] if step == 0 else None
            output = EngineCoreOutput(request_id="r", new_token_ids=tokens, finish_reason=finish, events=events, prefill_stats=prefill)
            iteration.update_from_output(output, timestamp, step == 0, stats, *((_NoLoras(), None) if REAL else ()))
            if finish is not None:
                iteration.update_from_finished_request(
                    finish_reason=finish, request_id="r", num_prompt_tokens=40, max_tokens_param=9, req_stats=stats, num_cached_tokens=10
                )
                iteration.max_num_generation_tokens_iter.append(4)
                iteration.n_params_iter.append(1)
            llm.logger_manager.record(engine_idx=0, scheduler_stats=self.scheduler(step), iteration_stats=iteration)

    @staticmethod
    def scheduler(step: int) -> Any:
        cache = PrefixCacheStats(requests=1, queries=40, hits=10) if step == 0 else PrefixCacheStats()
        connector = PrefixCacheStats(requests=1, queries=30, hits=20) if step == 0 else PrefixCacheStats()
        return SchedulerStats(
            num_running_reqs=3 - step, kv_cache_usage=0.25, prefix_cache_stats=cache, connector_prefix_cache_stats=connector
        )

    def record_report(self, llm: Any) -> None:
        direct.StepRecorder(llm, statistics.Origin()).record(self.report(), b"")

    @staticmethod
    def report() -> dict[str, Any]:
        """As `StepStatistics` of the host writes it."""
        finished = {
            "finish_reason": 1, "e2e_latency": 11.75, "num_prompt_tokens": 40, "num_preemptions": 0, "num_generation_tokens": 4,
            "max_tokens_param": 9, "queued_time": 0.25, "prefill_time": 0.5, "decode_time": 0.75, "inference_time": 1.25,
            "mean_time_per_output_token": 0.25, "num_cached_tokens": 10,
        }
        return {
            "time": 11.75, "generated": 4, "preempted": 0, "prefill": [40, 30, 10, 10, 0], "first_token_times": [11.0],
            "token_times": [[0.25, 1], [0.5, 1]], "iterations": [[31, 1], [1, 1], [2, 1]], "finished": [finished], "sampled_at": 1.75,
            "scheduler": {"num_running_reqs": 1, "num_waiting_reqs": 0, "num_skipped_waiting_reqs": 0, "kv_cache_usage": 0.25},
            "prefix_cache": {
                "reset": False, "requests": 1, "queries": 40, "hits": 10, "preempted_requests": 0, "preempted_queries": 0,
                "preempted_hits": 0,
            },
            "connector_cache": {
                "reset": False, "requests": 1, "queries": 30, "hits": 20, "preempted_requests": 0, "preempted_queries": 0,
                "preempted_hits": 0,
            },
        }

    def page(self, record: Any) -> list[str]:
        llm = SimpleNamespace(
            logger_manager=StatLoggerManager(self.config, engine_idxs=[0], custom_stat_loggers=[]),
            output_processor=SimpleNamespace(update_scheduler_stats=lambda stats: None),
        )
        llm.logger_manager.log_engine_initialized()
        observations = statistics.group_observations(llm)
        record(llm)
        for one in observations:
            one.flush()
        if REAL:
            from prometheus_client import REGISTRY, generate_latest

            text = str(generate_latest(REGISTRY), "utf-8")
        else:
            from vllm.v1.metrics.prometheus import render_simulated_metrics

            text = str(render_simulated_metrics())
        lines = [line for line in text.splitlines() if not line.startswith("#") and not any(word in line for word in _WHEN)]
        self.assertTrue(lines)
        return lines


class _NoLoras:
    """Requests without an adapter leave no trace in it."""

    def request_waiting(self, request_id: str, name: str | None) -> None:
        assert name is None

    def request_running(self, request_id: str, name: str | None) -> None:
        assert name is None


class ObstacleTest(unittest.TestCase):
    def test_what_only_vllm_s_front_end_can_do_is_left_to_it(self) -> None:
        def configured(
            ranks: int = 1, elastic: bool = False, faults: bool = False, traces: str | None = None, limit: int | None = None, mask: bool = False
        ) -> Any:
            return SimpleNamespace(
                parallel_config=SimpleNamespace(data_parallel_size=ranks, enable_elastic_ep=elastic, enable_fault_tolerance=faults),
                observability_config=SimpleNamespace(otlp_traces_endpoint=traces),
                scheduler_config=SimpleNamespace(max_num_queued_reqs=limit, max_num_queued_tokens=None),
                model_config=SimpleNamespace(return_sampling_mask=mask),
            )

        self.assertIsNone(direct.obstacle_before_start(configured()))
        self.assertIsNone(direct.obstacle_before_start(config()))
        for obstacle, text in (
            (configured(ranks=2), "there are several data-parallel ranks, among which vLLM's front end chooses"),
            (configured(elastic=True), "the engine tells vLLM's front end of its scaling or faults, which it takes for client 0"),
            (configured(faults=True), "the engine tells vLLM's front end of its scaling or faults, which it takes for client 0"),
            (configured(traces="http://collector"), "vLLM's front end writes traces of requests"),
            (configured(limit=3), "vLLM's front end keeps to max_num_queued_reqs"),
            (configured(mask=True), "every answer brings routed experts or a sampling mask, which vLLM's front end puts together"),
        ):
            self.assertEqual(text, direct.obstacle_before_start(obstacle))

    def test_loggers_that_want_every_step_keep_their_steps(self) -> None:
        class Foreign:
            """Of a plugin."""

        def llm(*loggers: Any) -> Any:
            return SimpleNamespace(logger_manager=SimpleNamespace(stat_loggers=list(loggers)))

        grouped = [cast(statistics.GroupedObservations, object())]
        self.assertIsNone(direct.obstacle(llm(), grouped))
        self.assertEqual("there are loggers that want to see every step: Foreign", direct.obstacle(llm(Foreign()), grouped))

    def test_the_host_is_the_first_client_only_while_the_engine_starts(self) -> None:
        from vllm.v1.engine import core_client

        given: list[Any] = []
        before = core_client.launch_core_engines

        def launch(vllm_config: Any, executor_class: Any, log_stats: bool, addresses: Any) -> None:
            given.append(addresses)

        core_client.launch_core_engines = launch
        try:
            addresses = SimpleNamespace(inputs=["ipc:///vllm-in"], outputs=["ipc:///vllm-out"])
            with direct.host_as_client({"input": "ipc:///i", "output": "ipc:///o"}) as client:
                core_client.launch_core_engines(None, None, True, addresses)
            core_client.launch_core_engines(None, None, True, None)
        finally:
            core_client.launch_core_engines = before
        self.assertEqual({"client_index": 1}, client)
        self.assertEqual([["ipc:///i", "ipc:///vllm-in"], ["ipc:///o", "ipc:///vllm-out"]], [given[0].inputs, given[0].outputs])
        self.assertIsNone(given[1])


class FieldsTest(unittest.TestCase):
    def test_fields_are_in_the_order_of_the_wire(self) -> None:
        fields = entry.wire_fields()
        self.assertEqual(["request_id", "prompt_token_ids"], fields[:2])
        self.assertEqual({name for name in EngineCoreRequest.__annotations__ if name != "child_index"} | set(fields), set(fields))
