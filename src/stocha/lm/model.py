"""The decoder: pre-norm, grouped-query attention with RoPE, gated feed-forward, any activation."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations import Activation, make
from stocha.base.streams import Generators, generator
from stocha.lm.config import ModelConfig
from stocha.lm.fast import operations as fused

LayerNoise = Callable[[int], Generators]
"""Layer → the generators of its activation, one per sequence of the batch."""


class KVCache:
    """Keys and values of the positions seen so far, one pair of tensors a layer.

    `keys[i]` and `values[i]` are [batch, kv_heads, context, head_width]; `length` positions of
    them are filled. `last` [layers, batch, kv_heads, 1, head_width] are the keys of the position
    before the next one, not rotated, for `shift`.
    """

    def __init__(self, config: ModelConfig, batch: int) -> None:
        shape = (config.layers, batch, config.kv_heads, config.context, config.head_width)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.last = torch.zeros(*shape[:3], 1, config.head_width)
        self.length = 0


class Attention(nn.Module):
    """Causal attention of `heads` query heads over `kv_heads` shared key-value heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, config.qkv, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, turn: Tensor, cache: KVCache | None, layer: int, fast: bool
    ) -> Tensor:
        heads, kv_heads = self.config.heads, self.config.kv_heads
        qkv = self.qkv(x)
        if fast and cache is None:
            y = fused.attention(qkv, turn, heads, kv_heads, self.config.shifted_keys)
            return F.linear(y, self.out.weight)
        batch, length, _ = qkv.shape
        q, k, v = (
            qkv.view(batch, length, -1, self.config.head_width)
            .transpose(1, 2)
            .split([heads, kv_heads, kv_heads], dim=1)
        )
        if self.config.shifted_keys:
            own, k = k, shift(k, cache.last[layer] if cache is not None and cache.length else None)
            if cache is not None:
                cache.last[layer] = own[:, :, -1:]
        q, k = rotate(q, turn), rotate(k, turn)
        mask = None
        if cache is not None:
            start, end = cache.length, cache.length + length
            cache.keys[layer, :, :, start:end], cache.values[layer, :, :, start:end] = k, v
            k, v = cache.keys[layer, :, :, :end], cache.values[layer, :, :, :end]
            mask = torch.ones(length, end, dtype=torch.bool).tril_(start)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=heads != kv_heads
        )
        return F.linear(y.transpose(1, 2).reshape(batch, length, -1), self.out.weight)


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
    """Apply RoPE to x [batch, heads, length, head_width], pairing 2i with 2i + 1.

    `turn` [length, head_width/2] is the complex rotation of each position and pair.
    """
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)


class FeedForward(nn.Module):
    """y = down(act(gate(x)) ⊙ up(x)); gate and up are one stacked matrix.

    `activation` may be replaced at any time; `probe`, if set, is called with the activation's
    output [batch, length, ffn] in every forward pass.
    """

    def __init__(self, config: ModelConfig, activation: Activation) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.ffn, bias=False)
        self.down = nn.Linear(config.ffn, config.width, bias=False)
        self.activation = activation
        self.probe: Callable[[Tensor], None] | None = None

    def forward(self, x: Tensor, noise: Generators | None, fast: bool) -> Tensor:
        if fast and self.probe is None:
            how = fused.gate(self.activation, (*x.shape[:-1], self.down.in_features), noise)
            if how is not None:
                flat = x.view(-1, x.shape[-1])
                y = fused.gated_ffn(flat, self.gate_up.weight, self.down.weight, how)
                return y.view(x.shape)
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        hidden = self.activation(gate, noise)
        if self.probe is not None:
            self.probe(hidden)
        return F.linear(hidden * up, self.down.weight)


