"""The encode worker's half of a model: images in, their embeddings out, for another worker to take.

vLLM loads the model without what would continue a prompt, in this process; its own front end and its scheduler have no part in it. Images
are computed one request after the other, in a thread of their own, and never on the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from . import facts, media, transfers

_LOGGER = logging.getLogger("dynamo_vllm.vision")

#: Requests whose images are decoded and held at a time; the others wait in their bytes.
_AT_A_TIME = 8

_GIB = 1 << 30

#: What such a model can be asked for.
TASK = "encode images"


class Encoded(NamedTuple):
    """One image."""

    embeddings: Any
    #: Depth, height and width of the image in patches; None for a model that has none.
    grid: list[int] | None


class Cache:
    """Embeddings of the images that were asked for last. Counted by bytes, and never above the limit."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._entries: OrderedDict[str, Encoded] = OrderedDict()

    def find(self, key: str) -> Encoded | None:
        """Becomes the newest."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def keep(self, key: str, encoded: Encoded) -> None:
        """In memory of its own: a part of a batch would hold all of it."""
        size = encoded.embeddings.nbytes
        if size > self.capacity or key in self._entries:
            return
        while self.size + size > self.capacity:
            _, oldest = self._entries.popitem(last=False)
            self.size -= oldest.embeddings.nbytes
        self._entries[key] = Encoded(encoded.embeddings.clone(), encoded.grid)
        self.size += size

    def __len__(self) -> int:
        return len(self._entries)


class VisionEncoder:
    """A model's eyes. Used on the event loop's thread only."""

    def __init__(self, llm: Any, model: Any, processor: Any, sender: transfers.Sender, cache: Cache) -> None:
        self._llm = llm  # what it loaded lives as long as this does
        self._model = model
        self._processor = processor
        self._sender = sender
        self._cache = cache
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._decoder = ThreadPoolExecutor(4, "dynamo-images")
        self._computer = ThreadPoolExecutor(1, "dynamo-vision")

    @classmethod
    def load(cls, engine_args: Any, settings: dict[str, Any]) -> "VisionEncoder":
        """Blocks until the model is there. Of the engine's arguments only those count that say which model, and in which numbers."""
        from transformers import AutoImageProcessor
        from vllm import LLM

        # In this process: what it computes is asked for by the model's own functions.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        trusts = bool(engine_args.trust_remote_code)
        llm = LLM(
            model=engine_args.model,
            revision=engine_args.revision,
            dtype=engine_args.dtype,
            enforce_eager=engine_args.enforce_eager,
            trust_remote_code=trusts,
            # As the reference: an encoder needs room for a cache only because vLLM's start asks for one.
            gpu_memory_utilization=float(os.environ.get("DYN_VLLM_ENCODER_GPU_MEMORY_UTILIZATION", "0.2")),
            kv_cache_memory_bytes=int(os.environ.get("DYN_VLLM_ENCODER_KV_CACHE_MEMORY_BYTES", str(64 << 20))),
            max_num_seqs=int(os.environ.get("DYN_VLLM_ENCODER_MAX_NUM_SEQS", "64")),
            max_model_len=1,
            mm_encoder_only=True,
            enable_prefix_caching=False,
        )
        config = llm.llm_engine.vllm_config
        if media.family(config.model_config) != media.QWEN:
            raise ValueError(
                "--disaggregation-mode encode serves models of the Qwen-VL family, and this one is of "
                f"{', '.join(getattr(config.model_config.hf_config, 'architectures', None) or ('an unknown kind',))}"
            )
        processor = AutoImageProcessor.from_pretrained(
            engine_args.model, trust_remote_code=trusts, **(getattr(engine_args, "mm_processor_kwargs", None) or {})
        )
        worker = llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker
        cache = Cache(int(settings["cache_gb"] * _GIB))
        return cls(llm, worker.model_runner.model, processor, transfers.sender(settings["transfer_mode"]), cache)

    def describe(self) -> dict[str, Any]:
        """For the host, in the form of a whole engine's."""
        found = facts.describe(self._llm.llm_engine.vllm_config)
        found.update(kv_event_block_size=found["block_size"], default_sampling={}, bos_token_id=None, tasks=[TASK], direct=None)
        return found

    async def encode(self, fields: dict[str, Any], blob: bytes) -> list[dict[str, Any]]:
        """What the other side is told of each image, in their order."""
        parts: list[bytes] = []
        position = 0
        for length in fields["lengths"]:
            parts.append(blob[position : position + length])
            position += length
        async with self._turn:
            images = await self._images(parts, str(fields.get("scope") or ""))
            answer = []
            for image in images:
                offer = await self._sender.offer(image.embeddings)
                answer.append({"grid": image.grid, "shape": offer.shape, "transfer": offer.to_json()})
            return answer

    def close(self) -> None:
        """Nothing is offered any more."""
        self._sender.close()

    async def _images(self, parts: list[bytes], scope: str) -> list[Encoded]:
        keys = [hashlib.sha256(scope.encode() + b"\0" + part).hexdigest() if self._cache.capacity else "" for part in parts]
        found = [self._cache.find(key) if key else None for key in keys]
        wanted = [index for index, one in enumerate(found) if one is None]
        if wanted:
            loop = asyncio.get_running_loop()
            decoded = [
                await loop.run_in_executor(self._decoder, media.decode_image, parts[index], f"image {index} of the request")
                for index in wanted
            ]
            computed = await loop.run_in_executor(self._computer, self._compute, decoded)
            for index, one in zip(wanted, computed):
                found[index] = one
                if keys[index]:
                    self._cache.keep(keys[index], one)
        return [one for one in found if one is not None]

    def _compute(self, images: list[Any]) -> list[Encoded]:
        import torch

        inputs = self._processor(images=images, return_tensors="pt")
        grids = inputs["image_grid_thw"]
        with torch.inference_mode():
            device = next(self._model.visual.parameters()).device
            tensors = self._model.embed_multimodal(pixel_values=inputs["pixel_values"].to(device), image_grid_thw=grids)
            # One more dimension, as the reference's have.
            embeddings = [one.unsqueeze(0).contiguous() for one in tensors]
            if device.type != "cpu":
                torch.accelerator.synchronize(device)  # they are read past PyTorch
        if len(embeddings) != len(images):
            raise RuntimeError(f"the model gave {len(embeddings)} embeddings for {len(images)} images")
        return [Encoded(one, grid) for one, grid in zip(embeddings, grids.tolist())]
