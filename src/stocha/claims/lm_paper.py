"""L1–L6 and L8–L10: what the recorded campaign says of the paper's claims (protocol's criteria)."""

import math

import numpy as np
import pandas as pd

from stocha.claims.campaign import (
    Difference,
    best_stocha,
    by_seed,
    label,
    over_seeds,
    paired,
    recorded,
)
from stocha.claims.ledger import Assessment, Tables, Verdict, both

FT = "+ft(0.1)"
NOTHING = Assessment(Verdict.NOT_STUDIED, "—")
_GONE, _SPARSE = 0.9, 0.9
_PROBES_NEEDED = 2


def _assessment(parts: list[Difference], beside: list[Difference] | None = None) -> Assessment:
    """All parts above zero; `beside` is shown and decides nothing."""
    if all(part.seeds == 0 for part in parts):
        return NOTHING
    shown, other = ("; ".join(part.text() for part in some) for some in (parts, beside or []))
    return Assessment(both(*(part.positive for part in parts)), shown, other)


def _stocha(points: pd.DataFrame, ending: str = "") -> tuple[str, str | None]:
    """The arm that stands for StochA, and the arm with p = 0.5 where that is another one."""
    p = best_stocha(points, ending)
    chosen, usual = f"stocha({0.5 if p is None else p:g}){ending}", f"stocha(0.5){ending}"
    return chosen, usual if usual != chosen and usual in set(points["arm"]) else None


def l1_training_loss_between(tables: Tables) -> Assessment:
    """L1: training loss of the last 2 % of steps (chapter 24)."""
    points = recorded(tables, "points")
    wide = by_seed(points, "train_loss")
    chosen, usual = _stocha(points)
    parts = [paired(wide, "relu", chosen), paired(wide, chosen, "silu")]
    beside = [paired(wide, "relu", usual), paired(wide, usual, "silu")] if usual else []
    return _assessment(parts, beside)


def l2_fine_tuning_needed(tables: Tables) -> Assessment:
    """L2: the untuned model under ReLU, and which of its ends Swi+FT(0.1) is closer to."""
    points = recorded(tables, "points")
    own, relu = by_seed(points, "loss"), by_seed(points, "relu_loss")
    ends = own.reindex(columns=["silu", f"silu{FT}"])
    silu, tuned = ends["silu"], ends[f"silu{FT}"]
    untuned = relu.reindex(columns=["silu"])["silu"]
    cost = over_seeds(untuned - silu, "SiLU run with ReLU − SiLU")
    closer = over_seeds(
        (untuned - tuned).abs() - (tuned - silu).abs(),
        "distance of Swi+FT(0.1) to the untuned model less that to SiLU",
    )
    return _assessment([cost, closer], [paired(own, f"silu{FT}", "silu")])


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


def l3_spike_and_recovery(tables: Tables) -> Assessment:
    """L3: Swi+FT(0.1) around its switch (chapter 23)."""
    found = recovery(recorded(tables, "switch_loss"), recorded(tables, "points"), f"silu{FT}")
    rise = over_seeds(found["rise"], "rise at the switch")
    beyond = over_seeds(
        found["gone"] - _GONE * found["rise"],
        f"recovered a quarter later, less {_GONE:g} of the rise",
    )
    if rise.positive is not Verdict.REPLICATED:
        # without a rise there is nothing to recover from
        return _assessment([rise], [beyond])
    assessment = _assessment([rise, beyond])
    share = found["gone"].mean() / found["rise"].mean()
    text = f"{assessment.estimate} ({share:.0%} of it)"
    return Assessment(assessment.verdict, text, assessment.beside)


def l4_together_beat_relu(tables: Tables) -> Assessment:
    """L4: StochA with Swi+FT(0.1) against ReLU from scratch (chapter 24)."""
    points = recorded(tables, "points")
    wide = by_seed(points, "loss")
    chosen, usual = _stocha(points, FT)
    return _assessment(
        [paired(wide, "relu", chosen)], [paired(wide, "relu", usual)] if usual else []
    )


