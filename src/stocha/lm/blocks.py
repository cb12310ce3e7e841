"""How the zeros of a trained model lie: in blocks of neurons, over a batch, in groups of four.

A GPU skips what is zero in one piece: a block of neurons, for all tokens of a batch at once. From
the masks of the model in the package follows the largest speed-up of its feed-forward layers that
each way allows. Chapter *What a GPU can do with it*.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import pandas as pd
import torch
from tokenizers import Tokenizer
from torch import Tensor

from stocha.base.parameters import check, parameter
from stocha.base.result import Progress, Result
from stocha.lm import pretrained
from stocha.lm.corpus import PythonPackages
from stocha.lm.evaluation import zeros

AS_TRAINED, SORTED, DEALT = "as trained", "by activity", "dealt out"
"""Orders of a layer's neurons: its function is the same in each."""


@dataclass(frozen=True)
class Config:
    """The texts, and the pieces in which zeros are looked for."""

    documents: int = parameter(112, "files that the model was not trained on", "[4, inf)", smoke=8)
    tokens: int = parameter(256, "tokens of each, from its beginning", "[1, 256]", smoke=32)
    blocks: tuple[int, ...] = parameter((1, 2, 4, 8, 16, 32), "neurons in a block", "[1, inf)")
    batches: tuple[int, ...] = parameter(
        (1, 2, 4, 8, 16), "tokens at once", "[1, inf)", smoke=(1, 2)
    )

    def __post_init__(self) -> None:
        check(self)
        for name in ("documents", "tokens"):
            if (value := getattr(self, name)) < max(self.batches):
                raise ValueError(f"{name}={value}: allowed: at least the largest batch")


def run(config: Config, progress: Progress | None = None) -> Result:
    """Read the texts through the model, and say of every text what could be skipped.

    An order of neurons comes from the other half of the texts. Returns tables `blocks`
    (order, block, text: share of neurons in blocks that are zero whole, at one token), `batches`
    (kind, tokens, text: share of neurons that are zero at all tokens, of one text in a row or of as
    many texts) and `fours` (order, text: share of groups of four with two active at most, and of
    neurons that are active beyond two of their group), means over layers, and metrics `sparsity`,
    `layers` and `neurons`.
    """
    model, tokenizer = pretrained.load()
    ids = torch.tensor(list(islice(_texts(tokenizer, config.tokens + 1), config.documents)))
    if len(ids) < config.documents:
        raise ValueError(f"documents={config.documents}: allowed: up to {len(ids)}")
    masks = [mask.unflatten(0, (len(ids), -1)) for mask in zeros(model, ids)]
    blocks: list[dict[str, object]] = []
    fours: list[dict[str, object]] = []
    for name in (AS_TRAINED, SORTED, DEALT):
        own = [_ordered(name, zero) for zero in masks]
        for size in config.blocks if name != DEALT else ():
            shares = _mean(own, lambda zero, size=size: _grouped(zero, size).all(-1))
            blocks += _rows(shares, order=name, block=size)
        if name != SORTED:
            active = [(~_grouped(zero, 4)).sum(-1) for zero in own]
            fits = _mean(active, lambda count: count <= 2)
            beyond = _mean(active, lambda count: (count - 2).clamp(min=0) / 4)
            fours += [a | b for a, b in zip(_rows(fits, "fit", order=name),
                                            _rows(beyond, "beyond"), strict=True)]  # fmt: skip
    batches: list[dict[str, object]] = []
    for size in config.batches:
        in_a_row = _mean(masks, lambda zero, size=size: _cut(zero, 1, size).all(2))
        batches += _rows(in_a_row, kind="of one text", tokens=size)
        apart = _mean(masks, lambda zero, size=size: _cut(zero, 0, size).all(1))
        batches += _rows(apart, kind="of as many texts", tokens=size)
    if progress:
        progress(1, 1, "masks")
    tables = {"blocks": blocks, "batches": batches, "fours": fours}
    metrics = {
        "sparsity": float(_mean(masks, lambda zero: zero).mean()),
        "layers": len(masks),
        "neurons": masks[0].shape[-1],
    }
    return Result({name: pd.DataFrame(rows) for name, rows in tables.items()}, metrics)


def _texts(tokenizer: Tokenizer, length: int) -> Iterator[list[int]]:
    """The beginnings of files that the model was not trained on, in tokens."""
    for document in PythonPackages().documents():
        if document.split != "train":
            ids = tokenizer.encode(document.text).ids
            if len(ids) >= length:
                yield ids[:length]


def _ordered(name: str, zero: Tensor) -> Tensor:
    """[texts, tokens, neurons] in the order that each half of the texts gives the other."""
    first, second = zero.chunk(2)
    return torch.cat([first[..., _order(name, second)], second[..., _order(name, first)]])


def _order(name: str, zero: Tensor) -> Tensor:
    """Places of a layer's neurons; `zero` [texts, tokens, neurons] says how active each is."""
    neurons = zero.shape[-1]
    if name == AS_TRAINED:
        return torch.arange(neurons)
    order = zero.float().mean((0, 1)).argsort(stable=True)
    if name == SORTED:
        return order
    whole = neurons // 4 * 4  # each group of four has one of every quarter
    return torch.cat([order[:whole].view(4, -1).T.flatten(), order[whole:]])


def _grouped(zero: Tensor, size: int) -> Tensor:
    """[..., neurons] as [..., blocks, size]; what is left over at the end fills no block."""
    whole = zero.shape[-1] // size * size
    return zero[..., :whole].unflatten(-1, (-1, size))


def _cut(zero: Tensor, dimension: int, size: int) -> Tensor:
    """A dimension as (batches, size), without what fills no batch."""
    whole = zero.shape[dimension] // size * size
    return zero.narrow(dimension, 0, whole).unflatten(dimension, (-1, size))


def _mean(layers: list[Tensor], share: Callable[[Tensor], Tensor]) -> Tensor:
    """A share of every text (or batch of texts), a mean over layers, tokens and neurons."""
    return torch.stack([share(zero).float().flatten(1).mean(1) for zero in layers]).mean(0)


def _rows(values: Tensor, name: str = "skipped", **about: object) -> list[dict[str, object]]:
    return [about | {"text": text, name: float(one)} for text, one in enumerate(values)]
