"""SamplingParams from the host's JSON. The host has checked every type; vLLM checks the ranges."""

from __future__ import annotations

from typing import Any

#: What the host may send besides, by its name in SamplingParams.
FIELDS = (
    "n", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
    "include_stop_str_in_output", "allowed_token_ids", "logprob_token_ids", "routed_experts_prompt_start", "logit_bias", "max_tokens",
    "min_tokens", "ignore_eos", "thinking_token_budget", "stop", "stop_token_ids", "logprobs", "prompt_logprobs",
    "skip_reading_prefix_cache", "skip_special_tokens",
)

#: Fields of StructuredOutputsParams that the host may send.
STRUCTURED = ("json", "regex", "grammar", "whitespace_pattern", "choice", "structural_tag")

_SPECIAL = ("structured_outputs", "bad_words_token_ids", "kv_transfer_params")


def build(defaults: dict[str, Any], fields: dict[str, Any], *, gives_text: bool = False) -> Any:
    """Defaults of the model, then each field, then vLLM's own validation once more. Texts cost: only who reads them asks for them."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    params = SamplingParams(**defaults)
    for name, value in fields.items():
        if name in _SPECIAL:
            continue
        if not hasattr(params, name):
            raise ValueError(f"this vLLM has no sampling parameter {name!r}")
        setattr(params, name, value)
    if "logit_bias" in fields:
        params.logit_bias = {int(token): float(bias) for token, bias in fields["logit_bias"].items()}
    if "structured_outputs" in fields:
        params.structured_outputs = StructuredOutputsParams(**fields["structured_outputs"])
    if "bad_words_token_ids" in fields:
        params._bad_words_token_ids = fields["bad_words_token_ids"]
    transfer(params, fields)
    params.detokenize = gives_text
    params.output_kind = RequestOutputKind.DELTA
    params.__post_init__()
    return params


def transfer(params: Any, fields: dict[str, Any]) -> None:
    """What a prefill worker left for the connector, over what the client may have given."""
    if "kv_transfer_params" in fields:
        params.extra_args = {**(params.extra_args or {}), "kv_transfer_params": fields["kv_transfer_params"]}
