"""The recorded runs of a campaign: its sweeps as one table, and differences paired by seed.

Arms have the names that `stocha.arms` reads: `silu`, `stocha(0.5)`, `silu+ft(0.1)`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from stocha.arms import Arm
from stocha.base.errors import UserError
from stocha.base.statistics import LEVEL, Estimate, estimate, number

SWEEPS = ("lm_headline", "lm_arms")
FIRST = ("lm_campaign", "lm_campaign_more")
"""The first campaign: its StochA, named as here, drew for every x."""

LEAST_SEEDS = 3
"""A difference over fewer decides nothing (protocol)."""
DISCRIMINATES = (0.05, 0.95)
"""A probe counts if SiLU's accuracy is this far above chance and at most that (protocol)."""

Read = Callable[[str, str], pd.DataFrame]
"""(sweep, table) → the recorded table; FileNotFoundError where nothing of the sweep is."""


def recorded(read: Read, name: str, sweeps: Iterable[str] = SWEEPS) -> pd.DataFrame:
    """The rows of the table `name` of all sweeps.

    Of an arm and seed that two sweeps hold, the first sweep's rows are kept.

    Raises:
        FileNotFoundError: no sweep has recorded it.
        UserError: its runs were trained on different corpora.
    """
    found: list[pd.DataFrame] = []
    for sweep in sweeps:
        try:
            rows = read(sweep, name)
        except FileNotFoundError:
            continue
        known = {pair for part in found for pair in _runs(part)}
        found.append(rows[[pair not in known for pair in _runs(rows)]])
    if not found:
        raise FileNotFoundError(f"{name}.csv of {', '.join(sweeps)}")
    table = pd.concat(found, ignore_index=True)
    corpora = sorted(set(table["corpus"])) if "corpus" in table else []
    if len(corpora) > 1:
        raise UserError(
            f"{', '.join(sweeps)}: runs on the corpora {', '.join(corpora)} are not comparable"
        )
    return table


