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

PADDING = 16
"""Floats added to a row of a wide buffer, so that rows are not a power of two bytes apart and do
not fall on the same cache lines when a weight gradient reads them as columns."""


def _padded(rows: int, columns: int) -> Tensor:
    return torch.empty(rows, columns + PADDING)[:, :columns]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight·x/√(mean(x²) + eps), the mean over the last dimension."""
    return cast(Tensor, RMSNorm.apply(x, weight, eps))  # type: ignore[no-untyped-call]


def attention(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int) -> Tensor:
    """Return causal attention with RoPE [batch, length, width] of stacked queries, keys, values.

    Parameters: `qkv` [batch, length, (heads + 2·kv_heads)·head_width]; `cos`, `sin` [length,
    head_width/2].
    """
    return cast(
        Tensor,
        Attention.apply(qkv, cos, sin, heads, kv_heads),  # type: ignore[no-untyped-call]
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
    a block of `ROWS` positions multiplies only the keys up to its end.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
    ) -> Tensor:
        batch, length, _ = qkv.shape
        group = heads // kv_heads
        width = qkv.shape[-1] // (heads + 2 * kv_heads)
        parts = qkv.view(batch, length, heads + 2 * kv_heads, width).transpose(1, 2)
        rotated = heads + kv_heads
        turned = _rotate(parts[:, :rotated], cos, sin)
        q = turned[:, :heads].reshape(batch * kv_heads, group, length, width).mul_(width**-0.5)
        k = turned[:, heads:].reshape(batch * kv_heads, length, width)
        v = parts[:, rotated:].reshape(batch * kv_heads, length, width)

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
        ctx.save_for_backward(q, k, v, cos, sin, *weights)
        ctx.shape = (batch, length, heads, kv_heads, width)
        return y.view(batch, heads, length, width).transpose(1, 2).reshape(batch, length, -1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None, None]:
        q, k, v, cos, sin, *weights = ctx.saved_tensors
        batch, length, heads, kv_heads, width = ctx.shape
        group = heads // kv_heads
        slabs = batch * kv_heads
        dy = dy.view(batch, length, heads, width).transpose(1, 2)
        dy = dy.reshape(slabs, group, length, width)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for block, weight in enumerate(weights):
            start = block * ROWS
            end = min(start + ROWS, length)
            rows = end - start
            dy_rows = dy[:, :, start:end].reshape(slabs, group * rows, width)
            q_rows = q[:, :, start:end].reshape(slabs, group * rows, width)
            dscores = torch.bmm(dy_rows, v[:, :end].transpose(1, 2))
            torch._softmax_backward_data(dscores, weight, -1, dscores.dtype, grad_input=dscores)
            dq[:, :, start:end] = torch.bmm(dscores, k[:, :end]).view(slabs, group, rows, width)
            dk[:, :end] += torch.bmm(dscores.transpose(1, 2), q_rows)
            dv[:, :end] += torch.bmm(weight.transpose(1, 2), dy_rows)
        dqkv = torch.empty(batch, length, heads + 2 * kv_heads, width)
        out = dqkv.transpose(1, 2)
        dq.mul_(width**-0.5)
        out[:, :heads] = _rotate(dq.view(batch, heads, length, width), cos, -sin)
        out[:, heads:-kv_heads] = _rotate(dk.view(batch, kv_heads, length, width), cos, -sin)
        out[:, -kv_heads:] = dv.view(batch, kv_heads, length, width)
        return dqkv.view(batch, length, -1), None, None, None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + width/2) of x [..., length, width] by their position's angle."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = torch.empty(x.shape)
    torch.mul(first, cos, out=turned[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned[..., half:]).addcmul_(first, sin)
    return turned


def _future(rows: int) -> Tensor:
    return torch.full((rows, rows), float("-inf")).triu_(1)


class GatedFFN(torch.autograd.Function):
    """`gated_ffn` for ReLU, SiLU, and the element-wise choice between them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, kind: str, draw: Tensor | None
    ) -> Tensor:
        both = _padded(x.shape[0], gate_up.shape[0])
        torch.mm(x, gate_up.t(), out=both)
        gate, up = both.chunk(2, -1)
        act = F.relu(gate) if kind == "relu" else F.silu(gate)
        if kind == "mixed":
            assert draw is not None
            torch.lerp(F.relu(gate), act, draw, out=act)
        ctx.save_for_backward(x, gate_up, down, both, act, draw)
        ctx.kind = kind
        return torch.mm(act * up, down.t())

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, gate_up, down, both, act, draw = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        ddown = torch.mm(dy.t(), act * up)
        dhidden = torch.mm(dy, down)
        dboth = _padded(*both.shape)
        dgate, dup = dboth.chunk(2, -1)
        torch.mul(dhidden, act, out=dup)
        dact = dhidden.mul_(up)
        if ctx.kind == "relu":
            torch.ops.aten.threshold_backward.grad_input(dact, gate, 0, grad_input=dgate)
        elif ctx.kind == "silu":
            torch.ops.aten.silu_backward.grad_input(dact, gate, grad_input=dgate)
        else:
            smooth = torch.ops.aten.silu_backward(dact, gate)
            torch.lerp(torch.ops.aten.threshold_backward(dact, gate, 0), smooth, draw, out=dgate)
        return torch.mm(dboth, gate_up), torch.mm(dboth.t(), x), ddown, None, None


class HeadLoss(torch.autograd.Function):
    """`head_loss`, whose forward pass also makes both gradients from the probabilities."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        logits = _padded(x.shape[0], weight.shape[0])
        torch.mm(x, weight.t(), out=logits)
        at = targets.unsqueeze(1)
        margin = logits.amax(1) - logits.gather(1, at).squeeze(1)
        slope = torch.softmax(logits, 1)
        # the largest probability is 1/Σexp(logit − max): never 0, unlike the target's own
        loss = (margin - slope.amax(1).log()).sum()
        slope = logits.copy_(slope)
        slope.scatter_add_(1, at, slope.new_full(at.shape, -1))
        ctx.save_for_backward(torch.mm(slope, weight), torch.mm(slope.t(), x))
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, Tensor, None]:
        dx, dweight = ctx.saved_tensors
        return dx * dloss, dweight * dloss, None
