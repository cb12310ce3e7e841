"""Which claims of the toy post a reading of its set-up meets: the criteria of *Which set-up*."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd
from scipy import stats

from stocha.base.statistics import estimate
from stocha.claims.ledger import Assessment, Band, Part, Verdict, both, exact, of_parts
from stocha.toy.readings import EARLY, Config

HALF, QUARTER, NONE = Band(0.40, 0.60), Band(0.20, 0.30), Band(-math.inf, 0.02)
NEAR, MUCH_SMALLER = Band(-0.05, 0.05), Band(-math.inf, 0.5)
EVEN, SILU, RELU = Band(0.45, 0.55), Band(-math.inf, 0.5), Band(0.6, math.inf)
"""Of the mean α, the weight of ReLU: an even mix, a preference for SiLU, for ReLU."""
LOWER = Band(-math.inf, 0)
SIGNIFICANT, EXCHANGED, MOVED, CLOSER = 0.05, 2, 0.05, 0.5
NARROW, WIDE = 4, 16

READING = [
    *("optimizer", "weight_decay", "gate_decays", "gate_input", "gate_start"),
    *("draw", "scaled", "wide", "narrow"),
]
"""The parameters that make a reading; the bottleneck is not one of them."""

Networks = pd.DataFrame
"""Rows (activation, network, layer), columns as `stocha.toy.readings.statistics` gives them."""


def assess(narrow: Networks, wide: Networks) -> dict[str, Assessment]:
    """What one reading says of each claim, T7 of each layer too (`T7.1`, …).

    Parameters: the networks with a bottleneck of 4 and those with one of 16.
    """
    found = {claim: judge(narrow, wide) for claim, judge in CRITERIA.items()}
    gumbel = narrow[narrow["activation"] == "gumbel_stoch"]
    return found | {
        f"T7.{layer}": _equilibrates(rows.set_index("network"))
        for layer, rows in gumbel.groupby("layer")
    }


def confirmed(claim: str, points: Networks) -> Assessment:
    """The second verdict on one of the eight claims, from the reading found.

    Parameters: `points`, the networks of several data sets (`data_seed`) at both bottlenecks
    (`width`). The claim is replicated or contradicted where it is so on every data set; the
    estimate is of all their networks together.
    """

    def judge(networks: Networks) -> Assessment:
        return CRITERIA[claim](*(networks[networks["width"] == width] for width in (NARROW, WIDE)))

    each = {str(seed): judge(networks) for seed, networks in points.groupby("data_seed")}
    apart = points.assign(
        network=points["data_seed"].astype(str) + "/" + points["network"].map(str)
    )
    together = judge(apart)
    found = {one.verdict for one in each.values()}
    settled = found in ({Verdict.REPLICATED}, {Verdict.CONTRADICTED})
    verdict = found.pop() if settled else Verdict.NOT_RESOLVED
    sets = ", ".join(each)
    told = f"each {verdict}" if settled else ", ".join(one.verdict for one in each.values())
    parts = tuple(
        replace(part, name=f"data set {seed}: {part.name}".rstrip(": "))
        for seed, one in each.items()
        for part in one.parts
    )
    text = f"{together.estimate}; data sets {sets}: {told}"
    return Assessment(verdict, text, parts=parts)


def matrix(points: pd.DataFrame) -> pd.DataFrame:
    """One row a reading that both bottlenecks are recorded of, most claims met first.

    Parameters: `points`, the networks of all points with the columns `width` and those of `READING`
    that differ between them; the others have the defaults of `Config`, the reading found.

    Returns the columns `READING`, `dead` (share of the narrow networks), T1 … T8 and T7.1 …, each a
    verdict, and `met`, how many of the eight are replicated.
    """
    fixed = {name: getattr(Config(), name) for name in READING if name not in points}
    if "narrow" in fixed:
        fixed["narrow"] = "-".join(map(str, fixed["narrow"]))  # as a sweep's table writes a list
    rows = []
    for values, networks in points.assign(**fixed).groupby(READING, dropna=False, sort=False):
        narrow, wide = (networks[networks["width"] == width] for width in (NARROW, WIDE))
        if narrow.empty or wide.empty:
            continue
        verdicts = {claim: found.verdict for claim, found in assess(narrow, wide).items()}
        met = sum(verdicts[f"T{n}"] is Verdict.REPLICATED for n in range(1, 9))
        own = dict(zip(READING, values, strict=True))
        rows.append(own | {"dead": narrow["dead"].mean()} | verdicts | {"met": met})
    table = pd.DataFrame(rows)
    return table.sort_values(["met", "dead"], ascending=[False, True], ignore_index=True)


def words(reading: Mapping[str, Any]) -> str:
    """A reading in words: where it differs from the one fixed before the data."""
    decay = "no decay" if reading["weight_decay"] == 0 else ""
    if not decay and reading["optimizer"] == "adamw":
        decay = "decoupled decay"
    told = {
        "decay": decay,
        "free": "" if reading["gate_decays"] else "not of the gates",
        "input": "gate sees its layer" if reading["gate_input"] == "layer" else "",
        "start": "gate starts even" if reading["gate_start"] == "even" else "",
        "draw": "mixes below zero" if reading["draw"] == "below" else "",
        "scaled": "scaled features" if reading["scaled"] else "",
        "widths": "",
    }
    if not pd.isna(reading["wide"]):
        told["widths"] = f"narrow {reading['narrow']} among {reading['wide']:.0f}"
    return ", ".join(filter(None, told.values())) or "as fixed before the data"


def _first(networks: Networks, activation: str) -> pd.DataFrame:
    """The first layer of an activation's networks, by network."""
    chosen = networks[(networks["activation"] == activation) & (networks["layer"] == 1)]
    return chosen.set_index("network")


