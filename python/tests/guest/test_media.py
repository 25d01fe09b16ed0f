"""Requests with media through the guest: what is decoded, what is refused, and what a decode worker is told."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import tempfile
import unittest
import zlib
from array import array
from typing import Any, ClassVar

from . import MODEL, REAL
from .answers import TOKENS, Answers
from .running import RunningEngineTest
from dynamo_vllm import grids, media, wire

_LIMIT = 60.0
_PLACEHOLDER = 2000


class WholeEnds(Answers):
    """Of the end of an answer also how long its prompt was, and what came with it."""

    def add(self, record: bytes) -> None:
        if record[0] != wire.KIND_TOKENS or not record[1] & wire.FLAG_FINISHED:
            super().add(record)
            return
        _, flags, finish, _, stream, prompt, _, count = TOKENS.unpack_from(record)
        extras = {}
        if flags & wire.FLAG_EXTRAS:
            position = TOKENS.size + 4 * count
            (length,) = struct.unpack_from("<I", record, position)
            extras = json.loads(record[position + 4 : position + 4 + length])
        self.ends[stream].set_result({"finish": finish, "prompt": prompt, "extras": extras})


def png(width: int, height: int, announced: tuple[int, int] | None = None) -> bytes:
    """One colour. The header may announce another size."""
    head = struct.pack(">IIBBBBB", *(announced or (width, height)), 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x40\x80\xc0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _model(folder: str) -> str:
    """The simulated engine's model, with eyes."""
    target = os.path.join(folder, "model")
    shutil.copytree(MODEL, target)
    path = os.path.join(target, "config.json")
    with open(path, encoding="utf-8") as stream:
        config = json.load(stream)
    config.update(architectures=["LlavaForConditionalGeneration"], model_type="llava_next", image_token_id=_PLACEHOLDER)
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(config, stream)
    return target


@unittest.skipIf(REAL, "needs a model that sees, which the peer tests make")
class MediaTest(RunningEngineTest):
    """Images on the simulated engine."""

    answers_type = WholeEnds
    folder: ClassVar["tempfile.TemporaryDirectory[str]"]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.options = ("--model", _model(cls.folder.name), "--limit-mm-per-prompt", '{"image":3}')
        super().setUpClass()

    def test_what_the_model_can_be_shown_is_told_to_the_host(self) -> None:
        facts = self.loop.run_until_complete(self.engine.describe())["multimodal"]
        expected = {"family": "llava", "limits": {"image": 3, "video": 0, "audio": 0}, "image_token": _PLACEHOLDER, "video_token": None}
        self.assertEqual(expected, facts)

    def test_images_take_their_room_in_the_prompt(self) -> None:
        end = self.run_one([5, _PLACEHOLDER, 6, _PLACEHOLDER], [png(28, 28), png(56, 30)])
        self.assertEqual((wire.FINISH_CODES["length"], 2 + 1 + 4), (end["finish"], end["prompt"]))

    def test_a_prompt_without_its_placeholder_is_a_mistake_of_the_client(self) -> None:
        end = self.run_one([5, 6], [png(28, 28)])
        self.assertEqual(("media", 400), (end["kind"], end["status"]))
        self.assertIn("does not go with its media: Failed to apply prompt replacement for mm_items['image'][0]", end["message"])

    def test_what_is_no_image_is_refused_by_its_number(self) -> None:
        end = self.run_one([_PLACEHOLDER, _PLACEHOLDER], [png(28, 28), b"GIF89a"])
        self.assertEqual(("media", 415), (end["kind"], end["status"]))
        self.assertIn("image 1 of the request", end["message"])

    def test_more_pixels_than_memory_is_meant_for_are_refused_unseen(self) -> None:
        end = self.run_one([_PLACEHOLDER], [png(1, 1, announced=(40_000, 40_000))])
        self.assertEqual(("media", 400), (end["kind"], end["status"]))
        self.assertIn(f"40000 x 40000 pixels, above the limit {media.PIXELS_MAX}", end["message"])

    def test_a_decode_worker_is_told_the_prompt_as_the_engine_saw_it(self) -> None:
        end = self.run_one([5, _PLACEHOLDER], [png(56, 28)], handed_over=True)
        self.assertEqual({"expanded_prompt_token_ids": [5, _PLACEHOLDER, _PLACEHOLDER]}, end["extras"]["embedding_params"])

    def test_a_prompt_that_a_prefill_worker_has_seen_takes_the_place_of_the_own(self) -> None:
        end = self.run_one([5, _PLACEHOLDER], [], embedding_params={"expanded_prompt_token_ids": [5, 7, 7, 7]})
        self.assertEqual(4, end["prompt"])
        end = self.run_one([5, _PLACEHOLDER], [], embedding_params={"expanded_prompt_token_ids": [5, -1]})
        self.assertEqual(("media", 400), (end["kind"], end["status"]))

    def test_an_image_without_bytes_needs_an_id(self) -> None:
        end = self.run_one([_PLACEHOLDER], [None])
        self.assertEqual(("media", 400), (end["kind"], end["status"]))

    def run_one(self, tokens: list[int], images: list[bytes | None], **more: Any) -> Any:
        MediaTest.number += 1
        number = MediaTest.number
        fields = {
            "request_id": "r",
            "sampling": {"max_tokens": 1},
            "media": {"items": [["image", None if one is None else len(one)] for one in images], **more},
        }
        blob = array("i", tokens).tobytes() + b"".join(one or b"" for one in images)

        async def run() -> Any:
            self.answers.expect(number)
            self.engine.submit(number, fields, blob)
            return await asyncio.wait_for(self.answers.ends[number], _LIMIT)

        return self.loop.run_until_complete(run())


class StandInTest(unittest.TestCase):
    """What a decode worker takes from a prefill worker is checked before memory is taken for it."""

    def test_shapes_that_no_prompt_has_are_refused(self) -> None:
        good = {"image_grid_thw": [[1, 4, 6]], "embeddings_shape": [6, 128]}
        for name, value in (
            ("image_grid_thw", []),
            ("image_grid_thw", [[1, 4]]),
            ("image_grid_thw", [[1, 4, 0]]),
            ("image_grid_thw", [[1, 4, "6"]]),
            ("embeddings_shape", None),
            ("embeddings_shape", [6]),
            ("embeddings_shape", [513, 128]),
            ("embeddings_shape", [6, 1 << 40]),
            ("embeddings_shape", [2, 6, 128]),
            ("embeddings_shape", [True, 128]),
        ):
            with self.subTest(name=name, value=value), self.assertRaisesRegex(ValueError, name):
                grids.stand_in({**good, name: value}, 1, 512)


if __name__ == "__main__":
    unittest.main()
