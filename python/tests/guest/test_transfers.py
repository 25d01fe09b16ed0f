"""Embeddings on their way between workers, and the room and the cache that they lie in."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
import unittest
from types import SimpleNamespace
from typing import Any

from . import REAL  # noqa: F401 - puts an engine's package on the path
from dynamo_vllm import failures, transfers, vision
from dynamo_vllm.regions import Regions

_HAS_TORCH = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("safetensors") is not None
_HAS_NIXL = _HAS_TORCH and importlib.util.find_spec("nixl") is not None


class RegionsTest(unittest.TestCase):
    """Pieces of one memory."""

    def test_pieces_do_not_overlap_and_come_back(self) -> None:
        regions = Regions(4 * Regions.ALIGNMENT)
        first, second, third = regions.take(1), regions.take(Regions.ALIGNMENT + 1), regions.take(1)
        self.assertEqual((first, second, third), (0, Regions.ALIGNMENT, 3 * Regions.ALIGNMENT))
        self.assertIsNone(regions.take(1))
        assert second is not None
        regions.give_back(second)
        self.assertIsNone(regions.take(2 * Regions.ALIGNMENT + 1))
        self.assertEqual(regions.take(2 * Regions.ALIGNMENT), second)
        self.assertEqual(regions.taken, 3)


class Tensor:
    """As much of one as a cache looks at."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def clone(self) -> "Tensor":
        """Another of the same size."""
        return Tensor(self.nbytes)


class CacheTest(unittest.TestCase):
    """What an encode worker keeps."""

    def test_the_oldest_goes_when_there_is_no_room(self) -> None:
        cache = vision.Cache(100)
        for key in ("a", "b"):
            cache.keep(key, vision.Encoded(Tensor(40), [1, 2, 2]))
        self.assertIsNotNone(cache.find("a"))
        cache.keep("c", vision.Encoded(Tensor(40), None))
        self.assertEqual([cache.find(key) is not None for key in ("a", "b", "c")], [True, False, True])
        self.assertEqual((cache.size, len(cache)), (80, 2))

    def test_what_is_larger_than_all_of_it_is_not_kept(self) -> None:
        cache = vision.Cache(100)
        cache.keep("a", vision.Encoded(Tensor(101), None))
        self.assertEqual((cache.size, len(cache)), (0, 0))


class OfferTest(unittest.TestCase):
    """What another worker says of embeddings."""

    def test_what_cannot_be_taken_is_refused(self) -> None:
        good: dict[str, Any] = {"embeddings_shape": [1, 4, 8], "embedding_dtype_str": "torch.float16", "serialized_request": "t"}
        self.assertEqual(transfers.Offer.read(good).size, 64)
        bad: list[Any] = [
            None,
            {**good, "embeddings_shape": [4]},
            {**good, "embeddings_shape": [1, -4, 8]},
            {**good, "embeddings_shape": [1, 4.0, 8]},
            {**good, "embeddings_shape": [1, 1 << 20, 1 << 20]},
            {**good, "embedding_dtype_str": "int8"},
        ]
        for one in bad:
            with self.subTest(one), self.assertRaises(transfers.TransferError) as caught:
                transfers.Offer.read(one)
            self.assertEqual(failures.describe(caught.exception)["status"], 503)


@unittest.skipUnless(_HAS_TORCH, "needs torch and safetensors")
class FilesTest(unittest.TestCase):
    """Through files of one host."""

    def test_a_file_is_read_once_and_removed(self) -> None:
        import torch

        async def run() -> None:
            sender, tensor = transfers.FileSender(), torch.randn(1, 3, 4)
            offer = await sender.offer(tensor)
            (got,) = await transfers.FileReceiver().receive([transfers.Offer.read(offer.to_json())])
            self.assertTrue(torch.equal(got, tensor))
            self.assertFalse(os.path.exists(offer.ticket))
            left = await sender.offer(tensor)
            sender.close()
            self.assertFalse(os.path.exists(left.ticket))

        asyncio.run(run())

    def test_no_other_file_is_touched(self) -> None:
        async def run(path: str) -> None:
            with self.assertRaises(transfers.TransferError):
                await transfers.FileReceiver().receive([transfers.Offer([1, 1], "float32", path)])

        with tempfile.NamedTemporaryFile(prefix="other.", suffix=".safetensors") as file:
            asyncio.run(run(file.name))
            self.assertTrue(os.path.exists(file.name))


@unittest.skipUnless(_HAS_NIXL, "needs NIXL")
class NixlTest(unittest.TestCase):
    """Through NIXL, from one agent of this process to another."""

    def test_tensors_arrive_and_nothing_is_left(self) -> None:
        import torch

        async def run() -> None:
            sender, receiver = transfers.NixlSender(), transfers.NixlReceiver(1 << 20)
            first, second = torch.randn(1, 50, 16), torch.randn(1, 70, 16).half()
            offers = [await sender.offer(one) for one in (first, second, first)]
            got = await receiver.receive([transfers.Offer.read(one.to_json()) for one in offers])
            self.assertTrue(all(torch.equal(one, other) for one, other in zip(got, (first, second, first))))
            self.assertEqual((receiver.places, receiver.awaited), (0, 0))
            await asyncio.sleep(0.1)
            self.assertEqual(sender.standing, 0)
            sender.close()

        asyncio.run(run())

    def test_an_offer_that_nobody_takes_is_withdrawn_and_what_does_not_come_is_not_waited_for(self) -> None:
        import torch

        async def run() -> None:
            sender, receiver = transfers.NixlSender(), transfers.NixlReceiver(1 << 20)
            offer = await sender.offer(torch.randn(1, 5, 16))
            await asyncio.sleep(0.3)
            self.assertEqual(sender.standing, 0)
            with self.assertRaises(transfers.TransferError):
                await receiver.receive([offer])
            self.assertEqual((receiver.places, receiver.awaited), (1, 0))  # somebody may still write there
            sender.close()

        limit, transfers.LIMIT = transfers.LIMIT, 0.1
        try:
            asyncio.run(run())
        finally:
            transfers.LIMIT = limit


class SenderBoundTest(unittest.TestCase):
    """Offers that stand."""

    def test_there_is_a_bound(self) -> None:
        async def run() -> None:
            sender = transfers.NixlSender.__new__(transfers.NixlSender)
            sender._standing = {number: SimpleNamespace() for number in range(transfers.OFFERS_MAX)}  # type: ignore[misc]
            with self.assertRaises(transfers.TransferError):
                await sender.offer(None)

        asyncio.run(run())


if __name__ == "__main__":
    unittest.main()
