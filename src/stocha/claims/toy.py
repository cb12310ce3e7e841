"""T1–T8: the toy post's claims, from the tables of chapters 11 and 12."""

import numpy as np
import pandas as pd
from scipy import stats

from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Assessment, Claim, Tables, Verdict, both, within

CLASSIFICATION = "11_toy_classification"
GATES = "12_gates"
_SOURCE = "toy post"
_LAST = 10
"""Epochs averaged at the end of training: one epoch of a stochastic activation is one draw."""
_EARLY = 20
_THRESHOLD = 1e-3
"""Magnitude below which an activation counts as tiny; chapter 11 shows that it does not matter."""


def _first_layer(tables: Tables, activation: str, name: str = "sparsity") -> pd.DataFrame:
    """Sparsity of the first hidden layer after each epoch: rows epochs, columns runs."""
    table = tables(CLASSIFICATION, name)
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
    curves = tables(CLASSIFICATION, "curves")
    wide = curves.pivot(index="epoch", columns=["activation", "run"], values=loss)
    return _last(wide).unstack("activation")


def _spread(final: pd.DataFrame) -> float:
    """Range of the activations' means in units of the pooled standard deviation between runs."""
    means = final.mean()
    pooled = float(np.sqrt(final.var(ddof=1).mean()))
    return float((means.max() - means.min()) / pooled)


def t1_training_ordered_validation_alike(tables: Tables) -> Assessment:
    """T1, by the range of the activations' final losses against the spread between runs."""
    final = {loss: final_losses(tables, loss) for loss in ("train_loss", "val_loss")}
    p_value = float(stats.friedmanchisquare(*final["train_loss"].to_numpy().T).pvalue)
    train, val = _spread(final["train_loss"]), _spread(final["val_loss"])
    ordered = Verdict.REPLICATED if p_value < 0.05 else Verdict.NOT_RESOLVED
    alike = Verdict.REPLICATED if val < 1 else Verdict.CONTRADICTED
    text = f"range in sd: training {train:.2f} (Friedman p = {p_value:.2g}), validation {val:.2f}"
    return Assessment(both(ordered, alike), text)


def _beside(tables: Tables, activation: str) -> str:
    """What the verdict does not rest on but a reader should see: living networks, other widths.

    A dead network's first layer is silent whatever its activation, so deaths move the mean. The
    other reading of the post's widths is one narrow layer among wide ones.
    """
    runs = tables(CLASSIFICATION, "runs")
    living = runs.loc[(runs["activation"] == activation) & ~runs["dead"], "run"]
    each = _first_layer(tables, activation).mean()
    text = f"; the {len(living)} living of {len(each)} networks {each[living].mean():.3f}"
    other = estimate(_first_layer(tables, activation, "sparsity_other").mean())
    text += f"; with one narrow layer among wide ones {other.text()}"
    swept = tables("toy_bottleneck", "points")
    swept = swept[(swept["activation"] == activation) & ~swept["dead"]]
    means = swept.groupby("width")["sparsity"].mean()
    widths = f"{means.index.min()}–{means.index.max()}"
    return f"{text}; living, widths {widths}: {means.min():.3f} to {means.max():.3f}"


def _in_band_throughout(tables: Tables, activation: str, low: float, high: float) -> Assessment:
    by_epoch = _first_layer(tables, activation)
    average = estimate(by_epoch.mean())
    over_runs = by_epoch.mean(axis="columns")
    verdict = within(average, low, high)
    if verdict is Verdict.REPLICATED and not over_runs.between(low, high).all():
        verdict = Verdict.PARTLY
    text = f"{average.text()}; by epoch {over_runs.min():.3f} to {over_runs.max():.3f}"
    return Assessment(verdict, text + _beside(tables, activation))


def t2_relu_half(tables: Tables) -> Assessment:
    """T2: first-layer sparsity of ReLU."""
    return _in_band_throughout(tables, "relu", 0.40, 0.60)


def t3_stocha_quarter(tables: Tables) -> Assessment:
    """T3: first-layer sparsity of StochA(0.5)."""
    return _in_band_throughout(tables, "stocha", 0.20, 0.30)


def t4_learnable_none(tables: Tables) -> Assessment:
    """T4: first-layer sparsity of the learnable mixture."""
    average = estimate(_first_layer(tables, "learnable_stoch").mean())
    text = average.text(".4f") + _beside(tables, "learnable_stoch")
    return Assessment(within(average, -0.02, 0.02), text)


def t5_gumbel_settles_lower(tables: Tables) -> Assessment:
    """T5: Gumbel's sparsity against StochA's at the first epoch, and against its own at the end."""
    gumbel, stocha = _first_layer(tables, "gumbel_stoch"), _first_layer(tables, "stocha")
    start = estimate(gumbel.iloc[0] - stocha.iloc[0])
    ratio = estimate(_last(gumbel) / gumbel.iloc[0])
    text = f"first epoch minus StochA {start.text()}; end / first epoch {ratio.text('.2f')}"
    return Assessment(both(within(start, -0.05, 0.05), within(ratio, -np.inf, 0.5)), text)


