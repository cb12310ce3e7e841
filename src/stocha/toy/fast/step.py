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

WIDE = 1024
"""Weights of a layer from which BLAS multiplies faster than a loop that stays in the first cache
(chapter 41_performance)."""

_FIXED: dict[Any, int] = {activations.relu: RELU, activations.silu: SILU}


def has_kernel(activation: Activation) -> bool:
    """Whether a layer with `activation`, in any mode, can be computed here."""
    match activation:
        case activations.Deterministic():
            return activation.function in _FIXED
        case StochA():
            below = activation.positive == "identity" and activation.stochastic
            return activation.granularity == "element" and (below or activation.positive == "mixed")
        case LearnableMixture() | GumbelStochA():
            return True
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
        self.by_layer: ByLayer | None = None

    def forward(self, activation: Activation, noise: Callable[[], Generators]) -> None:
        """Compute a from z; `backward` then computes dz, and a gate's gradients, from da."""
        if not has_kernel(activation):
            raise TypeError(f"{activation}: has no kernel")
        match activation:
            case activations.Deterministic():
                self._fixed(_FIXED[activation.function], 0.0)
            case StochA(stochastic=True):
                draw = self._turned(bernoulli(activation.p, self.shape, noise()))
                if activation.positive == "identity":
                    draw = draw.astype(np.bool_) & ~(self.x > 0)
                kernels.chosen(self.x, draw, self.y)
                self.backward = lambda: kernels.chosen_backward(self.dy, self.x, draw, self.dx)
            case StochA():
                p = {"relu": 0.0, "silu": 1.0}.get(activation.mode, activation.p)
                kind = {0.0: RELU, 1.0: SILU}.get(p, MEAN)
                self._fixed(kind, p)
            case GumbelStochA(stochastic=True):
                u = self._turned(torch.logit(uniform(self.shape, noise(), torch.float32)))
                hard = activation.mode == "hard"
                self._gated(activation, u, activation.temperature, hard)
            case LearnableMixture() | GumbelStochA():
                if self.still.size == 0:
                    self.still = np.zeros_like(self.x)
                self._gated(activation, self.still, 1.0, False)

    def _turned(self, draw: Tensor) -> NDArray[Any]:
        """Draws `[R, n, width]` in the order of x."""
        return np.ascontiguousarray(draw.numpy().transpose(0, 2, 1)).reshape(self.x.shape)

    def _fixed(self, kind: int, p: float) -> None:
        kernels.fixed(self.x, kind, np.float32(p), self.y)
        self.backward = lambda: kernels.fixed_backward(
            self.dy, self.x, kind, np.float32(p), self.dx
        )

    def _gated(
        self,
        activation: LearnableMixture | GumbelStochA,
        noise: Floats,
        temperature: float,
        hard: bool,
    ) -> None:
        gate = activation.logit
        if self.gate is not gate:
            self.gate, self.by_layer = gate, ByLayer(gate, self) if gate.features > 1 else None
            self.parameters, self.gradients = rows(gate), rows(gate, gradient=True)
            if self.by_layer is None:
                self.h = np.empty((*self.parameters[1].shape, self.x.shape[1]), np.float32)
            self.alpha, self.slope, self.dlogit = (np.empty_like(self.x) for _ in range(3))
        if self.by_layer is not None:
            self.slope[:] = self.by_layer.forward()
        else:
            w_in, b_in, w_out, b_out = self.parameters
            kernels.gate(self.x, w_in, b_in, w_out, b_out[:, 0], self.h, self.slope)
        kernels.weights(self.slope, noise, np.float32(temperature), hard, self.alpha)
        if activation.positive == "identity":
            above = self.x > 0
            self.alpha[above], self.slope[above] = 1, 0
        kernels.mixture(self.x, self.alpha, self.y)
        self.backward = self._gated_backward

    def _gated_backward(self) -> None:
        kernels.mixture_backward(self.dy, self.x, self.alpha, self.slope, self.dx, self.dlogit)
        if self.by_layer is not None:
            self.by_layer.backward(self.dlogit)
            return
        w_in, _, w_out, _ = self.parameters
        dw_in, db_in, dw_out, db_out = self.gradients
        kernels.gate_backward(
            self.dlogit, self.x, w_in, w_out, self.h, self.dx, dw_in, db_in, dw_out, db_out[:, 0]
        )


