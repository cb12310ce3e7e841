"""The elementwise parts of a decoder step, each one pass over rows that stay in a core's cache.

Between its matrix products a step of a small model is many short PyTorch operations, each of which
reads and writes its tensors from beyond the cache. A kernel here does what lies between two
products at once, row by row. NaN and infinity pass through; kernels run on one thread. Chapter:
Speed of the language model.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numpy.typing import NDArray

from stocha.base.elementwise import (
    GELU,
    MEAN,
    ONE,
    RELU,
    SILU,
    ZERO,
    exp,
    fma,
    relu,
    relu_slope,
    sigmoid,
)
from stocha.base.jit import EXACT, SUMS, kernel, part, primitive

Floats = NDArray[np.float32]

NEVER, ALWAYS, DRAWN = range(3)

HALF = np.float32(0.5)
DENSITY = np.float32((2 * np.pi) ** -0.5)  # the standard normal's at 0
ERF = np.float32(0.3275911 / 2**0.5)
A1, A2, A3, A4, A5 = (
    np.float32(value / 2)
    for value in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)

_I32, _F32 = ir.IntType(32), ir.FloatType()


def _swap(builder: Any, bits: Any) -> Any:
    sign = builder.ashr(bits, ir.Constant(_I32, 31))
    return builder.xor(bits, builder.and_(sign, ir.Constant(_I32, 0x7FFFFFFF)))


@primitive
def _rank(typing: Any, x: Any) -> Any:
    """An int32 that orders as float32 does, NaN of positive sign above all.

    A maximum of integers is vector code; one of floats is not while NaN has a meaning.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _swap(builder, builder.bitcast(args[0], _I32))

    return types.int32(types.float32), generate


