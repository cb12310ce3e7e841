"""The activations with a few trained numbers: xIELU, PolyNorm, ASH.

PolyNorm and ASH look at the whole last dimension of x, a token's neurons: a token never sees
another, and a row that holds an infinity is NaN. All three are computed in float32 at least.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations.plain import Activation, Learnt
from stocha.base.streams import Generators

_EPS = 1e-6
_ALPHA = 0.8
"""Where xIELU's α begin."""


class Coefficients(Learnt):
    """A layer's trained numbers, each beginning at its `start`: nothing is drawn.

    Parameters: `start`, one value each; `runs`, a leading dimension, for x [runs, batch, width].
    One dimension less than a matrix: an optimizer that decays matrices alone leaves them be.
    """

    def __init__(self, start: Sequence[float], runs: int | None = None) -> None:
        super().__init__()
        self.start = tuple(start)
        lead = () if runs is None else (runs,)
        self.values = nn.Parameter(torch.tensor(self.start).expand(*lead, -1).clone())

    def reset_parameters(self, generator: Generators) -> None:
        """Set every number to its start."""
        with torch.no_grad():
            self.values.copy_(self.values.new_tensor(self.start))

    def of(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the numbers in x's dtype, each of a shape that broadcasts to x's."""
        rows = self.values.to(x.dtype)
        if rows.ndim == 1:
            return rows.unbind()
        return tuple(column.view(-1, *(1,) * (x.ndim - 1)) for column in rows.unbind(1))


class Trained(Activation):
    """Base of the activations with `Coefficients`."""

    SHAPES: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        start: Sequence[float],
        runs: int | None = None,
        learnt: Coefficients | None = None,
    ) -> None:
        super().__init__()
        self.coefficients = learnt or Coefficients(start, runs)

    @property
    def learnt(self) -> Coefficients:
        return self.coefficients

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return self._of(wide, *self.coefficients.of(wide)).to(x.dtype)

    def _of(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        raise NotImplementedError


class XIELU(Trained):
    """α_p·x² + β·x for x > 0, else α_n·(expm1(min(x, −10⁻⁶)) − x) + β·x (Huang 2024).

    α_p = softplus(a_p), α_n = β + softplus(a_n); trained are a_p and a_n, from α_p = α_n = 0.8.
    Parameters: `beta` in (0, 0.8), not trained.
    """

    SHAPES = ("beta",)

    def __init__(
        self, beta: float = 0.5, runs: int | None = None, learnt: Coefficients | None = None
    ) -> None:
        if not 0 < beta < _ALPHA:
            raise ValueError(f"beta={beta}: allowed: a number in (0, {_ALPHA})")
        super().__init__([math.log(math.expm1(a)) for a in (_ALPHA, _ALPHA - beta)], runs, learnt)
        self.beta = float(beta)

    def _of(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        above, below = (F.softplus(a) for a in coefficients)
        p, n = F.relu(x), x.clamp(max=0)
        # (β − α_n)·x in one product: at −∞ two would be ∞ − ∞
        curve = (self.beta + below) * torch.expm1(n.clamp(max=-_EPS)) - below * n
        return torch.where(x > 0, above * p * p + self.beta * p, curve)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


class PolyNorm(Trained):
    """w₃·N(x³) + w₂·N(x²) + w₁·N(x) + b, N(z) = z/rms(z) over the last dimension.

    Zhuo et al. 2025. Trained are the w, from ⅓, and b, from 0.
    """

    def __init__(self, runs: int | None = None, learnt: Coefficients | None = None) -> None:
        super().__init__((1 / 3, 1 / 3, 1 / 3, 0.0), runs, learnt)

    def _of(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        *weights, bias = coefficients
        powers = zip(weights, (x**3, x**2, x), strict=True)
        return bias + sum(
            (w * z * torch.rsqrt(z.square().mean(-1, keepdim=True) + _EPS) for w, z in powers),
            torch.zeros_like(x),
        )


class ASH(Trained):
    """x·σ(α·(x − μ − z·s)), μ and s mean and deviation over the last dimension (Lee et al. 2022).

    Trained is z, from 0. Parameters: `alpha` > 0; with 1 and without the statistics it is SiLU. The
    source's values of both are not known to us. 10⁻⁶ is added to the variance.
    """

    def __init__(
        self, alpha: float = 1.0, runs: int | None = None, learnt: Coefficients | None = None
    ) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha={alpha}: allowed: a finite number > 0")
        super().__init__((0.0,), runs, learnt)
        self.alpha = float(alpha)

    def _of(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        (z,) = coefficients
        off = x - x.mean(-1, keepdim=True)
        deviation = (off.square().mean(-1, keepdim=True) + _EPS).sqrt()
        return x * torch.sigmoid(self.alpha * (off - z * deviation))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


REGISTERED: dict[str, tuple[str, Any]] = {
    "xielu": ("xIELU", XIELU),
    "polynorm": ("PolyNorm", PolyNorm),
    "ash": ("ASH", ASH),
}