def _runs(rows: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(zip(rows["arm"], rows["seed"], strict=True))


def label(arm: str) -> str:
    """An arm's name in words, as the protocol writes it: `StochA(0.5) + Swi+FT(0.1)`."""
    return Arm.parse(arm).label


def labels(points: pd.DataFrame) -> dict[str, str]:
    """The arms of a table in its order, each with its name in words."""
    return {str(arm): label(arm) for arm in dict.fromkeys(points["arm"])}


def ends_with_relu(arm: str) -> bool:
    """Whether a model of this arm is a ReLU model after its last step."""
    return arm in ("relu", "anneal") or "+ft(" in arm


@dataclass(frozen=True)
class Difference:
    """A mean over seeds, most often of a paired difference, and how many seeds it rests on."""

    name: str
    estimate: Estimate
    seeds: int

    @property
    def sign(self) -> int:
        """1 or −1 where its interval excludes zero, else, or over too few seeds, 0."""
        if self.seeds < LEAST_SEEDS:
            return 0
        return int(self.estimate.low > 0) - int(self.estimate.high < 0)

    def value(self, spec: str = "+.4f") -> str:
        """`+0.012 [+0.003, +0.021], 3 seeds`; without an interval for one seed."""
        count = f"{self.seeds} seed" + "s" * (self.seeds != 1)
        if self.seeds == 0:
            return f"—, {count}"
        mean = number(self.estimate.mean, spec)
        return f"{mean if self.seeds == 1 else self.estimate.text(spec)}, {count}"

    def text(self, spec: str = "+.4f") -> str:
        """The value after its name."""
        return f"{self.name} {self.value(spec)}"

    def row(self, spec: str = "+.4f") -> dict[str, str | int]:
        """Mean, interval and seeds, as the cells of a table to read."""
        mean, _, interval = self.estimate.text(spec).partition(" ")
        return {
            "mean": mean if self.seeds else "—",
            "95 % interval": interval if self.seeds > 1 else "—",
            "seeds": self.seeds,
        }


def over_seeds(values: pd.Series, name: str = "") -> Difference:
    """The mean of one value a seed; seeds without a value do not count."""
    known = values.dropna()
    found = estimate(known) if len(known) else Estimate(math.nan, -math.inf, math.inf)
    return Difference(name, found, len(known))


def by_seed(points: pd.DataFrame, column: str) -> pd.DataFrame:
    """`column` of every run: rows seeds, columns arms."""
    return points.pivot(index="seed", columns="arm", values=column)


def paired(wide: pd.DataFrame, first: str, second: str) -> Difference:
    """`first` − `second` over the seeds that both have, of a table as `by_seed` makes it."""
    wide = wide.reindex(columns=wide.columns.union([first, second]))
    names = [f"({shown})" if " + " in (shown := label(arm)) else shown for arm in (first, second)]
    return over_seeds(wide[first] - wide[second], " − ".join(names))


def seeds_for(spread: float, half: float) -> int:
    """How many seeds give a 95 % t-interval of ± `half` where differences spread by `spread`.

    Parameters: `spread`, the standard deviation over seeds of a paired difference; both in nats.
    Raises ValueError where one of them is not a positive number.
    """
    if not (0 < spread < math.inf and 0 < half < math.inf):
        raise ValueError(f"spread={spread}, half={half}: allowed: two numbers in (0, inf)")
    seeds = 2
    while stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * spread > half * math.sqrt(seeds):
        seeds += 1
    return seeds


def standard_margins(probes: pd.DataFrame) -> pd.DataFrame:
    """A row a probe and run, each with its own activation, with whether the probe `counts`.

    `margin` is in units of the standard deviation of SiLU's margins over questions. A probe counts
    that discriminates with SiLU; none does where SiLU is not recorded.
    """
    own = probes[probes["form"] == "own"]
    of_silu = own[own["arm"] == "silu"].groupby("probe")
    means = of_silu[["accuracy", "margin_sem", "choices", "questions"]].mean()
    above, most = DISCRIMINATES
    counts = means["accuracy"].between(1 / means["choices"] + above, most)
    unit = own["probe"].map(means["margin_sem"] * means["questions"] ** 0.5).astype(float)
    known = own["probe"].map(counts).eq(True)
    return own.assign(margin=own["margin"] / unit, counts=known)


def recovery(switch_loss: pd.DataFrame, points: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Per seed of `arm`: `rise` at the switch, and `gone`, how much of it a quarter later.

    A quarter of the steps after the switch lies between two evaluated steps: linear in the
    logarithm of the step.
    """
    rows = {}
    steps = points[points["arm"] == arm].set_index("seed")["steps_after"]
    for seed, found in switch_loss[switch_loss["arm"] == arm].groupby("seed"):
        loss = found.set_index("after")["loss"].sort_index()
        later = loss[loss.index >= 1]
        if seed not in steps.index or later.empty or not {-1, 0} <= set(loss.index):
            continue
        quarter = steps[seed] / 4
        if not later.index.min() <= quarter <= later.index.max():
            continue
        then = float(np.interp(math.log(quarter), np.log(later.index), later))
        rows[seed] = {"rise": loss[0] - loss[-1], "gone": loss[0] - then}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["rise", "gone"])


def spikes(switch_loss: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """A row an arm that switches: height of the spike, and what is gone of it a quarter later."""
    rows = {}
    for arm in dict.fromkeys(switch_loss["arm"]):
        found = recovery(switch_loss, points, arm)
        spike, gone = over_seeds(found["rise"]), found["gone"].mean()
        share = f"{gone / spike.estimate.mean:.0%}" if spike.estimate.mean > 0 else "—"
        rows[label(arm)] = {"spike / nats": spike.value(), "recovered": share}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")


def differences(
    points: pd.DataFrame, asked: Iterable[tuple[str, str, str, str]], key: str = "claim"
) -> pd.DataFrame:
    """A row each (claim or question, column of `points`, arm, arm): the paired difference.

    `answered`: its interval, over seeds enough, excludes zero.
    """
    rows = []
    for name, column, first, second in asked:
        found = paired(by_seed(points, column), first, second)
        told = {key: name, "difference / nats": found.name, "of": column.replace("_", " ")}
        rows.append(told | found.row() | {"answered": bool(found.sign)})
    return pd.DataFrame(rows)
