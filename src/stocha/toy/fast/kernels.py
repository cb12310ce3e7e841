"""What a training step of an ensemble is made of: linear layers, activations, the loss.

Linear layers see `[R, width, n]`, the n samples of a run along the last dimension; activations
`[R, m]`, all elements of a layer of a run in a row. Those are a few thousand bytes, so every loop
below stays in the first cache. Chapter 41_performance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stocha.base.elementwise import (
    ONE,
    RELU,
    SILU,
    ZERO,
    exp,
    fma,
    relu,
    relu_slope,
    sigmoid,
    tanh,
    within,
)
from stocha.base.jit import EXACT, SUMS, kernel, part

Floats = NDArray[np.float32]

FAR = np.float32(1024)  # as in stocha.activations: beyond, a gate and SiLU are at their limits


@part(EXACT)
def silu(x: Any) -> Any:
    """x·σ(x), with the limits 0 and ∞."""
    near = within(x, FAR)
    return near * sigmoid(near) + relu(x - FAR)


@part(EXACT)
def silu_slope(x: Any) -> Any:
    near = within(x, FAR)
    s = sigmoid(near)
    return s + near * s * (ONE - s)


@kernel(EXACT)
def gather(samples: Floats, order: NDArray[np.int64], x: Floats) -> None:
    """x[r, :, i] = samples[:, order[r, i]]."""
    for r in range(x.shape[0]):
        which = order[r]
        for f in range(x.shape[1]):
            column, out = samples[f], x[r, f]
            for i in range(out.size):
                out[i] = column[which[i]]


@kernel(EXACT)
def linear(w: Floats, b: Floats, h: Floats, z: Floats) -> None:
    """z = w h + b, run by run; w [R, out, in], b [R, out], h [R, in, n].

    Terms are added in their order, four at a visit of z: that is what moving z costs least.
    """
    fours = h.shape[1] // 4 * 4
    for r in range(z.shape[0]):
        for o in range(z.shape[1]):
            out = z[r, o]
            out[:] = b[r, o]
            for k in range(0, fours, 4):
                f0, f1, f2, f3 = w[r, o, k], w[r, o, k + 1], w[r, o, k + 2], w[r, o, k + 3]
                h0, h1, h2, h3 = h[r, k], h[r, k + 1], h[r, k + 2], h[r, k + 3]
                for i in range(out.size):
                    two = fma(f1, h1[i], fma(f0, h0[i], out[i]))
                    out[i] = fma(f3, h3[i], fma(f2, h2[i], two))
            for k in range(fours, h.shape[1]):
                unit, factor = h[r, k], w[r, o, k]
                for i in range(out.size):
                    out[i] = fma(factor, unit[i], out[i])


@kernel(SUMS)
def linear_backward(dz: Floats, h: Floats, dw: Floats, db: Floats) -> None:
    """The gradients of `linear` for dz; that of h is `linear` with w transposed."""
    for r in range(dz.shape[0]):
        for o in range(dz.shape[1]):
            g = dz[r, o]
            total = ZERO
            for i in range(g.size):
                total += g[i]
            db[r, o] = total
            for k in range(h.shape[1]):
                unit = h[r, k]
                total = ZERO
                for i in range(g.size):
                    total += g[i] * unit[i]
                dw[r, o, k] = total


@kernel(EXACT)
def cross_entropy(logits: Floats, labels: NDArray[np.int64], slope: Floats, loss: Floats) -> None:
    """loss [R], summed over samples in nats; slope [R, classes, n] of each run's mean."""
    runs, classes, n = logits.shape
    top, total = np.empty(n, np.float32), np.empty(n, np.float32)
    for r in range(runs):
        top[:] = logits[r, 0]
        for c in range(1, classes):
            row = logits[r, c]
            for i in range(n):
                top[i] = row[i] if not row[i] <= top[i] else top[i]
        total[:] = ZERO
        for c in range(classes):
            row, share = logits[r, c], slope[r, c]
            for i in range(n):
                share[i] = exp(row[i] - top[i])
                total[i] += share[i]
        summed = ZERO
        for i in range(n):
            summed += np.log(total[i]) + top[i] - logits[r, labels[r, i], i]
            total[i] = ONE / (total[i] * np.float32(n))
        loss[r] = summed
        for c in range(classes):
            share = slope[r, c]
            for i in range(n):
                share[i] *= total[i]
        for i in range(n):
            slope[r, labels[r, i], i] -= ONE / np.float32(n)


@kernel(EXACT)
def fixed(x: Floats, kind: int, p: Any, y: Floats) -> None:
    """y = ReLU(x), SiLU(x), or p·SiLU(x) + (1 − p)·ReLU(x)."""
    q = ONE - p
    for r in range(x.shape[0]):
        a, out = x[r], y[r]
        if kind == RELU:
            for i in range(a.size):
                out[i] = relu(a[i])
        elif kind == SILU:
            for i in range(a.size):
                out[i] = silu(a[i])
        else:
            for i in range(a.size):
                out[i] = p * silu(a[i]) + q * relu(a[i])


@kernel(EXACT)
def fixed_backward(dy: Floats, x: Floats, kind: int, p: Any, dx: Floats) -> None:
    """The gradient of `fixed` for dy."""
    q = ONE - p
    for r in range(x.shape[0]):
        g, a, out = dy[r], x[r], dx[r]
        if kind == RELU:
            for i in range(a.size):
                out[i] = g[i] * relu_slope(a[i])
        elif kind == SILU:
            for i in range(a.size):
                out[i] = g[i] * silu_slope(a[i])
        else:
            for i in range(a.size):
                out[i] = g[i] * (p * silu_slope(a[i]) + q * relu_slope(a[i]))


