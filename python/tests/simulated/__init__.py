"""Tests of the simulated engine; they need nothing but Python."""

from __future__ import annotations

import os
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SIMULATED = os.path.join(ROOT, "python", "simulated")

# The package is called `vllm`, so it must come before an installed vLLM.
if SIMULATED not in sys.path:
    sys.path.insert(0, SIMULATED)
# Deaths are provoked here; their reports would only clutter the output.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
