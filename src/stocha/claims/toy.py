"""T1–T8: the toy post's claims, each with two verdicts.

The first is that of the reading of the post fixed before the data; the functions here compute it.
The second, which a claim shows, is that of the reading found by a search, on networks that the
search did not use (`sweeps/toy_confirm.yml`), by the criteria of `book/toy_search.md`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import (
    Assess,
    Assessment,
    Band,
    Claim,
    Part,
    Tables,
    Verdict,
    both,
    claim,
    exact,
    of_parts,
)
from stocha.claims.toy_readings import (
    CRITERIA,
    EVEN,
    EXCHANGED,
    HALF,
    MUCH_SMALLER,
    NARROW,
    NEAR,
    NONE,
    QUARTER,
    RELU,
    SIGNIFICANT,
    SILU,
    WIDE,
    confirmed,
)

CLASSIFICATION = "11_toy_classification"
GATES = "12_gates"
CONFIRM = "toy_confirm"
FIRST_CLASSIFICATION, FIRST_GATES = "toy_first_classification", "toy_first_gates"
_LAST = 10
"""Epochs averaged at the end of training: one epoch of a stochastic activation is one draw."""
_EARLY = 20
_THRESHOLD = 1e-3
"""Magnitude below which an activation counts as tiny; chapter 11 shows that it does not matter."""
_ALIKE = 1
"""Standard deviations between runs that means which are alike span less than."""


def _post(
    id: str, statement: str, criterion: str, *, page: str, reported: str = "—"
) -> Callable[[Assess], Claim]:
    """Make a claim of the function that gives its first verdict."""
    make = claim(id, statement, criterion, source="toy post", page=page, reported=reported)
    return lambda first: make(_second_after(id, first) if id in CRITERIA else first)


def _second_after(id: str, first: Assess) -> Assess:
    def assess(tables: Tables) -> Assessment:
        try:
            points = tables(CONFIRM, "points")
        except FileNotFoundError:
            return first(tables)
        return replace(confirmed(id, points), first=first(tables))

    return assess


def _first_layer(tables: Tables, activation: str, name: str = "sparsity") -> pd.DataFrame:
    """Sparsity of the first hidden layer after each epoch: rows epochs, columns runs."""
    table = tables(FIRST_CLASSIFICATION, name)
    chosen: pd.DataFrame = table[
        (table["activation"] == activation)
        & (table["layer"] == 1)
        & np.isclose(table["threshold"], _THRESHOLD)
        & (table["epoch"] >= 1)
    ]
    return chosen.pivot(index="epoch", columns="run", values="sparsity")


def _last(frame: pd.DataFrame) -> pd.Series:
    """One value a run (column): the mean over the last epochs."""
    return frame.iloc[-_LAST:].mean()


def final_losses(tables: Tables, loss: str) -> pd.DataFrame:
    """Mean of the last epochs of each run: rows runs, columns activations."""
    curves = tables(FIRST_CLASSIFICATION, "curves")
    wide = curves.pivot(index="epoch", columns=["activation", "run"], values=loss)
    return _last(wide).unstack("activation")


def _spread(final: pd.DataFrame) -> float:
    """Range of the activations' means in units of the pooled standard deviation between runs."""
    means = final.mean()
    pooled = float(np.sqrt(final.var(ddof=1).mean()))
    return float((means.max() - means.min()) / pooled)


@_post(
    "T1",
    "Training losses show a rough ordering of the activations; validation losses look similar.",
    f"Mean of the last {_LAST} epochs of each run: Friedman test over runs, p < {SIGNIFICANT}, and "
    f"of ten pairs of activations at most {EXCHANGED} the other way round in validation. First "
    f"verdict, instead: validation means span less than {_ALIKE} standard deviation between runs.",
    page=CLASSIFICATION,
    reported="seen in the post's curves",
)
def t1_ordered(tables: Tables) -> Assessment:
    """The range of the activations' final losses against the spread between runs."""
    final = {loss: final_losses(tables, loss) for loss in ("train_loss", "val_loss")}
    p_value = float(stats.friedmanchisquare(*final["train_loss"].to_numpy().T).pvalue)
    train, val = _spread(final["train_loss"]), _spread(final["val_loss"])
    ordered = Verdict.REPLICATED if p_value < SIGNIFICANT else Verdict.NOT_RESOLVED
    alike = Part("validation, range", exact(val), Band(0, _ALIKE), "sd", interval="")
    order = Part("training, p", exact(p_value), Band(0, SIGNIFICANT), interval="")
    text = f"range in sd: training {train:.2f} (Friedman p = {p_value:.2g}), validation {val:.2f}"
    return Assessment(both(ordered, alike.verdict), text, parts=(order, alike))


def _in_band_throughout(tables: Tables, activation: str, band: Band) -> Assessment:
    by_epoch = _first_layer(tables, activation)
    average, over_runs = estimate(by_epoch.mean()), by_epoch.mean(axis="columns")
    ends = Estimate(over_runs.mean(), over_runs.min(), over_runs.max())
    parts = (
        Part("average over epochs", average, band, "share", by_epoch.shape[1]),
        Part("each epoch's mean", ends, band, "share", interval="range"),
    )
    verdict = parts[0].verdict
    if verdict is Verdict.REPLICATED and parts[1].verdict is not Verdict.REPLICATED:
        verdict = Verdict.PARTLY
    text = f"{average.text()}; by epoch {ends.low:.3f} to {ends.high:.3f}"
    return Assessment(verdict, text, parts=parts)


