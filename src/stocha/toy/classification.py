"""The toy post's experiment: its five activations, with and without decay, in two shapes.

Chapter 11_toy_classification; claims T1 to T5.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stocha.arms import Constant, Phase
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.config import ToyConfig, Training
from stocha.toy.ensemble import train_all
from stocha.toy.experiment import NAMES


@dataclass(frozen=True)
class Config(Training):
    """The five ensembles, their twins without decay, and those of another shape."""

    activations: tuple[str, ...] = parameter(
        ("relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch"), "compared", f"{{{NAMES}}}"
    )
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    positive: str = parameter("mixed", "StochA: reading of x ≥ 0", "{identity, silu, mixed}")
    granularity: str = parameter(
        "element", "StochA: what one draw covers", "{element, token, layer}"
    )
    temperature: float = parameter(1.0, "Gumbel StochA: of the relaxation", "(0, inf)")
    gate_input: str = parameter(
        "element", "what a gate sees: one pre-activation or its layer", "{element, layer}"
    )
    width: int = parameter(4, "units of each hidden layer", "[1, inf)")
    layers: int = parameter(4, "hidden layers", "[1, inf)")
    other_widths: tuple[int, ...] = parameter(
        (30, 30, 4, 30), "second reading: one narrow layer among wide", "[1, inf)"
    )
    workers: int = parameter(2, "processes to train in", "[1, inf)", smoke=1)
    plots: bool = parameter(True, "draw the figures; tables are always written")

    def arm(self, activation: str) -> str:
        """The arm of one of the activations."""
        options = {
            "stocha": ("p", "positive", "granularity"),
            "gumbel_stoch": ("temperature",),
        }.get(activation, ())
        given = {name: getattr(self, name) for name in options}
        if activation in ("learnable_stoch", "gumbel_stoch"):
            given["input"] = self.gate_input
        return Constant(Phase.of(activation, **given)).name

    def ensembles(self) -> dict[str, list[ToyConfig]]:
        """The ensembles of each set, in the order of the activations."""
        factors = (0.001, 0.1, 10, 100)
        shape = (self.width,) * self.layers
        sets: dict[str, dict[str, Any]] = {
            "decayed": {"widths": shape},
            "free": {"widths": shape, "weight_decay": 0.0},
            "other": {"widths": self.other_widths},
        }
        more = tuple(self.threshold * factor for factor in factors)
        return {
            name: [
                self.ensemble(arm=self.arm(activation), more_thresholds=more, **own)
                for activation in self.activations
            ]
            for name, own in sets.items()
        }


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train the three sets.

    Returns the tables `curves`, `runs`, `sparsity` (the first layer at the main threshold after
    every epoch, other layers and thresholds after every tenth) and `deaths` of the first set,
    `runs_without_decay`, and `runs_other` and `sparsity_other` (first layer) of the other shape.
    """
    sets = config.ensembles()
    configs = [one for ensembles in sets.values() for one in ensembles]
    histories = iter(
        train_all(
            configs,
            workers=config.workers,
            watch=lambda done, _: progress and progress(done, len(configs), "ensembles"),
        )
    )
    trained = {name: [next(histories) for _ in ensembles] for name, ensembles in sets.items()}
    decayed, free, other = trained["decayed"], trained["free"], trained["other"]
    runs, runs_free = (_together(one.runs() for one in part) for part in (decayed, free))
    every = _together(one.layer_sparsity() for one in decayed)
    main = np.isclose(every.threshold, config.threshold)
    tenth = (every.epoch % 10 == 0) | (every.epoch == config.epochs)
    others = _together(one.layer_sparsity() for one in other)
    first = np.isclose(others.threshold, config.threshold) & (others.layer == 1)
    return Result(
        {
            "curves": _together(one.curves() for one in decayed),
            "runs": runs,
            "runs_without_decay": runs_free,
            "deaths": _deaths(runs, runs_free),
            "sparsity": every[tenth | (main & (every.layer == 1))].round(6),
            "runs_other": _together(one.runs() for one in other),
            "sparsity_other": others[first].round(6),
        }
    )


def _together(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True)


def _deaths(runs: pd.DataFrame, free: pd.DataFrame) -> pd.DataFrame:
    """Dead networks by activation, those with a silent layer, and those that die without decay."""
    table = pd.DataFrame(
        {
            "dead": runs.groupby("activation", sort=False)["dead"].sum(),
            "with a silent layer": runs[runs.zero_layers > 0].groupby("activation")["dead"].sum(),
            "dead without weight decay": free.groupby("activation", sort=False)["dead"].sum(),
        }
    ).reindex(runs["activation"].unique())
    return table.fillna(0).astype(int).rename_axis("activation").reset_index()
