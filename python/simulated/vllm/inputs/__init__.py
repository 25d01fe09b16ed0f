"""Prompt forms: plain dicts, typed for readers only."""

from __future__ import annotations

from typing import Any, TypedDict


class TokensPrompt(TypedDict, total=False):
    prompt_token_ids: list[int]
    prompt: str
    token_type_ids: list[int]
    multi_modal_data: dict[str, Any] | None
    mm_processor_kwargs: dict[str, Any] | None
    multi_modal_uuids: dict[str, Any]
    cache_salt: str


class TextPrompt(TypedDict, total=False):
    prompt: str
    multi_modal_data: dict[str, Any] | None
    cache_salt: str


class EmbedsPrompt(TypedDict, total=False):
    prompt_embeds: Any
    prompt_token_ids: list[int]
    prompt: str
    cache_salt: str