@_post(
    "T2",
    "ReLU: about half of the first layer's activations are small throughout.",
    f"The interval of the average over epochs lies in {HALF}, and so does each epoch's mean.",
    page=CLASSIFICATION,
    reported="about 0.5",
)
def t2_relu_half(tables: Tables) -> Assessment:
    """First-layer sparsity of ReLU."""
    return _in_band_throughout(tables, "relu", HALF)


@_post(
    "T3",
    "StochA(0.5): about a quarter is small.",
    f"The interval of the average over epochs lies in {QUARTER}, and so does each epoch's mean.",
    page=CLASSIFICATION,
    reported="about 0.25",
)
def t3_stocha_quarter(tables: Tables) -> Assessment:
    """First-layer sparsity of StochA(0.5)."""
    return _in_band_throughout(tables, "stocha", QUARTER)


@_post(
    "T4",
    "The learnable mixture has practically no tiny activations.",
    f"The interval of the average over epochs lies {NONE}.",
    page=CLASSIFICATION,
    reported="practically none",
)
def t4_mixture_none(tables: Tables) -> Assessment:
    """First-layer sparsity of the learnable mixture."""
    each = _first_layer(tables, "learnable_stoch").mean()
    part = Part("average over epochs", estimate(each), NONE, "share", len(each))
    return Assessment(part.verdict, part.found.text(".4f"), parts=(part,))


@_post(
    "T5",
    "Gumbel StochA starts near StochA and settles at a much smaller fraction.",
    f"First epoch within {NEAR} of StochA's; the last {_LAST} epochs, as a share of its own "
    f"first epoch, {MUCH_SMALLER}.",
    page=GATES,
    reported="starts near 0.25, ends much lower",
)
def t5_gumbel_falls(tables: Tables) -> Assessment:
    """Gumbel's sparsity against StochA's at the first epoch, and against its own at the end."""
    gumbel, stocha = _first_layer(tables, "gumbel_stoch"), _first_layer(tables, "stocha")
    runs = gumbel.shape[1]
    start = estimate(gumbel.iloc[0] - stocha.iloc[0])
    ratio = estimate(_last(gumbel) / gumbel.iloc[0])
    return of_parts(
        Part("first epoch minus StochA", start, NEAR, "share", runs),
        Part("end / first epoch", ratio, MUCH_SMALLER, "ratio", runs),
    )


def _alpha(tables: Tables, activation: str, bottleneck: int, decay: bool) -> pd.DataFrame:
    """Mean gate α over layers and validation data: rows epochs, columns runs."""
    gates = tables(FIRST_GATES, "gates")
    chosen = gates[
        (gates["activation"] == activation)
        & (gates["bottleneck"] == bottleneck)
        & (gates["gate_decay"] == decay)
        & (gates["epoch"] >= 1)
    ]
    return chosen.pivot_table(index="epoch", columns="run", values="mean", aggfunc="mean")


def _of_alpha(name: str, values: pd.Series, band: Band) -> Part:
    return Part(name, estimate(values), band, "weight of ReLU", len(values))


@_post(
    "T6",
    "The learnable gate quickly converges to an even mix.",
    f"Mean α from epoch {_EARLY} on lies in {EVEN} (bottleneck {NARROW}), and the gate moved there "
    "or was drawn there; the first verdict asked only where it lies.",
    page=GATES,
    reported="0.5–0.5",
)
def t6_mixture_even(tables: Tables) -> Assessment:
    """The learnable gate's mean α from an early epoch on, with the post's weight decay."""
    alpha = _alpha(tables, "learnable_stoch", NARROW, decay=True)
    later = _of_alpha("mean α", alpha[alpha.index >= _EARLY].mean(), EVEN)
    without = estimate(_last(_alpha(tables, "learnable_stoch", NARROW, decay=False)))
    text = f"α = {later.found.text()}; without decay on the gate, at the end {without.text()}"
    return Assessment(later.verdict, text, parts=(later,))


@_post(
    "T7",
    "The Gumbel gate prefers SiLU for a short while, then equilibrates.",
    f"The lowest mean α (weight of ReLU) up to epoch {_EARLY} lies {SILU} and below its start, "
    f"that of the last {_LAST} epochs in {EVEN}. The first verdict did not ask for its start.",
    page=GATES,
    reported="seen in the post's curves",
)
def t7_gumbel_equilibrates(tables: Tables) -> Assessment:
    """The Gumbel gate's lowest mean α among the early epochs, and its end."""
    alpha = _alpha(tables, "gumbel_stoch", NARROW, decay=True)
    early = alpha[alpha.index <= _EARLY]
    lowest = early.iloc[early.mean(axis="columns").argmin()]
    return of_parts(
        _of_alpha("lowest early α", lowest, SILU), _of_alpha("at the end", _last(alpha), EVEN)
    )


@_post(
    "T8",
    f"With bottleneck {WIDE} the gates strongly prefer ReLU.",
    f"Mean α of the last {_LAST} epochs {RELU}, for both gates.",
    page=GATES,
    reported="strong preference for ReLU",
)
def t8_wide_prefers_relu(tables: Tables) -> Assessment:
    """Both gates' final α in wide layers."""
    gates = {"α learnable": "learnable_stoch", "α Gumbel": "gumbel_stoch"}
    last = {name: _last(_alpha(tables, gate, WIDE, decay=True)) for name, gate in gates.items()}
    return of_parts(*(_of_alpha(name, values, RELU) for name, values in last.items()))
