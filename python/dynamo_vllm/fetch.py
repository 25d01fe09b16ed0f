"""Models of a hub, brought into the hub's own cache by huggingface_hub, where vLLM and every other program on this host finds them.

The library takes up what it has: whole files are kept, and within a process a broken connection is continued where it broke. A fetch that
is cut off by the end of the process leaves whole files and loses the parts.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import importlib.util
import json
import logging
import os
import re
import shutil
import time
from typing import Any, Callable, Iterable, NamedTuple
from urllib.parse import urlsplit

_LOGGER = logging.getLogger("dynamo_vllm.fetch")

#: Waits between attempts that brought nothing new; one more attempt than waits.
WAITS = (1.0, 2.0, 4.0, 8.0)

#: How often what has arrived is counted.
COUNT_SECONDS = 1.0

#: Nothing that is still being written is that old.
_LITTER_SECONDS = 3600.0

#: As newer releases name what they are writing, for one process alone; older ones have one name for each file, and continue it.
_UNIQUE_PART = re.compile(r"\.[0-9a-f]{8}\.incomplete$")

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_FOREIGN_WEIGHTS = (".h5", ".msgpack", ".onnx", ".onnx_data", ".tflite", ".ot", ".ckpt", ".ckpt.index", ".mlmodel")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".bmp", ".tif", ".tiff", ".webp")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

#: Formats of `--load-format` that take safetensors where there are any.
_SAFETENSORS_FORMATS = ("auto", "hf", "safetensors", "fastsafetensors", "runai_streamer", "instanttensor")

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EIO)


class FetchError(Exception):
    """The model cannot be had: one line for the operator."""


class Wish(NamedTuple):
    """What to fetch."""

    model: str
    revision: str | None
    load_format: str
    #: False: only what describes the model.
    weights: bool


class Fetched(NamedTuple):
    """The model is on this host."""

    folder: str
    #: The hub was asked. Where it was not, vLLM must not ask it either: it would not start.
    asked: bool


class Progress(NamedTuple):
    """How far a fetch is. Bytes of files that are being written count."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int


class _Failure(NamedTuple):
    reason: str
    #: Another attempt may do better.
    passes: bool


def chosen(names: Iterable[str], wish: Wish) -> list[str]:
    """Of the files of a repository those that vLLM or the model card may read.

    As the reference leaves out pictures, hidden files and the read-me. Unlike there, folders are looked into, where some models have
    settings, and weights are taken in one format.
    """
    names = list(names)
    has_safetensors = any(name.endswith(".safetensors") and "/" not in name for name in names)
    prefers_safetensors = has_safetensors and wish.load_format in _SAFETENSORS_FORMATS
    return sorted(name for name in names if _is_chosen(name, wish, prefers_safetensors))


def _is_chosen(name: str, wish: Wish, prefers_safetensors: bool) -> bool:
    lower = name.lower()
    base = lower.rpartition("/")[2]
    if base.startswith((".", "readme")) or lower.startswith(".") or "/." in lower or lower.endswith(_PICTURES + _FOREIGN_WEIGHTS):
        return False
    if not lower.endswith(_WEIGHTS):
        return True
    # Those in folders are other copies of the model; vLLM asks the hub itself for the few that it reads there.
    return wish.weights and "/" not in name and (not prefers_safetensors or lower.endswith(".safetensors"))