class ByLayer:
    """A gate that sees its whole layer, by batched products of torch's."""

    def __init__(self, gate: Gate, layer: Layer) -> None:
        parameters = (gate.weight_in, gate.bias_in, gate.weight_out, gate.bias_out)
        self.w_in, self.b_in, self.w_out, self.b_out = (p.detach() for p in parameters)
        self.gradients = [p.grad for p in parameters]
        self.z, self.dz = (torch.from_numpy(a) for a in (layer.z, layer.dz))

    def forward(self) -> Floats:
        """Return the logits `[R, width·n]`."""
        far = float(kernels.FAR)
        self.near = self.z.clamp(-far, far)
        self.h = torch.baddbmm(self.b_in, self.w_in, self.near).tanh_()
        logit: Floats = torch.baddbmm(self.b_out, self.w_out, self.h).flatten(1).numpy()
        return logit

    def backward(self, dlogit: Floats) -> None:
        """Write the gate's gradients, and add that of the layer's input to what it has."""
        d_out = torch.from_numpy(dlogit).view_as(self.z)
        d_in = torch.bmm(self.w_out.mT, d_out).mul_(1 - self.h.square())
        found = (
            torch.bmm(d_in, self.near.mT),
            d_in.sum(2, keepdim=True),
            torch.bmm(d_out, self.h.mT),
            d_out.sum(2, keepdim=True),
        )
        for gradient, value in zip(self.gradients, found, strict=True):
            assert gradient is not None
            gradient.copy_(value)
        self.dz += torch.bmm(self.w_in.mT, d_in)


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


def linear(w: Floats, b: Floats, h: Floats, z: Floats) -> None:
    """`kernels.linear`, by torch's batched products where the layer is wide."""
    if w[0].size < WIDE:
        kernels.linear(w, b, h, z)
        return
    bias, weight, below = torch.from_numpy(b).unsqueeze(2), torch.from_numpy(w), torch.from_numpy(h)
    torch.baddbmm(bias, weight, below, out=torch.from_numpy(z))


def linear_backward(
    dz: Floats, w: Floats, h: Floats, dw: Floats, db: Floats, dh: Floats | None
) -> None:
    """The gradients of `linear` for dz; that of h only where there is memory for it."""
    if w[0].size < WIDE:
        kernels.linear_backward(dz, h, dw, db)
        if dh is not None:
            kernels.linear(w.transpose(0, 2, 1), np.zeros(dh.shape[:2], np.float32), dz, dh)
        return
    slope, weight, below = (torch.from_numpy(a) for a in (dz, w, h))
    torch.bmm(slope, below.mT, out=torch.from_numpy(dw))
    torch.sum(slope, 2, out=torch.from_numpy(db))
    if dh is not None:
        torch.bmm(weight.mT, slope, out=torch.from_numpy(dh))


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
            linear(self.weights[number], self.biases[number], h, layer.z)
            layer.forward(activation, lambda number=number: noise(number))  # type: ignore[misc]
            h = layer.a
        linear(self.weights[-1], self.biases[-1], h, logits)
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

        Parameters: all `samples` `[features, N]` and `labels` `[N]`; `order` `[R, n]`, which of
        them run r meets; the activation `in_force` in each hidden layer.
        """
        hidden, (x, _, slope) = self.memory(order.shape[1])
        kernels.gather(samples, order, x)
        logits = self.forward(x, in_force, noise)
        loss = np.empty(len(order), np.float32)
        kernels.cross_entropy(logits, labels[order], slope, loss)
        for number in reversed(range(len(self.weights))):
            below = hidden[number - 1] if number else None
            h, dh = (below.a, below.da) if below else (x, None)
            linear_backward(
                slope, self.weights[number], h, self.dweights[number], self.dbiases[number], dh
            )
            if below:
                below.backward()
                slope = below.dz
        return loss
