"""What the gates learn: two gated activations, narrow and wide, their gates decayed or free.

Chapter 12_gates; claims T6 to T8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from stocha.activations import Gate
from stocha.arms import Constant, Phase
from stocha.base.parameters import parameter
from stocha.base.result import Progress, Result
from stocha.toy.config import ToyConfig, Training
from stocha.toy.ensemble import Ensemble, fit, train_all
from stocha.toy.records import History

GATED = ("learnable_stoch", "gumbel_stoch")
CASE = ["activation", "bottleneck", "gate_decay"]
"""The columns that tell configurations apart."""


@dataclass(frozen=True)
class Config(Training):
    """Both gated activations at every bottleneck, with and without decay on the gates."""

    bottlenecks: tuple[int, ...] = parameter((4, 16), "widths of all hidden layers", "[1, inf)")
    layers: int = parameter(4, "hidden layers", "[1, inf)")
    gate_input: str = parameter(
        "element", "what a gate sees: one pre-activation or its layer", "{element, layer}"
    )
    temperature: float = parameter(1.0, "Gumbel StochA: of the relaxation", "(0, inf)")
    workers: int = parameter(2, "processes to train in", "[1, inf)", smoke=1)

    def cases(self) -> dict[tuple[str, int, bool], ToyConfig]:
        """The ensembles by activation, bottleneck and whether the gates decay."""
        own = {"learnable_stoch": {}, "gumbel_stoch": {"temperature": self.temperature}}
        return {
            (activation, width, decay): self.ensemble(
                arm=Constant(Phase.of(activation, input=self.gate_input, **own[activation])).name,
                widths=(width,) * self.layers,
                gate_weight_decay=None if decay else 0.0,
            )
            for activation, width, decay in product(GATED, self.bottlenecks, (True, False))
        }


def run(config: Config, progress: Progress | None = None) -> Result:
    """Train every case.

    Returns the tables `gates` (mean and quantiles of α), `gate_sparsity` (first layer), both of
    the early and the late epochs and of every fifth between, `gate_runs`, and `gate_parameters`:
    the root mean square of the learnable gate's last layer at the first bottleneck, over epochs.
    """
    cases = config.cases()
    histories = train_all(
        list(cases.values()),
        workers=config.workers,
        watch=lambda done, _: progress and progress(done, len(cases), "ensembles"),
    )

    def collected(table: Callable[[History], pd.DataFrame]) -> pd.DataFrame:
        parts = []
        for (_, width, decay), history in zip(cases, histories, strict=True):
            part = table(history)
            part.insert(1, "bottleneck", width)
            part.insert(2, "gate_decay", decay)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    late = config.epochs - 10
    kept = [e for e in range(config.epochs + 1) if e <= 20 or e % 5 == 0 or e > late]
    gates = collected(History.gates)
    sparsity = collected(History.layer_sparsity)
    sparsity = sparsity[(sparsity.layer == 1) & sparsity.epoch.isin(kept)]
    return Result(
        {
            "gates": gates[gates.epoch.isin(kept)].round(5),
            "gate_runs": collected(History.runs),
            "gate_sparsity": sparsity.drop(columns=["layer", "threshold"]).round(6),
            "gate_parameters": _parameters(config),
        }
    )


def _parameters(config: Config) -> pd.DataFrame:
    """Train the learnable gates of the first bottleneck again, and note their parameters' size."""
    rows: list[dict[str, str | int | float]] = []
    for (activation, width, decay), ensemble in config.cases().items():
        if activation != "learnable_stoch" or width != config.bottlenecks[0]:
            continue
        label = "decayed gate" if decay else "free gate"

        def note(epoch: int, network: Ensemble, label: str = label) -> None:
            gates = [gate for gate in network.modules() if isinstance(gate, Gate)]
            for name in ("weight_out", "bias_out"):
                layers = [getattr(gate, name).detach().flatten(1) for gate in gates]
                size = np.sqrt(np.mean([p.square().mean(1).numpy() for p in layers], axis=0))
                own = {"gate": label, "parameter": name, "epoch": epoch}
                rows.extend({**own, "run": r, "rms": float(v)} for r, v in enumerate(size))

        fit(ensemble, watch=note)
    return pd.DataFrame(rows, columns=["gate", "parameter", "run", "epoch", "rms"])
