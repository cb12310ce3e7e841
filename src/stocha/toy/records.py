"""What a toy training leaves behind: arrays while it runs, tidy tables afterwards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stocha.toy.config import ToyConfig

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass
class History:
    """Everything recorded of R runs over E epochs; index 0 is the untrained network.

    Attributes:
        config: what was trained.
        seeds: each run's seed `[R]`; a run's number in the tables is `seed - config.seed`.
        train_loss: mean over an epoch's samples of the loss met while training, nats
            `[R, E + 1]`; NaN at epoch 0.
        val_loss, val_accuracy: cross-entropy in nats and share of correct classes `[R, E + 1]`.
        sparsity: share of activations below each threshold `[R, E + 1, layers, thresholds]`.
        gate: mean of the gate α and its `QUANTILES` `[R, E + 1, layers, 1 + quantiles]`; NaN where
            the activation has no gate.
        constant: all validation samples are given the same class `[R, E + 1]`.
        zero_layer: the whole hidden layer is below `config.threshold` on all validation samples
            `[R, E + 1, layers]`.
        swapped: for each activation of `config.inference`, what validation with it gave.
        seconds: wall time of the training, recording included.

    Chapter: 11_toy_classification.
    """

    config: ToyConfig
    seeds: tuple[int, ...]
    train_loss: Floats = field(init=False)
    val_loss: Floats = field(init=False)
    val_accuracy: Floats = field(init=False)
    sparsity: Floats = field(init=False)
    gate: Floats = field(init=False)
    constant: Bools = field(init=False)
    zero_layer: Bools = field(init=False)
    swapped: dict[str, "History"] = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        c, shape = self.config, (len(self.seeds), self.config.epochs + 1)
        self.train_loss = np.full(shape, np.nan)
        self.val_loss = np.full(shape, np.nan)
        self.val_accuracy = np.full(shape, np.nan)
        self.sparsity = np.full((*shape, c.n_layers, len(c.thresholds)), np.nan)
        self.gate = np.full((*shape, c.n_layers, 1 + len(QUANTILES)), np.nan)
        self.constant = np.zeros(shape, dtype=np.bool_)
        self.zero_layer = np.zeros((*shape, c.n_layers), dtype=np.bool_)
        plain = replace(c, inference=())
        self.swapped = {name: History(plain, self.seeds) for name in c.inference}

    @torch.no_grad()
    def observe(
        self,
        epoch: int,
        logits: Tensor,
        labels: Tensor,
        hidden: Sequence[Tensor],
        gates: Sequence[Tensor | None],
    ) -> None:
        """Record a validation pass: logits `[R, N, C]`, labels `[N]`, hidden, α `[R, N, width]`."""
        runs, samples, classes = logits.shape
        targets = labels.expand(runs, samples)
        loss = F.cross_entropy(logits.reshape(-1, classes), targets.reshape(-1), reduction="none")
        self.val_loss[:, epoch] = loss.view(runs, samples).double().mean(1).cpu()
        predicted = logits.max(-1).indices  # ten times faster than argmax over two classes
        self.val_accuracy[:, epoch] = (predicted == targets).double().mean(1).cpu()
        self.constant[:, epoch] = (predicted == predicted[:, :1]).all(1).cpu()
        for layer, (h, alpha) in enumerate(zip(hidden, gates, strict=True)):
            self.sparsity[:, epoch, layer] = sparsity(h, self.config.thresholds)
            if alpha is not None:
                self.gate[:, epoch, layer] = gate_statistics(alpha)
        main = self.config.thresholds.index(self.config.threshold)
        self.zero_layer[:, epoch] = self.sparsity[:, epoch, :, main] == 1

    @property
    def dead(self) -> Bools:
        """Runs dead after the last epoch `[R]`: one class for all samples, or a silent layer.

        A silent layer is one that `zero_layer` marks: what follows it no longer sees the input.
        """
        dead: Bools = self.constant[:, -1] | self.zero_layer[:, -1].any(1)
        return dead

    @property
    def run_numbers(self) -> NDArray[np.int64]:
        """Each run's number in the tables `[R]`."""
        return np.asarray(self.seeds, dtype=np.int64) - self.config.seed

    def curves(self) -> pd.DataFrame:
        """One row a run and epoch: train_loss, val_loss (nats), val_accuracy."""
        return self._table(
            [("epoch", range(self.config.epochs + 1))],
            train_loss=self.train_loss,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )

    def layer_sparsity(self) -> pd.DataFrame:
        """One row a run, epoch, layer (first = 1) and threshold: sparsity."""
        return self._table(
            [
                ("epoch", range(self.config.epochs + 1)),
                ("layer", range(1, self.config.n_layers + 1)),
                ("threshold", self.config.thresholds),
            ],
            sparsity=self.sparsity,
        )

    def gates(self) -> pd.DataFrame:
        """One row a run, epoch and layer: mean and quantiles of α over validation data."""
        columns = ("mean", *(f"q{round(100 * q):02d}" for q in QUANTILES))
        return self._table(
            [
                ("epoch", range(self.config.epochs + 1)),
                ("layer", range(1, self.config.n_layers + 1)),
            ],
            **{name: self.gate[..., i] for i, name in enumerate(columns)},
        )

    def runs(self) -> pd.DataFrame:
        """One row a run: seed, dead flag with its reasons, and the values after the last epoch."""
        main = self.config.thresholds.index(self.config.threshold)
        return self._table(
            [],
            seed=np.asarray(self.seeds),
            dead=self.dead,
            constant_prediction=self.constant[:, -1],
            zero_layers=self.zero_layer[:, -1].sum(1),
            train_loss=self.train_loss[:, -1],
            val_loss=self.val_loss[:, -1],
            val_accuracy=self.val_accuracy[:, -1],
            sparsity=self.sparsity[:, -1, 0, main],
        )

    def _table(
        self, axes: Sequence[tuple[str, Iterable[object]]], **values: NDArray[np.generic]
    ) -> pd.DataFrame:
        levels: list[tuple[str, Iterable[object]]] = [("run", self.run_numbers.tolist()), *axes]
        index = pd.MultiIndex.from_product(
            [list(level) for _, level in levels], names=[name for name, _ in levels]
        )
        table = pd.DataFrame({k: np.ravel(v) for k, v in values.items()}, index=index)
        table = table.reset_index()
        table.insert(0, "activation", self.config.activation)
        return table


