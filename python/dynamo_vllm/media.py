"""Media of a request: decoded in threads of Python's pool, never on the loop that every stream shares.

The host has fetched them and checked their number and their length; their bytes lie behind the token ids, back to back (MediaFields.cs).
"""

from __future__ import annotations

import asyncio
import logging
import os
from array import array
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, NamedTuple

from . import grids, names, transfers

_LOGGER = logging.getLogger("dynamo_vllm.media")

#: Formats that are decoded, as in the reference. A decoder for another one is never asked, so neither are its faults.
FORMATS = ("JPEG", "PNG", "WEBP")

#: Pixels of an image, as its header tells them, before one is decoded: where PIL would refuse it, half a gigabyte as RGB.
PIXELS_MAX = 178_956_970

#: Media that are decoded at a time: each may take as much memory as an image of so many pixels.
_THREADS = 4

#: What a hash of an image begins with: version, mode RGB, 8 bits, channels; height and width follow (the reference's, for KV events).
_IMAGE_HEAD = bytes((1, 0, 0, 3))

#: Whose positions depend on the grid of an image, so that its hand-over is the grid and not the prompt.
QWEN = "qwen-vl"

_FAMILIES = {
    "Qwen2VLForConditionalGeneration": QWEN,
    "Qwen2_5_VLForConditionalGeneration": QWEN,
    "Qwen3VLForConditionalGeneration": QWEN,
    "Qwen3VLMoeForConditionalGeneration": QWEN,
    "Qwen3_5ForConditionalGeneration": QWEN,
    "LlavaForConditionalGeneration": "llava",
}


