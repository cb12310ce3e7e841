"""L1–L6 and L8–L11: what the first campaign's tables say of the paper's claims."""

import math
from dataclasses import replace
from functools import partial

import pandas as pd

from stocha.claims.ledger import (
    Assessment,
    Band,
    Claim,
    Part,
    Tables,
    Verdict,
    both,
    claim,
    within,
)
from stocha.lm.campaign import (
    LEAST_SEEDS,
    Difference,
    best_stocha,
    by_seed,
    ends_with_relu,
    label,
    margins,
    over_seeds,
    paired,
    recorded,
    recovery,
)

SWITCH, LOSSES, ZEROS, PROBES = "23_lm_switch", "24_lm_losses", "25_lm_zeros", "26_lm_probes"
FT = "+ft(0.1)"
ALONE = f"silu{FT}"
GONE = 0.9
"""Share of the spike that must be gone a quarter of the fine-tuning later."""
SPARSE = Band(0.9, math.inf)
ABOVE_ZERO = Band(0, math.inf)
MOST = 2
"""Probes that must agree, of three."""

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
    "Mean training loss of the last 2 % of steps: ReLU − StochA > 0 and StochA − SiLU > 0, for "
    "the StochA with the lowest validation loss.",
    page=LOSSES,
)
def l1_training_loss_between(tables: Tables) -> Assessment:
    """StochA against both, by training loss."""
    points = recorded(tables, "points")
    return _between(points, by_seed(points, "train_loss"))


def _between(points: pd.DataFrame, wide: pd.DataFrame) -> Assessment:
    """StochA below ReLU and above SiLU, by the losses in `wide`."""
    chosen, usual = best_stocha(points)
    parts, beside = (
        [paired(wide, "relu", arm), paired(wide, arm, "silu")] if arm else []
        for arm in (chosen, usual)
    )
    return _above_zero(parts, beside)


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
    found = recovery(recorded(tables, "switch_loss"), recorded(tables, "points"), ALONE)
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
    "ReLU − (StochA + Swi+FT(0.1)) > 0, validation loss; p as the first campaign chooses it.",
    page=LOSSES,
)
def l4_together_beat_relu(tables: Tables) -> Assessment:
    """StochA with Swi+FT(0.1) against ReLU from scratch."""
    points = recorded(tables, "points")
    wide, (chosen, usual) = by_seed(points, "loss"), best_stocha(points, FT)
    parts, beside = ([paired(wide, "relu", arm)] if arm else [] for arm in (chosen, usual))
    return _above_zero(parts, beside)


@_paper(
    "L5",
    "Swi+FT alone ends worse than the two together; both worse than deterministic SiLU.",
    "Swi+FT(0.1) − (StochA + Swi+FT(0.1)) > 0, and both − SiLU > 0, validation loss; p as the "
    "first campaign chooses it.",
    page=LOSSES,
)
def l5_order_of_the_recipes(tables: Tables) -> Assessment:
    """Swi+FT(0.1) alone, with StochA, and SiLU."""
    points = recorded(tables, "points")
    wide, (chosen, usual) = by_seed(points, "loss"), best_stocha(points, FT)
    pairs = [(ALONE, chosen), (ALONE, "silu"), (chosen, "silu")]
    beside = [(ALONE, usual), (usual, "silu")] if usual else []
    return _above_zero(*([paired(wide, *pair) for pair in some] for some in (pairs, beside)))


@_paper(
    "L6",
    "With ReLU at inference, FFN sparsity can exceed 90 %.",
    f"Mean sparsity of a model that ends with ReLU, for the arm where it is highest: {SPARSE}; "
    "dead neurons are reported apart.",
    page=ZEROS,
    reported="> 90 %; 84.6 % at p = 0.7, α = 0.05 (second-hand, one summary)",
)
def l6_sparsity_above_90_percent(tables: Tables) -> Assessment:
    """The arm that ends with ReLU and has the highest mean sparsity."""
    points = recorded(tables, "points")
    points = points[points["arm"].map(ends_with_relu)]
    if points.empty:
        return NOTHING
    means = points.groupby("arm")["sparsity"].mean()
    arm = str(means.idxmax())
    best = points[points["arm"] == arm]
    found = over_seeds(best["sparsity"], f"highest of {len(means)} arms, {label(arm)}:")
    text = f"{found.text('.3f')}; dead neurons {best['dead'].mean():.3f}"
    if len(means) > 1:
        text += f"; lowest, {label(str(means.idxmin()))}: {means.min():.3f}"
    enough = found.seeds >= LEAST_SEEDS
    verdict = within(found.estimate, *SPARSE) if enough else Verdict.NOT_RESOLVED
    return Assessment(verdict, text, parts=(_part(found, SPARSE, "share of neurons"),))


