"""KV events on the wire: ZMTP, MessagePack, what is announced when."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
import time
import unittest
from typing import Any

from . import SIMULATED  # noqa: F401
from .support import EngineTest, collect, delta, prompt
from .zmtp_peer import GREETING, Subscriber, unpack

from vllm.simulation.kv_events import KVEventPublisher, endpoint_of_rank
from vllm.simulation.msgpack import packb
from vllm.simulation.zmtp import Publisher

try:
    import zmq
except ImportError:
    zmq = None

# First frame of a real engine's publisher (kv-event-frames.jsonl), shortened to
# the parts whose encoding could differ.
CAPTURED_EVENT = {
    "type": "BlockStored",
    "block_hashes": [4983110391196617255],
    "parent_block_hash": None,
    "token_ids": list(range(10, 42)),
    "block_size": 32,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "extra_keys": [None],
    "group_idx": 0,
    "kv_cache_spec_kind": "full_attention",
}
CAPTURED_PAYLOAD = bytes.fromhex(
    "93cb41dac0bac8307a81918ba474797065ab426c6f636b53746f726564ac626c6f636b5f68617368"
    "657391cf4527907fc7d50a27b1706172656e745f626c6f636b5f68617368c0a9746f6b656e5f6964"
    "73dc00200a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223242526272829aa626c6f"
    "636b5f73697a6520a76c6f72615f6964c0a66d656469756da3475055a96c6f72615f6e616d65c0aa"
    "65787472615f6b65797391c0a967726f75705f69647800b26b765f63616368655f737065635f6b69"
    "6e64ae66756c6c5f617474656e74696f6e00"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EncodingTest(unittest.TestCase):
    def test_a_captured_batch_is_encoded_byte_for_byte(self) -> None:
        batch = unpack(CAPTURED_PAYLOAD)
        self.assertEqual(batch[1], [CAPTURED_EVENT])
        self.assertEqual(packb([batch[0], [CAPTURED_EVENT], 0]), CAPTURED_PAYLOAD)

    def test_every_width_of_every_kind(self) -> None:
        numbers = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1,
                   -1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)]
        texts = ["", "a" * 31, "a" * 32, "é" * 200, "x" * 70000]
        values = [numbers, texts, [None, True, False, 1.5], {"k": {"n": []}},
                  list(range(70000)), {str(i): i for i in range(20)}, b"\x00" * 300, (1, 2)]
        for value in values:
            want = list(value) if isinstance(value, tuple) else value
            self.assertEqual(unpack(packb(value)), want)
        with self.assertRaises(TypeError):
            packb({1, 2})

    def test_port_of_a_rank(self) -> None:
        for endpoint, rank, want in (
            ("tcp://*:5557", 0, "tcp://*:5557"),
            ("tcp://*:5557", 3, "tcp://*:5560"),
            ("tcp://*:0", 3, "tcp://*:0"),
            ("tcp://[::]:5557", 1, "tcp://[::]:5558"),
            ("ipc:///tmp/x", 2, "ipc:///tmp/x"),
        ):
            self.assertEqual(endpoint_of_rank(endpoint, rank), want)


class PublisherTest(unittest.TestCase):
    def publisher(self, endpoint: str = "tcp://*:0", hwm: int = 1000) -> Publisher:
        made = Publisher(endpoint, hwm)
        self.addCleanup(made.close)
        return made

    @staticmethod
    def send(publisher: Publisher, topic: bytes, number: int, body: bytes = b"body") -> None:
        publisher.send(lambda: (topic, number.to_bytes(8, "big"), body))

    def subscribed(self, publisher: Publisher, address: Any = None, **kw: Any) -> Subscriber:
        peer = Subscriber(address or ("127.0.0.1", publisher.port), **kw)
        self.addCleanup(peer.close)
        deadline = time.monotonic() + 5
        count = sum(bool(p.subscriptions) for p in list(publisher._peers.values()))
        while not any(p.subscriptions for p in list(publisher._peers.values())) or count:
            count = 0
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)
        time.sleep(0.02)
        return peer

    def test_both_forms_of_subscription(self) -> None:
        for commands in (False, True):
            publisher = self.publisher()
            peer = self.subscribed(publisher, commands=commands)
            big = bytes(70000)
            self.send(publisher, b"", 0)
            self.send(publisher, b"kv", 1, big)
            self.assertEqual(peer.message(), [b"", bytes(8), b"body"])
            self.assertEqual(peer.message(), [b"kv", (1).to_bytes(8, "big"), big])

    def test_topics_are_filtered(self) -> None:
        publisher = self.publisher()
        peer = self.subscribed(publisher, topic=b"kv")
        self.send(publisher, b"other", 0)
        self.send(publisher, b"kv-events", 1)
        self.assertEqual(peer.message()[0], b"kv-events")

    def test_heartbeat_is_answered(self) -> None:
        publisher = self.publisher()
        peer = self.subscribed(publisher)
        peer.connection.sendall(b"\x04\x0b\x04PING\x00\x0aCTXT")
        self.assertEqual(peer.frame(), (4, b"\x04PONGCTXT"))

    def test_unix_socket_and_two_peers(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "kv")
            publisher = self.publisher(f"ipc://{path}")
            one = self.subscribed(publisher, path)
            two = self.subscribed(publisher, path)
            self.send(publisher, b"", 5)
            self.assertEqual(one.message(), two.message())
            publisher.close()
            self.assertFalse(os.path.exists(path))

    def test_an_address_without_wildcard_connects(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(5)
            publisher = self.publisher(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            peer = Subscriber.__new__(Subscriber)
            peer.connection = listener.accept()[0]
            peer.connection.settimeout(5)
            self.addCleanup(peer.close)
            peer.handshake(False, b"")
            time.sleep(0.1)
            self.send(publisher, b"", 1)
            self.assertEqual(peer.message()[2], b"body")

    def test_a_stranger_is_dropped_and_the_rest_goes_on(self) -> None:
        publisher = self.publisher()
        stranger = socket.create_connection(("127.0.0.1", publisher.port))
        self.addCleanup(stranger.close)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 5)
        peer = self.subscribed(publisher)
        self.send(publisher, b"", 0)
        self.assertEqual(len(peer.message()), 3)

    def test_a_peer_that_does_not_read_loses_messages_but_blocks_nobody(self) -> None:
        publisher = self.publisher(hwm=10)
        self.subscribed(publisher)
        for number in range(500):
            self.send(publisher, b"", number, bytes(100_000))
            time.sleep(0)
        deadline = time.monotonic() + 5
        while publisher._outgoing and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(publisher._outgoing)
        self.assertLessEqual(max(len(p.queue) for p in publisher._peers.values()), 11)

    def test_a_taken_port_is_an_error(self) -> None:
        port = self.publisher().port
        with self.assertRaises(OSError):
            Publisher(f"tcp://*:{port}")


@unittest.skipIf(zmq is None, "pyzmq is not installed")
class RealSubscriberTest(unittest.TestCase):
    """A real libzmq SUB on the other side."""

    def receive(self, endpoint: str, connect: str | None, topic: bytes = b"") -> None:
        context = zmq.Context()
        socket_ = context.socket(zmq.SUB)
        socket_.setsockopt(zmq.RCVTIMEO, 5000)
        socket_.setsockopt(zmq.HEARTBEAT_IVL, 50)
        socket_.setsockopt(zmq.SUBSCRIBE, topic)
        if connect is None:
            socket_.bind(endpoint)
        publisher = KVEventPublisher({"topic": "kv", "endpoint": endpoint, "hwm": 100}, 0)
        try:
            if connect is not None:
                port = publisher._publisher.port
                socket_.connect(connect.format(port=port))
            # Polling, not sleeping: a bound libzmq socket sends its subscription
            # only when the application calls into it.
            self.assertEqual(socket_.poll(500), 0)
            for _ in range(3):
                publisher.publish([CAPTURED_EVENT])
            for number in range(3):
                topic_frame, sequence, payload = socket_.recv_multipart()
                self.assertEqual((topic_frame, int.from_bytes(sequence, "big")), (b"kv", number))
                self.assertEqual(unpack(payload)[1:], [[CAPTURED_EVENT], 0])
        finally:
            publisher.close()
            socket_.close(0)
            context.term()

    def test_tcp(self) -> None:
        self.receive("tcp://*:0", "tcp://127.0.0.1:{port}")

    def test_ipc_and_topic(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.receive(f"ipc://{folder}/kv", f"ipc://{folder}/kv", b"k")

    def test_connecting_to_a_bound_subscriber(self) -> None:
        self.receive(f"tcp://127.0.0.1:{free_port()}", None)


class EngineEventsTest(EngineTest):
    async def begin(self, **options: Any) -> Subscriber:
        self.port = free_port()
        self.start(
            kv_events_config={"enable_kv_cache_events": True, "endpoint": f"tcp://*:{self.port}"},
            **options,
        )
        peer = Subscriber(("127.0.0.1", self.port))
        self.addCleanup(peer.close)
        await asyncio.sleep(0.1)
        return peer

    async def batch(self, peer: Subscriber) -> tuple[int, list[dict[str, Any]], int]:
        loop = asyncio.get_running_loop()
        topic, sequence, payload = await loop.run_in_executor(None, peer.message)
        self.assertEqual(topic, b"")
        stamp, events, rank = unpack(payload)
        self.assertLess(abs(stamp - time.time()), 5)
        return int.from_bytes(sequence, "big"), events, rank

    async def test_what_is_announced_when(self) -> None:
        peer = await self.begin(num_gpu_blocks_override=12, max_model_len=256)
        await self.run_one(prompt(80), max_tokens=1)
        number, (stored,), rank = await self.batch(peer)
        self.assertEqual((number, rank, stored["type"]), (0, 0, "BlockStored"))
        self.assertEqual(list(stored), list(CAPTURED_EVENT))
        self.assertEqual((len(stored["block_hashes"]), stored["parent_block_hash"]), (2, None))
        self.assertEqual(stored["token_ids"], prompt(64)["prompt_token_ids"])
        self.assertEqual(stored["extra_keys"], [None, None])
        # a hit is silent; one block more names its parent
        await self.run_one(prompt(80), max_tokens=1)
        await self.run_one(prompt(100), max_tokens=1)
        number, (more,), _ = await self.batch(peer)
        self.assertEqual((number, more["parent_block_hash"]), (1, stored["block_hashes"][-1]))
        # another salt, other hashes, and the salt beside the first block
        await self.run_one(prompt(80, cache_salt="s"), max_tokens=1)
        _, (salted,), _ = await self.batch(peer)
        self.assertEqual(salted["extra_keys"], [["s"], None])
        self.assertFalse(set(salted["block_hashes"]) & set(stored["block_hashes"]))
        # decoding fills a block
        await self.run_one(prompt(31, 500), max_tokens=3)
        _, (decoded,), _ = await self.batch(peer)
        self.assertEqual(decoded["token_ids"][:31], prompt(31, 500)["prompt_token_ids"])
        # eviction comes before what takes its place
        await self.run_one(prompt(230, 1000), max_tokens=1)
        _, events, _ = await self.batch(peer)
        kinds = [event["type"] for event in events]
        self.assertEqual(kinds[-1], "BlockStored")
        self.assertEqual(set(kinds[:-1]), {"BlockRemoved"})
        self.assertEqual(list(events[0]), ["type", "block_hashes", "medium", "group_idx"])
        # a reset travels with the next batch
        await self.engine.reset_prefix_cache()
        await self.run_one(prompt(80), max_tokens=1)
        _, events, _ = await self.batch(peer)
        self.assertEqual([e["type"] for e in events], ["AllBlocksCleared", "BlockStored"])

    async def test_each_rank_has_its_port_and_number(self) -> None:
        peer = await self.begin(data_parallel_size=2)
        other = Subscriber(("127.0.0.1", self.port + 1))
        self.addCleanup(other.close)
        await asyncio.sleep(0.1)
        for rank, subscriber in ((0, peer), (1, other)):
            await collect(self.engine, prompt(40), delta(max_tokens=1), data_parallel_rank=rank)
            number, events, published = await self.batch(subscriber)
            self.assertEqual((number, len(events), published), (0, 1, rank))

    async def test_lora_name_and_session_are_in_the_event(self) -> None:
        from vllm.lora.request import LoRARequest

        peer = await self.begin(enable_lora=True)
        await collect(
            self.engine, prompt(40), delta(max_tokens=1),
            lora_request=LoRARequest("adapter", 4, "/tmp"), session_id="s-1",
        )
        _, (stored,), _ = await self.batch(peer)
        self.assertEqual((stored["lora_id"], stored["lora_name"]), (4, "adapter"))
        self.assertEqual(stored["extra_keys"], [["adapter"]])
        self.assertEqual(stored["session_id"], "s-1")
        json.dumps(stored)
        self.assertEqual(len(GREETING), 64)


if __name__ == "__main__":
    unittest.main()
