"""What the simulated pooling model says: a unit vector that depends on the prompt's tokens alone."""

from __future__ import annotations

import math
import struct

from vllm.simulation.tokens import mix

_HALF = 1 << 63


def vector_of(context: int, size: int, dimensions: int | None) -> list[float]:
    """As 32-bit floats hold it, of length one, also when it was cut to the first dimensions."""
    value = context
    numbers = []
    for _ in range(min(dimensions or size, size)):
        value = mix(value)
        numbers.append((value - _HALF) / _HALF)
    length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    format_ = f"<{len(numbers)}f"
    return list(struct.unpack(format_, struct.pack(format_, *(n / length for n in numbers))))
