"""How weights are kept: float32, or bf16 as the uint16 of a float32's upper half."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 256  # rows converted together, so that a temporary copy stays small


def widen(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored weights as float32; uint16 is bf16."""
    if stored.dtype != np.uint16:
        return stored.astype(np.float32, copy=False)
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)


def narrow(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bf16, ties to even, kept as uint16."""
    bits = np.ascontiguousarray(weights, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(weights), np.uint16(0x7FC0), rounded)


def largest(stored: NDArray[Any]) -> float:
    """The largest magnitude in a matrix; NaN where it holds one, 0 where it is empty."""
    found = 0.0
    for start in range(0, len(stored), ROWS_AT_ONCE):
        part = widen(stored[start : start + ROWS_AT_ONCE])
        if part.size:
            found = float(np.maximum(found, np.maximum(part.max(), -part.min())))
    return found
