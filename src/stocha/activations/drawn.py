"""The activations that draw: RReLU, StochA, Bernoulli SiLU, dropout.

StochA is lerp(ReLU(x), SiLU(x), s), s its draw of SiLU. For a 0/1 draw that is one of the two to
the last bit, and on a CPU it is several times faster than `torch.where` on a random mask, whose
branch cannot be predicted.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from stocha.activations.plain import (
    Activation,
    Moded,
    choice,
    need,
    probability,
    relu,
    silu,
    with_limits,
)
from stocha.base.streams import Generators, bernoulli, uniform

POSITIVE = ("identity", "silu", "mixed")
GRANULARITY = ("element", "token", "layer")
MODES = ("sample", "expectation", "silu", "relu")
DROPOUT_MODES = ("sample", "expectation")
DROPOUT_OF = ("silu", "relu")


def rrelu(
    x: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Generators | None = None,
) -> Tensor:
    """Return x for x ≥ 0 and slope·x below, the slope drawn per element from U(lower, upper).

    `torch.nn.functional.rrelu`, but with the slopes from `generator` instead of the global one;
    with `training=False` it is torch's own, whose slope is the mean (lower + upper)/2.

    Parameters: `x`, any shape; 0 < `lower` ≤ `upper`. Returns x's shape and dtype.
    Raises ValueError if slopes must be drawn and `generator` is None.
    """
    if not training:
        return F.rrelu(x, lower, upper, training=False)
    draws = uniform(x.shape, need(generator, "rrelu"), x.dtype)
    slope = lower + (upper - lower) * draws
    return F.relu(x) + slope.to(x) * x.clamp(max=0)


def stocha(
    x: Tensor,
    p: float = 0.5,
    *,
    positive: str = "identity",
    granularity: str = "element",
    generator: Generators | None = None,
    draw: Tensor | None = None,
) -> Tensor:
    """Return StochA(p): for x < 0, SiLU(x) where the draw is 1 and ReLU(x) where it is 0.

    Parameters:
        x: any shape.
        p: probability that a draw is 1, in [0, 1]: **the probability of SiLU**.
        positive: f for x ≥ 0: "identity" x, as in the paper's Fig. 1 (v3); "silu" always SiLU(x);
            "mixed" by the same draw as x < 0 would have (the toy post's choice).
        granularity: "element", one draw each; "token", one per row (all but the last dimension);
            "layer", one per call. With a sequence of generators, slice by slice along dimension 0.
        generator: where the draws come from; not needed with `draw`, nor for p = 0 and p = 1.
        draw: the mask itself, bool or 0/1, of a shape that broadcasts to x's.

    Returns x's shape and dtype. The gradient is that of the branch each element took; at x = 0,
    where the branches have a kink, it is half the draw.
    Raises ValueError for a bad option, or if it must draw and `generator` is None.
    Paper, Fig. 1 (v3); chapter *Sources*.
    """
    choice("positive", positive, POSITIVE)
    choice("granularity", granularity, GRANULARITY)
    probability(p)
    if draw is None:
        if p in (0, 1):
            return stocha_expectation(x, p, positive)
        shape = _draw_shape(x, granularity, generator)
        draw = bernoulli(p, shape, need(generator, "stocha"), x.dtype)
    s = draw.to(x)
    return with_limits(lambda x: _interpolate(x, s, positive), x)


def stocha_expectation(x: Tensor, p: float, positive: str = "identity") -> Tensor:
    """Return E[StochA(p)] over the draw: the deterministic function between ReLU and SiLU.

    Parameters as in `stocha`. Returns x's shape and dtype.
    """
    choice("positive", positive, POSITIVE)
    probability(p)
    if p == 0 and positive != "silu":
        return relu(x)
    if p == 1 and positive != "identity":
        return silu(x)

    def expectation(x: Tensor) -> Tensor:
        base = F.relu(x)
        if positive == "mixed":
            return torch.lerp(base, F.silu(x), p)
        below = F.silu(x - base)
        return torch.add(F.silu(base) if positive == "silu" else base, below, alpha=p)

    return with_limits(expectation, x)


def bernoulli_silu(x: Tensor, *, generator: Generators | None = None) -> Tensor:
    """Return x with probability σ(x), else 0, drawn per element: its expectation is SiLU(x).

    The gradient is the draw itself (1 or 0), whose expectation is σ(x) and **not** SiLU's
    derivative: the dependence of the probability on x is not differentiated. σ(x) is met to 2⁻²⁴
    (2⁻⁵³ in float64), the spacing of the uniforms. Chapter *Sources*; claim L9.

    Raises ValueError if `generator` is None.
    """
    draws = uniform(x.shape, need(generator, "bernoulli_silu"), x.dtype).to(x.device)
    kept = (draws < torch.sigmoid(x.detach().to(draws.dtype))).to(x.dtype)
    return with_limits(lambda x: x * kept, x)


class _Chosen(torch.autograd.Function):
    """lerp(ReLU(x), SiLU(x), s) for a constant s: three passes each way, autograd's own has six."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, s: Tensor) -> Tensor:
        ctx.save_for_backward(x, s)
        return F.relu(x).lerp_(F.silu(x), s)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        x, s = ctx.saved_tensors
        below = torch.ops.aten.threshold_backward(grad, x, 0)
        return below.lerp_(torch.ops.aten.silu_backward(grad, x), s), None


def _interpolate(x: Tensor, s: Tensor, positive: str) -> Tensor:
    """Return StochA of finite x for the 0/1 draw `s` of SiLU."""
    if positive == "mixed":
        return cast(Tensor, _Chosen.apply(x, s))  # type: ignore[no-untyped-call]
    base = F.relu(x)
    if positive == "silu":
        return F.silu(torch.lerp(base, x, s))
    return torch.addcmul(base, s, F.silu(x - base))


def _draw_shape(x: Tensor, granularity: str, generator: Generators | None) -> tuple[int, ...]:
    if granularity == "element":
        return tuple(x.shape)
    if granularity == "token":
        return (*x.shape[:-1], 1) if x.ndim else ()
    runs = x.shape[:1] if isinstance(generator, Sequence) else ()
    return (*runs, *(1,) * (x.ndim - len(runs)))


class RReLU(Activation):
    """`rrelu`, drawing slopes in training and using their mean in evaluation."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        super().__init__()
        if not 0 < lower <= upper < math.inf:
            raise ValueError(f"lower={lower}, upper={upper}: allowed: 0 < lower <= upper < inf")
        self.lower, self.upper = lower, upper

    @property
    def stochastic(self) -> bool:
        return self.training

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        return rrelu(x, self.lower, self.upper, self.training, generator)

    def extra_repr(self) -> str:
        return f"lower={self.lower:g}, upper={self.upper:g}"


class StochA(Moded):
    """`stocha`, with what training and evaluation do set apart.

    Parameters: `p`, `positive`, `granularity` as in `stocha`; `train` and `test`, each one of
    "sample" (draw), "expectation" (no draw), "silu" and "relu" (that function alone).
    """

    def __init__(
        self,
        p: float = 0.5,
        positive: str = "identity",
        granularity: str = "element",
        train: str = "sample",
        test: str = "sample",
    ) -> None:
        super().__init__(train, test, MODES)
        self.p = probability(p)
        self.positive = choice("positive", positive, POSITIVE)
        self.granularity = choice("granularity", granularity, GRANULARITY)

    @property
    def stochastic(self) -> bool:
        return self.mode == "sample" and 0 < self.p < 1

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        match self.mode:
            case "sample":
                return stocha(
                    x,
                    self.p,
                    positive=self.positive,
                    granularity=self.granularity,
                    generator=generator,
                )
            case "expectation":
                return stocha_expectation(x, self.p, self.positive)
            case "silu":
                return silu(x)
            case _:
                return relu(x)

    def extra_repr(self) -> str:
        about = f"p={self.p:g}, positive={self.positive}, granularity={self.granularity}"
        return f"{about}, {super().extra_repr()}"


class BernoulliSiLU(Moded):
    """`bernoulli_silu`: identity or zero in training; in evaluation too, or its expectation SiLU.

    Parameters: `train` and `test`, each one of "sample", "expectation", "silu" (the same as
    "expectation") and "relu".
    """

    def __init__(self, train: str = "sample", test: str = "sample") -> None:
        super().__init__(train, test, MODES)

    @property
    def stochastic(self) -> bool:
        return self.mode == "sample"

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        if self.mode == "sample":
            return bernoulli_silu(x, generator=generator)
        return relu(x) if self.mode == "relu" else silu(x)


class Dropout(Moded):
    """SiLU or ReLU whose output is set to 0 with probability `rate`, else divided by 1 − rate.

    Parameters:
        rate: in [0, 1).
        of: "silu" or "relu".
        granularity: as in `stocha`. "element" is dropout (Srivastava et al. 2014); "layer" leaves
            out a whole feed-forward layer: LayerDrop (Fan et al. 2020) of that layer alone, scaled
            as stochastic depth scales it.
        train, test: "sample", or "expectation", which is the function itself. Sampling in testing
            is Monte Carlo dropout (Gal and Ghahramani 2016).
    """

    def __init__(
        self,
        rate: float = 0.1,
        of: str = "silu",
        granularity: str = "element",
        train: str = "sample",
        test: str = "expectation",
    ) -> None:
        super().__init__(train, test, DROPOUT_MODES)
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate}: allowed: a number in [0, 1)")
        self.rate, self.of = float(rate), choice("of", of, DROPOUT_OF)
        self.granularity = choice("granularity", granularity, GRANULARITY)

    @property
    def stochastic(self) -> bool:
        return self.mode == "sample" and self.rate > 0

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        function = F.silu if self.of == "silu" else F.relu
        if not self.stochastic:
            return with_limits(function, x)
        shape = _draw_shape(x, self.granularity, generator)
        kept = bernoulli(1 - self.rate, shape, need(generator, "dropout"), x.dtype).to(x)
        return with_limits(lambda x: function(x) * kept / (1 - self.rate), x)

    def extra_repr(self) -> str:
        about = f"rate={self.rate:g}, of={self.of}, granularity={self.granularity}"
        return f"{about}, {super().extra_repr()}"


REGISTERED: dict[str, tuple[str, Any]] = {
    "rrelu": ("RReLU", RReLU),
    "stocha": ("StochA", StochA),
    "bernoulli_silu": ("Bernoulli SiLU", BernoulliSiLU),
    "dropout": ("dropout", Dropout),
}
