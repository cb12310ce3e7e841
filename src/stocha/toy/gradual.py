"""The post's three questions: arms of one budget, each judged under ReLU and as it trained.

Gradual or sudden, how often to switch, and a switch that sees its input: chapter
13_gradual_or_sudden; questions Q1 to Q3.
"""

from dataclasses import dataclass

import pandas as pd

from stocha.arms import SILU, Alternate, Anneal, Arm, Constant, Phase, SwiFT
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.classification import LINES
from stocha.toy.ensemble import train_all
from stocha.toy.readings import GATED, Reading


@dataclass(frozen=True)
class Config(Reading):
    """Flips, annealing, alternation and gates, on the post's second network.

    Its samples and networks are those of no other experiment (`book/open_questions.md`).
    """

    runs: int = parameter(100, "networks of each arm", "[1, inf)", smoke=2, book=5)
    seed: int = parameter(2000, "first network's seed; the others follow", "[0, 4294967295]")
    data_seed: int = parameter(21, "seed of the samples and of their split", "[0, 4294967295]")
    alphas: tuple[float, ...] = parameter(
        (0.05, 0.1, 0.2), "Swi+FT: share of steps after the switch", "[0, 1]"
    )
    every: tuple[int, ...] = parameter(
        (1, 2, 4, 8, 16, 32), "alternation: steps between switches", "[1, inf)"
    )
    p: float = parameter(0.5, "StochA: probability of SiLU", "[0, 1]")
    constants: tuple[float, ...] = parameter(
        (0.25, 0.75), "further p that the gates are compared with", "[0, 1]"
    )
    width: int = parameter(16, "units of the bottleneck", "[1, inf)")
    workers: int = parameter(2, "processes to train in", "[1, inf)", smoke=1)

    @property
    def flip(self) -> str:
        """The key of the flip that the others are compared with: the middle one."""
        return f"flip {self.alphas[len(self.alphas) // 2]:g}"

    def change(self) -> dict[str, Arm]:
        """The arms that ask how to change to ReLU, by the key that tables name them by."""
        drawn = self.phase("stocha", p=self.p)
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
            grain: Constant(self.phase("stocha", p=self.p, granularity=grain))
            for grain in ("layer", "token")
        }
        return {**drawn, **{f"every {k}": Alternate(k) for k in self.every}}

    def gates(self) -> dict[str, Arm]:
        """The arms whose switch depends on the input, and those of further constants."""
        constants = {f"p {p:g}": Constant(self.phase("stocha", p=p)) for p in self.constants}
        return {**constants, **{name: Constant(self.phase(name)) for name in GATED}}


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train every arm, validating with what it trains with and with ReLU.

    Returns the tables `final` (a row an arm and network) and `learning` (the course of five arms
    under ReLU: the first networks, and the mean of all as network −1).
    """
    arms = config.change() | config.often() | config.gates()
    configs = [config.network(config.width, arm.name, inference=("relu",)) for arm in arms.values()]
    histories = train_all(
        configs,
        workers=config.workers,
        watch=lambda done, _: progress and progress(done, len(arms), "ensembles"),
    )
    shown = ["relu", "silu", config.flip, "stocha", "anneal linear"]
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
        if key in shown:
            curves = relu.curves()[["run", "epoch", "val_loss"]]
            mean = curves.groupby("epoch")["val_loss"].mean().reset_index().assign(run=-1)
            learning.append(pd.concat([mean, curves[curves["run"] < LINES]]).assign(arm=key))
    final = pd.concat(finals, ignore_index=True)
    return Result(
        {
            "final": final.round(6),
            "learning": pd.concat(learning, ignore_index=True).round(5),
        }
    )
