"""A training step of all networks of an ensemble, written out: a kernel an operation, no autograd.

`stocha.toy.ensemble.Ensemble` is the definition, and what runs everything that is not float32 on
the CPU or has no kernel here. Results agree to float32 rounding, and every draw is the same.
Chapter 41_performance tells what this gains.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stocha import activations
from stocha.activations import Activation, Gate, GumbelStochA, LearnableMixture, StochA
from stocha.base.elementwise import MEAN, RELU, SILU
from stocha.base.streams import Generators, bernoulli, uniform
from stocha.toy.fast import kernels

Floats = NDArray[np.float32]
Noise = Callable[[int], Sequence[torch.Generator]]

_FIXED: dict[Any, int] = {activations.relu: RELU, activations.silu: SILU}


def has_kernel(activation: Activation) -> bool:
    """Whether a layer with `activation`, in any mode, can be computed here."""
    match activation:
        case activations.Deterministic():
            return activation.function in _FIXED
        case StochA():
            return activation.positive == "mixed" and activation.granularity == "element"
        case LearnableMixture() | GumbelStochA():
            return activation.logit.input == "element"
    return False


class Layer:
    """One hidden layer's activation on n samples, with the memory that it needs.

    z, a, dz, da `[R, width, n]`: input, output, and their gradients.
    """

    def __init__(self, runs: int, width: int, n: int) -> None:
        self.z, self.a, self.dz, self.da = (np.empty((runs, width, n), np.float32) for _ in "zzaa")
        self.shape = (runs, n, width)
        x, y, dx, dy = (part.reshape(runs, -1) for part in (self.z, self.a, self.dz, self.da))
        self.x, self.y, self.dx, self.dy = x, y, dx, dy
        self.backward: Callable[[], None]
        self.alpha, self.slope, self.dlogit = (np.empty((0, 0), np.float32) for _ in range(3))
        self.h = np.empty((0, 0, 0), np.float32)
        self.still = np.zeros((0, 0), np.float32)
        self.gate: Gate | None = None

    def forward(self, activation: Activation, noise: Callable[[], Generators]) -> None:
        """Compute a from z; `backward` then computes dz, and a gate's gradients, from da."""
        if not has_kernel(activation):
            raise TypeError(f"{activation}: has no kernel")
        match activation:
            case activations.Deterministic():
                self._fixed(_FIXED[activation.function], 0.0)
            case StochA(stochastic=True):
                draw = self._turned(bernoulli(activation.p, self.shape, noise()))
                kernels.chosen(self.x, draw, self.y)
                self.backward = lambda: kernels.chosen_backward(self.dy, self.x, draw, self.dx)
            case StochA():
                p = {"relu": 0.0, "silu": 1.0}.get(activation.mode, activation.p)
                kind = {0.0: RELU, 1.0: SILU}.get(p, MEAN)
                self._fixed(kind, p)
            case GumbelStochA(stochastic=True):
                u = self._turned(torch.logit(uniform(self.shape, noise(), torch.float32)))
                hard = activation.mode == "hard"
                self._gated(activation.logit, u, activation.temperature, hard)
            case LearnableMixture() | GumbelStochA():
                if self.still.size == 0:
                    self.still = np.zeros_like(self.x)
                self._gated(activation.logit, self.still, 1.0, False)

    def _turned(self, draw: Tensor) -> NDArray[Any]:
        """Draws `[R, n, width]` in the order of x."""
        turned: NDArray[Any] = draw.mT.reshape(self.x.shape).numpy()
        return turned

    def _fixed(self, kind: int, p: float) -> None:
        kernels.fixed(self.x, kind, np.float32(p), self.y)
        self.backward = lambda: kernels.fixed_backward(
            self.dy, self.x, kind, np.float32(p), self.dx
        )

    def _gated(self, gate: Gate, noise: Floats, temperature: float, hard: bool) -> None:
        if self.gate is not gate:
            self.gate, self.parameters, self.gradients = gate, rows(gate), rows(gate, gradient=True)
            self.h = np.empty((*self.parameters[1].shape, self.x.shape[1]), np.float32)
            self.alpha, self.slope, self.dlogit = (np.empty_like(self.x) for _ in range(3))
        w_in, b_in, w_out, b_out = self.parameters
        kernels.gate(self.x, w_in, b_in, w_out, b_out[:, 0], self.h, self.slope)
        kernels.weights(self.slope, noise, np.float32(temperature), hard, self.alpha)
        kernels.mixture(self.x, self.alpha, self.y)
        self.backward = self._gated_backward

    def _gated_backward(self) -> None:
        kernels.mixture_backward(self.dy, self.x, self.alpha, self.slope, self.dx, self.dlogit)
        w_in, _, w_out, _ = self.parameters
        dw_in, db_in, dw_out, db_out = self.gradients
        kernels.gate_backward(
            self.dlogit, self.x, w_in, w_out, self.h, self.dx, dw_in, db_in, dw_out, db_out[:, 0]
        )


