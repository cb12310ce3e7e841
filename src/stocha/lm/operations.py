"""What a decoder is made of, in plain PyTorch: the definition, on any device and in any precision.

`stocha.lm.fast.operations` has the same operations for training on a CPU; a model calls one set,
chosen when it is made, and a test holds the two together. Chapter *Speed of the language model*.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stocha.activations import Activation
from stocha.base.streams import Generators
from stocha.lm.config import ModelConfig


class KVCache:
    """Keys and values of the positions that one layer has seen so far.

    `keys` and `values` are [batch, kv_heads, context, head_width], `length` positions of them
    filled, in the precision and on the device of `like`; `last` [batch, kv_heads, 1, head_width]
    are the newest keys, not rotated, for `shift`.
    """

    def __init__(self, config: ModelConfig, batch: int, like: Tensor) -> None:
        shape = batch, config.kv_heads, config.context, config.head_width
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.last: Tensor | None = None
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values [batch, kv_heads, length, head_width]; returns all there are."""
        start, self.length = self.length, self.length + k.shape[2]
        self.keys[:, :, start : self.length], self.values[:, :, start : self.length] = k, v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class Plain:
    """The operations as PyTorch has them."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Return weight·x/√(mean(x²) + eps), the mean over the last dimension."""
        return F.rms_norm(x, weight.shape, weight, eps)

    def attention(
        self, qkv: Tensor, turn: Tensor, config: ModelConfig, cache: KVCache | None = None
    ) -> Tensor:
        """Return causal attention with RoPE [batch, length, width] of stacked q, k and v.

        Parameters: `qkv` [batch, length, (heads + 2·kv_heads)·head_width]; `turn` as in
        `rotate`; `cache`, which is extended.
        """
        batch, length, _ = qkv.shape
        heads, kv_heads = config.heads, config.kv_heads
        parts = qkv.view(batch, length, -1, config.head_width).transpose(1, 2)
        q, k, v = torch.split(parts, [heads, kv_heads, kv_heads], dim=1)
        if config.shifted_keys:
            own, k = k, shift(k, None if cache is None else cache.last)
            if cache is not None:
                cache.last = own[:, :, -1:]
        q, k = rotate(q, turn), rotate(k, turn)
        mask = None
        if cache is not None:
            k, v = cache.extend(k, v)
            mask = torch.ones(length, cache.length, dtype=torch.bool, device=qkv.device)
            mask = mask.tril_(cache.length - length)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=heads != kv_heads
        )
        return y.transpose(1, 2).reshape(batch, length, -1)

    def gated_ffn(
        self,
        x: Tensor,
        gate_up: Tensor,
        down: Tensor,
        activation: Activation,
        noise: Generators | None = None,
        probe: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Return (act(x·Gᵀ) ⊙ x·Uᵀ)·Dᵀ [..., width]; (act(x·Gᵀ) ⊙ act(x·Uᵀ))·Dᵀ for one of both.

        Parameters: `x` [..., width]; `gate_up` [2·ffn, width], G above U; `down` [width, ffn], D;
        `noise`, needed if the activation draws; `probe`, called with act(x·Gᵀ) [..., ffn], or
        with the product where the activation is one of both.
        """
        gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
        hidden = activation(gate, noise)
        if activation.both:
            hidden = hidden * activation(up, noise)
        if probe is not None:
            probe(hidden)
        return F.linear(hidden if activation.both else hidden * up, down)

    def head_loss(self, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Return the summed cross-entropy in nats of the logits x·Eᵀ.

        Parameters: `x` [rows, width]; `weight` [vocabulary, width], E; `targets` [rows]. Raises
        IndexError for a target that is no token.
        """
        return F.cross_entropy(F.linear(x, weight), targets, reduction="sum")


def shift(k: Tensor, last: Tensor | None) -> Tensor:
    """Take the second half of each key of k [batch, kv_heads, length, head_width] one further on.

    `last`, the keys of the position before the first; None at the beginning of a text, where the
    first position keeps its own. So one head can look for what *followed* a token like its own, the
    step that an induction head else learns from two layers (Olsson et al. 2022).
    """
    before = torch.cat([k[:, :, :1] if last is None else last, k[:, :, :-1]], dim=2)
    half = k.shape[-1] // 2
    return torch.cat([k[..., :half], before[..., half:]], dim=-1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Apply RoPE to x [batch, heads, length, head_width], turning 2i with 2i + 1.

    `turn` [length, head_width] alternates cosine and sine of each position and pair.
    """
    even, odd, cosine, sine = x[..., ::2], x[..., 1::2], turn[..., ::2], turn[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
