"""Every activation of the study: as a function, as a module, and in one registry by name.

At ±∞ every one has its limit as value and slope (SiLU(−∞) = 0, where torch's own gives NaN), and
NaN stays NaN. Randomness comes from explicit generators only. Chapter *The activations*.

The stochastic ones interpolate: lerp(ReLU(x), SiLU(x), s), with s the draw (StochA, Gumbel) or the
weight (learnable) of SiLU. For a 0/1 draw that is one of the two to the last bit, and on a CPU it
is several times faster than `torch.where` on a random mask, whose branch cannot be predicted.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.base.streams import Generators, bernoulli, generator, uniform

POSITIVE = ("identity", "silu", "mixed")
GRANULARITY = ("element", "token", "layer")
MODES = ("sample", "expectation", "silu", "relu")
GUMBEL_MODES = ("hard", "soft", "expectation")
GATE_INPUT = ("element", "layer")
GATE_START = ("random", "even")
GATE_POSITIVE = ("mixed", "identity")

# Beyond it SiLU and GELU are 0 or x in every dtype.
_FAR = 1024.0


# Functions


def relu(x: Tensor) -> Tensor:
    """Return max(0, x), elementwise: torch's own."""
    return F.relu(x)


def silu(x: Tensor) -> Tensor:
    """Return x·σ(x), elementwise: torch's own, with its limit 0 at −∞."""
    return _with_limits(F.silu, x)


def gelu(x: Tensor) -> Tensor:
    """Return x·Φ(x), elementwise: torch's own (exact, not tanh), with its limits 0 and ∞ at ±∞."""
    return _with_limits(F.gelu, x)


def relu2(x: Tensor) -> Tensor:
    """Return max(0, x)², elementwise (So et al. 2021)."""
    return F.relu(x).square()


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
    draws = uniform(x.shape, _need(generator, "rrelu"), x.dtype)
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
    _choice("positive", positive, POSITIVE)
    _choice("granularity", granularity, GRANULARITY)
    _probability(p)
    if draw is None:
        if p in (0, 1):
            return stocha_expectation(x, p, positive)
        shape = _draw_shape(x, granularity, generator)
        draw = bernoulli(p, shape, _need(generator, "stocha"), x.dtype)
    s = draw.to(x)
    return _with_limits(lambda x: _interpolate(x, s, positive), x)


def stocha_expectation(x: Tensor, p: float, positive: str = "identity") -> Tensor:
    """Return E[StochA(p)] over the draw: the deterministic function between ReLU and SiLU.

    Parameters as in `stocha`. Returns x's shape and dtype.
    """
    _choice("positive", positive, POSITIVE)
    _probability(p)
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

    return _with_limits(expectation, x)


def bernoulli_silu(x: Tensor, *, generator: Generators | None = None) -> Tensor:
    """Return x with probability σ(x), else 0, drawn per element: its expectation is SiLU(x).

    The gradient is the draw itself (1 or 0), whose expectation is σ(x) and **not** SiLU's
    derivative: the dependence of the probability on x is not differentiated. σ(x) is met to 2⁻²⁴
    (2⁻⁵³ in float64), the spacing of the uniforms. Chapter *Sources*; claim L9.

    Raises ValueError if `generator` is None.
    """
    draws = uniform(x.shape, _need(generator, "bernoulli_silu"), x.dtype).to(x.device)
    kept = (draws < torch.sigmoid(x.detach().to(draws.dtype))).to(x.dtype)
    return _with_limits(lambda x: x * kept, x)


def mixture(x: Tensor, alpha: Tensor) -> Tensor:
    """Return alpha·ReLU(x) + (1 − alpha)·SiLU(x), with `alpha` in [0, 1] of x's shape."""
    return _with_limits(lambda x: torch.lerp(F.silu(x), F.relu(x), alpha), x)


def _below(x: Tensor, alpha: Tensor) -> Tensor:
    """α where x ≤ 0, and ReLU's own 1 above."""
    return torch.where(x > 0, torch.ones_like(alpha), alpha)


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