async def fetch(wish: Wish, report: Callable[[Progress], None]) -> Fetched:
    """The folder that holds the model, whole.

    Tries again what may pass, and gives up after five attempts in a row that brought nothing.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise FetchError(f"{_subject(wish)}: huggingface_hub, which fetches models, is not installed for this Python")
    attempt, most = 0, 0

    def count(progress: Progress) -> None:
        nonlocal attempt, most
        if progress.bytes_done > most:
            attempt, most = 0, progress.bytes_done
        report(progress)

    while True:
        try:
            return await _Fetch(wish, count).run()
        except FetchError:
            raise
        except Exception as error:  # noqa: BLE001 - boundary mapping: every failure becomes one line
            failure = judge(error, wish)
            if not failure.passes or attempt >= len(WAITS):
                raise FetchError(failure.reason) from error
            _LOGGER.warning("%s; attempt %d of %d, the next one in %g s", failure.reason, attempt + 1, len(WAITS) + 1, WAITS[attempt])
            await asyncio.sleep(WAITS[attempt])
            attempt += 1


class _Fetch:
    """One attempt. What blocks runs on a thread of the loop's pool, so that the loop goes on."""

    def __init__(self, wish: Wish, report: Callable[[Progress], None]) -> None:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        self._wish = wish
        self._report = report
        self._cache = constants.HF_HUB_CACHE
        self._is_offline = bool(constants.HF_HUB_OFFLINE)
        self._storage = os.path.join(self._cache, repo_folder_name(repo_id=wish.model, repo_type="model"))
        self._started = time.time()

    async def run(self) -> Fetched:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(self._wish.model)
        if self._is_offline:
            folder = self._cached()
            if folder is None:
                raise FetchError(not_cached(self._wish.model, self._wish.revision))
            return Fetched(folder, asked=False)
        try:
            commit, sizes = await asyncio.to_thread(self._list)
        except Exception as error:  # noqa: BLE001 - boundary mapping: what is cached can be served without the hub
            failure = judge(error, self._wish)
            folder = None if _is_revision_missing(error) else self._cached()
            if folder is None:
                raise
            _LOGGER.warning("%s; serving what is cached: %s", failure.reason, folder)
            return Fetched(folder, asked=False)
        names = chosen(sizes, self._wish)
        if not names:
            raise FetchError(f"{_subject(self._wish)}: the repository holds no file of a model")
        folder = os.path.join(self._storage, "snapshots", commit)
        wanted = {name: sizes[name] for name in names}
        self._check_space(folder, wanted)
        await self._download(folder, wanted)
        return Fetched(folder, asked=True)

    def _list(self) -> tuple[str, dict[str, int]]:
        """The commit that the revision is now, and the size of each file."""
        from huggingface_hub import HfApi

        api = HfApi()
        commit = api.model_info(self._wish.model, revision=self._wish.revision).sha
        if commit is None:
            raise FetchError(f"{_subject(self._wish)}: the hub names no commit for it")
        tree = api.list_repo_tree(self._wish.model, recursive=True, revision=commit)
        return commit, {file.path: int(file.size) for file in tree if hasattr(file, "size")}

    def _cached(self) -> str | None:
        """The folder of the revision as it was when the hub was asked last, if nothing of it is missing."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            # With everything ignored nothing is looked at: which files this worker needs is its own matter.
            folder: str = snapshot_download(
                self._wish.model, revision=self._wish.revision, local_files_only=True, ignore_patterns="*"
            )
        except LocalEntryNotFoundError:
            return None
        return folder if _is_whole(folder, self._wish) else None

    def _check_space(self, folder: str, sizes: dict[str, int]) -> None:
        missing = sum(size for name, size in sizes.items() if not os.path.exists(os.path.join(folder, name)))
        place = self._cache
        while not os.path.isdir(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        free = shutil.disk_usage(place).free
        if missing > free:
            raise FetchError(
                f"{_subject(self._wish)}: {readable(missing)} are still to be fetched, {readable(free)} are free in {self._cache} "
                "(HF_HOME or HF_HUB_CACHE names another place)"
            )

    async def _download(self, folder: str, sizes: dict[str, int]) -> None:
        self._remove_litter()
        download = asyncio.ensure_future(asyncio.to_thread(self._snapshot, list(sizes)))
        self._report(self._count(folder, sizes))
        while not download.done():
            await asyncio.wait([download], timeout=COUNT_SECONDS)
            self._report(self._count(folder, sizes))
        download.result()

    def _snapshot(self, names: list[str]) -> None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import tqdm

        class Silent(tqdm):  # type: ignore[misc]
            """The host says how far the fetch is, in lines."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **{**options, "disable": True})

        # Its own lines about broken connections name addresses that may be signed.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        snapshot_download(
            self._wish.model,
            revision=self._wish.revision,
            allow_patterns=[glob.escape(name) for name in names],
            tqdm_class=Silent,
        )

    def _count(self, folder: str, sizes: dict[str, int]) -> Progress:
        done = [size for name, size in sizes.items() if os.path.exists(os.path.join(folder, name))]
        total = sum(sizes.values())
        parts = sum(part.st_size for _, part in self._parts() if part.st_mtime >= self._started - 1)
        return Progress(len(done), len(sizes), min(sum(done) + parts, total), total)

    def _parts(self) -> Iterable[tuple[str, os.stat_result]]:
        for path in glob.glob(os.path.join(glob.escape(self._storage), "blobs", "*.incomplete")):
            try:
                yield path, os.stat(path)
            except FileNotFoundError:
                pass  # it has just become whole

    def _remove_litter(self) -> None:
        """Parts that a killed process has left, which nobody would ever continue or remove."""
        for path, part in self._parts():
            if _UNIQUE_PART.search(path) and part.st_mtime < self._started - _LITTER_SECONDS:
                try:
                    os.unlink(path)
                    _LOGGER.info("removed %s of an interrupted fetch: %s", readable(part.st_size), path)
                except OSError as error:
                    _LOGGER.warning("cannot remove the rest of an interrupted fetch: %s", error)


