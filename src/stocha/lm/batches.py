"""Batch t as a pure function of (seed, t): nothing to store, nothing to restore."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stocha.base.streams import generator


@dataclass
class Batches:
    """Windows of `context` + 1 tokens, in a new random order every epoch.

    The order of epoch e is a permutation drawn from the stream (seed, "order", e); a window is
    visited once an epoch. Raises ValueError if the corpus is shorter than one window.
    """

    tokens: NDArray[np.uint16]
    context: int
    batch: int
    seed: int
    _orders: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.windows < 1:
            raise ValueError(
                f"context={self.context}: longer than the corpus of {len(self.tokens)} tokens"
            )

    @property
    def windows(self) -> int:
        """Number of disjoint windows in the corpus."""
        return (len(self.tokens) - 1) // self.context

    def at(self, step: int, rows: range | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [rows, context] of `step`; `rows` of the batch, default all."""
        first = step * self.batch
        picked = [self._window(first + row) for row in (rows or range(self.batch))]
        starts = np.array(picked)[:, None] * self.context
        ids = self.tokens[starts + np.arange(self.context + 1)].astype(np.int64)
        both = torch.from_numpy(ids)
        return both[:, :-1], both[:, 1:]

    def _window(self, position: int) -> int:
        epoch, place = divmod(position, self.windows)
        if epoch not in self._orders:
            source = generator(self.seed, "order", epoch)
            # two epochs can meet in one batch; older ones are not needed again
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = torch.randperm(self.windows, generator=source)
        return int(self._orders[epoch][place])
