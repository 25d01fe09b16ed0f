"""Tests of the guest's modules, on the simulated engine's package; on the installed vLLM with DYNAMO_REAL_ENGINE=1."""

from __future__ import annotations

import os

REAL = os.environ.get("DYNAMO_REAL_ENGINE") == "1"

if REAL:
    MODEL = os.path.join(os.environ["DYNAMO_PEERS_DIR"], "models", "tiny-model")
    ENGINE_ARGUMENTS = ["--dtype", "float32"]
else:
    from ..simulated import SIMULATED  # puts the simulated package on the path

    MODEL = os.path.join(SIMULATED, "model")
    ENGINE_ARGUMENTS = []
