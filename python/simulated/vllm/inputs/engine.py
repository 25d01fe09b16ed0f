"""Already rendered prompts, which the front end takes without a detour."""

from __future__ import annotations

from typing import Any


def tokens_input(
    prompt_token_ids: list[int],
    *,
    prompt: str | None = None,
    cache_salt: str | None = None,
) -> dict[str, Any]:
    rendered: dict[str, Any] = {"type": "token", "prompt_token_ids": prompt_token_ids}
    if prompt is not None:
        rendered["prompt"] = prompt
    if cache_salt is not None:
        rendered["cache_salt"] = cache_salt
    return rendered
