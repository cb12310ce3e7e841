"""The gated FFN y = W2 (act(W1 x) ⊙ (W3 x)) for a few inputs: dense, sparse and screened kernels.

A layer's neurons are cut into `SECTIONS` runs of consecutive rows, whatever the number of threads.
A section works on a list of its rows, in ascending order, and adds into an accumulator of its own;
the accumulators are summed in order at the end.  Nothing depends on which thread ran a section, and
a neuron whose activation is zero adds nothing, so every kernel here returns the same bits at every
number of threads.  Chapter: The sparse FFN, explained.
"""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from stocha.base.elementwise import RELU2, SILU
from stocha.base.jit import FAST, kernel, threaded
from stocha.sparse.vector import (
    BLOCK,
    axpy_block,
    axpy_single,
    dot_block,
    keep_apart,
)

SECTIONS = 32  # private accumulators: as many threads can share a layer
APART = 8192  # bytes: two pages, so that each row of a block has a prefetcher of its own

Array = NDArray[Any]


@kernel(FAST)
def section_rows(rows: Array, section: int, neurons: int) -> int:
    """List all rows of a section; returns how many."""
    keep_apart()
    low = neurons * section // SECTIONS
    high = neurons * (section + 1) // SECTIONS
    for row in range(low, high):
        rows[row - low] = row
    return high - low


