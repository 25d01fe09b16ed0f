"""What loading a LoRA adapter checks, with vLLM's words for what is wrong."""

from __future__ import annotations

import json
import os
import zlib

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class AdapterError(Exception):
    """The adapter cannot be loaded."""


def load(name: str, path: str, max_rank: int) -> int:
    """A number that differs between adapters of different content; the tokens of the adapter's requests depend on it."""
    settings_path = os.path.join(path, "adapter_config.json")
    if not os.path.exists(settings_path):
        raise AdapterError(f"Loading lora {name} failed: No adapter found for {path}")
    with open(settings_path, encoding="utf-8") as file:
        try:
            rank = int(json.load(file)["r"])
        except ValueError as error:
            raise AdapterError(str(error)) from error
        except KeyError as error:
            raise AdapterError(f"PEFTHelper.__init__() missing 1 required positional argument: {error}") from error
    if rank > max_rank:
        raise AdapterError(f"LoRA rank {rank} is greater than max_lora_rank {max_rank}.")
    for weights in _WEIGHTS:
        if os.path.exists(os.path.join(path, weights)):
            with open(os.path.join(path, weights), "rb") as file:
                return zlib.crc32(file.read())
    raise AdapterError(f"{path} doesn't contain tensors")
