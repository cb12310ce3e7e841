"""The parts of a decoder step that are slow as a chain of small operations.

Each is an autograd function that keeps what the backward pass needs and nothing else. It works on
blocks of rows that stay in a core's cache, its matrix products are torch's, and what lies between
two of them is one pass of a kernel from `kernels`. Plain PyTorch formulations of the same are in
`model`; a test holds the two together. Chapter *Speed of the language model* shows what each paid.
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
from stocha.lm.fast import kernels

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


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight·x/√(mean(x²) + eps), the mean over the last dimension."""
    return cast(Tensor, RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]


def add_rms_norm(x: Tensor, more: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return x + more and its `rms_norm`."""
    return cast(
        tuple[Tensor, Tensor],
        AddRMSNorm.apply(x, more, weight, eps),  # type: ignore[no-untyped-call]
    )


def attention(
    qkv: Tensor, turn: Tensor, heads: int, kv_heads: int, shifted: bool = False
) -> Tensor:
    """Return causal attention with RoPE [batch, length, width] of stacked queries, keys, values.

    Parameters: `qkv` [batch, length, (heads + 2·kv_heads)·head_width]; `turn` [length,
    head_width/2], the complex rotation of each position and pair; `shifted`, whether the second
    half of a key is that of the position before.
    """
    return cast(
        Tensor,
        Attention.apply(qkv, turn, heads, kv_heads, shifted),  # type: ignore[no-untyped-call]
    )


def gated_ffn(x: Tensor, gate_up: Tensor, down: Tensor, gate: "Gate") -> Tensor:
    """Return (act(x·Gᵀ) ⊙ x·Uᵀ)·Dᵀ [rows, width].

    Parameters: `x` [rows, width]; `gate_up` [2·ffn, width]; `down` [width, ffn]; `gate`, act.
    """
    return cast(
        Tensor,
        GatedFFN.apply(x, gate_up, down, gate),  # type: ignore[no-untyped-call]
    )


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
    """`rms_norm`, which keeps x and each row's factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        out, scale = torch.empty_like(x), torch.empty(x.shape[:-1])
        _norm(x, x, False, weight, eps, x, scale, out)
        ctx.save_for_backward(x, scale, weight)
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, weight = ctx.saved_tensors
        return *_norm_backward(dy, x, scale, weight, None), None


class AddRMSNorm(torch.autograd.Function):
    """`add_rms_norm`: one pass over x instead of two, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, more: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        total, out, scale = torch.empty_like(x), torch.empty_like(x), torch.empty(x.shape[:-1])
        _norm(x, more.contiguous(), True, weight, eps, total, scale, out)
        ctx.save_for_backward(total, scale, weight)
        ctx.set_materialize_grads(False)
        return total, out

    @staticmethod
    def backward(
        ctx: Any, dtotal: Tensor | None, dy: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        if dy is None:
            return dtotal, dtotal, None, None
        x, scale, weight = ctx.saved_tensors
        dx, dweight = _norm_backward(dy, x, scale, weight, dtotal)
        return dx, dx, dweight, None


def _norm(
    x: Tensor, more: Tensor, adds: bool, weight: Tensor, eps: float,
    total: Tensor, scale: Tensor, out: Tensor,
) -> None:  # fmt: skip
    rows = (-1, x.shape[-1])
    kernels.norm(
        _array(x).reshape(rows), _array(more).reshape(rows), adds, _array(weight), np.float32(eps),
        _array(total).reshape(rows), _array(scale).reshape(-1), _array(out).reshape(rows),
    )  # fmt: skip


def _norm_backward(
    dy: Tensor, x: Tensor, scale: Tensor, weight: Tensor, more: Tensor | None
) -> tuple[Tensor, Tensor]:
    rows = (-1, x.shape[-1])
    dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
    other = _array(x if more is None else more.contiguous()).reshape(rows)
    kernels.norm_backward(
        _array(dy.contiguous()).reshape(rows), _array(x).reshape(rows), _array(scale).reshape(-1),
        _array(weight), other, more is not None, _array(dx).reshape(rows), _array(dweight),
    )  # fmt: skip
    return dx, dweight


class Attention(torch.autograd.Function):
    """`attention`, as batched products of blocks.

    The query heads of one key-value head are stacked as rows of one matrix, so nothing is repeated;
    a block of `ROWS` positions multiplies only the keys up to its end, and as many sequences at a
    time as have `SCORES` scores.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, turn: Tensor, heads: int, kv_heads: int, shifted: bool
    ) -> Tensor:
        batch, length, _ = qkv.shape
        group = heads // kv_heads
        width = qkv.shape[-1] // (heads + 2 * kv_heads)
        slabs = batch * kv_heads
        waves = _array(torch.view_as_real(turn.contiguous())).reshape(length, width)
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
        ctx.shape, ctx.waves = (batch, length, heads, kv_heads, width), waves
        ctx.shifted = shifted
        out = torch.empty(batch, length, heads * width)
        _gather(y, group, False, out.view(batch, length, heads, width))
        return out

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None, None]:
        q, k, v, *weights = ctx.saved_tensors
        batch, length, heads, kv_heads, width = ctx.shape
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
            _array(dq), _array(dk), _array(dv), ctx.waves, group, ROWS, ctx.shifted,
            _array(dqkv).reshape(batch, length, -1, width),
        )  # fmt: skip
        return dqkv, None, None, None, None


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
    """`gated_ffn`, which keeps the gate and up products and recomputes the activation."""

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
    """`head_loss`, whose forward pass also makes both gradients from the probabilities.

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
