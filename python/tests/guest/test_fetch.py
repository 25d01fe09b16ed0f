"""Models come from a hub whole or not at all, and what stands in the way is said in one line. Against a hub of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any, Iterator
from unittest import mock

from ..hub import Hub, commit_of
from dynamo_vllm import fetch

HAS_LIBRARY = importlib.util.find_spec("huggingface_hub") is not None

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
    "model-1.safetensors": b"1" * 200_000,
    "model-2.safetensors": b"2" * 100_000,
    "pytorch_model.bin": b"not again",
    "README.md": b"read",
    "picture.png": b"picture",
    "1_Pooling/config.json": b"{}",
    "original/model.safetensors": b"not again",
}
WANTED = [
    "1_Pooling/config.json",
    "config.json",
    "model-1.safetensors",
    "model-2.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
]


def wish(model: str = "tests/tiny", revision: str | None = None, load_format: str = "auto", weights: bool = True) -> fetch.Wish:
    return fetch.Wish(model, revision, load_format, weights)


class ChoiceTests(unittest.TestCase):
    """Which files of a repository are fetched."""

    def test_weights_are_taken_in_one_format_and_settings_from_folders_too(self) -> None:
        self.assertEqual(WANTED, fetch.chosen(FILES, wish()))

    def test_a_format_of_its_own_gets_all_weights(self) -> None:
        self.assertIn("pytorch_model.bin", fetch.chosen(FILES, wish(load_format="pt")))

    def test_without_safetensors_others_are_taken(self) -> None:
        names = ["config.json", "pytorch_model.bin", "tf_model.h5", "model.onnx"]
        self.assertEqual(["config.json", "pytorch_model.bin"], fetch.chosen(names, wish()))

    def test_without_weights_only_what_describes_the_model(self) -> None:
        names = fetch.chosen(FILES, wish(weights=False))
        self.assertEqual([name for name in WANTED if not name.endswith(".safetensors")], names)

    def test_hidden_files_are_left(self) -> None:
        self.assertEqual([], fetch.chosen([".gitattributes", ".cache/config.json", "a/.b/config.json"], wish()))


@unittest.skipUnless(HAS_LIBRARY, "huggingface_hub is not installed for this Python")
class FetchTests(unittest.TestCase):
    """A fetch from a hub on this machine."""

    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.repo, self.cache = self.root / "repo", self.root / "cache"
        for name, content in FILES.items():
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / name).write_bytes(content)
        self.hub = Hub({"tests/tiny": self.repo}).start()
        stack.callback(self.hub.close)
        stack.enter_context(self.settings(ENDPOINT=self.hub.address, HF_HUB_CACHE=str(self.cache)))
        stack.enter_context(mock.patch.object(fetch, "WAITS", (0.01,) * 4))
        stack.enter_context(mock.patch.object(fetch, "COUNT_SECONDS", 0.02))
        stack.enter_context(mock.patch.dict(os.environ, {"HF_TOKEN": ""}))
        self.seen: list[fetch.Progress] = []

    @staticmethod
    @contextlib.contextmanager
    def settings(**values: Any) -> Iterator[None]:
        """Of the library, which reads its environment once, on import."""
        from huggingface_hub import constants

        values.setdefault("HF_HUB_OFFLINE", False)
        if "ENDPOINT" in values:
            values["HUGGINGFACE_CO_URL_TEMPLATE"] = values["ENDPOINT"] + "/{repo_id}/resolve/{revision}/{filename}"
        with contextlib.ExitStack() as stack:
            for name, value in values.items():
                stack.enter_context(mock.patch.object(constants, name, value))
            yield

    def fetch(self, **other: Any) -> str:
        self.fetched = asyncio.run(fetch.fetch(wish(**other), self.seen.append))
        return self.fetched.folder

    def refused(self, **other: Any) -> str:
        with self.assertRaises(fetch.FetchError) as context:
            self.fetch(**other)
        text = str(context.exception)
        self.assertNotIn("\n", text)
        return text

    def asked_for(self, name: str) -> int:
        return sum(line.startswith(f"GET /tests/tiny/resolve/{commit_of(self.repo)}/{name} ") for line in self.hub.requests)

    def test_the_folder_of_the_commit_holds_what_was_chosen(self) -> None:
        folder = Path(self.fetch())
        self.assertEqual(self.cache / "models--tests--tiny" / "snapshots" / commit_of(self.repo), folder)
        self.assertEqual(WANTED, sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
        self.assertEqual(FILES["model-1.safetensors"], (folder / "model-1.safetensors").read_bytes())
        self.assertEqual((6, 6), (self.seen[-1].files_done, self.seen[-1].files))
        self.assertEqual(self.seen[-1].bytes, self.seen[-1].bytes_done)
        self.assertTrue(self.fetched.asked)

    def test_progress_grows_while_a_file_is_on_its_way(self) -> None:
        self.hub.bytes_per_second = 400_000
        self.fetch()
        self.assertGreater(len({progress.bytes_done for progress in self.seen}), 3)
        counts = [progress.bytes_done for progress in self.seen]
        self.assertEqual(sorted(counts), counts)

    def test_a_second_fetch_brings_nothing_again(self) -> None:
        self.fetch()
        self.hub.requests.clear()
        self.fetch()
        self.assertEqual([], [line for line in self.hub.requests if "/resolve/" in line])

    def test_offline_serves_from_the_cache(self) -> None:
        folder = self.fetch()
        self.hub.requests.clear()
        with self.settings(HF_HUB_OFFLINE=True):
            self.assertEqual(folder, self.fetch())
        self.assertEqual([], self.hub.requests)

    def test_offline_and_not_cached_is_refused(self) -> None:
        with self.settings(HF_HUB_OFFLINE=True):
            self.assertIn("HF_HUB_OFFLINE allows no fetch", self.refused())

    def test_offline_with_a_shard_missing_is_refused(self) -> None:
        os.unlink(os.path.join(self.fetch(), "model-2.safetensors"))
        with self.settings(HF_HUB_OFFLINE=True):
            self.assertIn("nor whole in the cache", self.refused())

    def test_a_fetch_goes_on_where_an_earlier_one_ended(self) -> None:
        folder = self.fetch()
        os.unlink(os.path.realpath(os.path.join(folder, "model-2.safetensors")))
        os.unlink(os.path.join(folder, "model-2.safetensors"))
        self.hub.requests.clear()
        self.fetch()
        self.assertEqual(0, self.asked_for("model-1.safetensors"))
        self.assertEqual(1, self.asked_for("model-2.safetensors"))

    def test_connections_that_break_are_continued(self) -> None:
        self.hub.cut_after, self.hub.cuts = 50_000, 2
        with self.settings(DOWNLOAD_CHUNK_SIZE=10_000):
            folder = self.fetch()
        self.assertEqual(FILES["model-1.safetensors"], Path(folder, "model-1.safetensors").read_bytes())
        self.assertTrue([line for line in self.hub.requests if "bytes=50000-" in line], self.hub.requests)

    def test_a_hub_that_is_unwell_is_asked_five_times(self) -> None:
        self.hub.status = 500
        text = self.refused()
        self.assertIn("answers 500", text)
        self.assertEqual(5, len([line for line in self.hub.requests if line.startswith("GET /api/models/tests/tiny ")]), self.hub.requests)

    def test_a_hub_that_is_unwell_does_not_keep_what_is_cached_from_being_served(self) -> None:
        folder = self.fetch()
        self.hub.status = 500
        with self.assertLogs("dynamo_vllm.fetch", "WARNING") as logs:
            self.assertEqual(folder, self.fetch())
        self.assertIn("serving what is cached", logs.output[0])
        self.assertFalse(self.fetched.asked)

    def test_a_hub_out_of_reach_is_named(self) -> None:
        with self.settings(ENDPOINT="http://user:secret@127.0.0.1:1"):
            text = self.refused()
        self.assertIn("http://127.0.0.1:1 cannot be reached (HF_ENDPOINT)", text)
        self.assertNotIn("secret", text)

    def test_an_unknown_name_is_refused_at_once(self) -> None:
        text = self.refused(model="tests/none")
        self.assertIn("--model 'tests/none': not on http://127.0.0.1", text)
        self.assertIn("set HF_TOKEN", text)
        self.assertEqual(1, len(self.hub.requests), self.hub.requests)

    def test_a_model_for_few_names_the_token(self) -> None:
        self.hub.token = "good"
        self.assertIn("set HF_TOKEN if it needs a token", self.refused())
        with mock.patch.dict(os.environ, {"HF_TOKEN": "bad-secret"}):
            text = self.refused()
        self.assertIn("whether HF_TOKEN may read it", text)
        self.assertNotIn("bad-secret", text)

    def test_a_gated_model_names_its_conditions(self) -> None:
        self.hub.token, self.hub.gated = "good", True
        self.assertIn("access is restricted: accept the model's conditions on http://127.0.0.1", self.refused())

    def test_the_token_goes_to_the_hub(self) -> None:
        self.hub.token = "good"
        with mock.patch.dict(os.environ, {"HF_TOKEN": "good"}):
            self.fetch()
        self.assertEqual({"token"}, {line.split()[-1] for line in self.hub.requests})

    def test_a_revision_that_is_not_there_is_named(self) -> None:
        self.fetch()
        self.assertIn("at revision 'v2': http://127.0.0.1", self.refused(revision="v2"))

    def test_a_commit_can_be_named(self) -> None:
        self.assertTrue(self.fetch(revision=commit_of(self.repo)).endswith(commit_of(self.repo)))

    def test_what_is_no_name_is_refused_without_asking(self) -> None:
        for model in ("/no/such/folder", "a/b/c", "what is this"):
            self.assertIn("neither a local folder nor the name of a model", self.refused(model=model))
        self.assertEqual([], self.hub.requests)

    def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(self) -> None:
        usage = mock.Mock(free=1000)
        with mock.patch("shutil.disk_usage", return_value=usage):
            text = self.refused()
        self.assertIn("300 kB are still to be fetched, 1 kB are free", text)
        self.assertEqual(0, self.asked_for("config.json"))

    def test_a_cache_that_cannot_be_written_is_named(self) -> None:
        place = self.root / "file"
        place.write_text("no folder")
        with self.settings(HF_HUB_CACHE=str(place / "cache")):
            self.assertIn(f"the cache {place / 'cache'} cannot be written", self.refused())
        self.assertEqual(1, len([line for line in self.hub.requests if line.startswith("GET /api/models/tests/tiny ")]))

    def test_litter_is_removed_and_what_is_being_written_is_not(self) -> None:
        blobs = self.cache / "models--tests--tiny" / "blobs"
        blobs.mkdir(parents=True)
        old, new, continued = blobs / "a.01234567.incomplete", blobs / "b.01234567.incomplete", blobs / "c.incomplete"
        for path in (old, new, continued):
            path.write_bytes(b"part")
        for path in (old, continued):
            os.utime(path, (1, 1))
        self.fetch()
        self.assertEqual([False, True, True], [path.exists() for path in (old, new, continued)])


class WordTests(unittest.TestCase):
    """What is said of an exception."""

    def test_addresses_lose_signatures_and_credentials(self) -> None:
        words = fetch._words(ValueError("GET https://me:pass@cdn/x?X-Signature=abc failed\nsecond line"))
        self.assertEqual("GET https://cdn/x failed", words)

    def test_sizes_are_readable(self) -> None:
        self.assertEqual(["999 B", "1.5 kB", "16.1 GB", "2 TB"], [fetch.readable(size) for size in (999, 1500, 16_060_000_000, 2 * 10**12)])


if __name__ == "__main__":
    unittest.main()
