"""SamplingParams from the host's JSON. The host has checked every type; vLLM checks the ranges."""

from __future__ import annotations

from typing import Any

_SPECIAL = ("structured_outputs", "bad_words_token_ids", "kv_transfer_params")


def build(defaults: dict[str, Any], fields: dict[str, Any]) -> Any:
    """Defaults of the model, then each field whose name SamplingParams has, then vLLM's own validation once more."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    params = SamplingParams(**defaults)
    for name, value in fields.items():
        if name not in _SPECIAL and hasattr(params, name):
            setattr(params, name, value)
    if "logit_bias" in fields:
        params.logit_bias = {int(token): float(bias) for token, bias in fields["logit_bias"].items()}
    if "structured_outputs" in fields:
        params.structured_outputs = StructuredOutputsParams(**fields["structured_outputs"])
    if "bad_words_token_ids" in fields:
        params._bad_words_token_ids = fields["bad_words_token_ids"]
    if "kv_transfer_params" in fields:
        params.extra_args = {**(params.extra_args or {}), "kv_transfer_params": fields["kv_transfer_params"]}
    params.detokenize = False
    params.output_kind = RequestOutputKind.DELTA
    params.__post_init__()
    return params