class MediaError(Exception):
    """A medium that cannot be used; the text is for the client."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.http_status = status


class Prepared(NamedTuple):
    """A prompt for vLLM to render, and on a prefill worker what the decode worker is told of its media."""

    prompt: dict[str, Any]
    hand_over: dict[str, Any] | None


class Media:
    """Makes prompts with media for one model."""

    def __init__(self, config: Any, transfer_mode: str | None = None) -> None:
        #: Takes embeddings of encode workers; None where this engine makes its own.
        self._embeddings = None if transfer_mode is None else transfers.receiver(transfer_mode)
        self._model = config.model_config
        self._is_unified = bool(getattr(getattr(self._model, "hf_config", None), "use_unified_vision_chunk", False))
        self._is_qwen = family(self._model) == QWEN
        self._frames = _frames(os.environ.get("DYN_MM_VIDEO_NUM_FRAMES", ""))
        self._grids: grids.QwenGrids | None = None
        self._stand_ins = 0
        self._threads = ThreadPoolExecutor(_THREADS, "dynamo-media")

    async def prepare(self, media: dict[str, Any], blob: bytes) -> Prepared:
        """Raises MediaError for what a client can mend, TransferError for what an encode worker has to answer for."""
        embeddings: dict[str, Any] | None = None
        if "encoded" in media:
            assert self._embeddings is not None
            # One that has none came in the tensor of the one before it.
            offers = [transfers.Offer.read(one["transfer"]) for one in media["encoded"] if one["transfer"] is not None]
            embeddings = grids.embeddings(await self._embeddings.receive(offers), media["encoded"], self._model.max_model_len)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._prepare, media, blob, embeddings)

    def _prepare(self, media: dict[str, Any], blob: bytes, embeddings: dict[str, Any] | None) -> Prepared:
        items = media["items"]
        end = len(blob) - sum(length or 0 for _, length in items)
        tokens = array("i")
        tokens.frombytes(blob[:end])
        options: dict[str, Any] = media.get("processor_options") or {}
        data: dict[str, Any] = {}
        stand_in = media.get("embedding_params") or {}
        if stand_in and self._is_qwen:
            data["image"] = self._stand_in(stand_in)
        if embeddings is not None:
            data["image"] = embeddings
        self._decode(items, memoryview(blob)[end:], media.get("video_options") or {}, options, data)
        ids = tokens.tolist()
        if stand_in and not data and stand_in.get("expanded_prompt_token_ids"):
            ids = _token_ids(stand_in["expanded_prompt_token_ids"], self._model.max_model_len)
        prompt: dict[str, Any] = {"prompt_token_ids": ids, "multi_modal_data": data or None}
        if uuids := self._uuids(media.get("uuids"), items, data, options):
            prompt["multi_modal_uuids"] = uuids
        if options:
            prompt["mm_processor_kwargs"] = options
        return Prepared(prompt, self._hand_over(data, options) if media.get("handed_over") else None)

    def _decode(
        self, items: list[list[Any]], parts: memoryview, video_options: dict[str, Any], options: dict[str, Any], data: dict[str, Any]
    ) -> None:
        found: dict[str, list[Any]] = {}
        sounds_of_videos = []
        position = 0
        for kind, length in items:
            part = None if length is None else bytes(parts[position : position + length])
            position += length or 0
            name = f"{kind} {len(found.get(kind, ()))} of the request"
            if part is None:
                medium = None  # vLLM looks for it in its cache
            elif kind == "image":
                medium = decode_image(part, name)
            elif kind == "video":
                medium = decode_video(part, name, {"num_frames": self._frames, **video_options})
                if options.get("use_audio_in_video"):
                    sounds_of_videos.append(decode_audio(part, name))
            else:
                medium = decode_audio(part, name)
            found.setdefault(kind, []).append(medium)
        if sounds_of_videos:
            found["audio"] = found.get("audio", []) + sounds_of_videos
        for kind, media in found.items():
            if kind == "image" and self._is_unified:
                kind, media = "vision_chunk", [None if one is None else {"type": "image", "image": one, "uuid": None} for one in media]
            data[kind] = media[0] if len(media) == 1 and media[0] is not None else media

    def _uuids(
        self, given: dict[str, list[str | None]] | None, items: list[list[Any]], data: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, list[str | None]] | None:
        if given is None:
            return self._hashes(data)
        uuids = {("vision_chunk" if kind == "image" and self._is_unified else kind): list(ids) for kind, ids in given.items()}
        if options.get("use_audio_in_video") and ("video" in uuids or "audio" in uuids):
            counts = {kind: sum(1 for one, _ in items if one == kind) for kind in ("video", "audio")}
            uuids["audio"] = uuids.get("audio", [None] * counts["audio"]) + uuids.get("video", [None] * counts["video"])
        return uuids

    def _hashes(self, data: dict[str, Any]) -> dict[str, list[str | None]] | None:
        """Of the pixels, as the reference makes them, so that the same image has the same blocks on either worker."""
        kind = "vision_chunk" if self._is_unified else "image"
        images = data.get(kind)
        if images is None or (isinstance(images, dict) and "image_embeds" in images):
            return None
        listed = images if isinstance(images, list) else [images]
        pixels = [one["image"] if isinstance(one, dict) else one for one in listed]
        if any(one is None for one in pixels):
            raise MediaError("UUID-only image slots require aligned multi_modal_uuids; no cache UUID was provided")
        hashes = [hash_image(one) for one in pixels]
        return None if None in hashes else {kind: hashes}

    def _hand_over(self, data: dict[str, Any], options: dict[str, Any]) -> dict[str, Any] | None:
        """Empty: the prompt, which vLLM makes longer, is told once it is known."""
        if not data:
            return None
        if not self._is_qwen:
            return {}
        images = data.get("image")
        if images is None:
            return None
        if isinstance(images, dict):
            return {"image_grid_thw": images["image_grid_thw"].tolist(), "embeddings_shape": list(images["image_embeds"].shape)}
        if self._grids is None:
            self._grids = grids.QwenGrids.load(self._model)
        return self._grids.describe(images if isinstance(images, list) else [images], options)

    def _stand_in(self, params: dict[str, Any]) -> dict[str, Any]:
        """For images that a prefill worker has seen: their grids, and embeddings whose values nobody looks at."""
        self._stand_ins += 1
        return grids.stand_in(params, self._stand_ins, self._model.max_model_len)


def explain(error: BaseException) -> BaseException:
    """vLLM asserts that each medium has its place in the prompt, which is the client's to see to."""
    cause = error.__cause__ if type(error).__name__ == "EngineGenerateError" else error
    if isinstance(cause, AssertionError):
        return MediaError(f"the prompt does not go with its media: {cause}")
    return error


def family(model: Any) -> str | None:
    """Of models with a hand-over of their own."""
    architectures = getattr(getattr(model, "hf_config", None), "architectures", None) or ()
    return next((_FAMILIES[name] for name in architectures if name in _FAMILIES), None)