def _alpha(tables: Tables, activation: str, bottleneck: int, decay: bool) -> pd.DataFrame:
    """Mean gate α over layers and validation data: rows epochs, columns runs."""
    gates = tables(GATES, "gates")
    chosen = gates[
        (gates["activation"] == activation)
        & (gates["bottleneck"] == bottleneck)
        & (gates["gate_decay"] == decay)
        & (gates["epoch"] >= 1)
    ]
    return chosen.pivot_table(index="epoch", columns="run", values="mean", aggfunc="mean")


def _final_alpha(tables: Tables, activation: str, bottleneck: int, decay: bool) -> Estimate:
    return estimate(_last(_alpha(tables, activation, bottleneck, decay)))


def t6_learnable_even(tables: Tables) -> Assessment:
    """T6: the learnable gate's mean α from an early epoch on, with the post's weight decay."""
    alpha = _alpha(tables, "learnable_stoch", 4, decay=True)
    later = estimate(alpha[alpha.index >= _EARLY].mean())
    without = _final_alpha(tables, "learnable_stoch", 4, decay=False)
    text = f"α = {later.text()}; without decay on the gate, at the end {without.text()}"
    return Assessment(within(later, 0.45, 0.55), text)


def t7_gumbel_equilibrates(tables: Tables) -> Assessment:
    """T7: the Gumbel gate's lowest mean α among the early epochs, and its end."""
    alpha = _alpha(tables, "gumbel_stoch", 4, decay=True)
    early = alpha[alpha.index <= _EARLY]
    lowest = estimate(early.iloc[early.mean(axis="columns").argmin()])
    end = _final_alpha(tables, "gumbel_stoch", 4, decay=True)
    text = f"lowest early α {lowest.text()}; at the end {end.text()}"
    return Assessment(both(within(lowest, -np.inf, 0.5), within(end, 0.45, 0.55)), text)


def t8_wide_prefers_relu(tables: Tables) -> Assessment:
    """T8: both gates' final α with bottleneck 16."""
    learnable = _final_alpha(tables, "learnable_stoch", 16, decay=True)
    gumbel = _final_alpha(tables, "gumbel_stoch", 16, decay=True)
    text = f"α learnable {learnable.text()}, Gumbel {gumbel.text()}"
    return Assessment(both(within(learnable, 0.6, np.inf), within(gumbel, 0.6, np.inf)), text)


CLAIMS = (
    Claim(
        "T1",
        _SOURCE,
        "Training losses show a rough ordering of the activations; validation losses look alike.",
        f"Mean of the last {_LAST} epochs of each run. Ordering: Friedman test over runs, "
        "p < 0.05. Alike: the activations' means span less than one standard deviation between "
        "runs.",
        CLASSIFICATION,
        t1_training_ordered_validation_alike,
        reported="seen in the post's curves",
    ),
    Claim(
        "T2",
        _SOURCE,
        "ReLU: about half of the first layer's activations are small throughout.",
        "The interval of the average over epochs lies in 0.40–0.60, and so does each epoch's mean.",
        CLASSIFICATION,
        t2_relu_half,
        reported="about 0.5",
    ),
    Claim(
        "T3",
        _SOURCE,
        "StochA(0.5): about a quarter is small.",
        "The interval of the average over epochs lies in 0.20–0.30, and so does each epoch's mean.",
        CLASSIFICATION,
        t3_stocha_quarter,
        reported="about 0.25",
    ),
    Claim(
        "T4",
        _SOURCE,
        "The learnable mixture has practically no tiny activations.",
        "The interval of the average over epochs lies below 0.02.",
        CLASSIFICATION,
        t4_learnable_none,
        reported="practically none",
    ),
    Claim(
        "T5",
        _SOURCE,
        "Gumbel StochA starts near StochA and settles at a much smaller fraction.",
        f"First epoch within ±0.05 of StochA's; the last {_LAST} epochs below half of its own "
        "first epoch.",
        CLASSIFICATION,
        t5_gumbel_settles_lower,
        reported="starts near 0.25, ends much lower",
    ),
    Claim(
        "T6",
        _SOURCE,
        "The learnable gate quickly converges to an even mix.",
        f"Mean α from epoch {_EARLY} on lies in 0.45–0.55 (bottleneck 4, decay on the gate, as "
        "posted).",
        GATES,
        t6_learnable_even,
        reported="0.5–0.5",
    ),
    Claim(
        "T7",
        _SOURCE,
        "The Gumbel gate prefers SiLU for a short while, then equilibrates.",
        f"The lowest mean α (weight of ReLU) up to epoch {_EARLY} lies below 0.5; that of the "
        f"last {_LAST} epochs in 0.45–0.55.",
        GATES,
        t7_gumbel_equilibrates,
        reported="seen in the post's curves",
    ),
    Claim(
        "T8",
        _SOURCE,
        "With bottleneck 16 the gates strongly prefer ReLU.",
        f"Mean α of the last {_LAST} epochs above 0.6, for both gates.",
        GATES,
        t8_wide_prefers_relu,
        reported="strong preference for ReLU",
    ),
)
