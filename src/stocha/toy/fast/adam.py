"""Adam for many small tensors: one flat buffer, a handful of operations a step."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class FlatAdam:
    """Adam with L2 weight decay (`torch.optim.Adam`), all parameters moved into one buffer.

    For tensors of a few hundred numbers the optimizer's loop over parameters costs more than its
    arithmetic (chapter 41_performance). The parameters become views of the buffer, and so do their
    gradients: backward adds into them, `step` uses and clears them.

    Parameters:
        groups: pairs of parameters and their weight decay.
        lr, betas, eps: as in `torch.optim.Adam`.

    Source: Kingma and Ba 2015, algorithm 1; the L2 term is added to the gradient.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        parameters = [(p, decay) for group, decay in groups for p in group]
        self.flat = torch.cat([p.detach().flatten() for p, _ in parameters])
        self.gradient = torch.zeros_like(self.flat)
        self.decay = torch.cat([torch.full_like(p.detach().flatten(), d) for p, d in parameters])
        self.mean = torch.zeros_like(self.flat)
        self.square = torch.zeros_like(self.flat)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.steps = 0
        start = 0
        for p, _ in parameters:
            end = start + p.numel()
            p.data = self.flat[start:end].view_as(p)
            p.grad = self.gradient[start:end].view_as(p)
            start = end

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters along the accumulated gradients, then clear these."""
        self.steps += 1
        beta1, beta2 = self.betas
        g = torch.addcmul(self.gradient, self.decay, self.flat)
        self.mean.lerp_(g, 1 - beta1)
        self.square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        scale = self.square.sqrt().div_(math.sqrt(1 - beta2**self.steps)).add_(self.eps)
        self.flat.addcdiv_(self.mean, scale, value=-self.lr / (1 - beta1**self.steps))
        self.gradient.zero_()
