"""L1–L6 and L8–L10: what the campaign's tables say of the paper's claims, by the protocol."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from stocha.claims.ledger import (
    Assessment,
    Band,
    Part,
    Tables,
    Verdict,
    both,
    claim,
)
from stocha.lm.campaign import (
    DISCRIMINATES,
    LEAST_SEEDS,
    SWEEPS,
    Difference,
    by_seed,
    ends_with_relu,
    label,
    over_seeds,
    paired,
    recorded,
    recovery,
    standard_margins,
)

SWITCH, LOSSES, ZEROS, PROBES = "23_lm_switch", "24_lm_losses", "25_lm_zeros", "26_lm_probes"
SIZES = {106_784: ("lm_arms_small",), 311_872: SWEEPS, 954_352: ("lm_arms_large",)}
"""Parameters of a model, and the sweeps that train it."""

ALPHAS = (0.1, 0.05)
"""That of the other claims and of the front page's figure first."""
DRAWN = "stocha(0.7)"
ALONE, TOGETHER = "silu+ft(0.1)", f"{DRAWN}+ft(0.1)"
GONE = 0.9
"""Share of the spike that must be gone a quarter of the fine-tuning later."""
SPARSE = Band(0.9, math.inf)
ABOVE_ZERO = Band(0, math.inf)

NOTHING = Assessment(Verdict.NOT_STUDIED, "—")
_VERDICTS = {1: Verdict.REPLICATED, 0: Verdict.NOT_RESOLVED, -1: Verdict.CONTRADICTED}
_paper = partial(claim, source="paper", reported="not available to us")


def _above_zero(parts: list[Difference], beside: list[Difference]) -> Assessment:
    """All parts above zero; `beside` is shown and decides nothing."""
    if all(part.seeds == 0 for part in parts):
        return NOTHING
    shown, other = ("; ".join(part.text() for part in some) for some in (parts, beside))
    verdict = both(*(_VERDICTS[part.sign] for part in parts))
    return Assessment(verdict, shown, other, tuple(map(_part, parts)))


def _part(found: Difference, band: Band = ABOVE_ZERO, unit: str = "nats") -> Part:
    return Part(found.name.rstrip(":"), found.estimate, band, unit, found.seeds, least=LEAST_SEEDS)


@_paper(
    "L1",
    "Training loss: StochA slightly below ReLU, SiLU lower still.",
    "Mean training loss of the last 2 % of steps: ReLU − StochA(0.7) > 0 and "
    "StochA(0.7) − SiLU > 0.",
    page=LOSSES,
)
def l1_training_loss_between(tables: Tables) -> Assessment:
    """StochA against both, by training loss."""
    return _between(by_seed(recorded(tables, "points"), "train_loss"))


def _between(wide: pd.DataFrame) -> Assessment:
    """StochA(0.7) below ReLU and above SiLU, by the losses in `wide`."""
    return _above_zero([paired(wide, "relu", DRAWN), paired(wide, DRAWN, "silu")], [])


@_paper(
    "L2",
    "Without fine-tuning, evaluating with ReLU costs a lot; after it, it is fine.",
    "SiLU run with ReLU − SiLU > 0; and Swi+FT(0.1) is closer to SiLU than to the untuned model.",
    page=LOSSES,
)
def l2_fine_tuning_needed(tables: Tables) -> Assessment:
    """The untuned model under ReLU, and which of its ends Swi+FT(0.1) is closer to."""
    points = recorded(tables, "points")
    own = by_seed(points, "loss")
    ends = own.reindex(columns=["silu", ALONE])
    silu, tuned = ends["silu"], ends[ALONE]
    untuned = by_seed(points, "relu_loss").reindex(columns=["silu"])["silu"]
    cost = over_seeds(untuned - silu, "SiLU run with ReLU − SiLU")
    closer = over_seeds(
        (untuned - tuned).abs() - (tuned - silu).abs(),
        "distance of Swi+FT(0.1) to the untuned model less that to SiLU",
    )
    return _above_zero([cost, closer], [paired(own, ALONE, "silu")])


