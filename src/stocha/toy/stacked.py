"""The activations of all runs at once, several times faster than the library's modules.

Those are the definition. What is computed here equals them to float32 rounding, with the same
draws: a step of an ensemble is a few thousand numbers an operation, and an activation with a gate
is thirty operations each way. Chapter 41_performance.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stocha.activations import Activation, Gate, GumbelStochA, LearnableMixture, StochA
from stocha.randomness import Generators, bernoulli, uniform
from stocha.toy import kernels


def activate(activation: Activation, x: Tensor, noise: Generators | None) -> Tensor:
    """Return `activation(x, noise)` for x `[runs, batch, width]`, one generator a run.

    StochA that draws by element and the gates that see one element run in a kernel, if x is
    float32 on the CPU; everything else is the module's own forward. Fastest where x is the
    transpose of a contiguous tensor; the result then is one too.
    """
    if x.dtype != torch.float32 or not x.is_cpu:
        return cast(Tensor, activation(x, noise))
    match activation:
        case StochA(positive="mixed", granularity="element", stochastic=True) if noise is not None:
            draw = bernoulli(activation.p, x.shape, noise)
            return _call(_Chosen, x, draw)
        case LearnableMixture(logit=Gate(input="element")):
            return _gated(activation.logit, x, None, 1.0, False)
        case GumbelStochA(logit=Gate(input="element")):
            if not activation.stochastic:
                return _gated(activation.logit, x, None, 1.0, False)
            if noise is not None:
                u = torch.logit(uniform(x.shape, noise, x.dtype))
                hard = activation.mode == "hard"
                return _gated(activation.logit, x, u, activation.temperature, hard)
    return cast(Tensor, activation(x, noise))


def _gated(gate: Gate, x: Tensor, noise: Tensor | None, temperature: float, hard: bool) -> Tensor:
    parameters = (gate.weight_in, gate.bias_in, gate.weight_out, gate.bias_out)
    return _call(_Gated, x, *parameters, noise, temperature, hard)


def _call(function: Any, *arguments: Any) -> Tensor:
    return cast(Tensor, function.apply(*arguments))


def _rows(x: Tensor) -> NDArray[Any]:
    """The elements of x `[runs, batch, width]` as `[runs, width·batch]`."""
    rows: NDArray[Any] = x.detach().mT.reshape(x.shape[0], -1).numpy()
    return rows


def _like(x: Tensor) -> tuple[Tensor, NDArray[Any]]:
    """A new tensor of x's shape, the transpose of a contiguous one, and its rows."""
    runs, batch, width = x.shape
    made = torch.empty(runs, width, batch)
    return made.mT, made.view(runs, -1).numpy()


class _Chosen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: Tensor) -> Tensor:
        ctx.rows, ctx.draw = _rows(x), _rows(draw)
        y, out = _like(x)
        kernels.chosen(ctx.rows, ctx.draw, out)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        dx, out = _like(grads[0])
        kernels.chosen_backward(_rows(grads[0]), ctx.rows, ctx.draw, out)
        return dx, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor,
        noise: Tensor | None, temperature: float, hard: bool,
    ) -> Tensor:  # fmt: skip
        runs, hidden = b_in.shape[:2]
        ctx.shapes = [parameter.shape for parameter in (w_in, b_in, w_out, b_out)]
        ctx.w_in, bias, ctx.w_out, last = (
            q.detach().view(runs, -1).numpy() for q in (w_in, b_in, w_out, b_out)
        )
        ctx.rows = _rows(x)
        ctx.h = np.empty((runs, hidden, ctx.rows.shape[1]), np.float32)
        ctx.alpha, ctx.slope = np.empty_like(ctx.rows), np.empty_like(ctx.rows)
        kernels.gate(ctx.rows, ctx.w_in, bias, ctx.w_out, last[:, 0], ctx.h, ctx.slope)
        moved = np.zeros_like(ctx.rows) if noise is None else _rows(noise)
        kernels.weights(ctx.slope, moved, np.float32(temperature), hard, ctx.alpha)
        y, out = _like(x)
        kernels.mixture(ctx.rows, ctx.alpha, out)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, out = _like(grads[0])
        rows = ctx.rows
        dlogit = np.empty_like(rows)
        kernels.mixture_backward(_rows(grads[0]), rows, ctx.alpha, ctx.slope, out, dlogit)
        of_gate = [torch.empty(shape) for shape in ctx.shapes]
        w_in, b_in, w_out, b_out = (made.view(len(rows), -1).numpy() for made in of_gate)
        kernels.gate_backward(
            dlogit, rows, ctx.w_in, ctx.w_out, ctx.h, out, w_in, b_in, w_out, b_out[:, 0]
        )
        return dx, *of_gate, None, None, None
