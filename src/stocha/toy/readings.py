"""One reading of what the toy post did: its five activations at one bottleneck.

The unit of the search `sweeps/toy_readings.yml`; chapter 17_reading, page *Which set-up*.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stocha.arms import Constant, Phase
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.config import ToyConfig, Training
from stocha.toy.ensemble import train_all
from stocha.toy.records import QUANTILES, History

ACTIVATIONS = ("relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch")
ALL = (1, 2, 3, 4)
GATED = ("learnable_stoch", "gumbel_stoch")
LAST = 10
"""Epochs averaged at either end: one epoch of a stochastic activation is one draw."""
EARLY = (1, 2, 5, 10, 20)
"""Epochs at which a gate is seen on its way; by the last, one that converges quickly has."""


@dataclass(frozen=True)
class Reading(Training):
    """What the post leaves open: widths, decay, gate and draw, beside those in `Training`.

    The defaults are the reading found (chapter 19_which_setup): decoupled decay.
    """

    optimizer: str = parameter(
        "adamw", "its decay: L2 in the gradient (adam) or decoupled (adamw)", "{adam, adamw}"
    )
    layers: int = parameter(4, "hidden layers", "[1, inf)")
    wide: int | None = parameter(None, "units of layers that are no bottleneck", "[1, inf)")
    narrow: tuple[int, ...] = parameter(
        ALL, "which layers are, from 1, where `wide` is given; else all", "[1, inf)"
    )
    gate_decays: bool = parameter(True, "the decay acts on the gates' parameters too")
    gate_input: str = parameter(
        "element", "what a gate sees: one pre-activation or its layer", "{element, layer}"
    )
    gate_start: str = parameter("random", "gates before training", "{random, even}")
    draw: str = parameter("all", "where an activation mixes: everywhere or x < 0", "{all, below}")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wide is None and self.narrow != ALL:
            raise ValueError(f"wide=None: allowed: an int, with narrow={self.narrow}")
        if self.wide is not None and max(self.narrow) > self.layers:
            raise ValueError(f"narrow={self.narrow}: allowed: layers from 1 to {self.layers}")

    def widths(self, bottleneck: int) -> tuple[int, ...]:
        """Units of each hidden layer."""
        wide = self.wide or bottleneck
        every = range(1, self.layers + 1)
        return tuple(bottleneck if layer in self.narrow else wide for layer in every)

    def phase(self, activation: str, **own: Any) -> Phase:
        """An activation as this reading has it, with options of its `own`."""
        options: dict[str, Any] = {}
        if activation == "stocha" or activation in GATED:
            options["positive"] = {"all": "mixed", "below": "identity"}[self.draw]
        if activation in GATED:
            options |= {"input": self.gate_input, "start": self.gate_start}
        return Phase.of(activation, **options | own)

    def network(self, bottleneck: int, arm: str, **own: Any) -> ToyConfig:
        """The ensemble that trains with an arm at a bottleneck, changed by `own`."""
        decay = None if self.gate_decays else 0.0
        return self.ensemble(
            **{"arm": arm, "widths": self.widths(bottleneck), "gate_weight_decay": decay} | own
        )


@dataclass(frozen=True)
class Config(Reading):
    """One reading at one bottleneck."""

    runs: int = parameter(20, "networks of each ensemble", "[1, inf)", smoke=2, book=5)
    width: int = parameter(4, "units of the bottleneck", "[1, inf)")
    workers: int = parameter(1, "processes to train in", "[1, inf)")

    def ensembles(self) -> list[ToyConfig]:
        """The ensemble of each activation."""
        return [self.network(self.width, Constant(self.phase(name)).name) for name in ACTIVATIONS]


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train the five ensembles; the table `networks` is `statistics` of each."""
    histories = train_all(
        config.ensembles(),
        workers=config.workers,
        watch=lambda done, _: progress and progress(done, len(ACTIVATIONS), "ensembles"),
    )
    networks = pd.concat([statistics(history) for history in histories], ignore_index=True)
    return Result({"networks": networks.round(6)}, {"dead": float(networks["dead"].mean())})


def statistics(history: History) -> pd.DataFrame:
    """What the claims ask of each network: a row a network and layer.

    Columns, all over validation data: `train_loss`, `val_loss`, means of the last epochs, nats;
    `sparsity_…` of the layer in the `first` epoch, `early` and `last` (means of as many epochs) and
    on average (`mean`); `alpha_…` of the layer's mean α: at the `start`, before training, and after
    each of the `EARLY` epochs; the mean from the last of those on (`later`); in the `last` epochs;
    its `travel`, the furthest that it was from its start; and `spread`, the width of its central
    90 % over inputs in the last epochs. NaN without a gate.
    """
    main = history.config.thresholds.index(history.config.threshold)
    sparsity = history.sparsity[:, 1:, :, main]
    alpha, quantiles = history.gate[..., 0], history.gate[..., 1:]
    low, high = QUANTILES.index(0.05), QUANTILES.index(0.95)
    seen = {f"alpha_{epoch}": min(epoch, history.config.epochs) for epoch in EARLY}
    layers = {
        "sparsity_first": sparsity[:, 0],
        "sparsity_early": sparsity[:, :LAST].mean(1),
        "sparsity_last": sparsity[:, -LAST:].mean(1),
        "sparsity_mean": sparsity.mean(1),
        "alpha_start": alpha[:, 0],
        **{name: alpha[:, epoch] for name, epoch in seen.items()},
        "alpha_later": alpha[:, max(seen.values()) :].mean(1),
        "alpha_last": alpha[:, -LAST:].mean(1),
        "alpha_travel": np.abs(alpha - alpha[:, :1]).max(1),
        "alpha_spread": (quantiles[..., high] - quantiles[..., low])[:, -LAST:].mean(1),
    }
    runs, count = len(history.seeds), history.config.n_layers

    def spread(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.repeat(values, count)

    table: dict[str, NDArray[np.generic]] = {
        "network": spread(np.asarray(history.seeds)),
        "layer": np.tile(np.arange(1, count + 1), runs),
        "dead": spread(history.dead),
        "train_loss": spread(history.train_loss[:, 1:][:, -LAST:].mean(1)),
        "val_loss": spread(history.val_loss[:, 1:][:, -LAST:].mean(1)),
    }
    table |= {name: np.ravel(values) for name, values in layers.items()}
    frame = pd.DataFrame(table)
    frame.insert(0, "activation", history.config.activation)
    return frame
