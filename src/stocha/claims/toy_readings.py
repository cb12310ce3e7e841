"""Which claims of the toy post a reading of its set-up meets: the criteria of *Which set-up*."""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import pandas as pd
from scipy import stats

from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Assessment, Band, Verdict, both, within
from stocha.toy.readings import EARLY

HALF, QUARTER, NONE = Band(0.40, 0.60), Band(0.20, 0.30), Band(-math.inf, 0.02)
NEAR, MUCH_SMALLER = Band(-0.05, 0.05), Band(-math.inf, 0.5)
EVEN, SILU, RELU = Band(0.45, 0.55), Band(-math.inf, 0.5), Band(0.6, math.inf)
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
    alpha = _mean_alpha(narrow)
    found = {
        "T1": _ordered_alike(narrow),
        "T2": _throughout(narrow, "relu", HALF),
        "T3": _throughout(narrow, "stocha", QUARTER),
        "T4": _in_band(_first(narrow, "learnable_stoch")["sparsity_mean"], NONE, ".4f"),
        "T5": _falls(narrow),
        "T6": _moves_to_even(narrow, pd.DataFrame(alpha.loc["learnable_stoch"])),
        "T7": _equilibrates(pd.DataFrame(alpha.loc["gumbel_stoch"])),
        "T8": _prefers_relu(_mean_alpha(wide)),
    }
    gumbel = narrow[narrow["activation"] == "gumbel_stoch"]
    return found | {
        f"T7.{layer}": _equilibrates(rows.set_index("network"))
        for layer, rows in gumbel.groupby("layer")
    }


def matrix(points: pd.DataFrame) -> pd.DataFrame:
    """One row a reading that both bottlenecks are recorded of, most claims met first.

    Parameters: `points`, the networks of all points with the columns `width` and `READING`.

    Returns the columns `READING`, `dead` (share of the narrow networks), T1 … T8 and T7.1 …, each a
    verdict, and `met`, how many of the eight are replicated.
    """
    rows = []
    for values, networks in points.groupby(READING, dropna=False, sort=False):
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


def _mean_alpha(networks: Networks) -> pd.DataFrame:
    """Means over layers, by activation and network."""
    columns = [name for name in networks if str(name).startswith("alpha_")]
    return networks.groupby(["activation", "network"])[columns].mean()


def _in_band(values: Iterable[float], band: Band, spec: str = ".3f") -> Assessment:
    found = estimate(values)
    return Assessment(within(found, *band), found.text(spec))


def _all_of(*parts: tuple[str, Estimate, Band]) -> Assessment:
    text = "; ".join(f"{name} {found.text()}" for name, found, _ in parts)
    return Assessment(both(*(within(found, *band) for _, found, band in parts)), text)


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
    text = f"Friedman p = {p_value:.2g}; {exchanged} of {pairs} pairs the other way round"
    return Assessment(both(ordered, alike), text)


def _throughout(networks: Networks, activation: str, band: Band) -> Assessment:
    rows = _first(networks, activation)
    average = estimate(rows["sparsity_mean"])
    ends = [float(rows[f"sparsity_{end}"].mean()) for end in ("early", "last")]
    verdict = within(average, *band)
    if verdict is Verdict.REPLICATED and not all(band.low <= end <= band.high for end in ends):
        verdict = Verdict.PARTLY
    return Assessment(verdict, f"{average.text()}; from {ends[0]:.3f} to {ends[1]:.3f}")


def _falls(networks: Networks) -> Assessment:
    gumbel, stocha = (_first(networks, name) for name in ("gumbel_stoch", "stocha"))
    start = estimate(gumbel["sparsity_first"] - stocha["sparsity_first"])
    ratio = estimate(gumbel["sparsity_last"] / gumbel["sparsity_first"])
    return _all_of(
        ("first epoch minus StochA", start, NEAR), ("end / first epoch", ratio, MUCH_SMALLER)
    )


def _moves_to_even(networks: Networks, alpha: pd.DataFrame) -> Assessment:
    later = estimate(alpha["alpha_later"])
    gates = networks[networks["activation"] == "learnable_stoch"]
    travel = float(gates["alpha_travel"].mean())
    away = [float((gates[f"alpha_{when}"] - 0.5).abs().mean()) for when in ("start", "last")]
    drawn = away[0] > 0 and away[1] <= CLOSER * away[0]
    moved = Verdict.REPLICATED if travel >= MOVED or drawn else Verdict.CONTRADICTED
    text = f"α = {later.text()}; travel {travel:.3f}, from {away[0]:.3f} to {away[1]:.3f} off ½"
    return Assessment(both(within(later, *EVEN), moved), text)


def _equilibrates(alpha: pd.DataFrame) -> Assessment:
    early = alpha[[f"alpha_{epoch}" for epoch in EARLY]]
    lowest = early[str(early.mean().idxmin())]
    return _all_of(
        ("lowest early α", estimate(lowest), SILU),
        ("from its start", estimate(lowest - alpha["alpha_start"]), LOWER),
        ("at the end", estimate(alpha["alpha_last"]), EVEN),
    )


def _prefers_relu(alpha: pd.DataFrame) -> Assessment:
    gates = {"learnable": "learnable_stoch", "Gumbel": "gumbel_stoch"}
    last = {word: estimate(alpha.loc[name]["alpha_last"]) for word, name in gates.items()}
    return _all_of(*((word, found, RELU) for word, found in last.items()))