def _alpha_of(networks: Networks, activation: str) -> pd.DataFrame:
    """Means over the layers of an activation's gates, by network."""
    columns = [name for name in networks if str(name).startswith("alpha_")]
    chosen = networks[networks["activation"] == activation]
    return chosen.groupby("network")[columns].mean()


def _part(name: str, values: pd.Series, band: Band, unit: str = "weight of ReLU") -> Part:
    return Part(name, estimate(values), band, unit, len(values))


def _ordered_alike(networks: Networks) -> Assessment:
    first = networks[networks["layer"] == 1]
    train, validation = (
        first.pivot(index="network", columns="activation", values=loss)
        for loss in ("train_loss", "val_loss")
    )
    p_value = float(stats.friedmanchisquare(*train.to_numpy().T).pvalue)
    means = pd.DataFrame({"train": train.mean(), "validation": validation.mean()})
    steps = [a - b for (_, a), (_, b) in combinations(means.iterrows(), 2)]
    pairs, exchanged = len(steps), sum(step["train"] * step["validation"] < 0 for step in steps)
    ordered = Verdict.REPLICATED if p_value < SIGNIFICANT else Verdict.NOT_RESOLVED
    alike = Verdict.REPLICATED if exchanged <= EXCHANGED else Verdict.NOT_RESOLVED
    if exchanged > pairs / 2:
        alike = Verdict.CONTRADICTED
    text = f"Friedman p = {p_value:.2g}".replace("-", "−")
    text += f"; {exchanged} of {pairs} pairs the other way round"
    parts = (
        Part("training, p", exact(p_value), Band(0, SIGNIFICANT), interval=""),
        Part("pairs exchanged", exact(exchanged), Band(0, EXCHANGED), "pairs", interval=""),
    )
    return Assessment(both(ordered, alike), text, parts=parts)


def _throughout(networks: Networks, activation: str, band: Band) -> Assessment:
    rows = _first(networks, activation)
    average = _part("average over epochs", rows["sparsity_mean"], band, "share")
    ends = [float(rows[f"sparsity_{end}"].mean()) for end in ("early", "last")]
    verdict = average.verdict
    if verdict is Verdict.REPLICATED and not all(band.low <= end <= band.high for end in ends):
        verdict = Verdict.PARTLY
    text = f"{average.found.text()}; from {ends[0]:.3f} to {ends[1]:.3f}"
    return Assessment(verdict, text, parts=(average,))


def _practically_none(networks: Networks) -> Assessment:
    shares = _first(networks, "learnable_stoch")["sparsity_mean"]
    return of_parts(_part("", shares, NONE, "share"), spec=".4f")


def _falls(networks: Networks) -> Assessment:
    gumbel, stocha = (_first(networks, name) for name in ("gumbel_stoch", "stocha"))
    start = gumbel["sparsity_first"] - stocha["sparsity_first"]
    ratio = gumbel["sparsity_last"] / gumbel["sparsity_first"]
    return of_parts(
        _part("first epoch minus StochA", start, NEAR, "share"),
        _part("end / first epoch", ratio, MUCH_SMALLER, "ratio"),
    )


def _moves_to_even(networks: Networks) -> Assessment:
    later = _part("mean α", _alpha_of(networks, "learnable_stoch")["alpha_later"], EVEN)
    gates = networks[networks["activation"] == "learnable_stoch"]
    travel = float(gates["alpha_travel"].mean())
    away = [float((gates[f"alpha_{when}"] - 0.5).abs().mean()) for when in ("start", "last")]
    drawn = away[0] > 0 and away[1] <= CLOSER * away[0]
    moved = Verdict.REPLICATED if travel >= MOVED or drawn else Verdict.CONTRADICTED
    text = (
        f"α = {later.found.text()}; travel {travel:.3f}, from {away[0]:.3f} to {away[1]:.3f} off ½"
    )
    return Assessment(both(later.verdict, moved), text, parts=(later,))


def _equilibrates(alpha: pd.DataFrame) -> Assessment:
    early = alpha[[f"alpha_{epoch}" for epoch in EARLY]]
    lowest = early[str(early.mean().idxmin())]
    return of_parts(
        _part("lowest early α", lowest, SILU),
        _part("from its start", lowest - alpha["alpha_start"], LOWER),
        _part("at the end", alpha["alpha_last"], EVEN),
    )


def _prefers_relu(networks: Networks) -> Assessment:
    gates = {"α learnable": "learnable_stoch", "α Gumbel": "gumbel_stoch"}
    return of_parts(
        *(
            _part(word, _alpha_of(networks, name)["alpha_last"], RELU)
            for word, name in gates.items()
        )
    )


CRITERIA: dict[str, Callable[[Networks, Networks], Assessment]] = {
    "T1": lambda narrow, _: _ordered_alike(narrow),
    "T2": lambda narrow, _: _throughout(narrow, "relu", HALF),
    "T3": lambda narrow, _: _throughout(narrow, "stocha", QUARTER),
    "T4": lambda narrow, _: _practically_none(narrow),
    "T5": lambda narrow, _: _falls(narrow),
    "T6": lambda narrow, _: _moves_to_even(narrow),
    "T7": lambda narrow, _: _equilibrates(_alpha_of(narrow, "gumbel_stoch")),
    "T8": lambda _, wide: _prefers_relu(wide),
}
"""What each claim asks of the networks of the two bottlenecks."""