@kernel(EXACT)
def chosen(x: Floats, draw: NDArray[np.bool_], y: Floats) -> None:
    """y = SiLU where `draw` is set, ReLU elsewhere."""
    for r in range(x.shape[0]):
        a, d, out = x[r], draw[r], y[r]
        for i in range(a.size):
            smooth, sharp = silu(a[i]), relu(a[i])
            out[i] = smooth if d[i] else sharp


@kernel(EXACT)
def chosen_backward(dy: Floats, x: Floats, draw: NDArray[np.bool_], dx: Floats) -> None:
    """The gradient of `chosen` for dy."""
    for r in range(x.shape[0]):
        g, a, d, out = dy[r], x[r], draw[r], dx[r]
        for i in range(a.size):
            smooth, sharp = silu_slope(a[i]), relu_slope(a[i])
            out[i] = g[i] * (smooth if d[i] else sharp)


@kernel(EXACT)
def gate(
    x: Floats, w_in: Floats, b_in: Floats, w_out: Floats, b_out: Floats, h: Floats, logit: Floats
) -> None:
    """logit = b_out + Σₖ w_out[k]·h[k], h[k] = tanh(w_in[k]·x + b_in[k]); h is [R, hidden, n]."""
    for r in range(x.shape[0]):
        a, out = x[r], logit[r]
        out[:] = b_out[r]
        for k in range(h.shape[1]):
            w, b, v, unit = w_in[r, k], b_in[r, k], w_out[r, k], h[r, k]
            for i in range(a.size):
                unit[i] = tanh(w * within(a[i], FAR) + b)
            for i in range(a.size):
                out[i] += v * unit[i]


@kernel(SUMS)
def gate_backward(
    dlogit: Floats, x: Floats, w_in: Floats, w_out: Floats, h: Floats,
    dx: Floats, dw_in: Floats, db_in: Floats, dw_out: Floats, db_out: Floats,
) -> None:  # fmt: skip
    """The gradients of `gate` for dlogit; that of x is added to dx, and h is used up."""
    for r in range(x.shape[0]):
        g, a, slope = dlogit[r], x[r], dx[r]
        total = ZERO
        for i in range(g.size):
            total += g[i]
        db_out[r] = total
        for k in range(h.shape[1]):
            unit, v, w = h[r, k], w_out[r, k], w_in[r, k]
            total = ZERO
            for i in range(g.size):
                total += g[i] * unit[i]
            dw_out[r, k] = total
            for i in range(g.size):
                unit[i] = g[i] * v * (ONE - unit[i] * unit[i])
            total, product = ZERO, ZERO
            for i in range(g.size):
                total += unit[i]
                product += unit[i] * within(a[i], FAR)
            db_in[r, k], dw_in[r, k] = total, product
            for i in range(g.size):
                slope[i] += w * unit[i]


@kernel(EXACT)
def weights(logit: Floats, noise: Floats, temperature: Any, hard: bool, alpha: Floats) -> None:
    """Replace logit by dα/dlogit; alpha = σ((logit + noise)/temperature), or its 0/1 rounding.

    The slope is the relaxation's in both cases (straight-through).
    """
    scale = ONE / temperature
    for r in range(logit.shape[0]):
        z, u, a = logit[r], noise[r], alpha[r]
        for i in range(z.size):
            z[i] += u[i]
        for i in range(z.size):
            a[i] = sigmoid(z[i] * scale)
        if hard:
            for i in range(z.size):
                soft, one = a[i], z[i] >= ZERO
                z[i] = soft * (ONE - soft) * scale
                a[i] = ONE if one else ZERO
        else:
            for i in range(z.size):
                z[i] = a[i] * (ONE - a[i]) * scale


@kernel(EXACT)
def mixture(x: Floats, alpha: Floats, y: Floats) -> None:
    """y = alpha·ReLU(x) + (1 − alpha)·SiLU(x)."""
    for r in range(x.shape[0]):
        a, share, out = x[r], alpha[r], y[r]
        for i in range(a.size):
            near = within(a[i], FAR)
            smooth = near * sigmoid(near)
            out[i] = smooth + share[i] * (relu(near) - smooth) + relu(a[i] - FAR)


@kernel(EXACT)
def mixture_backward(
    dy: Floats, x: Floats, alpha: Floats, slope: Floats, dx: Floats, dlogit: Floats
) -> None:
    """The gradients of `mixture` for dy: of x, alpha held, and by `slope` = dα/dlogit of logit."""
    # several loops: LLVM makes vector code of a loop only while it has few arrays to tell apart
    for r in range(x.shape[0]):
        g, a, share, s, out, dz = dy[r], x[r], alpha[r], slope[r], dx[r], dlogit[r]
        for i in range(a.size):
            near = within(a[i], FAR)
            dz[i] = relu(near) - near * sigmoid(near)
        for i in range(a.size):
            dz[i] *= g[i] * s[i]
        for i in range(a.size):
            smooth = silu_slope(a[i])
            out[i] = smooth + share[i] * (relu_slope(a[i]) - smooth)
        for i in range(a.size):
            out[i] *= g[i]
