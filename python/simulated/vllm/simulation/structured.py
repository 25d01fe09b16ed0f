"""Structured outputs, as far as the simulation goes.

A constraint is checked the way vLLM checks it before the engine sees it; only
`choice` then shapes the output (first choice, then EOS).  The other kinds
yield plain tokens, since nothing here parses grammars.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vllm.exceptions import VLLMValidationError


def verify_structured_outputs(params: Any, tokenizer: Any) -> None:
    if tokenizer is None:
        raise VLLMValidationError(
            "Structured outputs requires a tokenizer so it can't be used with "
            "'skip_tokenizer_init'"
        )
    if isinstance(params.choice, list) and not params.choice:
        raise VLLMValidationError(f"Choice '{params.choice}' cannot be an empty list")
    for name in ("grammar", "json", "structural_tag"):
        value = getattr(params, name)
        if isinstance(value, str) and not value.strip():
            raise VLLMValidationError(
                f"structured_outputs.{name} cannot be an empty string"
            )
    if params.json_object is False:
        raise VLLMValidationError(
            "structured_outputs.json_object must be True if set; omit "
            "structured_outputs to disable structured outputs"
        )
    if params.regex and "\x00" in params.regex:
        raise VLLMValidationError(
            "structured_outputs.regex must not contain a NUL character ('\\x00')"
        )
    try:
        if isinstance(params.json, str):
            json.loads(params.json)
        if isinstance(params.structural_tag, str):
            json.loads(params.structural_tag)
        if params.regex is not None:
            re.compile(params.regex)
        if params.grammar is not None:
            _check_grammar(params.grammar)
    except (ValueError, re.error) as error:
        raise VLLMValidationError(f"Invalid grammar specification: {error}") from error
    if params._backend is None:
        params._backend = "simulated"
        params._backend_was_auto = True


_RULE = re.compile(r"^\s*[A-Za-z_?!][\w-]*(\.\d+)?\s*(::=|:)\s*(.*)$")


def _check_grammar(text: str) -> None:
    """Only what a glance can tell: every first line of a rule names one and has a body
    that begins with something a grammar may begin with."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "//", "|", "%")):
            continue
        match = _RULE.match(line)
        if match is None:
            continue
        body = match.group(3).strip()
        if body and not re.match(r"[\w\"'/(\[|{<]", body):
            raise ValueError(f"Expected name at line {number}, {line!r}")
