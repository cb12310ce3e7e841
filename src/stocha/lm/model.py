"""The decoder: pre-norm, grouped-query attention with RoPE, gated feed-forward, any activation."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stocha.activations import Activation, make
from stocha.base.streams import Generators, generator
from stocha.lm.config import ModelConfig
from stocha.lm.fast.operations import Fused
from stocha.lm.operations import KVCache, Plain

LayerNoise = Callable[[int], Generators]
"""Layer → the generators of its activation, one per sequence of the batch."""


def noise(
    seed: int, rows: range, *moment: str | int, device: str | torch.device = "cpu"
) -> LayerNoise:
    """Return the activation noise of the sequences `rows` at a `moment`: one stream each.

    A stream is keyed by (seed, moment, layer, row), so the draws do not depend on how a batch is
    cut into micro-batches and ranks, nor on where a run was resumed. The moment is the step in
    training; an evaluation's has no step, so every model and step meets the same draws.
    """
    return lambda layer: [
        generator(seed, "activation", *moment, layer, row, device=device) for row in rows
    ]


class Norm(nn.Module):
    """RMSNorm with a learned scale."""

    def __init__(self, config: ModelConfig, operations: Plain) -> None:
        super().__init__()
        self.eps, self.operations = config.eps, operations
        self.weight = nn.Parameter(torch.ones(config.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.operations.rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention of `heads` query heads over `kv_heads` shared key-value heads."""

    def __init__(self, config: ModelConfig, operations: Plain) -> None:
        super().__init__()
        self.config, self.operations = config, operations
        self.qkv = nn.Linear(config.width, config.qkv, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, cache: KVCache | None = None) -> Tensor:
        y: Tensor = self.out(self.operations.attention(self.qkv(x), turn, self.config, cache))
        return y


class FeedForward(nn.Module):
    """y = down(act(gate(x)) ⊙ up(x)); gate and up are one stacked matrix.

    `activation` may be replaced at any time; `probe`, if set, is called with the activation's
    output [batch, length, ffn] in every forward pass.
    """

    def __init__(self, config: ModelConfig, activation: Activation, operations: Plain) -> None:
        super().__init__()
        self.operations = operations
        self.gate_up = nn.Linear(config.width, 2 * config.ffn, bias=False)
        self.down = nn.Linear(config.ffn, config.width, bias=False)
        self.activation = activation
        self.probe: Callable[[Tensor], None] | None = None

    def forward(self, x: Tensor, noise: Generators | None = None) -> Tensor:
        return self.operations.gated_ffn(
            x, self.gate_up.weight, self.down.weight, self.activation, noise, self.probe
        )


class Block(nn.Module):
    """Attention, then the feed-forward, each of the norm of x and added to x."""

    def __init__(self, config: ModelConfig, activation: Activation, operations: Plain) -> None:
        super().__init__()
        self.attention_norm = Norm(config, operations)
        self.attention = Attention(config, operations)
        self.ffn_norm = Norm(config, operations)
        self.ffn = FeedForward(config, activation, operations)

    def forward(
        self,
        x: Tensor,
        turn: Tensor,
        noise: Generators | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turn, cache)
        y: Tensor = x + self.ffn(self.ffn_norm(x), noise)
        return y


class Decoder(nn.Module):
    """A Llama-family language model whose activation can be exchanged.

    Parameters: `config`; `activation`, its name or a module, as in `use`; `seed` of the
    initialisation: every matrix from N(0, 0.02²), those that write to the residual stream (`out`,
    `down`) divided by √(2·layers), norms 1; `operations`, the set that it is computed with, by
    default the one for a CPU (`stocha.lm.fast`): results agree to rounding. Chapter *Protocol*.
    """

    def __init__(
        self,
        config: ModelConfig,
        activation: str | Activation = "silu",
        seed: int = 0,
        operations: Plain | None = None,
    ) -> None:
        super().__init__()
        self.config, self.operations = config, operations or Fused()
        first = make(activation) if isinstance(activation, str) else activation
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(
            Block(config, own, self.operations) for own in _each(first, config.layers)
        )
        self.norm = Norm(config, self.operations)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        angle = torch.outer(
            torch.arange(config.context, dtype=torch.float32),
            config.rope_base ** (-torch.arange(0, config.head_width, 2) / config.head_width),
        )
        turn = torch.view_as_real(torch.polar(torch.ones_like(angle), angle)).flatten(1)
        self.turn: Tensor
        self.register_buffer("turn", turn, persistent=False)
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
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.turn.device

    @property
    def layers(self) -> list[Block]:
        """The blocks, from the embedding up."""
        return cast(list[Block], list(self.blocks))

    @property
    def activation(self) -> Activation:
        """The activation in force, as the first layer has it."""
        return self.layers[0].ffn.activation

    @property
    def activations(self) -> list[Activation]:
        """The activation in force in every layer; what it learns is the layer's own."""
        return [block.ffn.activation for block in self.layers]

    def use(self, activation: Activation | Sequence[Activation]) -> None:
        """Put `activation` in force in every layer, in the model's train or eval mode.

        All layers share it, or, where it learns, each but the first has a copy. A sequence has one
        for each layer.
        """
        each = _each(activation, len(self.layers))
        for block, own in zip(self.layers, each, strict=True):
            block.ffn.activation = own.train(self.training)

    def cache(self, batch: int) -> list[KVCache]:
        """Return an empty cache of every layer for `batch` sequences."""
        return [KVCache(self.config, batch, self.turn) for _ in self.blocks]

    def hidden(
        self, ids: Tensor, noise: LayerNoise | None = None, cache: Sequence[KVCache] = ()
    ) -> Tensor:
        """Return the last normed hidden state [batch, length, width] of ids [batch, length].

        Parameters: `noise`, needed if the activation draws; `cache`, which is extended by `ids`.
        Raises ValueError if the sequence exceeds the context.
        """
        start = cache[0].length if cache else 0
        end = start + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"length={end}: the context is {self.config.context} tokens")
        if self.activation.stochastic and noise is None:
            raise ValueError("noise=None: the activation in force draws and needs generators")
        x, turn = self.embedding(ids.to(self.device)), self.turn[start:end]
        for layer, block in enumerate(self.layers):
            drawn = noise(layer) if noise is not None and self.activation.stochastic else None
            x = block(x, turn, drawn, cache[layer] if cache else None)
        out: Tensor = self.norm(x)
        return out

    def forward(
        self, ids: Tensor, noise: LayerNoise | None = None, cache: Sequence[KVCache] = ()
    ) -> Tensor:
        """Return the logits [batch, length, vocabulary]; parameters as in `hidden`."""
        return F.linear(self.hidden(ids, noise, cache), self.head.weight)

    def loss(self, ids: Tensor, targets: Tensor, noise: LayerNoise | None = None) -> Tensor:
        """Return the summed cross-entropy in nats of `targets` [batch, length]."""
        x = self.hidden(ids, noise).flatten(0, 1)
        return self.operations.head_loss(x, self.head.weight, targets.flatten().to(x.device))


def _each(activation: Activation | Sequence[Activation], layers: int) -> Sequence[Activation]:
    """What every layer gets: see `Decoder.use`."""
    if isinstance(activation, Sequence):
        return activation
    if activation.learnt is None:
        return [activation] * layers
    return [activation, *(deepcopy(activation) for _ in range(layers - 1))]