@primitive
def _of_rank(typing: Any, rank: Any) -> Any:
    """The float32 of a `_rank`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_swap(builder, args[0]), _F32)

    return types.float32(types.int32), generate


@kernel(EXACT)
def exps(x: Floats, out: Floats) -> None:
    """out = `exp`(x), element by element."""
    for i in range(x.size):
        out[i] = exp(x[i])


@part(EXACT)
def _phi(x: Any, fall: Any) -> Any:
    """Φ(x) to 1e-7 for `fall` = exp(−x²/2): Abramowitz and Stegun, 7.1.26."""
    t = ONE / (ONE + ERF * (x if x > ZERO else -x))
    tail = ((((A5 * t + A4) * t + A3) * t + A2) * t + A1) * t * fall
    return tail if x <= ZERO else ONE - tail


@kernel(EXACT)
def gate(gate_up: Floats, kind: int, p: Any, above: Any, out: Floats) -> None:
    """out[r] = act(gate_up[r, 0]) · gate_up[r, 1] for the activation `kind`.

    MEAN is w·SiLU + (1 − w)·ReLU with the weight w = p for x ≤ 0 and `above` for x > 0.
    """
    for r in range(out.shape[0]):
        g, u, h = gate_up[r, 0], gate_up[r, 1], out[r]
        if kind == RELU:
            for c in range(h.size):
                h[c] = relu(g[c]) * u[c]
        elif kind == SILU:
            for c in range(h.size):
                h[c] = g[c] * sigmoid(g[c]) * u[c]
        elif kind == MEAN:
            for c in range(h.size):
                w = p if g[c] <= ZERO else above
                h[c] = fma(w, g[c] * sigmoid(g[c]), (ONE - w) * relu(g[c])) * u[c]
        elif kind == GELU:
            for c in range(h.size):
                h[c] = g[c] * _phi(g[c], exp(-HALF * g[c] * g[c])) * u[c]
        else:
            for c in range(h.size):
                h[c] = relu(g[c]) * relu(g[c]) * u[c]


@kernel(EXACT)
def gate_backward(dh: Floats, gate_up: Floats, kind: int, p: Any, above: Any, out: Floats) -> None:
    """The gradients of `gate` for dh [rows, ffn]: out[r, 0] of the gate, out[r, 1] of up.

    dh is replaced by what `gate` returned.
    """
    # several loops, and the sigmoids apart from `out`: LLVM makes vector code of a loop only while
    # it has few arrays to tell apart, and no two of one base
    sigmas = np.empty(dh.shape[1], np.float32)
    for r in range(dh.shape[0]):
        h, g, u, dg, du = dh[r], gate_up[r, 0], gate_up[r, 1], out[r, 0], out[r, 1]
        if kind == RELU:
            for c in range(h.size):
                du[c] = h[c] * relu(g[c])
            for c in range(h.size):
                dg[c] = h[c] * u[c] * relu_slope(g[c])
                h[c] = relu(g[c]) * u[c]
        elif kind == SILU:
            for c in range(h.size):
                sigmas[c] = sigmoid(g[c])
            for c in range(h.size):
                du[c] = h[c] * (g[c] * sigmas[c])
            for c in range(h.size):
                s, x, y = sigmas[c], g[c], u[c]
                dg[c] = h[c] * y * (s + x * s * (ONE - s))
                h[c] = x * s * y
        elif kind == MEAN:
            for c in range(h.size):
                sigmas[c] = sigmoid(g[c])
            for c in range(h.size):
                w = p if g[c] <= ZERO else above
                du[c] = h[c] * fma(w, g[c] * sigmas[c], (ONE - w) * relu(g[c]))
            for c in range(h.size):
                s, x, y = sigmas[c], g[c], u[c]
                w = p if x <= ZERO else above
                steep = s + x * s * (ONE - s)
                dg[c] = h[c] * y * fma(w, steep, (ONE - w) * relu_slope(x))
                h[c] = fma(w, x * s, (ONE - w) * relu(x)) * y
        elif kind == GELU:
            for c in range(h.size):
                sigmas[c] = exp(-HALF * g[c] * g[c])
            for c in range(h.size):
                du[c] = h[c] * (g[c] * _phi(g[c], sigmas[c]))
            for c in range(h.size):
                x, y, share = g[c], u[c], _phi(g[c], sigmas[c])
                dg[c] = h[c] * y * (share + x * (DENSITY * sigmas[c]))
                h[c] = x * share * y
        else:
            for c in range(h.size):
                du[c] = h[c] * (relu(g[c]) * relu(g[c]))
            for c in range(h.size):
                positive, y = relu(g[c]), u[c]
                dg[c] = h[c] * y * (positive + positive)
                h[c] = positive * positive * y


@part(EXACT)
def _smooth(drawn: Any, x: Any, above: int) -> Any:
    """Whether StochA takes SiLU at x: as drawn for x ≤ 0, and for x > 0 as `above` says."""
    below = x <= ZERO
    return (drawn != 0) & (below | (above == DRAWN)) | (~below & (above == ALWAYS))


@kernel(EXACT)
def gate_drawn(gate_up: Floats, draw: NDArray[np.uint8], above: int, out: Floats) -> None:
    """`gate` with SiLU where `draw` [rows, ffn] is not 0 and ReLU elsewhere.

    For x > 0 it is SiLU `ALWAYS`, `NEVER`, or as `DRAWN`.
    """
    for r in range(out.shape[0]):
        g, u, d, h = gate_up[r, 0], gate_up[r, 1], draw[r], out[r]
        for c in range(h.size):
            smooth, sharp = g[c] * sigmoid(g[c]), relu(g[c])
            h[c] = (smooth if _smooth(d[c], g[c], above) else sharp) * u[c]


@kernel(EXACT)
def gate_drawn_backward(
    dh: Floats, gate_up: Floats, draw: NDArray[np.uint8], above: int, out: Floats
) -> None:
    """`gate_backward` of `gate_drawn`."""
    sigmas = np.empty(dh.shape[1], np.float32)
    for r in range(dh.shape[0]):
        h, g, u, dg, du, d = dh[r], gate_up[r, 0], gate_up[r, 1], out[r, 0], out[r, 1], draw[r]
        for c in range(h.size):
            sigmas[c] = sigmoid(g[c])
        for c in range(h.size):
            smooth, sharp = g[c] * sigmas[c], relu(g[c])
            du[c] = h[c] * (smooth if _smooth(d[c], g[c], above) else sharp)
        for c in range(h.size):
            s, x, y = sigmas[c], g[c], u[c]
            smooth, sharp = x * s, relu(x)
            steep, step = s + smooth * (ONE - s), relu_slope(x)
            taken = _smooth(d[c], x, above)
            dg[c] = h[c] * y * (steep if taken else step)
            h[c] = (smooth if taken else sharp) * y


@kernel(EXACT)
def gate_kept(gate_up: Floats, chance: Floats, kept: NDArray[np.uint8], out: Floats) -> None:
    """`gate` with x where `chance` [rows, ffn] < σ(x), which `kept` then says, and 0 elsewhere."""
    for r in range(out.shape[0]):
        g, u, h, k, lot = gate_up[r, 0], gate_up[r, 1], out[r], kept[r], chance[r]
        for c in range(h.size):
            h[c] = sigmoid(g[c])
        for c in range(h.size):
            k[c] = lot[c] < h[c]
        for c in range(h.size):
            h[c] = (g[c] if k[c] != 0 else ZERO * g[c]) * u[c]


@kernel(EXACT)
def gate_kept_backward(dh: Floats, gate_up: Floats, kept: NDArray[np.uint8], out: Floats) -> None:
    """`gate_backward` of `gate_kept`, whose slope is 1 where x was kept and 0 elsewhere."""
    for r in range(dh.shape[0]):
        h, g, u, dg, du, k = dh[r], gate_up[r, 0], gate_up[r, 1], out[r, 0], out[r, 1], kept[r]
        for c in range(h.size):
            du[c] = h[c] * (g[c] if k[c] != 0 else ZERO * g[c])
        for c in range(h.size):
            x, y, one = g[c], u[c], (ONE if k[c] != 0 else ZERO)
            dg[c] = h[c] * y * one
            h[c] = x * one * y


@part(SUMS)
def _softmax(row: Floats) -> Any:
    """Turn a row into exponentials less its maximum; returns their sum and the maximum."""
    top = _rank(row[0])
    for c in range(row.size):
        top = max(top, _rank(row[c]))
    peak = _of_rank(top)
    total = ZERO
    for c in range(row.size):
        e = exp(row[c] - peak)
        row[c] = e
        total += e
    return total, peak


@kernel(SUMS)
def cross_entropy(logits: Floats, targets: NDArray[np.int64]) -> float:
    """Replace logits [rows, vocabulary] by their gradient; returns the summed loss in nats."""
    loss = 0.0
    for r in range(logits.shape[0]):
        row, target = logits[r], targets[r]
        if target < 0 or target >= row.size:
            raise IndexError("a target is no token of the vocabulary")
        chosen = row[target]
        total, peak = _softmax(row)
        loss += np.log(np.float64(total)) + np.float64(peak - chosen)
        scale = ONE / total
        for c in range(row.size):
            row[c] *= scale
        row[target] -= ONE
    return loss


@kernel(SUMS)
def causal_softmax(scores: Floats, start: int, rows: int) -> None:
    """Softmax in place of scores [slabs, group·rows, keys] over the keys each row may see.

    Row i of a group stands at position start + i and sees the keys up to there.
    """
    for slab in range(scores.shape[0]):
        for r in range(scores.shape[1]):
            seen = start + r % rows + 1
            row = scores[slab, r]
            total, _ = _softmax(row[:seen])
            scale = ONE / total
            for c in range(seen):
                row[c] *= scale
            row[seen:] = ZERO


@kernel(SUMS)
def causal_softmax_backward(grads: Floats, weights: Floats, start: int, rows: int) -> None:
    """Turn the gradients of `causal_softmax`'s weights into those of its scores, in place."""
    for slab in range(grads.shape[0]):
        for r in range(grads.shape[1]):
            seen = start + r % rows + 1
            grad, weight = grads[slab, r], weights[slab, r]
            mean = ZERO
            for c in range(seen):
                mean += grad[c] * weight[c]
            for c in range(seen):
                grad[c] = (grad[c] - mean) * weight[c]
            grad[seen:] = ZERO


