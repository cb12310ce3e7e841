"""Gradual or sudden, and how often: schedules of one budget, each judged under ReLU.

Chapter 13_gradual_or_sudden; questions Q1 and Q2.
"""

from dataclasses import dataclass

import pandas as pd

from stocha.arms import SILU, Alternate, Anneal, Arm, Constant, Phase, SwiFT
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.config import Training
from stocha.toy.ensemble import train_all


@dataclass(frozen=True)
class Config(Training):
    """Flips, annealing and alternation, on the post's second network (bottleneck 16)."""

    alphas: tuple[float, ...] = parameter(
        (0.05, 0.1, 0.2), "Swi+FT: share of steps after the switch", "[0, 1]"
    )
    every: tuple[int, ...] = parameter(
        (1, 2, 4, 8, 16, 32), "alternation: steps between switches", "[1, inf)"
    )
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    positive: str = parameter("mixed", "StochA: reading of x ≥ 0", "{identity, silu, mixed}")
    widths: tuple[int, ...] = parameter((16,) * 4, "units of each hidden layer", "[1, inf)")
    workers: int = parameter(2, "processes to train in", "[1, inf)", smoke=1)

    @property
    def flip(self) -> str:
        """The key of the flip that the others are compared with: the middle one."""
        return f"flip {self.alphas[len(self.alphas) // 2]:g}"

    def change(self) -> dict[str, Arm]:
        """The arms that ask how to change to ReLU, by the key that tables name them by."""
        drawn = Phase.of("stocha", p=self.p, positive=self.positive)
        first = self.alphas[0]
        return {
            "relu": Constant(Phase("relu")),
            "silu": Constant(SILU),
            "stocha": Constant(drawn),
            **{f"flip {alpha:g}": SwiFT(alpha) for alpha in self.alphas},
            f"stocha, flip {first:g}": SwiFT(first, drawn),
            "anneal linear": Anneal("linear", phase=drawn),
            "anneal cosine": Anneal("cosine", phase=drawn),
        }

    def often(self) -> dict[str, Arm]:
        """The arms that ask how often to change, from every element on."""
        drawn = {
            grain: Constant(Phase.of("stocha", p=self.p, positive=self.positive, granularity=grain))
            for grain in ("layer", "token")
        }
        return {**drawn, **{f"every {k}": Alternate(k) for k in self.every}}


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train every arm, validating with what it trains with and with ReLU.

    Returns the tables `final` (a row an arm and network), `learning` (the curves of five arms) and
    `paired` (differences of the final loss under ReLU, network by network).
    """
    change, often = config.change(), config.often()
    arms = change | often
    configs = [
        config.ensemble(arm=arm.name, widths=config.widths, inference=("relu",))
        for arm in arms.values()
    ]
    histories = train_all(
        configs,
        workers=config.workers,
        watch=lambda done, _: progress and progress(done, len(arms), "ensembles"),
    )
    finals, learning = [], []
    for key, own in zip(arms, histories, strict=True):
        relu = own.swapped["relu"]
        finals.append(
            pd.DataFrame(
                {
                    "arm": key,
                    "run": own.run_numbers,
                    "val_loss_relu": relu.val_loss[:, -1],
                    "val_loss_own": own.val_loss[:, -1],
                    "val_accuracy": relu.val_accuracy[:, -1],
                    "sparsity": relu.sparsity[:, -1, 0, 0],
                    "dead": relu.dead,
                }
            )
        )
        under = relu.curves()[["run", "epoch", "val_loss"]]
        curves = own.curves().merge(under, on=["run", "epoch"], suffixes=("", "_relu"))
        learning.append(curves.assign(arm=key))
    final = pd.concat(finals, ignore_index=True)
    curves = pd.concat(learning, ignore_index=True)
    shown = ["relu", "silu", config.flip, f"stocha, flip {config.alphas[0]:g}", "anneal linear"]
    pairs = [(arm, "relu") for arm in change if arm != "relu"]
    pairs += [(f"anneal {shape}", config.flip) for shape in ("linear", "cosine")]
    pairs += [(arm, "stocha") for arm in often]
    return Result(
        {
            "final": final,
            "learning": curves[curves.arm.isin(shown)].drop(columns="activation").round(6),
            "paired": pd.concat(
                [differences(final, arm, reference) for arm, reference in pairs], ignore_index=True
            ),
        }
    )


def differences(final: pd.DataFrame, arm: str, reference: str) -> pd.DataFrame:
    """Paired differences of the final loss under ReLU: a row a network."""
    wide = final.pivot(index="run", columns="arm", values="val_loss_relu")
    difference = wide[arm] - wide[reference]
    return pd.DataFrame(
        {"arm": arm, "reference": reference, "run": wide.index, "difference": difference.to_numpy()}
    )
