"""What was found, in one look: a sentence, five findings, two figures, all from recorded tables."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from stocha.base.statistics import Estimate
from stocha.claims import lm, sparse
from stocha.claims.all import CLAIMS
from stocha.claims.drawing import Plot
from stocha.claims.ledger import Claim, Part, Tables, Verdict, assess
from stocha.lm.campaign import by_seed, over_seeds, recorded

R, N, C = Verdict.REPLICATED, Verdict.NOT_RESOLVED, Verdict.CONTRADICTED
WORDS: dict[str, dict[Verdict, str]] = {
    "L2": {
        R: "SiLU cannot simply be replaced by ReLU in a trained model: that costs {size:.2f} nats. "
        "After a tenth of the steps with ReLU most of the cost is gone.",
    },
    "L5": {
        R: "StochA before the switch helps: both together end {size:.2f} nats below Swi+FT alone.",
        N: "Whether StochA before the switch helps is open: both together end {size:.2f} nats "
        "{side} than Swi+FT alone, but zero is in the interval.",
        C: "StochA before the switch does not help: both together end {size:.2f} nats above "
        "Swi+FT alone.",
    },
    "L4": {
        R: "StochA with Swi+FT beats ReLU from scratch, by {size:.2f} nats.",
        N: "Whether StochA with Swi+FT beats ReLU from scratch is open: it ends {size:.2f} nats "
        "{side}, but zero is in the interval.",
        C: "StochA with Swi+FT does not beat ReLU from scratch: it ends {size:.2f} nats above.",
    },
    "L6": {
        R: "More than 90 % zeros are within reach: the sparsest models have {mean:.0%}.",
        N: "We do not reach 90 % zeros: the sparsest of our models have {mean:.0%}, and are "
        "thousands of times smaller than the paper's.",
    },
    "L7": {
        R: "Zeros are worth their time on a CPU: at 90 %, skipping them makes a feed-forward "
        "layer {mean:.1f} times as fast as the fastest dense code.",
        C: "Skipping 90 % zeros makes a feed-forward layer on a CPU only {mean:.1f} times as fast "
        "as the fastest dense code.",
    },
}
"""Of each claim that the front page tells: its words, by the verdict of its first estimate."""


@dataclass(frozen=True)
class Finding:
    """A sentence in words, and the estimate it rests on."""

    claim: Claim
    text: str
    part: Part


def findings(tables: Tables) -> list[Finding]:
    """The five findings, in the order a reader asks for them.

    Where an estimate has a verdict that `WORDS` has no sentence for, claim and verdict speak.
    """
    known = {claim.id: claim for claim in CLAIMS}
    return [_finding(known[id], words, tables) for id, words in WORDS.items()]


def _finding(claim: Claim, words: dict[Verdict, str], tables: Tables) -> Finding:
    part = assess(claim, tables).parts[0]
    mean = part.found.mean
    said = words.get(part.verdict, f"{claim.statement} {part.verdict.capitalize()}: {{mean:.3g}}.")
    text = said.format(mean=mean, size=abs(mean), side="lower" if mean > 0 else "higher")
    return Finding(claim, re.sub(r"(?<=\d)%", " %", text), part)


class Ending(NamedTuple):
    """A way to end training: what is traded in it."""

    colour: str
    zeros: float
    """Mean share of exact zeros."""
    above: Estimate
    """Validation loss less SiLU's of the same seed, in nats, over seeds."""


def trade(tables: Tables) -> dict[str, Ending]:
    """Loss and zeros of five ways to end, by name."""
    points = recorded(tables, "points")
    silu = by_seed(points, "loss")["silu"]
    return {
        name: Ending(
            colour,
            float(points.loc[points["arm"] == arm, zeros].mean()),
            over_seeds(by_seed(points, loss)[arm] - silu).estimate,
        )
        for name, arm, colour, loss, zeros in (
            ("SiLU", "silu", "silu", "loss", "sparsity"),
            ("SiLU run with ReLU", "silu", "silu", "relu_loss", "sparsity_relu"),
            ("Swi+FT", lm.ALONE, "silu", "loss", "sparsity"),
            ("StochA + Swi+FT", lm.TOGETHER, "stocha", "loss", "sparsity"),
            ("ReLU", "relu", "relu", "loss", "sparsity"),
        )
    }


