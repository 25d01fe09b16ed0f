"""Helpers under the names vLLM gives them."""

from __future__ import annotations

import os


def random_uuid() -> str:
    """128 random bits as 32 hex digits, the source of internal request ids."""
    return os.urandom(16).hex()
