"""Which claims of the toy post a reading of its set-up meets: the criteria of *Which set-up*."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd
from scipy import stats

from stocha.activations import LABELS
from stocha.base.statistics import Estimate, estimate, number
from stocha.claims.ledger import Assessment, Band, Part, Verdict, both, exact, needed, of_parts
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
    would = "" if settled or claim not in WOULD else WOULD[claim](points)
    return Assessment(verdict, text, parts=parts, would=would)


def _ties(points: Networks) -> str:
    """What T1 waits for: the order of activations that end training side by side."""
    said = []
    for seed, networks in points[points["width"] == NARROW].groupby("data_seed"):
        train, validation = _losses(networks)
        pairs = _exchanged(train, validation)
        if len(pairs) > EXCHANGED:
            apart = [estimate(train[a] - train[b]) for a, b in pairs]
            closest = min(range(len(pairs)), key=lambda at: abs(apart[at].mean))
            names = " and ".join(LABELS[name] for name in pairs[closest])
            said.append(
                f"on data set {seed} {len(pairs)} pairs change places, more than {EXCHANGED}; "
                f"the closest, {names}, are a tie in training, {apart[closest].text('+.4f')} nats "
                f"apart, and {_about(apart[closest], len(train))} networks would tell their order"
            )
    return (
        f"No number of networks in reach: {', '.join(said)}. A criterion that leaves ties out "
        "would decide, fixed before new data sets."
    )


def _never_below(points: Networks) -> str:
    """What T7 waits for: a preference that more networks would only deny more surely."""
    found = {}
    for seed, networks in points[points["width"] == NARROW].groupby("data_seed"):
        alpha = _alpha_of(networks, "gumbel_stoch")
        lowest = estimate(_lowest(alpha) - SILU.high)
        found[seed] = f"{number(SILU.high + lowest.mean, '.4f')} ({_about(lowest, len(alpha))})"
    means = ", ".join(found.values())
    return (
        f"No number of networks: the lowest early α has the mean {means} on data sets "
        f"{', '.join(map(str, found))}, not below one half; in brackets the networks that would be "
        "sure of it. The end is even, so that each data set would still say partly. A set-up "
        "whose gate turns to SiLU would decide; those in the search that do miss T5 and T8."
    )


WOULD: dict[str, Callable[[Networks], str]] = {"T1": _ties, "T7": _never_below}
"""What would decide the claims that more networks would not."""


def _about(found: Estimate, n: int) -> str:
    """How many networks would tell a mean from zero, to two digits."""
    return f"about {float(f'{needed(found, n):.1e}'):,.0f}"


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


def in_words(found: pd.DataFrame) -> pd.Index:
    """The names of the readings of a `matrix`."""
    rows = found[READING].itertuples(index=False)
    return pd.Index([words(dict(zip(READING, row, strict=True))) for row in rows])


def met(found: pd.DataFrame) -> pd.DataFrame:
    """Whether each reading of a `matrix` meets each of the eight claims."""
    return found[list(CRITERIA)].map(str) == "replicated"


def shares(found: pd.DataFrame) -> pd.DataFrame:
    """Of the readings of a `matrix` that share a value: their number, and what share meets each.

    Rows by parameter and value, in words; columns `readings` and the eight claims.
    """
    yes = {True: "yes", False: "no"}
    decay, wide = found["optimizer"].map({"adam": "L2", "adamw": "decoupled"}), found["wide"] > 0
    values = {
        "decay": decay.where(found["weight_decay"] > 0, "none"),
        "gates decay": found["gate_decays"].map(yes),
        "a gate sees": found["gate_input"].map({"element": "one value", "layer": "its layer"}),
        "a gate starts": found["gate_start"].map({"random": "at random", "even": "even"}),
        "draws": found["draw"].map({"all": "for all x", "below": "for x < 0"}),
        "features scaled": found["scaled"].map(yes),
        "other layers": found["wide"].map("{:.0f} units".format).where(wide, "none"),
        "narrow layers": found["narrow"].str.replace("-", ", ").where(wide, "all"),
    }
    meets = met(found).assign(readings=1)
    groups = {name: meets.groupby(value.to_numpy()) for name, value in values.items()}
    table = pd.concat({name: group.mean() for name, group in groups.items()})
    counts = pd.concat({name: group.size() for name, group in groups.items()})
    return table.assign(readings=counts)[["readings", *CRITERIA]]


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


def _losses(networks: Networks) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Losses in training and in validation: rows networks, columns activations."""
    first = networks[networks["layer"] == 1]
    train, validation = (
        first.pivot(index="network", columns="activation", values=loss)
        for loss in ("train_loss", "val_loss")
    )
    return train, validation


def _exchanged(train: pd.DataFrame, validation: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of activations that stand the other way round in the mean validation loss."""
    one, other = train.mean(), validation.mean()
    pairs = combinations(one.index, 2)
    return [(a, b) for a, b in pairs if (one[a] - one[b]) * (other[a] - other[b]) < 0]


def _ordered_alike(networks: Networks) -> Assessment:
    train, validation = _losses(networks)
    p_value = float(stats.friedmanchisquare(*train.to_numpy().T).pvalue)
    pairs, exchanged = math.comb(train.shape[1], 2), len(_exchanged(train, validation))
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


def _lowest(alpha: pd.DataFrame) -> pd.Series:
    """α at the early epoch whose mean is lowest."""
    early = alpha[[f"alpha_{epoch}" for epoch in EARLY]]
    return early[str(early.mean().idxmin())]


def _equilibrates(alpha: pd.DataFrame) -> Assessment:
    lowest = _lowest(alpha)
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