def sparsity(h: Tensor, thresholds: Sequence[float]) -> Floats:
    """Share of h `[R, …]` with magnitude below each threshold `[R, thresholds]`."""
    # numpy counts an order of magnitude faster than torch here, a run at a time
    magnitudes = map(np.abs, h.cpu().numpy())
    below = [[np.count_nonzero(run < t) for t in thresholds] for run in magnitudes]
    return np.array(below) / h[0].numel()


def gate_statistics(alpha: Tensor) -> Floats:
    """Mean of α `[R, …]` and its `QUANTILES`, linearly interpolated `[R, 1 + quantiles]`."""
    # numpy sorts an order of magnitude faster than torch.quantile here
    ordered = np.sort(alpha.flatten(1).cpu().numpy(), axis=1).astype(np.float64)
    position = np.asarray(QUANTILES) * (ordered.shape[1] - 1)
    below = position.astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[1] - 1)
    quantiles = ordered[:, below] + (position - below) * (ordered[:, above] - ordered[:, below])
    return np.concatenate([ordered.mean(1, keepdims=True), quantiles], axis=1)


def stack(histories: Sequence[History]) -> History:
    """Join the histories of several runs of one configuration into one, in the order given.

    Raises:
        ValueError: no history, or histories of different configurations.
    """
    if not histories:
        raise ValueError("histories=[]: allowed: at least one")
    config = histories[0].config
    if any(h.config != config for h in histories):
        raise ValueError("histories: allowed: runs of one configuration")
    joined = History(config, tuple(seed for h in histories for seed in h.seeds))
    for f in fields(History):
        if isinstance(getattr(joined, f.name), np.ndarray):
            setattr(joined, f.name, np.concatenate([getattr(h, f.name) for h in histories]))
    for name in config.inference:
        joined.swapped[name] = stack([h.swapped[name] for h in histories])
    joined.seconds = sum(h.seconds for h in histories)
    return joined