@kernel(FAST)
def spread_rows(rows: Array, section: int, neurons: int, row_bytes: int) -> int:
    """List all rows of a section so that the rows of a block lie `APART` bytes apart or more.

    Short rows next to each other share pages, hence prefetchers: eight-bit rows of 2 KB were read
    a third faster in this order.  Each row's dot product is the same in any order.
    """
    low = neurons * section // SECTIONS
    high = neurons * (section + 1) // SECTIONS
    gap = max(1, (APART + row_bytes - 1) // row_bytes)
    count = 0
    for start in range(low, high, BLOCK * gap):
        stop = min(start + BLOCK * gap, high)
        for first in range(start, min(start + gap, stop)):
            for row in range(first, stop, gap):
                rows[count] = row
                count += 1
    return count


@kernel(FAST)
def pad(rows: Array, count: int) -> int:
    """Repeat the last listed row until whole blocks are full; returns how many rows that makes."""
    padded = (count + BLOCK - 1) // BLOCK * BLOCK
    for k in range(count, padded):
        rows[k] = rows[count - 1]
    return padded


@kernel(FAST)
def dots(w: Array, x: Array, rows: Array, count: int, out: Array, ahead: Array) -> None:
    """out[b, r] = w[r] · x[b] for the listed rows, prefetching the next rows of another matrix.

    The list must have room for `pad`: a row computed again comes from the cache, while rows
    computed one at a time would leave memory waiting.
    """
    keep_apart()
    padded = pad(rows, count)
    for k in range(0, padded, BLOCK):
        for b in range(x.shape[0]):
            dot_block(w, rows, k, x, b, out, ahead, min(k + BLOCK, padded - BLOCK))


@kernel(FAST)
def activate(value: np.float32, kind: int, threshold: float) -> np.float32:
    """The activation at a pre-activation; zero where the neuron is inactive, NaN stays NaN."""
    if kind == SILU:
        result = np.float32(value / (np.float32(1) + np.exp(-value)))
        return np.float32(0) if abs(result) <= threshold else result
    if value <= threshold:
        return np.float32(0)
    return np.float32(value * value) if kind == RELU2 else np.float32(value)


@kernel(FAST)
def keep_active(gate: Array, rows: Array, count: int, kind: int, threshold: float) -> int:
    """Apply the activation in place and keep the rows active for any input; returns how many."""
    keep_apart()
    kept = 0
    for k in range(count):
        row = rows[k]
        active = False
        for b in range(gate.shape[0]):
            value = activate(gate[b, row], kind, threshold)
            gate[b, row] = value
            active |= value != 0
        rows[kept] = row
        kept += active
    return kept


@kernel(FAST)
def expand(
    up: Array, down: Array, x: Array, gate: Array, product: Array, rows: Array, count: int, y: Array
) -> None:
    """y[b] += gate[b, r] · (up[r] · x[b]) · down[r] for the listed rows, block by block."""
    keep_apart()
    padded = pad(rows, count)
    for k in range(0, padded, BLOCK):
        last = min(k + BLOCK, count)
        for b in range(x.shape[0]):
            dot_block(up, rows, k, x, b, product, down, k)
        for b in range(x.shape[0]):
            for i in range(k, last):
                product[b, rows[i]] *= gate[b, rows[i]]
            if last == k + BLOCK:
                axpy_block(y, b, product, down, rows, k, up, min(last, padded - BLOCK))
            else:
                for i in range(k, last):
                    axpy_single(y, b, product, down, rows, i, up, i)


@kernel(FAST)
def keep_uncertain(
    estimate: Array, scale: Array, slack: Array, norm: Array, constant: float,
    threshold: float, rows: Array, count: int,
) -> int:  # fmt: skip
    """Keep the rows that the int8 estimate does not prove inactive for every input."""
    keep_apart()
    kept = 0
    for k in range(count):
        row = rows[k]
        uncertain = False
        for b in range(estimate.shape[0]):
            value = np.float64(scale[row]) * np.float64(estimate[b, row])
            bound = value + np.float64(slack[row]) * norm[b] + constant
            uncertain |= not bound <= threshold
        rows[kept] = row
        kept += uncertain
    return kept


@kernel(FAST)
def work_section(
    w1: Array, w3: Array, w2: Array, int8: Array, scale: Array, slack: Array, norm: Array,
    constant: float, x: Array, kind: int, threshold: float, skip: bool,
    gate: Array, product: Array, rows: Array, y: Array, section: int,
) -> tuple[int, int]:  # fmt: skip
    """One section: int8 rows of all neurons where there is a screen, gate rows of those that it
    leaves uncertain, up and down rows of active ones, or without `skip` of all of them.

    Returns how many gate rows were read and how many neurons are active.
    """
    keep_apart()
    y[:] = 0
    neurons, screened = w1.shape[0], int8.shape[0] > 0
    row_bytes = int8.shape[1] if screened else w1.shape[1] * w1.itemsize
    count = spread_rows(rows, section, neurons, row_bytes)
    if screened:
        dots(int8, x, rows, count, gate, int8)
        section_rows(rows, section, neurons)
        count = keep_uncertain(gate, scale, slack, norm, constant, threshold, rows, count)
    dots(w1, x, rows, count, gate, w1)
    if not screened:
        section_rows(rows, section, neurons)
    active = keep_active(gate, rows, count, kind, threshold)
    wanted = active if skip else section_rows(rows, section, neurons)
    expand(w3, w2, x, gate, product, rows, wanted, y)
    return count, active


@kernel(FAST)
def add_sections(sums: Array, y: Array) -> None:
    """Sum the sections' accumulators in order."""
    keep_apart()
    y[:] = 0
    for section in range(sums.shape[0]):
        for b in range(y.shape[0]):
            for i in range(y.shape[1]):
                y[b, i] += sums[section, b, i]


def _feed_forward(
    w1: Array, w3: Array, w2: Array, int8: Array, scale: Array, slack: Array, norm: Array,
    constant: float, x: Array, kind: int, threshold: float, skip: bool,
    gate: Array, product: Array, rows: Array, sums: Array, counts: Array, threads: int, y: Array,
) -> None:  # fmt: skip
    for thread in prange(threads):
        for s in range(thread, SECTIONS, threads):
            counts[s, 0], counts[s, 1] = work_section(
                w1, w3, w2, int8, scale, slack, norm, constant, x, kind, threshold, skip,
                gate, product, rows[s], sums[s], s,
            )  # fmt: skip
    add_sections(sums, y)


# A kernel compiled for one thread opens no thread pool, so it also works in a forked child.
feed_forward, feed_forward_threads = kernel(FAST)(_feed_forward), threaded(FAST)(_feed_forward)
