"""The stochastic and gated activations of an ensemble, forward and backward, one pass each.

x is `[R, n]`: all elements of a layer of run r lie along row r. A row is a few hundred numbers, so
every loop below stays in the first cache. Chapter 41_performance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stocha.elementwise import (
    EXACT,
    ONE,
    SUMS,
    ZERO,
    kernel,
    relu,
    relu_slope,
    sigmoid,
    tanh,
    within,
)

Floats = NDArray[np.float32]

FAR = np.float32(1024)  # as in stocha.activations: beyond, a gate and SiLU are at their limits


@kernel(EXACT)
def silu(x: Any) -> Any:
    """x·σ(x), with the limits 0 and ∞."""
    near = within(x, FAR)
    return near * sigmoid(near) + relu(x - FAR)


@kernel(EXACT)
def silu_slope(x: Any) -> Any:
    near = within(x, FAR)
    s = sigmoid(near)
    return s + near * s * (ONE - s)


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