def _is_whole(folder: str, wish: Wish) -> bool:
    """By what the files themselves say: older caches have no list of what belongs to a commit."""
    if not any(os.path.exists(os.path.join(folder, name)) for name in ("config.json", "params.json")):
        return False
    if not wish.weights:
        return True
    for index in _INDEXES:
        path = os.path.join(folder, index)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                shards = set(json.load(file).get("weight_map", {}).values())
            if shards and all(os.path.exists(os.path.join(folder, shard)) for shard in shards):
                return True
    sole = [name for name in os.listdir(folder) if name.endswith(_WEIGHTS) and os.path.exists(os.path.join(folder, name))]
    return bool(sole) and not any(os.path.exists(os.path.join(folder, index)) for index in _INDEXES)


def judge(error: BaseException, wish: Wish) -> _Failure:
    """What an exception of the library means to the operator. Classes are tested by name: their bases change between releases."""
    links = list(_links(error))
    names = {cls.__name__ for link in links for cls in type(link).__mro__}
    status = next((code for code in map(_status, links) if code is not None), None)
    code = next((link.errno for link in links if isinstance(link, OSError) and link.errno is not None), None)
    subject, where = _subject(wish), _endpoint()
    if "HFValidationError" in names:
        return _Failure(f"{subject}: neither a local folder nor the name of a model on a hub (ORG/NAME)", False)
    if "GatedRepoError" in names:
        return _Failure(f"{subject}: access is restricted: accept the model's conditions on {where}, {_token_hint()}", False)
    if "RevisionNotFoundError" in names:
        return _Failure(f"{subject}: {where} has no such revision (--revision)", False)
    if "RepositoryNotFoundError" in names or status in (401, 403, 404):
        return _Failure(f"{subject}: not on {where}, or not for everybody ({status or 'refused'}): check the name, {_token_hint()}", False)
    if code in _OUT_OF_SPACE or any("No space left" in str(link) for link in links):
        return _Failure(f"{subject}: no space is left in {_cache()} (HF_HOME or HF_HUB_CACHE names another place)", False)
    if code in _NOT_WRITABLE:
        return _Failure(
            f"{subject}: the cache {_cache()} cannot be written (HF_HOME or HF_HUB_CACHE names another place): {_words(links[-1])}", False
        )
    if status is not None:
        return _Failure(f"{subject}: {where} answers {status}", status in (408, 429) or status >= 500)
    if names & {"TransportError", "RequestException", "ConnectionError", "Timeout"}:
        return _Failure(f"{subject}: {where} cannot be reached (HF_ENDPOINT): {_words(links[-1])}", True)
    # A file of another length than announced, and all that the library for large files reports, are a RuntimeError or a bare OSError.
    return _Failure(f"{subject}: {type(error).__name__}: {_words(error)}", "OSError" in names or "RuntimeError" in names)


def not_cached(model: str, revision: str | None) -> str:
    """What to say of a model that only the hub could give."""
    wish = Wish(model, revision, "auto", True)
    return f"{_subject(wish)}: neither a local folder nor whole in the cache {_cache()}, and HF_HUB_OFFLINE allows no fetch"


def is_of_library(error: BaseException) -> bool:
    """The hub's library raised it."""
    return any(cls.__module__.partition(".")[0] == "huggingface_hub" for cls in type(error).__mro__)


def readable(size: int) -> str:
    """Bytes in the unit that shows three digits."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{size} B"
        value /= 1000
    return f"{value:.3g} TB"


def _links(error: BaseException) -> Iterable[BaseException]:
    seen: BaseException | None = error
    for _ in range(16):  # a chain may be a circle
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _is_revision_missing(error: BaseException) -> bool:
    return any(type(link).__name__ == "RevisionNotFoundError" for link in _links(error))


def _status(error: BaseException) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def _subject(wish: Wish) -> str:
    return f"--model '{wish.model}'" + (f" at revision '{wish.revision}'" if wish.revision else "")


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _endpoint() -> str:
    """Without the credentials that an address may hold."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return str(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


def _token_hint() -> str:
    from huggingface_hub import get_token

    return "and whether HF_TOKEN may read it" if get_token() else "and set HF_TOKEN if it needs a token"


def _words(error: BaseException) -> str:
    """One short line. Addresses lose their queries, where signatures are, and their credentials."""
    text = re.sub(r"(https?://)(?:[^\s/@]*@)?([^\s?]*)\?\S*", r"\1\2", str(error).strip())
    text = re.sub(r"(https?://)[^\s/@]*@", r"\1", text)
    line = text.splitlines()[0] if text else type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."