@kernel(SUMS)
def norm(x: Floats, weight: Floats, eps: Any, scale: Floats, out: Floats) -> None:
    """RMSNorm of the rows of x; scale is 1/√(mean² + eps)."""
    for r in range(x.shape[0]):
        row, y = x[r], out[r]
        square = ZERO
        for c in range(row.size):
            square += row[c] * row[c]
        unit = ONE / np.sqrt(square / np.float32(row.size) + eps)
        scale[r] = unit
        for c in range(row.size):
            y[c] = row[c] * unit * weight[c]


@kernel(SUMS)
def norm_backward(
    dy: Floats, x: Floats, scale: Floats, weight: Floats, dx: Floats, dweight: Floats
) -> None:
    """The gradients of `norm` for dy; dweight is added to."""
    for r in range(x.shape[0]):
        row, slope, out, unit = x[r], dy[r], dx[r], scale[r]
        mean = ZERO
        for c in range(row.size):
            mean += slope[c] * weight[c] * row[c]
        mean *= unit * unit / np.float32(row.size)
        for c in range(row.size):
            dweight[c] += slope[c] * row[c] * unit
        for c in range(row.size):
            out[c] = (slope[c] * weight[c] - row[c] * mean) * unit


@part(EXACT)
def _copy(x: Floats, out: Floats) -> None:
    # an assignment of slices is several times slower for rows as short as a head
    for i in range(x.size):
        out[i] = x[i]