@_paper(
    "L3",
    "The loss spikes at the switch to ReLU and recovers quickly.",
    "Swi+FT(0.1): loss at the switch exceeds the loss before it; and a quarter of the steps after "
    f"the switch later at least {GONE:.0%} of that rise is gone (between two evaluated steps, "
    "linear in the logarithm of the step).".replace("%", " %"),
    page=SWITCH,
)
def l3_spike_and_recovery(tables: Tables) -> Assessment:
    """Swi+FT(0.1) around its switch."""
    losses, points = (recorded(tables, name, SWEEPS[:1]) for name in ("switch_loss", "points"))
    found = recovery(losses, points, ALONE)
    rise = over_seeds(found["rise"], "rise at the switch")
    beyond = over_seeds(
        found["gone"] - GONE * found["rise"],
        f"recovered a quarter later, less {GONE:g} of the rise",
    )
    if rise.sign != 1:
        # without a rise there is nothing to recover from
        return _above_zero([rise], [beyond])
    assessment = _above_zero([rise, beyond], [])
    share = found["gone"].mean() / found["rise"].mean()
    return replace(assessment, estimate=f"{assessment.estimate} ({share:.0%} of it)")


@_paper(
    "L4",
    "StochA with Swi+FT ends better than ReLU from scratch.",
    "ReLU − (StochA(0.7) + Swi+FT(α)) > 0 for α = 0.05 and 0.1, validation loss.",
    page=LOSSES,
)
def l4_together_beat_relu(tables: Tables) -> Assessment:
    """StochA with Swi+FT against ReLU from scratch."""
    wide = by_seed(recorded(tables, "points"), "loss")
    return _above_zero([paired(wide, "relu", f"{DRAWN}+ft({alpha:g})") for alpha in ALPHAS], [])


@_paper(
    "L5",
    "Swi+FT alone ends worse than the two together; both worse than deterministic SiLU.",
    "Swi+FT(0.1) − (StochA(0.7) + Swi+FT(0.1)) > 0, and both − SiLU > 0, validation loss.",
    page=LOSSES,
)
def l5_order_of_the_recipes(tables: Tables) -> Assessment:
    """Swi+FT(0.1) alone, with StochA, and SiLU."""
    wide = by_seed(recorded(tables, "points"), "loss")
    pairs = [(ALONE, TOGETHER), (ALONE, "silu"), (TOGETHER, "silu")]
    return _above_zero([paired(wide, *pair) for pair in pairs], [])


@_paper(
    "L6",
    "With ReLU at inference, FFN sparsity can exceed 90 %.",
    "Mean sparsity of a model that ends with ReLU, for the arm and size where it is highest: "
    f"{SPARSE}. A claim of existence is not contradicted by small models: short of that it is not "
    "resolved, and the trend over sizes stands beside it, dead neurons left out.",
    page=ZEROS,
    reported="> 90 %; 84.6 % at p = 0.7, α = 0.05 (second-hand, one summary)",
)
def l6_sparsity_above_90_percent(tables: Tables) -> Assessment:
    """The arm and size that end with ReLU and have the highest mean sparsity, and the trend."""
    points = pd.concat(
        recorded(tables, "points", sweeps).assign(size=size) for size, sweeps in _sizes(tables)
    )
    points = points[points["arm"].map(ends_with_relu)]
    if points.empty:
        return NOTHING
    means = points.groupby(["arm", "size"])["sparsity"].mean().reset_index()
    highest = means.iloc[int(np.argmax(means["sparsity"]))]
    arm, size = str(highest["arm"]), int(highest["size"])
    best = points[(points["arm"] == arm) & (points["size"] == size)]
    name = f"highest of {len(means)}, {label(arm)} of {size:,} parameters:"
    found = over_seeds(best["sparsity"], name)
    part = replace(_part(found, SPARSE, "share of neurons"), exists=True)
    text = f"{found.text('.3f')}; dead neurons {best['dead'].mean():.3f}"
    beside = "; ".join(one.text("+.3f") for one in _trends(tables))
    return Assessment(part.verdict, text, beside, (part,))


