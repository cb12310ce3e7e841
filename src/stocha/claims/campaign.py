"""The recorded runs of the language model: both sweeps as one, and differences paired by seed.

Arms have the names that `stocha.arms` reads: `silu`, `stocha(0.5)`, `silu+ft(0.1)`. Nothing here
assumes that a sweep is complete.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stocha.arms import PARAMETERS, Arm, planned
from stocha.base.errors import UserError
from stocha.base.files import read_json
from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Tables, Verdict, within

SWEEPS = ("lm_campaign", "lm_campaign_more")
LEAST_SEEDS = 3
"""A verdict needs as many (protocol)."""
PROBABILITIES = (0.3, 0.5, 0.7)

READING = {"positive": "mixed"}
"""What the names in the first campaign's tables are silent about: it drew for all x."""


def recorded(tables: Tables, name: str) -> pd.DataFrame:
    """The rows of the table `name` of all sweeps.

    Of an arm and seed that two sweeps hold, the first sweep's rows are kept.

    Raises:
        FileNotFoundError: no sweep has recorded it.
        UserError: its runs were trained on different corpora.
    """
    found: list[pd.DataFrame] = []
    for sweep in SWEEPS:
        try:
            rows = tables(sweep, name)
        except FileNotFoundError:
            continue
        known = {pair for part in found for pair in _runs(part)}
        found.append(rows[[pair not in known for pair in _runs(rows)]])
    if not found:
        raise FileNotFoundError(f"{SWEEPS[0]}/{name}.csv")
    table = pd.concat(found, ignore_index=True)
    corpora = sorted(set(table["corpus"])) if "corpus" in table else []
    if len(corpora) > 1:
        raise UserError(
            f"{', '.join(SWEEPS)}: runs on the corpora {', '.join(corpora)} are not comparable"
        )
    return table


def recorded_or_empty(name: str, tables: Tables | None = None) -> pd.DataFrame:
    """As `recorded`; where nothing is, no rows of the columns `run_id`, `arm` and `seed`."""
    try:
        return recorded(tables or Tables(), name)
    except FileNotFoundError:
        return pd.DataFrame(columns=["run_id", "arm", "seed"])


def hours(names: Iterable[str], tables: Tables | None = None) -> float:
    """Hours of one worker that the recorded runs of the sweeps `names` took (provenance)."""
    root = (tables or Tables()).root
    records = (read_json(root / name / "provenance.json") or {} for name in names)
    return sum(float(record.get("seconds", 0)) for record in records) / 3600


def _runs(rows: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(zip(rows["arm"], rows["seed"], strict=True))


def label(arm: str) -> str:
    """An arm's name in words, as the protocol writes it: `StochA(0.5) + Swi+FT(0.1)`."""
    return Arm.parse(arm).label


def arm_of(point: Mapping[str, Any]) -> str:
    """The name in the tables of a run with the parameters `point`."""
    return planned(**{name: point[name] for name in PARAMETERS}).named(**READING)


def progress(planned: Iterable[Mapping[str, Any]], points: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, in the order planned: its name, the seeds recorded and those missing."""
    wanted: dict[str, set[int]] = {}
    for point in planned:
        wanted.setdefault(arm_of(point), set()).add(int(point["seed"]))
    done = set(_runs(points))
    return pd.DataFrame(
        {
            "arm": arm,
            "recorded": sum((arm, seed) in done for seed in seeds),
            "missing": sum((arm, seed) not in done for seed in seeds),
            "missing seeds": ", ".join(str(s) for s in sorted(seeds) if (arm, s) not in done),
        }
        for arm, seeds in wanted.items()
    )


@dataclass(frozen=True)
class Difference:
    """A mean over seeds, most often of a paired difference, and how many seeds it rests on."""

    name: str
    estimate: Estimate
    seeds: int

    def within(self, low: float, high: float) -> Verdict:
        """As `ledger.within`; not resolved with fewer seeds than a verdict needs."""
        if self.seeds < LEAST_SEEDS:
            return Verdict.NOT_RESOLVED
        return within(self.estimate, low, high)

    @property
    def positive(self) -> Verdict:
        """Whether it is above zero; an interval that holds zero resolves nothing."""
        if self.estimate.low <= 0 <= self.estimate.high:
            return Verdict.NOT_RESOLVED
        return self.within(0, math.inf)

    def value(self, spec: str = "+.4f") -> str:
        """`+0.012 [+0.003, +0.021], 3 seeds`; without an interval for one seed."""
        count = f"{self.seeds} seed" + "s" * (self.seeds != 1)
        if self.seeds == 0:
            return f"—, {count}"
        shown = f"{self.estimate.mean:{spec}}" if self.seeds == 1 else self.estimate.text(spec)
        return f"{shown}, {count}"

    def text(self, spec: str = "+.4f") -> str:
        """The value after its name."""
        return f"{self.name} {self.value(spec)}"

    def row(self, spec: str = "+.4f") -> dict[str, str | int]:
        """Mean, interval and seeds, as the cells of a table to read."""
        interval = f"[{self.estimate.low:{spec}}, {self.estimate.high:{spec}}]"
        return {
            "mean": f"{self.estimate.mean:{spec}}" if self.seeds else "—",
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


def best_stocha(points: pd.DataFrame, ending: str = "") -> float | None:
    """The p whose arm `stocha(p)` + `ending` has the lowest mean loss over common seeds.

    None where no such arm is recorded.
    """
    wide = by_seed(points, "loss")
    arms = {f"stocha({p:g}){ending}": p for p in PROBABILITIES}
    common = wide[[arm for arm in arms if arm in wide]].dropna()
    return None if common.empty else arms[str(common.mean().idxmin())]


def incomplete(names: Iterable[str], recorded: int, wanted: int) -> str:
    """What is missing of the sweeps `names` and how to make it, in Markdown; empty if nothing."""
    if recorded >= wanted:
        return ""
    commands = [
        f"stocha sweep {verb} sweeps/{name}.yml{jobs}"
        for name in names
        for verb, jobs in (("run", " --jobs 2"), ("collect", ""))
    ]
    text = "\n".join(commands)
    return (
        f"**{recorded} of {wanted} runs are recorded.** What rests on the others is missing below, "
        f"or reads —. They are made, and recorded, with\n\n```sh\n{text}\n```"
    )
