"""The parts of a decoder step that are slow as a chain of small operations.

Each is an autograd function that keeps what the backward pass needs and nothing else. It works on
blocks of rows that stay in a core's cache, its matrix products are torch's, and what lies between
two of them is one pass of a kernel from `kernels`. `stocha.lm.operations` has the definitions; a
test holds the two together. Chapter *Speed of the language model* shows what each paid.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stocha import activations
from stocha.activations import Activation, BernoulliSiLU, Deterministic, StochA
from stocha.base.elementwise import GELU, MEAN, RELU, RELU2, SILU
from stocha.base.streams import Generators, bernoulli, uniform
from stocha.lm.config import ModelConfig
from stocha.lm.fast import kernels
from stocha.lm.operations import KVCache, Plain

ROWS = 64
"""Query rows that attend together: keys beyond the block's end are never multiplied."""

SCORES = 2**17
"""Attention scores that are made together, 1 MB: half a core's cache."""

FFN_ROWS = 128
"""Tokens that go through a feed-forward together."""

HEAD_ROWS = 128
"""Tokens whose logits are made together."""

_PLAIN: dict[Any, int] = {
    activations.relu: RELU,
    activations.silu: SILU,
    activations.gelu: GELU,
    activations.relu2: RELU2,
}
_MODES = {"relu": RELU, "silu": SILU, "expectation": SILU}
_ABOVE = {"identity": kernels.NEVER, "silu": kernels.ALWAYS, "mixed": kernels.DRAWN}


class Fused(Plain):
    """The operations of `Plain` for float32 on a CPU; what they have no kernel for is `Plain`'s."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        if not _fits(x):
            return super().rms_norm(x, weight, eps)
        return cast(Tensor, RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]

    def attention(
        self, qkv: Tensor, turn: Tensor, config: ModelConfig, cache: KVCache | None = None
    ) -> Tensor:
        if cache is not None or not _fits(qkv):
            return super().attention(qkv, turn, config, cache)
        return cast(Tensor, Attention.apply(qkv, turn, config))  # type: ignore[no-untyped-call]

    def gated_ffn(
        self,
        x: Tensor,
        gate_up: Tensor,
        down: Tensor,
        activation: Activation,
        noise: Generators | None = None,
        probe: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        how = None
        if probe is None and _fits(x):
            how = gate(activation, (*x.shape[:-1], down.shape[1]), noise)
        if how is None:
            return super().gated_ffn(x, gate_up, down, activation, noise, probe)
        rows = x.view(-1, x.shape[-1])
        y: Tensor = GatedFFN.apply(rows, gate_up, down, how)  # type: ignore[no-untyped-call]
        return y.view(x.shape)

    def head_loss(self, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        if not _fits(x):
            return super().head_loss(x, weight, targets)
        slopes = torch.is_grad_enabled()
        return cast(Tensor, HeadLoss.apply(x, weight, targets, slopes))  # type: ignore[no-untyped-call]


def _fits(x: Tensor) -> bool:
    return x.is_cpu and x.dtype == torch.float32


@dataclass(frozen=True)
class Gate:
    """How the kernels compute an activation, forward and backward, for some rows of a matrix.

    `forward(rows, gate_up, out)` and `backward(rows, dh, gate_up, out)` are `kernels.gate` and
    `kernels.gate_backward`, or their drawn kin with the `rows` of the draws.
    """

    forward: Callable[[slice, NDArray[Any], NDArray[Any]], None]
    backward: Callable[[slice, NDArray[Any], NDArray[Any], NDArray[Any]], None]


def gate(activation: Activation, shape: tuple[int, ...], noise: Generators | None) -> Gate | None:
    """Return the kernels of `activation`, None if it has none; its draws are made here.

    Parameters: `shape` [..., ffn] of the pre-activations; `noise`, needed if the activation draws.
    """
    match activation:
        case Deterministic():
            kind = _PLAIN.get(activation.function)
            return None if kind is None else _fixed(kind)
        case StochA(stochastic=True):
            return None if noise is None else _drawn(activation, shape, noise)
        case StochA(mode="sample" | "expectation", p=p):
            above = {"identity": 0.0, "silu": 1.0, "mixed": p}[activation.positive]
            return _fixed(MEAN, p, above)
        case BernoulliSiLU(stochastic=True):
            return None if noise is None else _kept(shape, noise)
        case StochA() | BernoulliSiLU():
            return _fixed(_MODES[activation.mode])
    return None


def _fixed(kind: int, p: float = 0.0, above: float = 0.0) -> Gate:
    how = kind, np.float32(p), np.float32(above)
    return Gate(
        lambda rows, gate_up, out: kernels.gate(gate_up, *how, out),
        lambda rows, dh, gate_up, out: kernels.gate_backward(dh, gate_up, *how, out),
    )


def _drawn(activation: StochA, shape: tuple[int, ...], noise: Generators) -> Gate:
    *lead, ffn = shape
    runs = lead[:1] if isinstance(noise, Sequence) else []
    some = {
        "element": shape,
        "token": (*lead, 1),
        "layer": (*runs, *(1,) * (len(shape) - len(runs))),
    }[activation.granularity]
    draw = bernoulli(activation.p, some, noise).expand(shape).contiguous().view(-1, ffn)
    octets, above = _array(draw.view(torch.uint8)), _ABOVE[activation.positive]
    return Gate(
        lambda rows, gate_up, out: kernels.gate_drawn(gate_up, octets[rows], above, out),
        lambda rows, dh, gate_up, out: kernels.gate_drawn_backward(
            dh, gate_up, octets[rows], above, out
        ),
    )


def _kept(shape: tuple[int, ...], noise: Generators) -> Gate:
    chance = _array(uniform(shape, noise, torch.float32).view(-1, shape[-1]))
    kept = np.empty(chance.shape, np.uint8)
    return Gate(
        lambda rows, gate_up, out: kernels.gate_kept(gate_up, chance[rows], kept[rows], out),
        lambda rows, dh, gate_up, out: kernels.gate_kept_backward(dh, gate_up, kept[rows], out),
    )


def head_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats of the logits x·Eᵀ, which are not kept.

    Parameters: `x` [rows, width]; `weight` [vocabulary, width]; `targets` [rows]. Raises IndexError
    for a target that is no token.
    """
    return cast(
        Tensor,
        HeadLoss.apply(x, weight, targets, torch.is_grad_enabled()),  # type: ignore[no-untyped-call]
    )


