"""Requests in vLLM's own form (`/inference/v1/generate`): parameters in its names, with its server's defaults and not the model's."""

from __future__ import annotations

from typing import Any


def read(envelope: dict[str, Any], length: int, defaults: dict[str, Any], config: Any) -> tuple[Any, int]:
    """SamplingParams and priority for a prompt of so many tokens. What vLLM refuses is raised as it raises it."""
    from vllm.sampling_params import RequestOutputKind

    fields = envelope["sampling_params"]
    params = _convert(fields)
    if envelope.get("kv_transfer_params") is not None:
        params.extra_args = {**(params.extra_args or {}), "kv_transfer_params": envelope["kv_transfer_params"]}
    if not params.stop:
        params.detokenize = False
    if "max_tokens" not in fields:
        params.max_tokens = _longest(length, defaults, config)
    params.output_kind = RequestOutputKind.DELTA
    priority: int = envelope.get("priority") or 0
    return params, priority


def _convert(fields: dict[str, Any]) -> Any:
    """Strictly: a wrong type is refused, a name that vLLM does not know is passed over."""
    from vllm.sampling_params import SamplingParams

    try:
        import msgspec
    except ImportError:  # the simulated engine's are no structure of msgspec
        return SamplingParams(**{name: value for name, value in fields.items() if name in SamplingParams.__struct_fields__})
    return msgspec.convert(fields, type=SamplingParams)


def _longest(length: int, defaults: dict[str, Any], config: Any) -> int:
    """What vLLM's server gives a request without a limit."""
    limits: list[int | None] = [config.max_model_len - length, defaults.get("max_tokens"), _override(config, defaults), _platform_limit(length)]
    return min(limit for limit in limits if limit is not None)


def _override(config: Any, defaults: dict[str, Any]) -> int | None:
    """The operator's limit: of a generation config that was named, or given in the model's place."""
    if getattr(config, "generation_config", "vllm") not in ("auto", "vllm"):
        return defaults.get("max_tokens")
    limit: int | None = (getattr(config, "override_generation_config", None) or {}).get("max_new_tokens")
    return limit


def _platform_limit(length: int) -> int | None:
    try:
        from vllm.platforms import current_platform
    except ImportError:
        return None  # the simulated engine has none
    limit: int | None = current_platform.get_max_output_tokens(length)
    return limit