def rows(gate: Gate, gradient: bool = False) -> list[Floats]:
    """The parameters of a gate, or their gradients, `[R, hidden]`; the last `[R, 1]`."""
    found = (gate.weight_in, gate.bias_in, gate.weight_out, gate.bias_out)
    return [array(q, gradient).reshape(q.shape[0], -1) for q in found]


def array(parameter: nn.Parameter, gradient: bool = False) -> Floats:
    """The memory of a parameter, or of its gradient."""
    held = parameter.grad if gradient else parameter.detach()
    assert held is not None
    view: Floats = held.numpy()
    return view


class Step:
    """Loss and gradients of all networks on one batch each.

    Parameters: the networks' `weights` `[R, out, in]` and `biases` `[R, out, 1]`, first layer
    first, each with a gradient to write to.
    """

    def __init__(self, weights: Sequence[nn.Parameter], biases: Sequence[nn.Parameter]) -> None:
        self.weights = [array(w) for w in weights]
        self.biases = [array(b)[:, :, 0] for b in biases]
        self.dweights = [array(w, gradient=True) for w in weights]
        self.dbiases = [array(b, gradient=True)[:, :, 0] for b in biases]
        self._memory: dict[int, tuple[list[Layer], list[Floats]]] = {}

    def memory(self, n: int) -> tuple[list[Layer], list[Floats]]:
        """The hidden layers, and (x, logits and their gradients), for batches of n samples."""
        if n not in self._memory:
            runs = len(self.weights[0])
            hidden = [Layer(runs, w.shape[1], n) for w in self.weights[:-1]]
            ends = (self.weights[0].shape[2], *[self.weights[-1].shape[1]] * 2)
            self._memory[n] = hidden, [np.empty((runs, end, n), np.float32) for end in ends]
        return self._memory[n]

    def forward(self, x: Floats, in_force: Sequence[Activation], noise: Noise) -> Floats:
        """Return the logits `[R, classes, n]` of x `[R, features, n]`."""
        hidden, (_, logits, _) = self.memory(x.shape[2])
        h = x
        for number, (layer, activation) in enumerate(zip(hidden, in_force, strict=True)):
            kernels.linear(self.weights[number], self.biases[number], h, layer.z)
            layer.forward(activation, lambda number=number: noise(number))  # type: ignore[misc]
            h = layer.a
        kernels.linear(self.weights[-1], self.biases[-1], h, logits)
        return logits

    def gradients(
        self,
        samples: Floats,
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        in_force: Sequence[Activation],
        noise: Noise,
    ) -> Floats:
        """Write the gradient of each run's mean loss on its samples; return summed losses `[R]`.

        Parameters: all `samples` `[N, features]` and `labels` `[N]`; `order` `[R, n]`, which of
        them run r meets; the activation `in_force` in each hidden layer.
        """
        hidden, (x, _, slope) = self.memory(order.shape[1])
        kernels.gather(samples, order, x)
        logits = self.forward(x, in_force, noise)
        loss = np.empty(len(order), np.float32)
        kernels.cross_entropy(logits, labels[order], slope, loss)
        for number in reversed(range(len(self.weights))):
            below = hidden[number - 1] if number else None
            h, dh = (below.a, below.da) if below else (x, x)
            kernels.linear_backward(
                slope, self.weights[number], h, self.dweights[number], self.dbiases[number],
                below is not None, dh,
            )  # fmt: skip
            if below:
                below.backward()
                slope = below.dz
        return loss
