"""Bytes that each method must read, the speed-up they allow, and the memory's measured roof.

A batch-1 layer does two operations per weight: it runs at the speed of memory.  Reading less is the
only way to be faster, so bytes give the limit of every method.  Chapters *Sources*: 3 / (1 +
2(1 - s)), and *The sparse FFN, explained*.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from stocha.base.jit import FAST, kernel, threaded
from stocha.sparse.vector import BLOCK, GROUP, LANES, sum_block

METHODS = ("dense", "sparse", "screened", "oracle")
_COLUMNS = 2048  # a row of the read kernel: two pages, so that every stream has a prefetcher


def bytes_read(
    method: str, width: int, neurons: int, sparsity: float,
    *, candidates: float | None = None, item: int = 4,
) -> float:  # fmt: skip
    """Weight bytes one input makes a method read from a gated layer [d = width, h = neurons].

    candidates: fraction of gate rows the screen leaves uncertain (by default
    `expected_candidates`). item: bytes of a stored weight.  Raises ValueError for an unknown
    method.
    """
    row, active = width * item, 1 - sparsity
    if method == "dense":
        rows = 3.0 * row
    elif method == "sparse":
        rows = (1 + 2 * active) * row
    elif method == "screened":
        if candidates is None:
            candidates = expected_candidates(sparsity, width)
        rows = width + 8 + (candidates + 2 * active) * row  # 8: scale and slack
    elif method == "oracle":
        rows = 3 * active * row
    else:
        raise ValueError(f"method={method!r}: allowed: {', '.join(METHODS)}")
    return neurons * rows


def limit(
    method: str, width: int, neurons: int, sparsity: float, *, candidates: float | None = None
) -> float:
    """Largest speed-up over the dense layer that the traffic of a method allows."""
    dense = bytes_read("dense", width, neurons, sparsity)
    return dense / bytes_read(method, width, neurons, sparsity, candidates=candidates)


def screening_margin(width: int) -> float:
    """Slack of an int8 row in standard deviations of its pre-activation, for Gaussian weights.

    The row's largest of d weights sets the step; rounding leaves step/√12 a weight, √d steps a row.
    """
    return math.sqrt(width / 12) * _largest_of(width) / 127


def upper_bits_margin(width: int, bits: int) -> float:
    """The same for the upper bits of a row that is itself int8 with a scale for every 32 weights.

    The lower 8 - bits leave one of n = 2^(8 - bits) numbers, whose variance is (n² - 1)/12 steps.
    """
    left: int = 4 ** (8 - bits) - 1
    return math.sqrt(width * left / 12) * _largest_of(GROUP) / 127


def expected_candidates(sparsity: float, width: int, *, margin: float | None = None) -> float:
    """Fraction of gate rows left uncertain when pre-activations are a shifted Gaussian.

    margin: slack in their standard deviations, by default `screening_margin`.
    """
    if sparsity <= 0:
        return 1.0
    closed = NormalDist().inv_cdf(sparsity) if sparsity < 1 else math.inf
    return 1 - NormalDist().cdf(closed - (screening_margin(width) if margin is None else margin))


def _largest_of(count: int) -> float:
    """Median of the largest of `count` |Gaussians|, nearly."""
    return NormalDist().inv_cdf(1 - 0.28 / count)


def _read_all(rows: NDArray[Any], threads: int, totals: NDArray[Any]) -> None:
    blocks = rows.shape[0] // BLOCK
    for t in prange(threads):
        for block in range(blocks * t // threads, blocks * (t + 1) // threads):
            sum_block(rows, block * BLOCK, min(block + 1, blocks - 1) * BLOCK, totals[t])


def _triad(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], threads: int) -> None:
    size = a.size
    for t in prange(threads):
        for i in range(size * t // threads, size * (t + 1) // threads):
            a[i] = b[i] + np.float32(3) * c[i]


_read_serial, _read_threads = kernel(FAST)(_read_all), threaded(FAST)(_read_all)
_triad_serial, _triad_threads = kernel(FAST)(_triad), threaded(FAST)(_triad)


def read_only(data: NDArray[np.float32], threads: int = 1) -> int:
    """Read a flat float32 array once and keep nothing: the roof of every kernel; returns bytes.

    Eight rows at once with prefetch, the fastest of the ways tried; one stream alone gets about
    half.
    """
    rows = data[: data.size // (BLOCK * _COLUMNS) * BLOCK * _COLUMNS].reshape(-1, _COLUMNS)
    totals = np.zeros((threads, LANES), np.float32)
    (_read_threads if threads > 1 else _read_serial)(rows, threads, totals)
    return rows.nbytes


def triad(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32], threads: int = 1
) -> int:
    """a = b + 3c, the classical kernel; returns bytes, counting the read before the write."""
    (_triad_threads if threads > 1 else _triad_serial)(a, b, c, threads)
    return 4 * a.nbytes
