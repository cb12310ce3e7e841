"""The toy post's experiment, by the reading found: five activations at two bottlenecks.

Chapters 11_toy_classification and 12_gates; claims T1 to T8 (`sweeps/toy_confirm.yml`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from stocha.arms import Constant
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.config import ToyConfig
from stocha.toy.ensemble import train_all
from stocha.toy.experiment import NAMES
from stocha.toy.readings import ACTIVATIONS, Reading, statistics
from stocha.toy.records import History

LINES = 20
"""Networks whose course is kept one by one; of all of them its mean and its spread are."""
MEASURES = ["train_loss", "val_loss", "sparsity", "alpha"]


@dataclass(frozen=True)
class Config(Reading):
    """The ensembles of both bottlenecks, on samples and seeds that the search did not use."""

    runs: int = parameter(100, "networks of each ensemble", "[1, inf)", smoke=2, book=5)
    seed: int = parameter(1000, "first network's seed; the others follow", "[0, 4294967295]")
    data_seed: int = parameter(11, "seed of the samples and of their split", "[0, 4294967295]")
    activations: tuple[str, ...] = parameter(ACTIVATIONS, "compared", f"{{{NAMES}}}")
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    granularity: str = parameter(
        "element", "StochA: what one draw covers", "{element, token, layer}"
    )
    temperature: float = parameter(1.0, "Gumbel StochA: of the relaxation", "(0, inf)")
    width: int = parameter(4, "units of the bottleneck", "[1, inf)")
    wider: int = parameter(16, "units of the bottleneck that can overfit", "[1, inf)")
    workers: int = parameter(2, "processes to train in", "[1, inf)", smoke=1)
    plots: bool = parameter(True, "draw the figures; tables are always written")

    def ensembles(self) -> dict[tuple[int, str], ToyConfig]:
        """The ensembles by bottleneck and activation."""
        own: dict[str, dict[str, Any]] = {
            "stocha": {"p": self.p, "granularity": self.granularity},
            "gumbel_stoch": {"temperature": self.temperature},
        }
        more = tuple(self.threshold * factor for factor in (0.001, 0.1, 10, 100))
        return {
            (width, name): self.network(
                width,
                Constant(self.phase(name, **own.get(name, {}))).name,
                more_thresholds=more,
            )
            for width, name in product((self.width, self.wider), self.activations)
        }


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train every ensemble.

    Returns the tables `networks` (`stocha.toy.readings.statistics`), `epochs` (of each of
    `MEASURES` over networks: mean, standard deviation, quartiles), `lines` (the first networks'
    own course, each epoch up to 20 and every fifth after), `gates` (mean and quantiles of α of each
    layer, averaged over networks) and `thresholds` (sparsity in the end), all by `bottleneck`.
    Sparsity is the first layer's; α, in `lines` and `epochs`, the mean over layers.
    """
    ensembles = config.ensembles()
    histories = train_all(
        list(ensembles.values()),
        workers=config.workers,
        watch=lambda done, _: progress and progress(done, len(ensembles), "ensembles"),
    )

    def collected(table: Callable[[History], pd.DataFrame]) -> pd.DataFrame:
        parts = []
        for (width, _), history in zip(ensembles, histories, strict=True):
            parts.append(table(history))
            parts[-1].insert(0, "bottleneck", width)
        whole = pd.concat(parts, ignore_index=True)
        return whole.round({name: 5 for name in whole if name != "threshold"})

    networks = collected(statistics)
    return Result(
        {
            "networks": networks,
            "epochs": collected(_epochs),
            "lines": collected(_lines),
            "gates": collected(_gates),
            "thresholds": collected(_thresholds),
        },
        {"dead": float(networks["dead"].mean())},
    )


def course(history: History) -> pd.DataFrame:
    """`MEASURES` of every network after every epoch."""
    sparsity = history.layer_sparsity()
    first = (sparsity["layer"] == 1) & np.isclose(sparsity["threshold"], history.config.threshold)
    alpha = history.gates().groupby(["run", "epoch"])["mean"].mean()
    table = history.curves().drop(columns="val_accuracy").set_index(["run", "epoch"])
    table["sparsity"] = sparsity[first].set_index(["run", "epoch"])["sparsity"]
    return table.assign(alpha=alpha).reset_index()


def _lines(history: History) -> pd.DataFrame:
    table = course(history)
    shown = (table["epoch"] <= 20) | (table["epoch"] % 5 == 0)
    return table[shown & (table["run"] < LINES)]


def _epochs(history: History) -> pd.DataFrame:
    long = course(history).melt(["activation", "run", "epoch"], MEASURES, "measure").dropna()
    groups = long.groupby(["activation", "measure", "epoch"], sort=False)["value"]
    quartiles = {"low": 0.25, "median": 0.5, "high": 0.75}
    return (
        groups.agg(["mean", "std"])
        .assign(**{name: groups.quantile(share) for name, share in quartiles.items()})
        .reset_index()
    )


def _gates(history: History) -> pd.DataFrame:
    gates = history.gates().drop(columns="run").dropna(subset="mean")
    return gates.groupby(["activation", "layer", "epoch"], sort=False).mean().reset_index()


def _thresholds(history: History) -> pd.DataFrame:
    last = history.layer_sparsity().query("epoch == @history.config.epochs")
    by = ["activation", "layer", "threshold"]
    return last.groupby(by)["sparsity"].mean().reset_index()
