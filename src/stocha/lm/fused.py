"""The four parts of a decoder step that are slow as a chain of small operations.

Each is an autograd function that keeps what the backward pass needs and nothing else, and works on
blocks that stay in a core's cache. Plain PyTorch formulations of the same are in `model`; a test
holds the two together. Chapter *Performance* shows what each of them paid.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 128
"""Query rows that attend together: keys beyond the block's end are never multiplied."""

HEAD_ROWS = 256
"""Tokens whose logits are made together."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight·x/√(mean(x²) + eps), the mean over the last dimension."""
    return cast(Tensor, RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]


def attention(qkv: Tensor, turn: Tensor, heads: int, kv_heads: int) -> Tensor:
    """Return causal attention with RoPE [batch, length, width] of stacked queries, keys, values.

    Parameters: `qkv` [batch, length, (heads + 2·kv_heads)·head_width]; `turn` [length,
    head_width/2], the complex rotation of each position and pair.
    """
    return cast(
        Tensor,
        Attention.apply(qkv, turn, heads, kv_heads),  # type: ignore[no-untyped-call]
    )


def gated_ffn(x: Tensor, gate_up: Tensor, down: Tensor, kind: str, draw: Tensor | None) -> Tensor:
    """Return (act(x·Gᵀ) ⊙ x·Uᵀ)·Dᵀ [rows, width].

    Parameters: `x` [rows, width]; `gate_up` [2·ffn, width]; `down` [width, ffn]; `kind` "relu",
    "silu", or "mixed", which takes SiLU where `draw` [rows, ffn], float 0 or 1, is 1 and ReLU
    elsewhere (or, with fractions, their weighted mean).
    """
    return cast(
        Tensor,
        GatedFFN.apply(x, gate_up, down, kind, draw),  # type: ignore[no-untyped-call]
    )


def head_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats of the logits x·Eᵀ, which are not kept.

    Parameters: `x` [rows, width]; `weight` [vocabulary, width]; `targets` [rows].
    """
    return cast(Tensor, HeadLoss.apply(x, weight, targets))  # type: ignore[no-untyped-call]


class RMSNorm(torch.autograd.Function):
    """`rms_norm`, which keeps the normalised x instead of recomputing it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit: Tensor = x * scale
        ctx.save_for_backward(unit, weight, scale)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, weight, scale = ctx.saved_tensors
        width = unit.shape[-1]
        product = dy * unit
        dweight = product.view(-1, width).sum(0)
        mean = (product @ weight).div_(-width).unsqueeze(-1)
        dx = dy * weight
        dx.addcmul_(unit, mean).mul_(scale)
        return dx, dweight, None


class Attention(torch.autograd.Function):
    """`attention`, as batched products of blocks.

    The query heads of one key-value head are stacked as rows of one matrix, so nothing is repeated;
    a block of `ROWS` positions multiplies only the keys up to its end. RoPE's rotation is one
    complex product, which also brings the heads in front of the positions.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turn: Tensor, heads: int, kv_heads: int) -> Tensor:
        batch, length, _ = qkv.shape
        group = heads // kv_heads
        width = qkv.shape[-1] // (heads + 2 * kv_heads)
        slabs = batch * kv_heads
        parts = qkv.view(batch, length, heads + 2 * kv_heads, width)
        q = _turned(parts[:, :, :heads], turn * width**-0.5)
        q = q.view(slabs, group, length, width)
        k = _turned(parts[:, :, heads:-kv_heads], turn).view(slabs, length, width)
        v = parts[:, :, -kv_heads:].transpose(1, 2).reshape(slabs, length, width)

        y = torch.empty(batch, kv_heads, group, length, width)
        weights = []
        for start in range(0, length, ROWS):
            end = min(start + ROWS, length)
            rows = end - start
            scores = torch.bmm(
                q[:, :, start:end].reshape(-1, group * rows, width), k[:, :end].transpose(1, 2)
            )
            scores.view(-1, group, rows, end)[..., start:].add_(_future(rows))
            weight = torch.softmax(scores, -1)
            weights.append(weight)
            out = torch.bmm(weight, v[:, :end])
            y[:, :, :, start:end] = out.view(batch, kv_heads, group, rows, width)
        ctx.save_for_backward(q, k, v, turn, *weights)
        ctx.shape = (batch, length, heads, kv_heads, width)
        return y.view(batch, heads, length, width).transpose(1, 2).reshape(batch, length, -1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        q, k, v, turn, *weights = ctx.saved_tensors
        batch, length, heads, kv_heads, width = ctx.shape
        group = heads // kv_heads
        slabs = batch * kv_heads
        dy = dy.view(batch, length, heads, width).transpose(1, 2)
        dy = dy.reshape(slabs, group, length, width)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(slabs, width, length) for _ in range(2))
        for block, weight in enumerate(weights):
            start = block * ROWS
            end = min(start + ROWS, length)
            rows = end - start
            dy_rows = dy[:, :, start:end].reshape(slabs, group * rows, width)
            q_rows = q[:, :, start:end].reshape(slabs, group * rows, width)
            dscores = torch.bmm(dy_rows, v[:, :end].transpose(1, 2))
            torch._softmax_backward_data(dscores, weight, -1, dscores.dtype, grad_input=dscores)
            dq[:, :, start:end] = torch.bmm(dscores, k[:, :end]).view(slabs, group, rows, width)
            # the narrow factor is the transposed one, as in `_product`
            dk[..., :end] += torch.bmm(q_rows.transpose(1, 2), dscores)
            dv[..., :end] += torch.bmm(dy_rows.transpose(1, 2), weight)
        dqkv = torch.empty(batch, length, heads + 2 * kv_heads, width)
        back = turn.conj().resolve_conj()
        dk = dk.transpose(1, 2).contiguous().view(batch, kv_heads, length, width)
        _turned(dq.view(batch, heads, length, width), back * width**-0.5, dqkv[:, :, :heads])
        _turned(dk, back, dqkv[:, :, heads:-kv_heads])
        dqkv[:, :, -kv_heads:] = dv.view(batch, kv_heads, width, length).permute(0, 3, 1, 2)
        return dqkv.view(batch, length, -1), None, None, None


def _turned(x: Tensor, turn: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the pairs (2i, 2i + 1) of x rotated by `turn`, dimensions 1 and 2 exchanged.

    Parameters: x [batch, length, heads, width] and `turn` [length, width/2] complex, or, with
    `out` of the former shape, x [batch, heads, length, width].
    """
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
    if out is not None:
        to = torch.view_as_complex(out.view(*out.shape[:-1], -1, 2))
        torch.mul(pairs.transpose(1, 2), turn.unsqueeze(1), out=to)
        return out
    batch, length, heads, width = x.shape
    fresh = torch.empty(batch, heads, length, width)
    to = torch.view_as_complex(fresh.view(*fresh.shape[:-1], -1, 2))
    torch.mul(pairs, turn.unsqueeze(1), out=to.transpose(1, 2))
    return fresh


