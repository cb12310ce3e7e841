"""Decoding on the CPU with feed-forward layers that skip the weights of inactive neurons."""

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stocha.hf.exchange import current, layers
from stocha.sparse.ffn import ACTIVATIONS, BATCH, SparseFFN

_numbers = itertools.count()
_LAYERS: "weakref.WeakValueDictionary[int, SparseMLP]" = weakref.WeakValueDictionary()


@torch.library.custom_op("stocha::ffn", mutates_args=())
def _ffn(x: Tensor, number: int) -> Tensor:
    """Apply the layer of that number; to `torch.compile` one operation, so a step stays whole."""
    return _LAYERS[number].ffn(x.float()).to(x.dtype)  # type: ignore[no-any-return]


@_ffn.register_fake
def _(x: Tensor, number: int) -> Tensor:
    return torch.empty_like(x)


class SparseMLP(nn.Module):
    """A model's own feed-forward layer, read sparsely while it decodes.

    Parameters: `mlp`, whose four modules it keeps by name, so that the model's parameters keep
    theirs; `ffn`, the same weights laid out for sparse reading, which may be exchanged for a
    variant of itself at any time. forward(x), x [..., width]: many inputs at once, as in a prompt,
    and training go through the dense modules, whose products of matrices read each weight once for
    all of them.
    """

    def __init__(self, mlp: Any, ffn: SparseFFN) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = mlp.gate_proj, mlp.up_proj
        self.down_proj, self.act_fn = mlp.down_proj, mlp.act_fn
        self.ffn = ffn
        self.train(mlp.training)
        self._count()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._count()

    def _count(self) -> None:
        self.number = next(_numbers)
        _LAYERS[self.number] = self

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.numel() // x.shape[-1] > BATCH:
            return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]
        if x.requires_grad and torch.is_grad_enabled():
            return self.ffn(x)  # type: ignore[no-any-return]  # refuses it
        return _ffn(x, self.number)  # type: ignore[no-any-return]


def sparse(model: PreTrainedModel, **options: Any) -> PreTrainedModel:
    """Make a model on the CPU decode with `SparseFFN` layers, in place; `model.generate` as usual.

    Parameters: `model` with ReLU or ReLU², float32 or bfloat16 (with SiLU too, where `threshold`
    makes it an approximation); `options` of `SparseFFN`: method, threshold, threads,
    weights, break_even. Where the break-even points are to be measured, the first layer's stand for
    all.
    ReLU's are exact: what is skipped is zero. The sums are taken in another order than in a dense
    product, hence differ from it in the last bits. The sparse layers hold a copy of the weights:
    what changes in the model afterwards does not reach them.
    Returns the model. Raises ValueError for another architecture, activation, device or dtype.
    Chapters *The sparse FFN, explained* and *Decoding, end to end*.
    """
    activation = current(model)
    if activation not in ACTIVATIONS or (activation == "silu" and not options.get("threshold")):
        allowed = "relu, relu2; silu with threshold=… above 0"
        raise ValueError(f"activation={activation}: nothing to skip; allowed: {allowed}")
    ffns: list[SparseFFN] = []
    for mlp in layers(model):
        weights = (mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        ffns.append(SparseFFN(*weights, activation=activation, **options))
        options.setdefault("break_even", ffns[0].break_even)
    return place(model, ffns)


def place(model: PreTrainedModel, ffns: Sequence[SparseFFN]) -> PreTrainedModel:
    """Put `ffns`, one a layer, into `model` as its `SparseMLP`s, and return it."""
    own = {id(m): SparseMLP(m, ffn) for m, ffn in zip(layers(model), ffns, strict=True)}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in own:
                setattr(parent, name, own[id(child)])
    model.train(False)
    return model
