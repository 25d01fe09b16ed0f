"""PoolingParams: what a pooling request asks for, and vLLM's refusals of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind

_PARAMETERS = {
    "embed": ["dimensions", "use_activation"],
    "classify": ["use_activation"],
    "token_embed": ["dimensions", "use_activation"],
    "token_classify": ["use_activation"],
}


@dataclass
class PoolingParams:
    use_activation: bool | None = None
    dimensions: int | None = None
    step_tag_id: int | None = None
    returned_token_ids: list[int] | None = None
    task: str | None = None
    requires_token_ids: bool = False
    skip_reading_prefix_cache: bool | None = None
    late_interaction_params: Any = None
    extra_kwargs: dict[str, Any] | None = None
    output_kind: RequestOutputKind = RequestOutputKind.FINAL_ONLY

    # What hosts and processors ask of any request's parameters.
    n = 1

    def clone(self) -> "PoolingParams":
        return copy.deepcopy(self)

    def verify(self, model_config: Any) -> None:
        task = self.task or ""
        if self.skip_reading_prefix_cache is None:
            # Their outputs would lack what came out of the cache.
            self.skip_reading_prefix_cache = task.startswith("token_")
        if self.use_activation is None:
            self.use_activation = True
        if self.dimensions is None:
            return
        if "dimensions" not in _PARAMETERS[task]:
            raise VLLMValidationError(
                f"Task {task!r} only supports {_PARAMETERS[task]} "
                "parameters, does not support ['dimensions'] parameters"
            )
        self._verify_dimensions(self.dimensions, model_config)

    @staticmethod
    def _verify_dimensions(dimensions: int, model_config: Any) -> None:
        name = model_config.served_model_name
        if not model_config.is_matryoshka:
            raise VLLMValidationError(
                f"Model {name!r} does not support Matryoshka embeddings; "
                f"dimensions must be unset (received dimensions={dimensions})."
            )
        size = model_config.embedding_size
        if not 1 <= dimensions <= size:
            raise VLLMValidationError(
                f"Model {name!r} only supports dimensions in range [1, {size}], "
                f"got {dimensions}."
            )
        allowed = model_config.matryoshka_dimensions
        if allowed is not None and dimensions not in allowed:
            raise VLLMValidationError(
                f"Model {name!r} only supports Matryoshka dimensions "
                f"{allowed}, got {dimensions}."
            )
