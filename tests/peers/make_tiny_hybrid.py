"""Makes a model whose layers see differently far: three with a window of 64 tokens and one without, random weights, as Gemma 3 has them.

    python make_tiny_hybrid.py TINY_MODEL TARGET_FOLDER

The tokenizer is that of the tiny model. Needs transformers and torch, which vLLM brings along.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_model(tiny: Path, folder: Path) -> None:
    torch.manual_seed(5)
    settings = json.loads((tiny / "config.json").read_text())
    config = Gemma3TextConfig(
        vocab_size=settings["vocab_size"],
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        sliding_window=64,
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        max_position_embeddings=4096,
        bos_token_id=settings["bos_token_id"],
        eos_token_id=settings["eos_token_id"],
        pad_token_id=settings["pad_token_id"],
    )
    Gemma3ForCausalLM(config).float().save_pretrained(folder)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tiny, folder = (Path(argument) for argument in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copy(tiny / name, folder)
    make_model(tiny, folder)


if __name__ == "__main__":
    main()