class Norm(nn.Module):
    """RMSNorm with a learned scale."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.width))
        self.eps = config.eps

    def forward(self, x: Tensor, fast: bool) -> Tensor:
        if fast:
            return fused.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

    def after(self, x: Tensor, more: Tensor | None, fast: bool) -> tuple[Tensor, Tensor]:
        """Return x + more, or x if that is None, and its norm."""
        if fast and more is not None:
            return fused.add_rms_norm(x, more, self.weight, self.eps)
        x = x if more is None else x + more
        return x, self(x, fast)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)).

    The last sum is left to the next norm: x comes in and goes out as two summands.
    """

    def __init__(self, config: ModelConfig, activation: Activation) -> None:
        super().__init__()
        self.attention_norm, self.attention = Norm(config), Attention(config)
        self.ffn_norm, self.ffn = Norm(config), FeedForward(config, activation)

    def forward(
        self,
        x: Tensor,
        more: Tensor | None,
        turn: Tensor,
        noise: Generators | None,
        cache: KVCache | None,
        layer: int,
        fast: bool,
    ) -> tuple[Tensor, Tensor]:
        x, normed = self.attention_norm.after(x, more, fast)
        x, normed = self.ffn_norm.after(x, self.attention(normed, turn, cache, layer, fast), fast)
        return x, self.ffn(normed, noise, fast)


class Decoder(nn.Module):
    """A Llama-family language model whose activation can be exchanged.

    Parameters: `config`; `activation`, its name or a module that every layer shares; `seed` of the
    initialisation: every matrix from N(0, 0.02²), those that write to the residual stream (`out`,
    `down`) divided by √(2·layers), norms 1. `fast` chooses `stocha.lm.fast` for CPU training over
    plain PyTorch; results agree to rounding. Chapter *Protocol*.
    """

    def __init__(
        self, config: ModelConfig, activation: str | Activation = "silu", seed: int = 0
    ) -> None:
        super().__init__()
        self.config, self.fast = config, True
        shared = make(activation) if isinstance(activation, str) else activation
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, shared) for _ in range(config.layers))
        self.norm = Norm(config)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        angle = torch.outer(
            torch.arange(config.context, dtype=torch.float32),
            config.rope_base ** (-torch.arange(0, config.head_width, 2) / config.head_width),
        )
        self.turn: Tensor
        self.register_buffer("turn", torch.polar(torch.ones_like(angle), angle), persistent=False)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        source = generator(seed, "init")
        residual = (2 * self.config.layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and "activation" not in name:
                std = 0.02 * (residual if name.endswith(("out.weight", "down.weight")) else 1)
                parameter.normal_(0, std, generator=source)

    @property
    def layers(self) -> list[Block]:
        """The blocks, from the embedding up."""
        return cast(list[Block], list(self.blocks))

    @property
    def activation(self) -> Activation:
        """The activation in force in every layer."""
        return self.layers[0].ffn.activation

    def use(self, activation: Activation) -> None:
        """Put `activation` in force in every layer, in the model's train or eval mode."""
        for block in self.layers:
            block.ffn.activation = activation
        activation.train(self.training)

    def hidden(
        self, ids: Tensor, noise: LayerNoise | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Return the last normed hidden state [batch, length, width] of ids [batch, length].

        Parameters: `noise`, needed if the activation draws; `cache`, whose length is advanced.
        Raises ValueError if the sequence exceeds the context.
        """
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"length={end}: the context is {self.config.context} tokens")
        if self.activation.stochastic and noise is None:
            raise ValueError("noise=None: the activation in force draws and needs generators")
        turn = self.turn[start:end]
        fast = self.fast and self.embedding.weight.dtype == torch.float32
        x, more = self.embedding(ids), None
        for layer, block in enumerate(self.layers):
            drawn = noise(layer) if noise is not None and self.activation.stochastic else None
            x, more = block(x, more, turn, drawn, cache, layer, fast)
        if cache is not None:
            cache.length = end
        out: Tensor = self.norm.after(x, more, fast)[1]
        return out

    def forward(
        self, ids: Tensor, noise: LayerNoise | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Return the logits [batch, length, vocabulary]; parameters as in `hidden`."""
        return F.linear(self.hidden(ids, noise, cache), self.head.weight)

    def loss(self, ids: Tensor, targets: Tensor, noise: LayerNoise | None = None) -> Tensor:
        """Return the summed cross-entropy in nats of `targets` [batch, length]."""
        x = self.hidden(ids, noise)
        if not self.fast:
            return F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten(), reduction="sum")
        return fused.head_loss(x.flatten(0, 1), self.head.weight, targets.flatten())