def _sizes(tables: Tables) -> list[tuple[int, tuple[str, ...]]]:
    """The `SIZES` that are recorded."""
    there = [
        (size, sweeps)
        for size, sweeps in SIZES.items()
        if any((tables.root / sweep).is_dir() for sweep in sweeps)
    ]
    if not there:
        raise FileNotFoundError("no size of the campaign is recorded")
    return there


def _trends(tables: Tables) -> list[Difference]:
    """Per arm: rise of the living neurons' share of zeros for each ten times the parameters."""
    rows = [
        recorded(tables, "sparsity", sweeps).query("form == 'own'").assign(size=size)
        for size, sweeps in _sizes(tables)
    ]
    if len(rows) < 2:
        return []
    live = pd.concat(rows).groupby(["arm", "seed", "size"])["sparsity_live"].mean().unstack()
    live = live.dropna()
    slopes = pd.Series(
        [np.polyfit(np.log10(live.columns.astype(float)), row, 1)[0] for row in live.to_numpy()],
        index=live.index,
    )
    return [
        over_seeds(slope, f"{label(str(arm))}, for ten times the parameters")
        for arm, slope in slopes.groupby("arm", sort=False)
        if ends_with_relu(str(arm))
    ]


@_paper(
    "L8",
    "StochA at test time without fine-tuning lies between ReLU and SiLU.",
    "StochA(0.7), sampled at test time without fine-tuning: ReLU − StochA(0.7) > 0 and "
    "StochA(0.7) − SiLU > 0, validation loss.",
    page=LOSSES,
)
def l8_sampled_between(tables: Tables) -> Assessment:
    """StochA without fine-tuning, sampled at test time."""
    scores = recorded(tables, "evaluation").query("split == 'validation'")
    own, sampled = (by_seed(scores[scores["form"] == form], "loss") for form in ("own", "sampled"))
    wide = own[own.columns.intersection(["relu", "silu"])].join(
        sampled.filter(regex=r"^stocha\("), how="outer"
    )
    return _between(wide)


@_paper(
    "L9",
    "Bernoulli SiLU (identity or zero) does not work well in practice.",
    "Bernoulli SiLU − ReLU > 0 and Bernoulli SiLU − SiLU > 0, validation loss.",
    page=LOSSES,
)
def l9_bernoulli_worse(tables: Tables) -> Assessment:
    """Bernoulli SiLU against both."""
    wide = by_seed(recorded(tables, "points"), "loss")
    return _above_zero([paired(wide, "bernoulli_silu", arm) for arm in ("relu", "silu")], [])


@_paper(
    "L10",
    "Downstream tasks: the new methods beat ReLU and trail SiLU.",
    "Mean over the probes that discriminate (SiLU's accuracy over seeds at least "
    f"{DISCRIMINATES[0]} above chance and at most {DISCRIMINATES[1]}) of the margin in units of "
    "the standard deviation of SiLU's margins over questions: "
    "StochA(0.7) + Swi+FT(0.1) − ReLU > 0 and "
    "SiLU − (StochA(0.7) + Swi+FT(0.1)) > 0.",
    page=PROBES,
)
def l10_downstream_between(tables: Tables) -> Assessment:
    """One number a run: its margins over the probes that discriminate."""
    rows = standard_margins(recorded(tables, "probes"))
    counted = rows[rows["counts"]].groupby(["arm", "seed"])["margin"].mean().reset_index()
    wide = by_seed(counted, "margin")
    found = _above_zero([paired(wide, TOGETHER, "relu"), paired(wide, "silu", TOGETHER)], [])
    left_out = ", ".join(sorted(set(rows["probe"][~rows["counts"]])))
    return (
        found
        if found == NOTHING or not left_out
        else replace(found, beside=f"saturated: {left_out}")
    )
