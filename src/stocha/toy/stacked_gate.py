"""The gates of all runs, with the batch last and the backward pass written out.

`stocha.activations.Gate` is the definition. A gate sees every element of a layer through its hidden
units, so here, and nowhere else in the toy study, arithmetic takes more time than calling does.
"""

from typing import Any

import torch
from torch import Tensor

from stocha.activations import Gate

tanh_backward = torch.ops.aten.tanh_backward


class StackedGate(Gate):
    """A `Gate` with `runs`, several times faster (chapter 41_performance).

    Its forward takes x `[runs, batch, width]` and is fastest where that is the transpose of a
    contiguous `[runs, width, batch]`. x is not clamped to ±1024, as `Gate` does to be defined at
    ±∞: a finite x that far out saturates every hidden unit.
    """

    @classmethod
    def like(cls, gate: Gate) -> "StackedGate":
        """Return a gate of the same shape, newly initialised."""
        return cls(gate.input, gate.bias_in.shape[-2], gate.runs, gate.features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of α, in x's shape."""
        columns = x.mT
        flat = columns.reshape(columns.shape[0], self.features, -1)
        logit: Tensor = _TwoLayers.apply(  # type: ignore[no-untyped-call]
            flat, self.weight_in, self.bias_in, self.weight_out, self.bias_out
        )
        return logit.view(columns.shape).mT


class _TwoLayers(torch.autograd.Function):
    """w_out tanh(w_in x + b_in) + b_out of x `[R, features, n]`, parameters as `Gate` has them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor
    ) -> Tensor:
        h = torch.baddbmm(b_in, w_in, x).tanh_()
        ctx.save_for_backward(x, w_in, w_out, h)
        return torch.baddbmm(b_out, w_out, h)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, w_in, w_out, h = ctx.saved_tensors
        inner = tanh_backward(torch.bmm(w_out.mT, g), h)
        return (
            torch.bmm(w_in.mT, inner),
            torch.bmm(inner, x.mT),
            inner.sum(2, keepdim=True),
            torch.bmm(g, h.mT),
            g.sum(2, keepdim=True),
        )
