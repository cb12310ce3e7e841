"""The activations that weigh ReLU against SiLU by a small network, their gate."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations.plain import (
    FAR,
    Activation,
    Learnt,
    Moded,
    choice,
    need,
    positive,
    with_limits,
)
from stocha.base.streams import Generators, generator, uniform

GUMBEL_MODES = ("hard", "soft", "expectation")
GATE_INPUT = ("element", "layer")
GATE_START = ("random", "even")
GATE_POSITIVE = ("mixed", "identity")


def mixture(x: Tensor, alpha: Tensor) -> Tensor:
    """Return alpha·ReLU(x) + (1 − alpha)·SiLU(x), with `alpha` in [0, 1] of x's shape."""
    return with_limits(lambda x: torch.lerp(F.silu(x), F.relu(x), alpha), x)


class Gate(Learnt):
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
        choice("input", input, GATE_INPUT)
        self.start = choice("start", start, GATE_START)
        positive("hidden", hidden)
        if runs is not None:
            positive("runs", runs)
        if input == "layer" and width is None:
            raise ValueError("width=None: a gate with input='layer' needs the layer's width")
        features = 1 if input == "element" or width is None else positive("width", width)
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
        given = len(generator) if isinstance(generator, Sequence) else None
        if given != self.runs:
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
        near = x.clamp(-FAR, FAR).reshape(self.runs or 1, -1, self.features)
        # features first: hidden units then lie along long rows; for one feature it is a view
        columns = near.transpose(1, 2) if self.features > 1 else near.view(near.shape[0], 1, -1)
        parameters = (self.weight_in, self.bias_in, self.weight_out, self.bias_out)
        w_in, b_in, w_out, b_out = (
            parameters if self.runs is not None else (q.unsqueeze(0) for q in parameters)
        )
        if self.features == 1 and not torch.is_grad_enabled():
            # run by run, or the hidden units of all runs are new memory at every call
            logit = torch.empty_like(columns)
            for run in range(len(columns)):
                one = slice(run, run + 1)
                hidden = torch.baddbmm(b_in[one], w_in[one], columns[one]).tanh_()
                torch.baddbmm(b_out[one], w_out[one], hidden, out=logit[one])
        else:
            logit = torch.baddbmm(b_out, w_out, torch.baddbmm(b_in, w_in, columns).tanh())
        return logit.transpose(1, 2).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"input={self.input}, hidden={self.bias_in.shape[-2]}, runs={self.runs}"


class _Gated(Activation):
    """What the two share: a gate, its logit of α, and where the mixture holds."""

    SHAPES = ("input", "hidden", "start")
    logit: Gate
    positive: str

    @property
    def learnt(self) -> Gate:
        return self.logit

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logit(x))

    def _mix(self, x: Tensor, alpha: Tensor) -> Tensor:
        if self.positive == "identity":  # ReLU's own weight, 1, above zero
            alpha = torch.where(x > 0, torch.ones_like(alpha), alpha)
        return mixture(x, alpha)


class LearnableMixture(_Gated):
    """The learnable mixture f(x) = α(x)·ReLU(x) + (1 − α(x))·SiLU(x), α = σ(gate(x)).

    Parameters: `positive`, "mixed" for all x, "identity" for x where x > 0; `input`, `hidden`,
    `start`, `runs`, `width` of the `Gate`, or that gate as `learnt`. Deterministic.
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
        learnt: Gate | None = None,
    ) -> None:
        super().__init__()
        self.positive = choice("positive", positive, GATE_POSITIVE)
        self.logit = learnt or Gate(input, hidden, start, runs, width)

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        return self._mix(x, self.gate(x))


class GumbelStochA(_Gated, Moded):
    """ReLU with the learned probability α_g(x), else SiLU, sampled by the binary Gumbel-softmax.

    The difference of two Gumbel variables is logistic, so with two classes one uniform u an element
    suffices: ReLU where gate(x) + logit(u) ≥ 0, whose probability is α_g = σ(gate(x)).

    Parameters:
        temperature: τ > 0 of the relaxation σ((gate(x) + logit(u))/τ).
        train, test: "hard", a 0/1 choice whose gradient is the relaxation's (straight-through);
            "soft", the relaxation itself; "expectation", the mixture with weight α_g, no draw.
            Both default to "hard": the toy post uses one activation in training and testing.
        positive: "mixed" for all x, "identity" for x where x > 0.
        input, hidden, start, runs, width: of the `Gate`; or that gate as `learnt`.

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
        learnt: Gate | None = None,
    ) -> None:
        super().__init__(train, test, GUMBEL_MODES)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature={temperature}: allowed: a finite number > 0")
        self.temperature = float(temperature)
        self.positive = choice("positive", positive, GATE_POSITIVE)
        self.logit = learnt or Gate(input, hidden, start, runs, width)

    @property
    def stochastic(self) -> bool:
        return self.mode != "expectation"

    def forward(self, x: Tensor, generator: Generators | None = None) -> Tensor:
        logit = self.logit(x)
        if self.mode == "expectation":
            return self._mix(x, torch.sigmoid(logit))
        u = uniform(x.shape, need(generator, "gumbel_stoch"), x.dtype)
        logit = logit + torch.logit(u).to(x)
        alpha = torch.sigmoid(logit / self.temperature)
        if self.mode == "hard":
            # α − α.detach() is exactly 0: the value is the choice, the gradient the relaxation's
            alpha = (logit >= 0).to(x.dtype) + (alpha - alpha.detach())
        return self._mix(x, alpha)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}, {super().extra_repr()}"


REGISTERED: dict[str, tuple[str, Any]] = {
    "learnable_stoch": ("learnable mixture", LearnableMixture),
    "gumbel_stoch": ("Gumbel StochA", GumbelStochA),
}