def _array(x: Tensor) -> NDArray[Any]:
    """The memory of a contiguous tensor, which kernels read and write."""
    assert x.is_contiguous()
    array: NDArray[Any] = x.detach().numpy()
    return array


class RMSNorm(torch.autograd.Function):
    """`Plain.rms_norm`, which keeps x and each row's factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        out, scale = torch.empty_like(x), torch.empty(x.shape[:-1])
        rows = (-1, x.shape[-1])
        kernels.norm(
            _array(x).reshape(rows), _array(weight), np.float32(eps),
            _array(scale).reshape(-1), _array(out).reshape(rows),
        )  # fmt: skip
        ctx.save_for_backward(x, scale, weight)
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, weight = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        rows = (-1, x.shape[-1])
        kernels.norm_backward(
            _array(dy.contiguous()).reshape(rows), _array(x).reshape(rows),
            _array(scale).reshape(-1), _array(weight), _array(dx).reshape(rows), _array(dweight),
        )  # fmt: skip
        return dx, dweight, None


class Attention(torch.autograd.Function):
    """`Plain.attention` without a cache, as batched products of blocks.

    The query heads of one key-value head are stacked as rows of one matrix, so nothing is repeated;
    a block of `ROWS` positions multiplies only the keys up to its end, and as many sequences at a
    time as have `SCORES` scores.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turn: Tensor, config: ModelConfig) -> Tensor:
        batch, length, _ = qkv.shape
        heads, kv_heads, width = config.heads, config.kv_heads, config.head_width
        group, shifted = heads // kv_heads, config.shifted_keys
        slabs = batch * kv_heads
        waves = _array(turn.contiguous())
        q, y = (torch.empty(slabs * group * length, width) for _ in range(2))
        k, v = (torch.empty(slabs, length, width) for _ in range(2))
        parts = _array(qkv.contiguous()).reshape(batch, length, -1, width)
        kernels.split_heads(parts, waves, group, ROWS, shifted, _array(q), _array(k), _array(v))
        weights = []
        for some, start, end, at in _pieces(slabs, group, length):
            weight = torch.bmm(q[at].view(some.stop - some.start, -1, width), k[some, :end].mT)
            kernels.causal_softmax(_array(weight), start, end - start)
            torch.bmm(weight, v[some, :end], out=y[at].view(*weight.shape[:2], width))
            weights.append(weight)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.config, ctx.waves = config, waves
        out = torch.empty(batch, length, heads * width)
        _gather(y, group, False, out.view(batch, length, heads, width))
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, *weights = ctx.saved_tensors
        batch, length, _ = dy.shape
        heads, kv_heads, width = ctx.config.heads, ctx.config.kv_heads, ctx.config.head_width
        group = heads // kv_heads
        slabs = batch * kv_heads
        dblocks, dq = torch.empty_like(q), torch.empty_like(q)
        _gather(dblocks, group, True, dy.contiguous().view(batch, length, heads, width))
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for (some, start, end, at), weight in zip(
            _pieces(slabs, group, length), weights, strict=True
        ):
            count = some.stop - some.start
            rows, drows = q[at].view(count, -1, width), dblocks[at].view(count, -1, width)
            dscores = torch.bmm(drows, v[some, :end].mT)
            kernels.causal_softmax_backward(_array(dscores), _array(weight), start, end - start)
            torch.bmm(dscores, k[some, :end], out=dq[at].view(count, -1, width))
            dk[some, :end].baddbmm_(dscores.mT, rows)
            dv[some, :end].baddbmm_(weight.mT, drows)
        dqkv = torch.empty(batch, length, (heads + 2 * kv_heads) * width)
        kernels.join_heads(
            _array(dq), _array(dk), _array(dv), ctx.waves, group, ROWS, ctx.config.shifted_keys,
            _array(dqkv).reshape(batch, length, -1, width),
        )  # fmt: skip
        return dqkv, None, None