@part(EXACT)
def _turned(x: Floats, turn: Floats, sign: Any, factor: Any, out: Floats) -> None:
    for i in range(x.size // 2):
        cosine, sine = turn[2 * i] * factor, turn[2 * i + 1] * sign * factor
        even, odd = x[2 * i], x[2 * i + 1]
        out[2 * i] = fma(even, cosine, -(odd * sine))
        out[2 * i + 1] = fma(odd, cosine, even * sine)


@part(EXACT)
def _place(slabs: int, slab: int, group: int, member: int, at: int, block: int, length: int) -> Any:
    """Row of a head's position in queries stored block by block: [block, slab, member, position].

    A block of positions is one contiguous matrix a slab, as a batched product wants it.
    """
    start = at - at % block
    rows = min(block, length - start)
    return slabs * group * start + (slab * group + member) * rows + at - start


@kernel(EXACT)
def split_heads(
    qkv: Floats, turn: Floats, group: int, block: int, shifted: bool,
    q: Floats, k: Floats, v: Floats,
) -> None:  # fmt: skip
    """Cut qkv [batch, length, parts, width] into rotated queries and keys, and values.

    With `shifted` keys the second half of a key is that of the position before.

    `turn` [length, width] alternates cosines and sines; q [batch·heads·length, width], scaled by
    1/√width, is in the order of `_place`; k and v are [batch·kv_heads, length, width].
    """
    batch, length, parts, width = qkv.shape
    kv_heads = parts // (group + 2)
    heads, slabs, half = group * kv_heads, batch * kv_heads, width // 2
    factor = ONE / np.sqrt(np.float32(width))
    for b in range(batch):
        for at in range(length):
            for head in range(heads):
                slab = b * kv_heads + head // group
                place = _place(slabs, slab, group, head % group, at, block, length)
                _turned(qkv[b, at, head], turn[at], ONE, factor, q[place])
            for head in range(kv_heads):
                slab = b * kv_heads + head
                _turned(qkv[b, at, heads + head], turn[at], ONE, ONE, k[slab, at])
                if shifted and at > 0:
                    before, key = qkv[b, at - 1, heads + head], k[slab, at]
                    _turned(before[half:], turn[at, half:], ONE, ONE, key[half:])
                _copy(qkv[b, at, heads + kv_heads + head], v[slab, at])


@kernel(EXACT)
def join_heads(
    dq: Floats, dk: Floats, dv: Floats, turn: Floats, group: int, block: int, shifted: bool,
    out: Floats,
) -> None:  # fmt: skip
    """The gradient of `split_heads`: out [batch, length, parts, width]."""
    batch, length, parts, width = out.shape
    kv_heads = parts // (group + 2)
    heads, slabs, half = group * kv_heads, batch * kv_heads, width // 2
    factor = ONE / np.sqrt(np.float32(width))
    for b in range(batch):
        for at in range(length):
            for head in range(heads):
                slab = b * kv_heads + head // group
                place = _place(slabs, slab, group, head % group, at, block, length)
                _turned(dq[place], turn[at], -ONE, factor, out[b, at, head])
            for head in range(kv_heads):
                slab = b * kv_heads + head
                _turned(dk[slab, at], turn[at], -ONE, ONE, out[b, at, heads + head])
                if shifted and at > 0:  # that half's gradient belongs to the position before
                    own, before = out[b, at, heads + head], out[b, at - 1, heads + head]
                    for c in range(half, width):
                        before[c] = before[c] + own[c] if at == 1 else own[c]
                        own[c] = ZERO
                _copy(dv[slab, at], out[b, at, heads + kv_heads + head])


@kernel(EXACT)
def gather_rows(blocks: Floats, group: int, block: int, back: bool, out: Floats) -> None:
    """Bring out [batch, length, heads, width] from the order of `_place`, or `back` into it."""
    batch, length, heads, _ = out.shape
    kv_heads = heads // group
    for b in range(batch):
        for at in range(length):
            for head in range(heads):
                slab = b * kv_heads + head // group
                place = _place(batch * kv_heads, slab, group, head % group, at, block, length)
                if back:
                    _copy(out[b, at, head], blocks[place])
                else:
                    _copy(blocks[place], out[b, at, head])
