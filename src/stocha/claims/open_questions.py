"""Q1–Q6: the questions that the two posts leave open."""

import math
from dataclasses import replace
from functools import partial

import pandas as pd

from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Assessment, Claim, Part, Tables, Verdict, claim
from stocha.claims.toy import CLASSIFICATION, final_losses
from stocha.lm.campaign import by_seed, paired, recorded

GRADUAL = "13_gradual_or_sudden"
UNCERTAINTY = "18_uncertainty"
_SOURCE = "the two posts"
_PAIRED = (
    "Answered where a 95 % interval of the difference in final validation loss, paired over "
    "networks, excludes zero."
)
_question = partial(claim, criterion=_PAIRED, source=_SOURCE)


def _under_relu(tables: Tables, arms: dict[str, str], reference: str) -> dict[str, pd.Series]:
    """Final loss under ReLU of each arm (shown name → arm) minus the reference's, paired."""
    final = tables(GRADUAL, "final")
    wide = final.pivot(index="run", columns="arm", values="val_loss_relu")
    return {name: wide[arm] - wide[reference] for name, arm in arms.items()}


def _answer(differences: dict[str, pd.Series]) -> Assessment:
    """Answered where one of the differences, a value a run, is apart from zero."""
    parts = tuple(
        Part(name, estimate(values), None, "nats", len(values))
        for name, values in differences.items()
    )
    resolved = any(part.verdict is Verdict.ANSWERED for part in parts)
    text = "; ".join(f"{part.name} {part.found.text('+.4f')}" for part in parts)
    return Assessment(Verdict.ANSWERED if resolved else Verdict.NOT_RESOLVED, text, parts=parts)


@_question(
    "Q1",
    "What if one activation changes gradually into the other instead of a flip? "
    "(Anneal minus Swi+FT at α = 0.1, both under ReLU.)",
    page=GRADUAL,
)
def q1_gradual_against_flip(tables: Tables) -> Assessment:
    """Annealing p from 1 to 0 against a flip at 10 % before the end.

    The language model's control stands beside it; the verdict is the toy network's.
    """
    arms = {"linear": "anneal linear", "cosine": "anneal cosine"}
    found = _answer(_under_relu(tables, arms, "flip 0.1"))
    try:
        losses = by_seed(recorded(tables, "points"), "relu_loss")
    except FileNotFoundError:
        return found
    control = paired(losses, "anneal", "silu+ft(0.1)")
    if control.seeds == 0:
        return found
    return replace(found, beside=f"language model: {control.text()}")


@_question(
    "Q2",
    "How often should one switch? (Alternation minus a draw per element, both under ReLU.)",
    page=GRADUAL,
)
def q2_how_often(tables: Tables) -> Assessment:
    """Alternation every step and every epoch against a draw per element."""
    arms = {"every step": "every 1", "every 32 steps": "every 32"}
    return _answer(_under_relu(tables, arms, "stocha"))


@_question(
    "Q3",
    "What if the switch depends on the input? (Learned gates minus StochA(0.5), each with its own "
    "activation.)",
    page=CLASSIFICATION,
)
def q3_input_dependent(tables: Tables) -> Assessment:
    """The two learned gates against StochA's fixed p, each with its own activation."""
    final = final_losses(tables, "val_loss")
    gated = {"learnable": "learnable_stoch", "Gumbel": "gumbel_stoch"}
    return _answer({name: final[arm] - final["stocha"] for name, arm in gated.items()})


OVERLAP = 1 / 3
"""Test samples a training sample: splits of one data set overlap, and their losses with them."""


def over_splits(values: pd.Series) -> Estimate:
    """The mean over splits and its interval, widened for their overlap (Nadeau and Bengio 2003)."""
    found, n = estimate(values), len(values)
    half = (found.high - found.mean) * math.sqrt(1 + n * OVERLAP)
    return Estimate(found.mean, found.mean - half, found.mean + half)


def per_split(scores: pd.DataFrame, measure: str, method: str, peer: str) -> pd.Series:
    """`method` − `peer` of every split, a mean over the data sets."""
    wide = scores.pivot_table(index=["split", "data"], columns="method", values=measure)
    return (wide[method] - wide[peer]).groupby("split").mean()


@claim(
    "Q4",
    "Uncertainty from sampled activations, as with Bayesian dropout? (StochA minus Monte Carlo "
    "dropout, 20 draws each.)",
    "Answered where a 95 % interval of the difference in test loss, a mean over the data sets and "
    "paired over splits, widened for their overlap, excludes zero.",
    source=_SOURCE,
    page=UNCERTAINTY,
)
def q4_uncertainty(tables: Tables) -> Assessment:
    """Against dropout; the other peers stand beside and decide nothing."""
    scores = tables(UNCERTAINTY, "scores")

    def against(peer: str) -> Estimate:
        return over_splits(per_split(scores, "nll", "stocha", peer))

    part = Part(
        "minus dropout",
        against("dropout"),
        None,
        "nats",
        scores["split"].nunique(),
        "95 %, widened",
    )
    named = {"single": "one network", "temperature": "temperature", "ensemble": "ensemble"}
    beside = "; ".join(f"minus {named[p]} {against(p).text('+.4f')}" for p in named)
    return Assessment(part.verdict, f"{part.name} {part.found.text('+.4f')}", beside, (part,))


Q5 = Claim(
    "Q5",
    _SOURCE,
    "A full comparison with GELU, ReLU², xIELU, RReLU, ASH, dropout and LayerDrop?",
)
Q6 = Claim("Q6", _SOURCE, "What can a GPU do with such sparsity?")