def l5_order_of_the_recipes(tables: Tables) -> Assessment:
    """L5: Swi+FT(0.1) alone, with StochA, and SiLU (chapter 24)."""
    points = recorded(tables, "points")
    wide = by_seed(points, "loss")
    chosen, usual = _stocha(points, FT)
    pairs = [(f"silu{FT}", chosen), (f"silu{FT}", "silu"), (chosen, "silu")]
    beside = [(f"silu{FT}", usual), (usual, "silu")] if usual else []
    return _assessment(
        [paired(wide, *pair) for pair in pairs], [paired(wide, *pair) for pair in beside]
    )


def ends_with_relu(arm: str) -> bool:
    """Whether a model of this arm is a ReLU model after its last step."""
    return arm in ("relu", "anneal") or "+ft(" in arm


def l6_sparsity_above_90_percent(tables: Tables) -> Assessment:
    """L6: the arm that ends with ReLU and has the highest mean sparsity (chapter 25)."""
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
    return Assessment(found.within(_SPARSE, math.inf), text)


def l8_sampled_between(tables: Tables) -> Assessment:
    """L8: StochA without fine-tuning, sampled at test time (chapter 24)."""
    points = recorded(tables, "points")
    scores = recorded(tables, "evaluation")
    scores = scores[scores["split"] == "validation"]
    own = by_seed(scores[scores["form"] == "own"], "loss")
    sampled = by_seed(scores[scores["form"] == "sampled"], "loss")
    wide = own[own.columns.intersection(["relu", "silu"])].join(
        sampled.filter(regex=r"^stocha\("), how="outer"
    )
    chosen, usual = _stocha(points)
    parts = [paired(wide, "relu", chosen), paired(wide, chosen, "silu")]
    beside = [paired(wide, "relu", usual), paired(wide, usual, "silu")] if usual else []
    return _assessment(parts, beside)


def l9_bernoulli_worse(tables: Tables) -> Assessment:
    """L9: Bernoulli SiLU against ReLU (chapter 24)."""
    wide = by_seed(recorded(tables, "points"), "loss")
    return _assessment(
        [paired(wide, "bernoulli_silu", "relu")], [paired(wide, "bernoulli_silu", "silu")]
    )


def probe_margins(probes: pd.DataFrame, first: str, second: str) -> dict[str, Difference]:
    """Paired difference of the mean margin, each model with its own activation, by probe."""
    own = probes[probes["form"] == "own"]
    return {
        str(probe): paired(by_seed(rows, "margin"), first, second)
        for probe, rows in own.groupby("probe", sort=False)
    }


def _in_most(parts: list[Verdict]) -> Verdict:
    """In at least two probes, none significantly the other way."""
    supported, against = parts.count(Verdict.REPLICATED), parts.count(Verdict.CONTRADICTED)
    if supported >= _PROBES_NEEDED and not against:
        return Verdict.REPLICATED
    if against >= _PROBES_NEEDED and not supported:
        return Verdict.CONTRADICTED
    return Verdict.NOT_RESOLVED


def l10_downstream_between(tables: Tables) -> Assessment:
    """L10: margins of three probes (chapter 26)."""
    chosen, usual = _stocha(recorded(tables, "points"), FT)
    probes = recorded(tables, "probes")
    beats, trails = _beats_and_trails(probes, chosen)
    if all(found.seeds == 0 for found in [*beats.values(), *trails.values()]):
        return NOTHING
    halves = [[found.positive for found in half.values()] for half in (beats, trails)]
    verdict = both(*map(_in_most, halves))
    together = sum(pair == (Verdict.REPLICATED,) * 2 for pair in zip(*halves, strict=True))
    if verdict is Verdict.REPLICATED and together < _PROBES_NEEDED:
        verdict = Verdict.PARTLY
    beside = _margins(*_beats_and_trails(probes, usual)) if usual else ""
    return Assessment(verdict, _margins(beats, trails), beside)


def _margins(beats: dict[str, Difference], trails: dict[str, Difference]) -> str:
    return "; ".join(
        f"{probe}: {half[probe].text('+.3f')}" for probe in beats for half in (beats, trails)
    )


def _beats_and_trails(
    probes: pd.DataFrame, arm: str
) -> tuple[dict[str, Difference], dict[str, Difference]]:
    return probe_margins(probes, arm, "relu"), probe_margins(probes, "silu", arm)
