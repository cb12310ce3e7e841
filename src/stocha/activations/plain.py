"""The fixed activations, and what every activation is: a module with `forward(x, generator)`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.base.streams import Generators

FAR = 1024.0
"""Beyond it SiLU and GELU are 0 or x in every dtype."""


def relu(x: Tensor) -> Tensor:
    """Return max(0, x), elementwise: torch's own."""
    return F.relu(x)


def silu(x: Tensor) -> Tensor:
    """Return x·σ(x), elementwise: torch's own, with its limit 0 at −∞."""
    return with_limits(F.silu, x)


def gelu(x: Tensor) -> Tensor:
    """Return x·Φ(x), elementwise: torch's own (exact, not tanh), with its limits 0 and ∞ at ±∞."""
    return with_limits(F.gelu, x)


def relu2(x: Tensor) -> Tensor:
    """Return max(0, x)², elementwise (So et al. 2021)."""
    return F.relu(x).square()


def gelu2(x: Tensor) -> Tensor:
    """Return GELU(x)², elementwise (Shvetsov et al. 2026)."""
    return gelu(x).square()


def clipped_relu2(x: Tensor, limit: float = 6.0) -> Tensor:
    """Return min(max(0, x), limit)², elementwise (Shvetsov et al. 2026).

    Their limit is not known to us: 6 is ReLU6's. Raises ValueError for a limit that is not > 0.
    """
    if not 0 < limit < math.inf:
        raise ValueError(f"limit={limit}: allowed: a finite number > 0")
    return x.clamp(0, limit).square()


def leaky_relu2(x: Tensor, slope: float = 0.5) -> Tensor:
    """Return x² for x ≥ 0 and (slope·x)² below (public reports of speed runs).

    Raises ValueError for a slope that is no finite number ≥ 0.
    """
    if not 0 <= slope < math.inf:
        raise ValueError(f"slope={slope}: allowed: a finite number >= 0")
    return F.leaky_relu(x, slope).square()


def with_limits(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return function(x), by another path if an infinity in x spoilt it with an ∞ − ∞ or 0·∞.

    That path, function(clamp(x)) + ReLU(x − far), is right everywhere for a function that is 0 far
    below and x far above; but its extra passes cost more than the activation, a sum does not.
    """
    if x.is_cpu and not torch.compiler.is_compiling():
        y = function(x)
        if math.isfinite(y.detach().sum().item()):
            return y
    return function(x.clamp(-FAR, FAR)) + F.relu(x - FAR)


class Learnt(nn.Module, ABC):
    """Parameters of an activation: they outlive its other options, and phases can share them."""

    @abstractmethod
    def reset_parameters(self, generator: Generators) -> None:
        """Initialise them; draws, if there are any, come from `generator`."""


class Activation(nn.Module, ABC):
    """An activation as a module: `forward(x, generator)`, the same call whether it draws or not.

    `SHAPES` are the options that shape what it learns, None if it learns nothing. With `both` a
    gated feed-forward layer applies it to gate and up projection, else to the gate's alone.
    """

    SHAPES: ClassVar[tuple[str, ...] | None] = None
    both: bool = False

    @property
    def stochastic(self) -> bool:
        """Whether forward, in the current train or eval mode, needs a generator."""
        return False

    @property
    def learnt(self) -> "Learnt | None":
        """What it learns, which another activation of its kind can share; None for nothing."""
        return None

    @abstractmethod
    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        """Return the activation of `x`, in x's shape and dtype."""

    def gate(self, x: Tensor) -> Tensor | None:
        """Return the weight or probability of ReLU at `x`, in [0, 1]; None without a gate."""
        return None

    def reset_parameters(self, generator: Generators) -> None:
        """Initialise what it learns, if anything, from `generator`."""
        if self.learnt is not None:
            self.learnt.reset_parameters(generator)


class Deterministic(Activation):
    """One of the fixed functions of this module with its options, if it has any: `leaky_relu2`."""

    def __init__(self, function: Callable[..., Tensor], **options: float) -> None:
        super().__init__()
        function(torch.empty(0), **options)  # refuses a bad option now
        self.function, self.options = function, options

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        return self.function(x, **self.options)

    def extra_repr(self) -> str:
        return ", ".join([self.function.__name__, *(f"{o}={v:g}" for o, v in self.options.items())])


class DReLU(Activation):
    """ReLU, of the gate projection and of the up projection (dReLU, Song et al. 2024).

    Where a layer has no up projection it is ReLU.
    """

    both = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        return relu(x)


class Moded(Activation):
    """Base of those whose training and evaluation are set apart, each one of `allowed`."""

    def __init__(self, train: str, test: str, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.train_mode = choice("train", train, allowed)
        self.test_mode = choice("test", test, allowed)

    @property
    def mode(self) -> str:
        """What forward does now: `train`'s setting in training, `test`'s in evaluation."""
        return self.train_mode if self.training else self.test_mode

    def extra_repr(self) -> str:
        return f"train={self.train_mode}, test={self.test_mode}"


def choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value`, which must be among `allowed`."""
    if value not in allowed:
        raise ValueError(f"{option}={value!r}: allowed: {', '.join(allowed)}")
    return value


def probability(p: float) -> float:
    """Return `p`, which must be a probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: allowed: a probability in [0, 1]")
    return float(p)


def positive(option: str, value: int) -> int:
    """Return `value`, which must be 1 or more."""
    if value < 1:
        raise ValueError(f"{option}={value}: allowed: a whole number >= 1")
    return value


def need(generator: Generators | None, activation: str) -> Generators:
    """Return `generator`, which must be given."""
    if generator is None:
        raise ValueError(f"generator=None: {activation} draws here and needs an explicit generator")
    return generator


REGISTERED: dict[str, tuple[str, Any]] = {
    "relu": ("ReLU", relu),
    "silu": ("SiLU", silu),
    "gelu": ("GELU", gelu),
    "relu2": ("ReLU²", relu2),
    "gelu2": ("GELU²", gelu2),
    "clipped_relu2": ("clipped ReLU²", clipped_relu2),
    "leaky_relu2": ("leaky ReLU²", leaky_relu2),
    "drelu": ("dReLU", DReLU),
}
"""Name → its name in words, and the function or module: as in the other files of this folder."""
