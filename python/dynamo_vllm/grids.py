"""Grids of images for models of the Qwen-VL family: what a decode worker must know of images that a prefill worker has seen."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import transfers

#: Numbers of one embedding. The widest models have a tenth of it.
_WIDTH_MAX = 1 << 17

#: Whole numbers that 16-bit floats tell apart.
_DISTINCT = 2048

#: Models whose images routers know, and where their configuration has the placeholder: what the frontend's own resolver found when asked.
_PLACEHOLDERS = {
    "qwen2_vl": ("image_token_id",),
    "qwen2_5_vl": ("image_token_id",),
    "qwen3_vl": ("image_token_id",),
    "qwen3_vl_moe": ("image_token_id",),
    "qwen3_5": ("image_token_id",),
    "qwen3_5_moe": ("image_token_id",),
    "qwen3_omni_moe": ("image_token_id",),
    "phi3_v": ("image_token_id",),
    "llava_next": ("image_token_id", "image_token_index"),
    "llama4": ("image_token_id", "image_token_index"),
    "kimi_k25": ("media_placeholder_token_id", "image_token_id"),
    "kimi_k3": ("media_placeholder_token_id", "image_token_id"),
}


class QwenGrids(NamedTuple):
    """How the model's processor cuts an image."""

    patch: int
    merge: int
    pixels_min: int
    pixels_max: int
    width: int

    @classmethod
    def load(cls, model: Any) -> "QwenGrids":
        """From the processor's own files, which vLLM has read, too."""
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(model.model, trust_remote_code=bool(getattr(model, "trust_remote_code", False)))
        vision = model.hf_config.vision_config
        size = processor.size
        factor = processor.patch_size * processor.merge_size
        embedding = getattr(vision, "out_hidden_size", vision.hidden_size)
        return cls(
            patch=processor.patch_size,
            merge=processor.merge_size,
            pixels_min=_first(getattr(processor, "min_pixels", None), size.get("shortest_edge", factor)),
            pixels_max=_first(getattr(processor, "max_pixels", None), size.get("longest_edge", factor * factor * 1280)),
            width=embedding * (1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())),
        )

    def describe(self, images: list[Any], options: dict[str, Any]) -> dict[str, Any] | None:
        """Grid of each image, and the shape that their embeddings have together."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        cut: list[list[int]] = []
        for image in images:
            if image is None:
                continue
            width, height = image.size
            height, width = smart_resize(
                height,
                width,
                factor=self.patch * self.merge,
                min_pixels=int(_first(options.get("min_pixels"), self.pixels_min)),
                max_pixels=int(_first(options.get("max_pixels"), self.pixels_max)),
            )
            cut.append([1, height // self.patch, width // self.patch])
        if not cut:
            return None
        tokens = sum(depth * height * width // self.merge**2 for depth, height, width in cut)
        return {"image_grid_thw": cut, "embeddings_shape": [tokens, self.width]}


def stand_in(params: dict[str, Any], number: int, longest: int) -> dict[str, Any]:
    """Embeddings of the given shape that differ from every other's, so that no two requests share blocks by them."""
    grid, shape = params.get("image_grid_thw"), params.get("embeddings_shape")
    if not _is_table(grid):
        raise ValueError("prefill_result: image_grid_thw must be a list of three positive numbers for each image")
    if isinstance(shape, list) and len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if not isinstance(shape, list) or len(shape) != 2 or not _fits(shape[0], longest) or not _fits(shape[1], _WIDTH_MAX):
        raise ValueError(f"prefill_result: embeddings_shape must be at most {longest} by {_WIDTH_MAX}, and is {str(shape)[:100]}")
    import torch

    embeddings = torch.full(shape, float(number % _DISTINCT), dtype=torch.float16)
    embeddings[0, 0] = float(number // _DISTINCT % _DISTINCT)
    return {"image_embeds": embeddings, "image_grid_thw": torch.tensor(grid)}


def embeddings(tensors: list[Any], encoded: list[dict[str, Any]], longest: int) -> dict[str, Any]:
    """Of an encode worker, for vLLM to take in place of images. Several images may have come in one tensor, back to back."""
    import torch

    grid = [row for one in encoded for row in one["grid"] or ()]
    if not _is_table(grid):
        raise transfers.TransferError("the encode worker gives no grid of three positive numbers for each image")
    rows = [tensor.flatten(0, -2) for tensor in tensors]
    if len({one.shape[1] for one in rows}) != 1 or sum(one.shape[0] for one in rows) > longest:
        raise transfers.TransferError(
            f"the encode worker gives embeddings of the shapes {[list(one.shape) for one in tensors]} for a context of {longest}"
        )
    return {"image_embeds": torch.cat(rows) if len(rows) > 1 else rows[0], "image_grid_thw": torch.tensor(grid)}


def routing_token(hf_config: Any) -> int | None:
    """The placeholder of images, if routers know the model."""
    for name in _PLACEHOLDERS.get(str(getattr(hf_config, "model_type", None)), ()):
        token = getattr(hf_config, name, None)
        if isinstance(token, int):
            return token
    return None


def _is_table(grid: Any) -> bool:
    return (
        isinstance(grid, list)
        and 0 < len(grid) <= 1024
        and all(isinstance(row, list) and len(row) == 3 and all(_fits(one, 1 << 20) for one in row) for row in grid)
    )


def _fits(number: Any, limit: int) -> bool:
    return type(number) is int and 0 < number <= limit


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