def _gather(blocks: Tensor, group: int, back: bool, out: Tensor) -> None:
    kernels.gather_rows(_array(blocks), group, ROWS, back, _array(out))


def _pieces(slabs: int, group: int, length: int) -> list[tuple[slice, int, int, slice]]:
    """Return the slabs, first and last position, and rows of `kernels._place`, of every block."""
    blocks = []
    for start in range(0, length, ROWS):
        end = min(start + ROWS, length)
        rows = group * (end - start)
        step = max(1, SCORES // (rows * end))
        for first in range(0, slabs, step):
            last = min(first + step, slabs)
            base = slabs * group * start
            at = slice(base + first * rows, base + last * rows)
            blocks.append((slice(first, last), start, end, at))
    return blocks


class GatedFFN(torch.autograd.Function):
    """`Plain.gated_ffn`, which keeps the gate and up products and recomputes the activation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, gate: Gate) -> Tensor:
        ffn = down.shape[1]
        both, y = torch.empty(len(x), 2 * ffn), torch.empty(len(x), len(down))
        hidden = torch.empty(min(len(x), FFN_ROWS), ffn)
        gates, products = _array(both).reshape(-1, 2, ffn), _array(hidden)
        # a block's product with a transposed view is slower, to the same bits
        to_both, to_y = gate_up.t().contiguous(), down.t().contiguous()
        for rows, some, pair, out in _blocks(FFN_ROWS, x, both, y):
            torch.mm(some, to_both, out=pair)
            gate.forward(rows, gates[rows], products[: len(some)])
            torch.mm(hidden[: len(some)], to_y, out=out)
        ctx.save_for_backward(x, gate_up, down, both)
        ctx.gate = gate
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gate_up, down, both = ctx.saved_tensors
        ffn, dy = down.shape[1], dy.contiguous()
        dx, dgate_up, ddown = torch.empty_like(x), torch.zeros_like(gate_up), torch.zeros_like(down)
        hidden = torch.empty(min(len(x), FFN_ROWS), ffn)
        dboth = torch.empty(len(hidden), 2 * ffn)
        gates, products = _array(both).reshape(-1, 2, ffn), _array(hidden)
        slopes = _array(dboth).reshape(-1, 2, ffn)
        for rows, some, dsome, out in _blocks(FFN_ROWS, x, dy, dx):
            count = len(some)
            part, dpart = hidden[:count], dboth[:count]
            torch.mm(dsome, down, out=part)
            ctx.gate.backward(rows, products[:count], gates[rows], slopes[:count])
            ddown.addmm_(dsome.t(), part)
            dgate_up.addmm_(dpart.t(), some)
            torch.mm(dpart, gate_up, out=out)
        return dx, dgate_up, ddown, None


def _blocks(size: int, *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
    """Return slice and part of every tensor, `size` rows at a time."""
    starts = range(0, len(tensors[0]), size)
    rows = [slice(start, start + size) for start in starts]
    return zip(rows, *(torch.split(x, size) for x in tensors), strict=True)


class HeadLoss(torch.autograd.Function):
    """`Plain.head_loss`, whose forward pass also makes both gradients from the probabilities.

    `HEAD_ROWS` tokens at a time, so that their logits stay in cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, slopes: bool) -> Tensor:
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        space = torch.empty(min(len(x), HEAD_ROWS), len(weight))
        loss = 0.0
        to_logits, chosen, work = weight.t(), _array(targets.contiguous()), _array(space)
        for rows, some, out in _blocks(HEAD_ROWS, x, dx):
            logits = torch.mm(some, to_logits, out=space[: len(some)])
            loss += kernels.cross_entropy(work[: len(some)], chosen[rows])
            if slopes:
                torch.mm(logits, weight, out=out)
                dweight.addmm_(logits.t(), some)
        ctx.save_for_backward(dx, dweight)
        return torch.tensor(loss, dtype=x.dtype)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, Tensor, None, None]:
        dx, dweight = ctx.saved_tensors
        return dx * dloss, dweight * dloss, None, None
