"""Reads the file of one dense tensor that `torch.save` writes (a zip archive), without torch: shape, type and raw values.

Nothing is unpickled: the description of the tensor is read as the list of words that it is, so no request can make this process build an object.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import Any, Iterator

_FLOATS = {"FloatStorage": "torch.float32", "DoubleStorage": "torch.float64", "HalfStorage": "torch.float16", "BFloat16Storage": "torch.bfloat16"}
_OTHERS = {"LongStorage": "torch.int64", "IntStorage": "torch.int32", "BoolStorage": "torch.bool"}


class Tensor:
    """As much of a tensor as a prompt needs here."""

    def __init__(self, shape: tuple[int, ...], dtype: str, values: bytes) -> None:
        self.shape = shape
        self.dtype = dtype
        self.values = values

    def __len__(self) -> int:
        return self.shape[0]

    def is_floating_point(self) -> bool:
        return self.dtype in _FLOATS.values()


def load(payload: bytes) -> Tensor:
    """The tensor, or any exception that says what is wrong with the file."""
    archive = zipfile.ZipFile(io.BytesIO(payload))
    name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
    if name is None:
        raise ValueError("holds no data.pkl")
    words = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(archive.read(name)) if "PUT" not in opcode.name]
    if next((argument for opcode, argument in words if opcode == "GLOBAL"), None) != "torch._utils _rebuild_tensor_v2":
        raise TypeError("holds something else than a tensor")
    storage = next(str(argument).split()[-1] for opcode, argument in words if opcode == "GLOBAL" and str(argument).endswith("Storage"))
    dtype = _FLOATS.get(storage) or _OTHERS.get(storage) or f"torch.{storage}"
    # torch names the storage by a persistent id; behind it come its offset and the shape.
    after = iter(words[next(index for index, (opcode, _) in enumerate(words) if opcode == "BINPERSID") + 1 :])
    next(after)
    key = next(str(argument) for index, (opcode, argument) in enumerate(words) if index > 0 and opcode == "BINUNICODE" and str(argument).isdigit())
    return Tensor(tuple(_integers(after)), dtype, archive.read(f"{name.rpartition('/')[0]}/data/{key}"))


def _integers(words: Iterator[tuple[str, Any]]) -> Iterator[int]:
    """What stands before the end of the next tuple."""
    for opcode, argument in words:
        if opcode.startswith("BININT"):
            yield int(argument)
        elif opcode.startswith("TUPLE"):
            return
