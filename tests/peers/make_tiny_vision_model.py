"""Makes a model of the peer tests that sees: two layers with random weights, behind a vision tower of two.

    python make_tiny_vision_model.py TARGET_FOLDER [qwen2-vl | llava]

The words are those of make_tiny_model.py and a few for media. Its answers mean nothing, but differ with what it is shown, and are
the same in every run, which is what tests compare. Needs transformers, tokenizers and torch, which vLLM brings along.
"""

import json
import re
import sys
from pathlib import Path

import torch
from make_tiny_model import BOS, EOS, PAD, make_tokenizer
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

MEDIA = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<image>"]
IMAGE_PARTS = "part.type in ('image', 'image_url') or 'image_url' in part"
VIDEO_PARTS = "part.type in ('video', 'video_url') or 'video_url' in part"
TEXT = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
PATCH, IMAGE_SIDE = 14, 56


def chat_template(image: str, video: str) -> str:
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
        f"{{% if {IMAGE_PARTS} %}}{image}{{% elif {VIDEO_PARTS} %}}{video}{{% elif 'text' in part %}}{{{{ part.text }}}}{{% endif %}}"
        "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def add_media_words(folder: Path) -> dict[str, int]:
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in MEDIA])
    tokenizer.save(str(path))
    return {word: tokenizer.token_to_id(word) for word in MEDIA}


def make_qwen2_vl(folder: Path, words: dict[str, int]) -> None:
    config = Qwen2VLConfig(
        text_config={
            **TEXT,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "num_heads": 2,
            "hidden_size": TEXT["hidden_size"],
            "mlp_ratio": 2,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=words["<|image_pad|>"],
        video_token_id=words["<|video_pad|>"],
        vision_start_token_id=words["<|vision_start|>"],
        vision_end_token_id=words["<|vision_end|>"],
        bos_token_id=BOS,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )
    pixels = {"shortest_edge": 4 * (2 * PATCH) ** 2, "longest_edge": 64 * (2 * PATCH) ** 2}
    image = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": pixels,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write(folder, "preprocessor_config.json", image)
    write(folder, "video_preprocessor_config.json", {**image, "video_processor_type": "Qwen2VLVideoProcessor"})
    mark = "<|vision_start|>{}<|vision_end|>"
    (folder / "chat_template.jinja").write_text(chat_template(mark.format("<|image_pad|>"), mark.format("<|video_pad|>")))
    save(Qwen2VLForConditionalGeneration(config), folder)


def make_llava(folder: Path, words: dict[str, int]) -> None:
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIDE,
        patch_size=PATCH,
        projection_dim=64,
    )
    text = LlamaConfig(
        **TEXT,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words["<image>"],
        image_seq_length=(IMAGE_SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    image = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "crop_size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        "size": {"shortest_edge": IMAGE_SIDE},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write(folder, "preprocessor_config.json", image)
    processor = {"processor_class": "LlavaProcessor", "patch_size": PATCH, "vision_feature_select_strategy": "default"}
    write(folder, "processor_config.json", {**processor, "num_additional_image_tokens": 1, "image_token": "<image>"})
    (folder / "chat_template.jinja").write_text(chat_template("<image>", ""))
    save(LlavaForConditionalGeneration(config), folder)
    weights = folder / "model.safetensors"
    older = re.compile(r"vision_tower\.(?!vision_model)")  # the names that vLLM knows
    tensors = {older.sub("vision_tower.vision_model.", name): tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})


def write(folder: Path, name: str, content: dict[str, object]) -> None:
    (folder / name).write_text(json.dumps(content, indent=2))


def save(model: torch.nn.Module, folder: Path) -> None:
    # With the usual spread every image comes out of the tower alike.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "visual" in name or "vision" in name or "projector" in name:
                weight.normal_(0.0, 0.2) if weight.dim() > 1 else None
    model.float().save_pretrained(folder)


KINDS = {"qwen2-vl": make_qwen2_vl, "llava": make_llava}


def main() -> None:
    if len(sys.argv) not in (2, 3) or (kind := sys.argv[2] if len(sys.argv) == 3 else "qwen2-vl") not in KINDS:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder)
    words = add_media_words(folder)
    torch.manual_seed(0)
    KINDS[kind](folder, words)  # its weights come last: they say that the folder is complete


if __name__ == "__main__":
    main()
