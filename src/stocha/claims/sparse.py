"""L7: what sparsity gains on a CPU, from the tables of chapter 32."""

import math

from stocha.base.statistics import Estimate
from stocha.claims.ledger import Assessment, Band, Part, Tables, claim

PAGE = "32_sparse_ffn"
WIDTH, NEURONS, SPARSITY, THREADS = 2048, 8192, 0.9, 1
REPORTED = 1.65
"""Second-hand: a summary at paperzilla.ai."""


@claim(
    "L7",
    f"{SPARSITY:.0%} sparsity gives about {REPORTED}× on CPU for the FFN.".replace("%", " %"),
    f"The exact sparse kernel against the fastest dense peer of the same run, {WIDTH} × {NEURONS} "
    "in fp32, one thread, cold caches: the lower quartile of the ratio reaches "
    f"{REPORTED}; contradicted where the upper one does not.",
    source="paper",
    page=PAGE,
    reported=f"{REPORTED}× (second-hand)",
)
def l7_speed_of_the_ffn(tables: Tables) -> Assessment:
    """The quartiles of the ratio; that of the screened kernel stands beside it."""
    speed = tables(PAGE, "ffn_speed")
    shape = (speed["d"] == WIDTH) & (speed["h"] == NEURONS)
    case = (speed["threads"] == THREADS) & (speed["sparsity"] == SPARSITY)
    found = speed[shape & case].set_index("method")
    sparse, screened = found.loc["numba sparse"], found.loc["numba screened"]
    ratio = Estimate(*sparse[["ratio_median", "ratio_q1", "ratio_q3"]].astype(float))
    part = Part("sparse FFN", ratio, Band(REPORTED, math.inf), "×", interval="quartiles")
    text = (
        f"{sparse['ratio_median']:.2f}× [quartiles {sparse['ratio_q1']:.2f}, "
        f"{sparse['ratio_q3']:.2f}]; with certified screening {screened['ratio_median']:.2f}×"
    )
    return Assessment(part.verdict, text, parts=(part,))