FIGURES = {
    "24_lm_losses": (
        "loss_against_zeros",
        "Five ways to end: means and 95 % intervals over seeds.",
    ),
    "32_sparse_ffn": ("speed_of_zeros", "What zeros buy on one core, float32, 2048 × 8192."),
}
"""The page with a figure's data → the function that draws it, and its caption."""
SERIES = {
    "F.linear": ("PyTorch, dense", "muted"),
    "numba sparse": ("zeros skipped", "relu"),
    "numba screened": ("screened first", "stocha"),
}


def rate(tables: Tables) -> pd.DataFrame:
    """Tokens a second through one feed-forward layer, by method of `SERIES` and share of zeros."""
    speed = tables(sparse.PAGE, "ffn_speed")
    case = (speed["d"] == sparse.WIDTH) & (speed["h"] == sparse.NEURONS)
    rows = speed[case & (speed["threads"] == sparse.THREADS) & speed["method"].isin(SERIES)]
    table = rows[["method", "sparsity"]].assign(tokens=1000 / rows["milliseconds"])
    return table.sort_values("sparsity", ignore_index=True)


def sentence(tables: Tables) -> str:
    """What the study found, in one sentence."""
    ends = trade(tables)
    tuned, bare = ends["Swi+FT"], ends["SiLU run with ReLU"]
    fast = assess(sparse.l7_speed_of_the_ffn, tables).parts[0].found.mean
    return (
        "Trained with SiLU and finished with ReLU for the last tenth of its steps, our small "
        f"language model ends {_apart(tuned.above.mean)} SiLU, with {tuned.zeros:.0%} zeros in "
        "its feed-forward layers; switched without that finish it ends "
        f"{_apart(bare.above.mean)}; and at {sparse.SPARSITY:.0%} zeros, skipping them makes a "
        f"layer {fast:.1f} times as fast on a CPU."
    ).replace("%", " %")


def _apart(nats: float) -> str:
    return f"{abs(nats):.2f} nats {'above' if nats > 0 else 'below'}"


def loss_against_zeros(tables: Tables, style: str = "") -> str:
    """SVG: `trade`, every point labelled, its 95 % interval upright."""
    ends = trade(tables)
    low = min(end.above.low for end in ends.values())
    high = max(end.above.high for end in ends.values())
    room = 0.08 * (high - low)
    axes = ("zeros in the feed-forward layers", "loss above SiLU, nats (lower is better)")
    plot = Plot((0, 1), (low - room, high + room), axes)
    for end in ends.values():
        x, above = plot.x(end.zeros), end.above
        plot.line([(x, plot.y(above.low)), (x, plot.y(above.high))], end.colour)
        plot.dot(x, plot.y(above.mean), end.colour)
    places = {name: (plot.x(end.zeros), plot.y(end.above.mean)) for name, end in ends.items()}
    for name, (x, y) in places.items():
        # to the left where another point's name stands close to the right
        left = any(
            0 < other - x < 130 and abs(height - y) < 20 for other, height in places.values()
        )
        plot.text(x - 9 if left else x + 9, y - 6, name, "end" if left else "start")
    told = (f"{name} {end.zeros:.0%}, {end.above.mean:+.2f}" for name, end in ends.items())
    label = f"Zeros and loss less SiLU's, nats: {'; '.join(told)}."
    return plot.svg(label.replace("-", "−").replace("%", " %"), style)


def speed_of_zeros(tables: Tables, style: str = "") -> str:
    """SVG: `rate` against the share of zeros, with the range that our ReLU models have."""
    table, ends = rate(tables), trade(tables)
    axes = ("zeros in the feed-forward layer", "tokens a second through one layer")
    plot = Plot((0, 1), (0, 1.08 * table["tokens"].max()), axes, right=110)
    models = [ends[name].zeros for name in ("Swi+FT", "StochA + Swi+FT", "ReLU")]
    plot.span(min(models), max(models), "muted")
    plot.text(plot.x((min(models) + max(models)) / 2), 40, "our models", "middle", "axis")
    told = []
    for method, (name, colour) in SERIES.items():
        rows = table[table["method"] == method]
        places = [
            (plot.x(x), plot.y(y)) for x, y in zip(rows["sparsity"], rows["tokens"], strict=True)
        ]
        plot.line(places, colour)
        for place in places:
            plot.dot(*place, colour, 3)
        plot.text(places[-1][0] + 8, places[-1][1] + 4, name)
        most = rows.iloc[-1]
        told.append(f"{name} {most['tokens']:.0f} at {most['sparsity']:.0%}")
    label = f"Tokens a second through one feed-forward layer: {'; '.join(told)} zeros."
    return plot.svg(label.replace("%", " %"), style)
