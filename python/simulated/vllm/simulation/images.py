"""Images as far as this engine looks at them: their size. PIL is not needed."""

from __future__ import annotations

import struct
from typing import Any

#: Pixels of a placeholder's side, as in the Qwen-VL family.
_SIDE = 28

_PNG = b"\x89PNG\r\n\x1a\n"


class Image:
    """A PNG that was not decoded."""

    mode = "RGB"

    def __init__(self, size: tuple[int, int], data: bytes) -> None:
        self.size = size
        self._data = data

    def tobytes(self) -> bytes:
        return self._data


def read(data: bytes) -> Image | None:
    """None for what is no PNG."""
    if data[:8] != _PNG or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return Image((width, height), data)


def placeholders(images: Any) -> list[int]:
    """How many tokens each image takes in the prompt; embeddings of images take theirs by the grid."""
    if isinstance(images, dict):
        return [depth * height * width // 4 for depth, height, width in images["image_grid_thw"]]
    listed = images if isinstance(images, list) else [images]
    return [-(-image.size[0] // _SIDE) * -(-image.size[1] // _SIDE) for image in listed]


def expand(token_ids: list[int], placeholder: int, counts: list[int]) -> list[int]:
    """Each placeholder as often as its image needs it."""
    found = token_ids.count(placeholder)
    assert found >= len(counts), (
        f"Failed to apply prompt replacement for mm_items['image'][{found}]"
    )
    expanded: list[int] = []
    rest = iter(counts)
    for token in token_ids:
        expanded.extend([token] * (next(rest, 1) if token == placeholder else 1))
    return expanded