def _with_limits(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return function(x), by another path if an infinity in x spoilt it with an ∞ − ∞ or 0·∞.

    That path, function(clamp(x)) + ReLU(x − far), is right everywhere for a function that is 0 far
    below and x far above; but its extra passes cost more than the activation, a sum does not.
    """
    if x.is_cpu and not torch.compiler.is_compiling():
        y = function(x)
        if math.isfinite(y.detach().sum().item()):
            return y
    return function(x.clamp(-_FAR, _FAR)) + F.relu(x - _FAR)


def _draw_shape(x: Tensor, granularity: str, generator: Generators | None) -> tuple[int, ...]:
    if granularity == "element":
        return tuple(x.shape)
    if granularity == "token":
        return (*x.shape[:-1], 1) if x.ndim else ()
    runs = x.shape[:1] if isinstance(generator, Sequence) else ()
    return (*runs, *(1,) * (x.ndim - len(runs)))


# Modules


class Activation(nn.Module, ABC):
    """An activation as a module: `forward(x, generator)`, the same call whether it draws or not."""

    @property
    def stochastic(self) -> bool:
        """Whether forward, in the current train or eval mode, needs a generator."""
        return False

    @abstractmethod
    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        """Return the activation of `x`, in x's shape and dtype."""

    def gate(self, x: Tensor) -> Tensor | None:
        """Return the weight or probability of ReLU at `x`, in [0, 1]; None without a gate."""
        return None

    def reset_parameters(self, generator: Generators) -> None:
        """Initialise the gate from `generator`; without a gate, do nothing."""


class Deterministic(Activation):
    """One of the fixed functions (`relu`, `silu`, `gelu`, `relu2`)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.function.__name__


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


class StochA(Activation):
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
        super().__init__()
        self.p = _probability(p)
        self.positive = _choice("positive", positive, POSITIVE)
        self.granularity = _choice("granularity", granularity, GRANULARITY)
        self.train_mode = _choice("train", train, MODES)
        self.test_mode = _choice("test", test, MODES)

    @property
    def mode(self) -> str:
        """What forward does now: `train`'s setting in training, `test`'s in evaluation."""
        return self.train_mode if self.training else self.test_mode

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
        return (
            f"p={self.p:g}, positive={self.positive}, granularity={self.granularity}, "
            f"train={self.train_mode}, test={self.test_mode}"
        )


class BernoulliSiLU(Activation):
    """`bernoulli_silu`: identity or zero in training; in evaluation too, or its expectation SiLU.

    Parameters: `train` and `test`, each one of "sample", "expectation", "silu" (the same as
    "expectation") and "relu".
    """

    def __init__(self, train: str = "sample", test: str = "sample") -> None:
        super().__init__()
        self.train_mode = _choice("train", train, MODES)
        self.test_mode = _choice("test", test, MODES)

    @property
    def mode(self) -> str:
        """What forward does now: `train`'s setting in training, `test`'s in evaluation."""
        return self.train_mode if self.training else self.test_mode

    @property
    def stochastic(self) -> bool:
        return self.mode == "sample"

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        if self.mode == "sample":
            return bernoulli_silu(x, generator=generator)
        return relu(x) if self.mode == "relu" else silu(x)

    def extra_repr(self) -> str:
        return f"train={self.train_mode}, test={self.test_mode}"


class Gate(nn.Module):
    """The small network behind α: features → hidden (tanh) → features (a logit).

    Neither source says what it looks like. The reading taken: `input="element"`, an MLP 1 → hidden
    → 1 that sees one pre-activation at a time and is shared by all neurons of a layer. The
    ablation: `input="layer"`, width → hidden → width, where each neuron's α may depend on the
    whole layer. It starts as `nn.Linear` does, or, with `start="even"`, at α = ½ for every input.

    Parameters: `hidden` units; `runs`, a leading dimension of every parameter, for x [runs, batch,
    width]; `width`, for `input="layer"`. The gate sees x clamped to ±1024, so that it is defined
    at ±∞.
    """

    def __init__(
        self,
        input: str = "element",
        hidden: int = 8,
        start: str = "random",
        runs: int | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        _choice("input", input, GATE_INPUT)
        self.start = _choice("start", start, GATE_START)
        _positive("hidden", hidden)
        if runs is not None:
            _positive("runs", runs)
        if input == "layer" and width is None:
            raise ValueError("width=None: a gate with input='layer' needs the layer's width")
        features = 1 if input == "element" or width is None else _positive("width", width)
        self.input, self.runs, self.features = input, runs, features
        lead = () if runs is None else (runs,)
        self.weight_in = nn.Parameter(torch.empty(*lead, hidden, features))
        self.bias_in = nn.Parameter(torch.empty(*lead, hidden, 1))
        self.weight_out = nn.Parameter(torch.empty(*lead, features, hidden))
        self.bias_out = nn.Parameter(torch.empty(*lead, features, 1))
        # a start that never depends on the global generator; whoever trains calls reset_parameters
        sources = [generator(0, "init", "gate", run) for run in range(runs or 1)]
        self.reset_parameters(sources[0] if runs is None else sources)

    def reset_parameters(self, generator: Generators) -> None:
        """Draw every parameter from U(−b, b), b = 1/√fan_in, as `nn.Linear` does.

        With an even start the last layer is zero, and the draws for it are made all the same.

        Parameters: one generator, or one per run; run r then gets the bits that a gate without runs
        gets from `generator[r]`.
        """
        if isinstance(generator, Sequence) != (self.runs is not None) or (
            isinstance(generator, Sequence) and len(generator) != self.runs
        ):
            raise ValueError(f"generator: a gate with runs={self.runs} needs one generator per run")
        sources = generator if isinstance(generator, Sequence) else [generator]
        with torch.no_grad():
            for run, source in enumerate(sources):
                for parameter, fan_in in self._fans():
                    bound = fan_in**-0.5
                    slot = parameter if self.runs is None else parameter[run]
                    fresh = torch.empty(slot.shape, dtype=slot.dtype, device=source.device)
                    slot.copy_(fresh.uniform_(-bound, bound, generator=source))
            if self.start == "even":
                self.weight_out.zero_()
                self.bias_out.zero_()

    def _fans(self) -> list[tuple[nn.Parameter, int]]:
        hidden = self.bias_in.shape[-2]
        return [
            (self.weight_in, self.features),
            (self.bias_in, self.features),
            (self.weight_out, hidden),
            (self.bias_out, hidden),
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of α, in x's shape.

        Raises ValueError for an x of other runs or another width: values of several rows would be
        one gate's.
        """
        other_runs = self.runs is not None and x.shape[:1] != (self.runs,)
        if other_runs or (self.input == "layer" and x.shape[-1:] != (self.features,)):
            wanted = f"runs={self.runs}, width={self.features}"
            raise ValueError(f"x: shape {tuple(x.shape)}: allowed: that of {wanted}")
        near = x.clamp(-_FAR, _FAR).reshape(self.runs or 1, -1, self.features)
        # features first: hidden units then lie along long rows; for one feature it is a view
        columns = near.transpose(1, 2) if self.features > 1 else near.view(near.shape[0], 1, -1)
        parameters = (self.weight_in, self.bias_in, self.weight_out, self.bias_out)
        w_in, b_in, w_out, b_out = (
            parameters if self.runs is not None else (q.unsqueeze(0) for q in parameters)
        )
        hidden = torch.tanh(torch.baddbmm(b_in, w_in, columns))
        return torch.baddbmm(b_out, w_out, hidden).transpose(1, 2).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"input={self.input}, hidden={self.bias_in.shape[-2]}, runs={self.runs}"


class LearnableMixture(Activation):
    """The learnable mixture f(x) = α(x)·ReLU(x) + (1 − α(x))·SiLU(x), α = σ(gate(x)).

    Parameters: `positive`, "mixed" for all x, "identity" for x where x > 0; `input`, `hidden`,
    `start`, `runs`, `width` of the `Gate`, or the `gate`. Deterministic.
    Chapter *Sources*; claims T4, T6 and T8; chapter *What the gates learn*.
    """

    def __init__(
        self,
        input: str = "element",
        hidden: int = 8,
        start: str = "random",
        positive: str = "mixed",
        runs: int | None = None,
        width: int | None = None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self.positive = _choice("positive", positive, GATE_POSITIVE)
        self.logit = Gate(input, hidden, start, runs, width) if gate is None else gate

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        alpha = torch.sigmoid(self.logit(x))
        return mixture(x, alpha if self.positive == "mixed" else _below(x, alpha))

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logit(x))

    def reset_parameters(self, generator: Generators) -> None:
        self.logit.reset_parameters(generator)


class GumbelStochA(Activation):
    """ReLU with the learned probability α_g(x), else SiLU, sampled by the binary Gumbel-softmax.

    The difference of two Gumbel variables is logistic, so with two classes one uniform u an element
    suffices: ReLU where gate(x) + logit(u) ≥ 0, whose probability is α_g = σ(gate(x)).

    Parameters:
        temperature: τ > 0 of the relaxation σ((gate(x) + logit(u))/τ).
        train, test: "hard", a 0/1 choice whose gradient is the relaxation's (straight-through);
            "soft", the relaxation itself; "expectation", the mixture with weight α_g, no draw.
            Both default to "hard": the toy post uses one activation in training and testing.
        positive: "mixed" for all x, "identity" for x where x > 0.
        input, hidden, start, runs, width: of the `Gate`; or the `gate` itself.

    Jang et al. 2017, Maddison et al. 2017; chapter *Sources*; claims T5, T7 and T8.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        train: str = "hard",
        test: str = "hard",
        input: str = "element",
        hidden: int = 8,
        start: str = "random",
        positive: str = "mixed",
        runs: int | None = None,
        width: int | None = None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature={temperature}: allowed: a finite number > 0")
        self.temperature = float(temperature)
        self.train_mode = _choice("train", train, GUMBEL_MODES)
        self.test_mode = _choice("test", test, GUMBEL_MODES)
        self.positive = _choice("positive", positive, GATE_POSITIVE)
        self.logit = Gate(input, hidden, start, runs, width) if gate is None else gate

    @property
    def mode(self) -> str:
        """What forward does now: `train`'s setting in training, `test`'s in evaluation."""
        return self.train_mode if self.training else self.test_mode

    @property
    def stochastic(self) -> bool:
        return self.mode != "expectation"

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        logit = self.logit(x)
        if self.mode == "expectation":
            alpha = torch.sigmoid(logit)
            return mixture(x, alpha if self.positive == "mixed" else _below(x, alpha))
        u = uniform(x.shape, _need(generator, "gumbel_stoch"), x.dtype)
        logit = logit + torch.logit(u).to(x)
        alpha = torch.sigmoid(logit / self.temperature)
        if self.mode == "hard":
            # α − α.detach() is exactly 0: the value is the choice, the gradient the relaxation's
            alpha = (logit >= 0).to(x.dtype) + (alpha - alpha.detach())
        return mixture(x, alpha if self.positive == "mixed" else _below(x, alpha))

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logit(x))

    def reset_parameters(self, generator: Generators) -> None:
        self.logit.reset_parameters(generator)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}, train={self.train_mode}, test={self.test_mode}"


# The registry

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "silu": silu,
    "gelu": gelu,
    "relu2": relu2,
}
_DRAWN: dict[str, type[Activation]] = {
    "rrelu": RReLU,
    "stocha": StochA,
    "bernoulli_silu": BernoulliSiLU,
}
_GATED: dict[str, type[Activation]] = {
    "learnable_stoch": LearnableMixture,
    "gumbel_stoch": GumbelStochA,
}
LABELS = {
    "relu": "ReLU",
    "silu": "SiLU",
    "stocha": "StochA",
    "learnable_stoch": "learnable mixture",
    "gumbel_stoch": "Gumbel StochA",
    "bernoulli_silu": "Bernoulli SiLU",
    "gelu": "GELU",
    "relu2": "ReLU²",
    "rrelu": "RReLU",
}
"""Each activation's name in legends and labels."""


def names() -> tuple[str, ...]:
    """Return the names `make` knows, the plain ones first."""
    return (*_PLAIN, *_DRAWN, *_GATED)


def defaults(name: str) -> dict[str, Any]:
    """Return every option of an activation with its default, by the option's name.

    Raises ValueError, listing what is allowed, for an unknown name.
    """
    _choice("activation", name, names())
    if name in _PLAIN:
        return {}
    found = inspect.signature((_DRAWN | _GATED)[name]).parameters
    return {o: p.default for o, p in found.items() if o not in ("runs", "width", "gate")}


def make(
    name: str,
    *,
    runs: int | None = None,
    width: int | None = None,
    gate: Gate | None = None,
    **options: Any,
) -> Activation:
    """Return a new activation by name.

    Parameters: `name`, one of `names()`; `runs`, stacked gates for x [runs, batch, width] (no
    effect on the others); `width`, needed by gates with `input="layer"`; `gate`, one to share
    instead of a new one; `options` of that activation.
    Raises ValueError, listing what is allowed, for an unknown name, option or value.
    """
    allowed = defaults(name)
    for option in options:
        if option not in allowed:
            listed = ", ".join(allowed) or "none"
            raise ValueError(
                f"{option}={options[option]!r}: {name} has no such option; allowed: {listed}"
            )
    if name in _PLAIN:
        return Deterministic(_PLAIN[name])
    if name in _DRAWN:
        return _DRAWN[name](**options)
    return _GATED[name](**options, runs=runs, width=width, gate=gate)


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{option}={value!r}: allowed: {', '.join(allowed)}")
    return value


def _probability(p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: allowed: a probability in [0, 1]")
    return float(p)


def _positive(option: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{option}={value}: allowed: a whole number >= 1")
    return value


def _need(generator: Generators | None, activation: str) -> Generators:
    if generator is None:
        raise ValueError(f"generator=None: {activation} draws here and needs an explicit generator")
    return generator
