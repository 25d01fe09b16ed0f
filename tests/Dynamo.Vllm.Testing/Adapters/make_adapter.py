"""Writes a LoRA adapter for a Llama model, with nothing but the standard library.

The weights are pseudo-random from a seed and large enough that the tokens differ from those of the base model.
"""

from __future__ import annotations

import argparse
import array
import json
import random
import struct
import sys
from pathlib import Path

#: Scale of the numbers in both matrices; with the hidden size of the tiny model this outweighs the base weights.
_SCALE = 0.5


def projections(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Rows and columns (out, in) of the attention projections that the adapter changes."""
    hidden = config["hidden_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    return {
        "q_proj": (config["num_attention_heads"] * head, hidden),
        "v_proj": (config["num_key_value_heads"] * head, hidden),
    }


def tensors(config: dict[str, int], rank: int, seed: int) -> dict[str, tuple[tuple[int, int], bytes]]:
    """Name to shape and little-endian 32-bit floats, in the names that PEFT writes."""
    numbers = random.Random(seed)
    result: dict[str, tuple[tuple[int, int], bytes]] = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in projections(config).items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            for part, shape in (("lora_A", (rank, columns)), ("lora_B", (rows, rank))):
                values = array.array("f", (numbers.uniform(-_SCALE, _SCALE) for _ in range(shape[0] * shape[1])))
                if sys.byteorder == "big":
                    values.byteswap()
                result[f"{stem}.{part}.weight"] = (shape, values.tobytes())
    return result


def safetensors(named: dict[str, tuple[tuple[int, int], bytes]]) -> bytes:
    """The file format: length of the header (8 bytes, little-endian), header as JSON, data."""
    header: dict[str, object] = {}
    data = b""
    for name, (shape, content) in named.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write(model: Path, folder: Path, rank: int, seed: int) -> None:
    config = json.loads((model / "config.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors(config, rank, seed)))
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(projections(config)),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write(arguments.model, arguments.folder, arguments.rank, arguments.seed)


if __name__ == "__main__":
    main()
