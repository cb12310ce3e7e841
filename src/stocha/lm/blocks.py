"""How the zeros of a trained model lie: in blocks of neurons, over a batch, in groups of four.

A GPU skips what is zero in one piece: a block of neurons, for all tokens of a batch at once. From
the masks of the model in the package follows the largest speed-up of its feed-forward layers that
each way allows. Chapter *What a GPU can do with it*.
"""

from collections.abc import Iterable, Iterator
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
    masks = [mask.view(len(ids), -1, mask.shape[1]) for mask in zeros(model, ids)]
    blocks: list[dict[str, object]] = []
    fours: list[dict[str, object]] = []
    for name in (AS_TRAINED, SORTED, DEALT):
        own = [_ordered(name, zero) for zero in masks]
        for size in config.blocks if name != DEALT else ():
            skipped = _mean(_cut(zero, 2, size).all(3) for zero in own)
            blocks += _rows({"skipped": skipped}, order=name, block=size)
        if name != SORTED:
            active = [(~_cut(zero, 2, 4)).sum(3) for zero in own]
            shares = {
                "fit": _mean(count <= 2 for count in active),
                "beyond": _mean((count - 2).clamp(min=0) / 4 for count in active),
            }
            fours += _rows(shares, order=name)
    batches: list[dict[str, object]] = []
    for size in config.batches:
        kinds = {"of one text": 1, "of as many texts": 0}
        for kind, dimension in kinds.items():
            skipped = _mean(_cut(zero, dimension, size).all(dimension + 1) for zero in masks)
            batches += _rows({"skipped": skipped}, kind=kind, tokens=size)
    if progress:
        progress(1, 1, "masks")
    tables = {"blocks": blocks, "batches": batches, "fours": fours}
    metrics = {
        "sparsity": float(_mean(masks).mean()),
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


def _cut(zero: Tensor, dimension: int, size: int) -> Tensor:
    """A dimension as (groups, size), without what is left over at its end and fills no group."""
    kept = zero.narrow(dimension, 0, zero.shape[dimension] // size * size)
    return kept.reshape(*kept.shape[:dimension], -1, size, *kept.shape[dimension + 1 :])


def _mean(shares: Iterable[Tensor]) -> Tensor:
    """A layer's shares each: of every text (or batch of texts), a mean over the rest and layers."""
    return torch.stack([share.float().flatten(1).mean(1) for share in shares]).mean(0)


def _rows(shares: dict[str, Tensor], **about: object) -> list[dict[str, object]]:
    columns = {name: values.tolist() for name, values in shares.items()}
    each = zip(*columns.values(), strict=True)
    return [
        about | {"text": n} | dict(zip(columns, row, strict=True)) for n, row in enumerate(each)
    ]
