r"""Which neurons are certainly inactive, decided from an int8 copy of the gate matrix.

A row w is stored as s·q with integers q in [-127, 127]; e = w - s·q is what that leaves out.  By
Cauchy and Schwarz

    |w·x - s·(q·x)| ≤ ‖e‖·‖x‖,

and both dot products are computed in float32, in some order of d fused or separate operations, each
off by at most γ = d·u/(1 - d·u) times the sum of absolute products (u = 2⁻²⁴), which is at most
‖w‖·‖x‖ or (‖w‖+‖e‖)·‖x‖.  So if

    s·fl(q·x) + slack·‖x‖ + constant ≤ threshold,    slack = ‖e‖ + 2γ(‖w‖ + ‖e‖),

then fl(w·x) ≤ threshold too: the float32 kernel would have found the neuron inactive, rounding
included.  `constant` covers underflow, gradual or flushed to zero.  Chapter: Certified screening.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stocha.base.jit import FAST, kernel
from stocha.sparse.storage import widen

UNIT = 2.0**-24  # unit roundoff of float32
TINY = 2.0**-126  # smallest normal float32: what flushing to zero can lose in one number
_UP = 1.0 + 2.0**-30  # above every rounding of the float64 norms taken here
_ROWS_AT_ONCE = 256  # rows widened to float64 together, so that the copy stays small


@dataclass(frozen=True)
class Screen:
    """An int8 copy of a gate matrix and what is needed to trust it.

    int8 [h, d]; scale, slack [h] float32; constant: a float.
    """

    int8: NDArray[np.int8]
    scale: NDArray[np.float32]
    slack: NDArray[np.float32]
    constant: float

    @property
    def nbytes(self) -> int:
        """Bytes the screen adds to a layer."""
        return self.int8.nbytes + self.scale.nbytes + self.slack.nbytes


_EMPTY = np.empty(0, np.float32)
NONE = Screen(np.empty((0, 0), np.int8), _EMPTY, _EMPTY, 0.0)
"""No screen: every neuron is uncertain."""


def rounding(columns: int) -> float:
    """γ for a float32 dot product of this many columns, with room for the final comparison."""
    steps = (columns + 8) * UNIT
    return steps / (1 - steps)


def build(gate: NDArray[Any]) -> Screen:
    """Quantise a gate matrix row by row and bound what that can change.

    gate [h, d]: float32, or uint16 holding bf16; finite.  Returns its `Screen`.
    Chapter: Certified screening.
    """
    rows, columns = gate.shape
    int8 = np.empty((rows, columns), np.int8)
    scale = np.empty(rows, np.float32)
    slack = np.empty(rows, np.float32)
    gamma = rounding(columns)
    constant = 0.0
    for start in range(0, rows, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, rows))
        w = widen(gate[part]).astype(np.float64)
        largest = np.abs(w).max(axis=1, initial=0.0)
        s = (largest / 127).astype(np.float32)
        s[s < TINY] = (
            0  # a subnormal scale may be read as zero: leave such a row to the float32 kernel
        )
        scale[part] = s
        wide = s.astype(np.float64)[:, None]
        ratio = np.divide(w, wide, out=np.zeros_like(w), where=wide > 0)
        q = np.clip(np.rint(ratio), -127, 127)
        int8[part] = q
        norm = np.sqrt(np.square(w).sum(axis=1))
        error = np.sqrt(np.square(w - wide * q).sum(axis=1))
        flushed = TINY * math.sqrt(columns)
        bound = error + 2 * gamma * (norm + error) + flushed * (1 + s)
        slack[part] = np.nextafter((bound * _UP).astype(np.float32), np.float32(np.inf))
        lost = 2 * columns * TINY * (1 + s) + 2 * flushed * (norm + error)
        constant = max(constant, float(lost.max(initial=0.0)))
    return Screen(int8, scale, slack, constant * _UP)


@kernel(FAST)
def magnitudes(x: NDArray[np.float32], squares: NDArray[np.float64]) -> float:
    """Write each input's ‖x‖₂²; returns the largest ‖x‖₁, or NaN where an input holds one."""
    largest = 0.0
    for b in range(x.shape[0]):
        total, square = 0.0, 0.0
        for i in range(x.shape[1]):
            value = np.float64(x[b, i])
            total += abs(value)
            square += value * value
        squares[b] = square
        if total > largest or total != total:
            largest = total
    return largest


def norm_bounds(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper bounds of ‖x‖₂ from what `magnitudes` wrote."""
    return np.asarray(np.sqrt(squares) * _UP)
