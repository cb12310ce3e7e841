"""Layers and inputs of a stated activation sparsity, shaped like those of a trained ReLU model.

A trained gate is mostly closed because its rows point away from the mean of their inputs.  So
inputs here share a mean direction m, x = √d·(cos·m + sin·noise), and gate rows are Gaussian with a
common component against m, just long enough that a pre-activation is positive with the stated
probability. Over neurons and inputs a pre-activation is a shifted Gaussian: nothing separates the
active ones from zero, which is the hard case for screening.  Rows differ in scale by a log-normal
factor.
"""

import functools
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stocha.sparse.ffn import SparseFFN

COSINE = 0.5  # share of an input's length along the common direction
SPREAD = 0.3  # standard deviation of the logarithm of a gate row's scale

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One gated layer: stacked [2h, d] is gate over up, down [d, h], down_rows its transpose."""

    stacked: Floats
    down: Floats
    down_rows: Floats

    @property
    def gate(self) -> Floats:
        """W1 [h, d], a view."""
        return self.stacked[: len(self.stacked) // 2]

    @property
    def up(self) -> Floats:
        """W3 [h, d], a view."""
        return self.stacked[len(self.stacked) // 2 :]

    @functools.cached_property
    def ffn(self) -> SparseFFN:
        """The layer as `SparseFFN`; its variants share one copy of the weights."""
        return SparseFFN(self.gate, self.up, self.down, method="dense", threads=1)


def mean_direction(width: int, seed: int = 0) -> Floats:
    """The unit vector [d] that inputs share and gate rows avoid."""
    direction = np.random.default_rng([seed, width]).standard_normal(width)
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


def make_layer(
    width: int, neurons: int, sparsity: float, *, seed: int, spread: float = SPREAD
) -> Layer:
    """Draw a layer [d = width, h = neurons] whose gate closes for a fraction of its neurons.

    Raises ValueError unless 0 ≤ sparsity < 1.  Chapter: The sparse FFN, explained.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity={sparsity}: allowed: [0, 1)")
    rng = np.random.default_rng([seed, width, neurons])
    stacked = rng.standard_normal((2 * neurons, width), np.float32)
    stacked *= np.float32(width**-0.5)
    shift = NormalDist().inv_cdf(min(max(sparsity, 1e-6), 1 - 1e-6)) / (COSINE * width**0.5)
    gate = stacked[:neurons]
    gate -= np.float32(shift) * mean_direction(width)
    gate *= np.exp(spread * rng.standard_normal((neurons, 1), np.float32))
    down_rows = rng.standard_normal((neurons, width), np.float32)
    down_rows *= np.float32(neurons**-0.5)
    return Layer(stacked, np.ascontiguousarray(down_rows.T), down_rows)


def make_inputs(width: int, count: int, *, seed: int, outliers: int = 0) -> Floats:
    """Draw inputs [count, d] with the shared mean; `outliers` coordinates are 30 times the rest."""
    rng = np.random.default_rng([seed, width, count])
    direction = mean_direction(width).astype(np.float64)
    noise = rng.standard_normal((count, width))
    noise[:, :outliers] *= 30
    noise -= np.outer(noise @ direction, direction)
    length = np.linalg.norm(noise, axis=1, keepdims=True)
    noise *= (1 - COSINE**2) ** 0.5 / np.maximum(length, 1e-30)
    return np.asarray((COSINE * direction + noise) * width**0.5, np.float32)
