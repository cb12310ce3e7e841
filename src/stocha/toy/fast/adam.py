"""Adam for many small tensors: one flat buffer, a handful of operations a step."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class FlatAdam:
    """Adam (`torch.optim.Adam`) or AdamW, all parameters moved into one buffer.

    For tensors of a few hundred numbers the optimizer's loop over parameters costs more than its
    arithmetic (chapter 41_performance). The parameters become views of the buffer, and so do their
    gradients: backward adds into them, `step` uses and clears them.

    Parameters: `parameters`; `lr`, `decay`, `betas`, `eps`, as in `torch.optim.Adam`; `decoupled`,
    as in `torch.optim.AdamW`: the decay shrinks the parameters beside the step, else it is an L2
    term in the gradient.

    Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        lr: float,
        decay: float = 0.0,
        decoupled: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.flat = torch.cat([p.detach().flatten() for p in parameters])
        self.gradient = torch.zeros_like(self.flat)
        self.mean = torch.zeros_like(self.flat)
        self.square = torch.zeros_like(self.flat)
        self.scratch = torch.empty_like(self.flat)  # new memory costs more than the arithmetic
        self.lr, self.decay, self.betas, self.eps = lr, decay, betas, eps
        self.decoupled, self.steps = decoupled, 0
        start = 0
        for p in parameters:
            end = start + p.numel()
            p.data = self.flat[start:end].view_as(p)
            p.grad = self.gradient[start:end].view_as(p)
            start = end

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters along the accumulated gradients, then clear these."""
        self.steps += 1
        beta1, beta2 = self.betas
        g = self.gradient
        if self.decoupled:
            self.flat.mul_(1 - self.lr * self.decay)
        else:
            g = torch.add(g, self.flat, alpha=self.decay, out=self.scratch)
        self.mean.lerp_(g, 1 - beta1)
        self.square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        scale = (
            torch.sqrt(self.square, out=self.scratch)
            .div_(math.sqrt(1 - beta2**self.steps))
            .add_(self.eps)
        )
        self.flat.addcdiv_(self.mean, scale, value=-self.lr / (1 - beta1**self.steps))
        self.gradient.zero_()