@_paper(
    "L8",
    "StochA at test time without fine-tuning lies between ReLU and SiLU.",
    "StochA, sampled at test time without fine-tuning: ReLU − StochA > 0 and StochA − SiLU > 0, "
    "validation loss; p as the first campaign chooses it.",
    page=LOSSES,
)
def l8_sampled_between(tables: Tables) -> Assessment:
    """StochA without fine-tuning, sampled at test time."""
    scores = recorded(tables, "evaluation").query("split == 'validation'")
    own, sampled = (by_seed(scores[scores["form"] == form], "loss") for form in ("own", "sampled"))
    wide = own[own.columns.intersection(["relu", "silu"])].join(
        sampled.filter(regex=r"^stocha\("), how="outer"
    )
    return _between(recorded(tables, "points"), wide)


@_paper(
    "L9",
    "Bernoulli SiLU (identity or zero) does not work well in practice.",
    "Bernoulli SiLU − ReLU > 0, validation loss.",
    page=LOSSES,
)
def l9_bernoulli_worse(tables: Tables) -> Assessment:
    """Bernoulli SiLU against ReLU; SiLU beside it."""
    wide = by_seed(recorded(tables, "points"), "loss")
    return _above_zero(*([paired(wide, "bernoulli_silu", arm)] for arm in ("relu", "silu")))


@_paper(
    "L10",
    "Downstream tasks: the new methods beat ReLU and trail SiLU.",
    "Probe margins: StochA + Swi+FT(0.1) − ReLU > 0 and SiLU − (StochA + Swi+FT(0.1)) > 0 in at "
    f"least {MOST} of three probes, none significantly the other way.",
    page=PROBES,
)
def l10_downstream_between(tables: Tables) -> Assessment:
    """Margins of three probes."""
    chosen, usual = best_stocha(recorded(tables, "points"), FT)
    probes = recorded(tables, "probes")
    beats, trails = _beats_and_trails(probes, chosen)
    if all(found.seeds == 0 for found in [*beats.values(), *trails.values()]):
        return NOTHING
    halves = [[found.sign for found in half.values()] for half in (beats, trails)]
    verdict = both(*map(_in_most, halves))
    together = list(zip(*halves, strict=True)).count((1, 1))
    if verdict is Verdict.REPLICATED and together < MOST:
        verdict = Verdict.PARTLY
    beside = _listed(*_beats_and_trails(probes, usual)) if usual else ""
    named = ((probe, half[probe]) for probe in beats for half in (beats, trails))
    parts = (replace(_part(one), name=f"{probe}: {one.name}") for probe, one in named)
    return Assessment(verdict, _listed(beats, trails), beside, tuple(parts))


def _in_most(signs: list[int]) -> Verdict:
    """In `MOST` probes, none significantly the other way."""
    for sign in (1, -1):
        if signs.count(sign) >= MOST and -sign not in signs:
            return _VERDICTS[sign]
    return Verdict.NOT_RESOLVED


def _beats_and_trails(
    probes: pd.DataFrame, arm: str
) -> tuple[dict[str, Difference], dict[str, Difference]]:
    return margins(probes, arm, "relu"), margins(probes, "silu", arm)


def _listed(beats: dict[str, Difference], trails: dict[str, Difference]) -> str:
    return "; ".join(
        f"{probe}: {half[probe].text('+.3f')}" for probe in beats for half in (beats, trails)
    )


L11 = Claim(
    "L11",
    "paper",
    "Test-time StochA gives several different answers to one prompt: more diversity, slightly "
    "lower quality than SiLU with temperature.",
    "Fixed with the chapter that will study it, before its runs are read.",
    reported="not available to us",
)
