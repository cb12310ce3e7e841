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
        logit: Tensor = _TwoLayers.apply(  # type: ignore[no-untyped-call]
            x, self.weight_in, self.bias_in, self.weight_out, self.bias_out
        )
        return logit


class _TwoLayers(torch.autograd.Function):
    """w_out tanh(w_in xᵀ + b_in) + b_out of x `[R, batch, width]`, parameters as `Gate` has them.

    The reshaping is in here too, because outside every view is a node of the graph.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor
    ) -> Tensor:
        flat = x.mT.reshape(x.shape[0], w_in.shape[2], -1)
        h = torch.baddbmm(b_in, w_in, flat).tanh_()
        ctx.save_for_backward(flat, w_in, w_out, h)
        return torch.baddbmm(b_out, w_out, h).view(x.mT.shape).mT

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        flat, w_in, w_out, h = ctx.saved_tensors
        columns = g.mT
        g = columns.reshape(flat.shape)
        inner = tanh_backward(torch.bmm(w_out.mT, g), h)
        return (
            torch.bmm(w_in.mT, inner).view(columns.shape).mT,
            torch.bmm(inner, flat.mT),
            inner.sum(2, keepdim=True),
            torch.bmm(g, h.mT),
            g.sum(2, keepdim=True),
        )
