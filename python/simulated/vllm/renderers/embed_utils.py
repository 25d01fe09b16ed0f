"""Prompt embeddings from a request, with vLLM's checks in vLLM's order."""

from __future__ import annotations

import base64
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.simulation import torch_file


def safe_load_prompt_embeds(model_config: Any, embed: bytes) -> torch_file.Tensor:
    """The tensor in the base64 of what `torch.save` wrote: the text itself, not what it decodes to."""
    if not model_config.enable_prompt_embeds:
        raise _refusal("You must set `--enable-prompt-embeds` to input `prompt_embeds`.")
    # Outside of the next block, as in vLLM: what is no base64 raises binascii.Error.
    payload = base64.b64decode(embed, validate=True)
    try:
        tensor = torch_file.load(payload)
    except Exception as error:  # noqa: BLE001 - boundary mapping: whatever is wrong with the bytes is the caller's fault
        reason = str(error) or type(error).__name__
        raise _refusal(f"`prompt_embeds` could not be deserialized as a torch tensor: {reason}") from error
    if len(tensor.shape) > 2 and tensor.shape[0] == 1:
        tensor.shape = tensor.shape[1:]
    if len(tensor.shape) != 2:
        raise _refusal(f"`prompt_embeds` must be a 2D tensor of shape (num_tokens, hidden_size); got shape {tensor.shape}.")
    expected = model_config.get_hidden_size()
    if tensor.shape[1] != expected:
        raise _refusal(f"`prompt_embeds` hidden_size {tensor.shape[1]} does not match the model's hidden_size {expected}.")
    if not tensor.is_floating_point():
        raise _refusal(
            f"`prompt_embeds` dtype {tensor.dtype} is not a floating-point type, "
            f"cannot safely cast to the model's dtype {model_config.dtype}."
        )
    return tensor


def _refusal(message: str) -> VLLMValidationError:
    return VLLMValidationError(message, parameter="prompt_embeds")
