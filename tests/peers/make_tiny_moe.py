"""Makes a mixture-of-experts model for the peer tests: two layers, eight experts, two of them for a token, random weights.

    python make_tiny_moe.py TINY_MODEL TARGET_FOLDER

The tokenizer is that of the tiny model. Needs transformers and torch, which vLLM brings along.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_model(tiny: Path, folder: Path) -> None:
    torch.manual_seed(3)
    settings = json.loads((tiny / "config.json").read_text())
    config = Qwen3MoeConfig(
        vocab_size=settings["vocab_size"],
        hidden_size=128,
        intermediate_size=256,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        decoder_sparse_step=1,
        max_position_embeddings=4096,
        initializer_range=0.2,  # so that the router tells tokens apart
        bos_token_id=settings["bos_token_id"],
        eos_token_id=settings["eos_token_id"],
        pad_token_id=settings["pad_token_id"],
        tie_word_embeddings=False,
    )
    Qwen3MoeForCausalLM(config).float().save_pretrained(folder)


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
