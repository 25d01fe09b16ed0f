"""What trainers ask for beside tokens, at the end of a choice: the experts that each token took, and the tokens that it was drawn from."""

from __future__ import annotations

import base64
import logging
from typing import Any

_LOGGER = logging.getLogger("dynamo_vllm.experts")


def describe(choice: Any, start: int, prompt_length: int) -> dict[str, Any]:
    """Members for the host. `start`: first row of the prompt that was asked for; vLLM leaves out those before it."""
    found: dict[str, Any] = {}
    experts = getattr(choice, "routed_experts", None)
    if experts is not None:
        if not hasattr(experts, "shape") or not callable(getattr(experts, "tobytes", None)):
            _LOGGER.warning("routed experts of the type %s have no bytes, and are left out", type(experts).__name__)
        else:
            found["routed_experts"] = {
                "data": base64.b64encode(experts.tobytes()).decode("ascii"),
                "shape": [int(length) for length in experts.shape],
                "start": min(start, prompt_length),
                "dtype": str(getattr(experts, "dtype", "")),
            }
    mask = getattr(choice, "sampling_mask", None)
    if mask is not None:
        found["sampling_mask"] = [list(row) for row in mask.token_ids]
    return found
