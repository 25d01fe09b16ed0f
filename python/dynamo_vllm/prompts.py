"""Messages into a prompt, by the template of the model's tokenizer. vLLM tokenizes it, in a thread of its own."""

from __future__ import annotations

import asyncio
from typing import Any

#: What the worker sets itself; from a client they would be a second value of one argument.
_RESERVED = ("tokenize", "add_generation_prompt")

#: Bytes of messages above which a template is filled in beside the event loop, where no other stream waits for it.
_LONG = 32 * 1024


async def render(tokenizer: Any, fields: dict[str, Any]) -> str:
    """The text to be continued. What the template refuses is raised as it raises it."""
    given: str | None = fields.get("prompt")
    if given is not None:
        return given
    variables: dict[str, Any] = {}
    for more in fields["variables"]:
        variables.update(more)
    for name in _RESERVED:
        variables.pop(name, None)
    messages: list[dict[str, Any]] = fields["messages"]
    if "reasoning_content" not in (getattr(tokenizer, "chat_template", None) or ""):
        messages = [fold_reasoning(message) for message in messages]
    if fields["length"] <= _LONG:
        return _fill(tokenizer, messages, variables)
    return await asyncio.to_thread(_fill, tokenizer, messages, variables)


def fold_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """What an assistant thought, put before what it said, for a template that knows nothing of thoughts."""
    thoughts = message.get("reasoning_content")
    if message.get("role") != "assistant" or not thoughts:
        return message
    if isinstance(thoughts, str):
        folded = f"<think>{thoughts}</think>"
    elif isinstance(thoughts, list):
        folded = "".join(f"<think>{thought}</think>" for thought in thoughts if thought)
    else:
        return message
    if not folded:
        return message
    rest = {name: value for name, value in message.items() if name != "reasoning_content"}
    content = rest.get("content")
    if isinstance(content, list):
        rest["content"] = [{"type": "text", "text": folded}, *content]
    else:
        rest["content"] = folded + content if isinstance(content, str) else folded
    return rest


def _fill(tokenizer: Any, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
    filled: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **variables)
    return filled
