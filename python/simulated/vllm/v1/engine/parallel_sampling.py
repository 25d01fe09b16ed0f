"""n > 1: one request to the caller, n requests to the engine."""

from __future__ import annotations

from typing import Any

from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreRequest


class ParentRequest:
    def __init__(self, request: EngineCoreRequest) -> None:
        self.request_id = request.request_id
        self.external_req_id = request.external_req_id
        self.sampling_params = request.params
        self.child_requests: set[str] = set()
        self._final_only = (
            self.sampling_params.output_kind == RequestOutputKind.FINAL_ONLY
        )
        self._collected: dict[int, Any] = {}
        self.max_num_generation_tokens = 0

    @property
    def n(self) -> int:
        return self.sampling_params.n

    def get_child_info(self, index: int) -> tuple[str, Any]:
        """Child id `<index>_<id>` and its parameters: n 1, a seed of its own."""
        child_id = f"{index}_{self.request_id}"
        self.child_requests.add(child_id)
        params = self.sampling_params.clone()
        params.n = 1
        if params.seed is not None:
            params.seed += index
        return child_id, params

    def get_outputs(self, child_id: str, output: Any) -> tuple[list[Any], bool]:
        """What to hand on for a child's output, and whether all children are done."""
        if output.finish_reason is not None:
            self.child_requests.discard(child_id)
        finished = not self.child_requests
        if not self._final_only:
            return [output], finished
        self._collected[output.index] = output
        if not finished:
            return [], False
        return [self._collected[index] for index in sorted(self._collected)], True