def decode_image(data: bytes, name: str) -> Any:
    """As RGB. The header is looked at before a pixel is decoded."""
    if names.is_simulated():
        return _read_simulated(data, name)
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return _within_pixels(image, name).convert("RGB")
    except UnidentifiedImageError:
        raise MediaError(f"{name} is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image", 415) from None
    except Image.DecompressionBombError:
        raise MediaError(f"{name} has more pixels than the limit {PIXELS_MAX}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"{name} is damaged or cut off: {error}") from error


def _read_simulated(data: bytes, name: str) -> Any:
    from vllm.simulation import images

    image = images.read(data)
    if image is None:
        raise MediaError(f"{name} is no PNG image, the only kind that the simulated engine knows", 415)
    return _within_pixels(image, name)


def _within_pixels(image: Any, name: str) -> Any:
    width, height = image.size
    if width * height > PIXELS_MAX:
        raise MediaError(f"{name} has {width} x {height} pixels, above the limit {PIXELS_MAX}")
    return image


def hash_image(image: Any) -> str | None:
    """None without the hash function, which vLLM brings along: it then makes its own."""
    try:
        from blake3 import blake3
    except ImportError:
        return None
    width, height = image.size
    digest = blake3(_IMAGE_HEAD + height.to_bytes(4, "little") + width.to_bytes(4, "little"))
    digest.update(image.tobytes())
    text: str = digest.hexdigest()
    return text


def decode_video(data: bytes, name: str, options: dict[str, Any]) -> Any:
    """Frames and what is known of them, by vLLM's own decoder."""
    from vllm.multimodal.media import VideoMediaIO
    from vllm.multimodal.media.image import ImageMediaIO

    try:
        frames, metadata = VideoMediaIO(ImageMediaIO(image_mode="RGB"), **options).load_bytes(data)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - boundary mapping: decoders of others raise what they like
        if isinstance(error, ImportError) and "cv2" in f"{error.name}{error}":
            raise RuntimeError(f"{name} cannot be decoded: this Python has no OpenCV: {error}") from error
        raise MediaError(f"{name} cannot be decoded: {error}") from error
    if frames.size == 0:
        raise MediaError(f"{name} has no frames")
    import numpy

    return numpy.ascontiguousarray(frames), metadata


def decode_audio(data: bytes, name: str) -> Any:
    """Waveform and sample rate, by vLLM's own decoder."""
    from vllm.multimodal.media.audio import AudioMediaIO

    try:
        waveform, rate = AudioMediaIO().load_bytes(data)
    except (MemoryError, ImportError) as error:
        raise RuntimeError(f"{name} cannot be decoded: this Python has no decoder of sound: {error}") from error
    except Exception as error:  # noqa: BLE001 - boundary mapping: decoders of others raise what they like
        raise MediaError(f"{name} cannot be decoded: {error}") from error
    if waveform.size == 0:
        raise MediaError(f"{name} has no samples")
    return waveform, rate


def _frames(text: str) -> int:
    usual = 32
    if not text.strip():
        return usual
    if text.strip().isdecimal() and int(text) > 0:
        return int(text)
    _LOGGER.warning("DYN_MM_VIDEO_NUM_FRAMES=%r is not a positive number; using %d", text, usual)
    return usual


def _token_ids(ids: Any, longest: int) -> list[int]:
    if not isinstance(ids, list) or len(ids) > longest or not all(type(one) is int and 0 <= one < 1 << 31 for one in ids):
        raise MediaError(f"prefill_result: expanded_prompt_token_ids must be at most {longest} token ids")
    return ids


def describe(config: Any) -> dict[str, Any]:
    """What the model can be shown, for the host."""
    model = config.model_config
    limits: dict[str, int] = {}
    settings = getattr(model, "multimodal_config", None)
    if settings is not None:
        limits = {kind: int(settings.get_limit_per_prompt(kind)) for kind in ("image", "video", "audio")}
    hf_config = getattr(model, "hf_config", None)
    video = next((token for name in ("video_token_id", "video_token_index") if (token := getattr(hf_config, name, None)) is not None), None)
    return {
        "family": family(model),
        "limits": limits,
        "image_token": grids.routing_token(hf_config),
        "video_token": None if video is None else int(video),
    }
