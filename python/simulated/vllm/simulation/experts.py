"""What trainers ask for beside tokens: the experts that each token took, and the tokens that it was drawn from."""

from __future__ import annotations

from typing import Any

from vllm.outputs import SamplingMask

LAYERS = 2
EXPERTS = 8
EXPERTS_PER_TOKEN = 2
#: Tokens that survive the filters for each drawn one.
SUPPORT = 3


class ExpertRows:
    """Rows of [layers, experts per token] in bytes: of numpy's arrays what a host reads."""

    dtype = "uint8"

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.tokens), LAYERS, EXPERTS_PER_TOKEN)

    def tobytes(self) -> bytes:
        places = LAYERS * EXPERTS_PER_TOKEN
        return bytes((token + place) % EXPERTS for token in self.tokens for place in range(places))


def add_to(output: Any, prompt_ids: list[int] | None, start: int, tokens: list[int], model: Any) -> None:
    """Completes the last CompletionOutput of a request, as vLLM does when it has gathered the parts."""
    if model.enable_return_routed_experts:
        output.routed_experts = ExpertRows([*(prompt_ids or [])[start:], *tokens])
    if model.return_sampling_mask:
        output.sampling_mask = SamplingMask([[token + place for place in range(SUPPORT)] for token in tokens])