def _future(rows: int) -> Tensor:
    return torch.full((rows, rows), float("-inf")).triu_(1)


class GatedFFN(torch.autograd.Function):
    """`gated_ffn` for ReLU, SiLU, and the element-wise choice between them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, kind: str, draw: Tensor | None
    ) -> Tensor:
        to_gate, to_up = gate_up.chunk(2)
        gate, up = torch.mm(x, to_gate.t()), torch.mm(x, to_up.t())
        act = F.relu(gate) if kind == "relu" else F.silu(gate)
        if kind == "mixed":
            assert draw is not None
            torch.lerp(F.relu(gate), act, draw, out=act)
        hidden = act * up
        ctx.save_for_backward(x, gate_up, down, gate, up, act, hidden, draw)
        ctx.kind = kind
        return torch.mm(hidden, down.t())

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, gate_up, down, gate, up, act, hidden, draw = ctx.saved_tensors
        to_gate, to_up = gate_up.chunk(2)
        ddown = torch.mm(dy.t(), hidden)
        dhidden = torch.mm(dy, down)
        dup = dhidden * act
        dact = dhidden.mul_(up)
        if ctx.kind == "relu":
            dgate = torch.ops.aten.threshold_backward.grad_input(dact, gate, 0, grad_input=dact)
        elif ctx.kind == "silu":
            dgate = torch.ops.aten.silu_backward.grad_input(dact, gate, grad_input=dact)
        else:
            smooth = torch.ops.aten.silu_backward(dact, gate)
            torch.ops.aten.threshold_backward.grad_input(dact, gate, 0, grad_input=dact)
            dgate = torch.lerp(dact, smooth, draw, out=dact)
        columns = x.t().contiguous()
        dgate_up = torch.cat([_product(columns, dgate), _product(columns, dup)])
        return torch.mm(dgate, to_gate).addmm_(dup, to_up), dgate_up, ddown, None, None


def _product(columns: Tensor, dy: Tensor) -> Tensor:
    """Return dyᵀ·x for `columns` = xᵀ, as (xᵀ·dy)ᵀ.

    A matrix product that reads a wide matrix by columns runs at half speed: its rows are a power of
    two bytes apart and fall on the same cache lines. Here only the narrow x is transposed.
    """
    return torch.mm(columns, dy).t()


class HeadLoss(torch.autograd.Function):
    """`head_loss`, whose forward pass also makes both gradients from the probabilities.

    `HEAD_ROWS` tokens at a time, so that their logits stay in cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight.t()).contiguous()
        loss = torch.zeros(())
        for start in range(0, len(x), HEAD_ROWS):
            rows = x[start : start + HEAD_ROWS]
            at = targets[start : start + HEAD_ROWS].unsqueeze(1)
            logits = torch.mm(rows, weight.t())
            margin = logits.amax(1) - logits.gather(1, at).squeeze(1)
            slope = torch.softmax(logits, 1)
            # the largest probability is 1/Σexp(logit − max): never 0, unlike the target's own
            loss += (margin - slope.amax(1).log()).sum()
            slope.scatter_add_(1, at, slope.new_full(at.shape, -1))
            torch.mm(slope, weight, out=dx[start : start + HEAD_ROWS])
            dweight.addmm_(rows.t().contiguous(), slope)  # transposed, as in `_product`
        ctx.save_for_backward(dx, dweight)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, Tensor, None]:
        dx, dweight = ctx.saved_tensors
        return dx * dloss, (dweight * dloss).t(), None
