"""Q1–Q6: the questions that the two posts leave open."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from scipy import stats

from stocha.base.statistics import LEVEL, Estimate, estimate
from stocha.claims.ledger import (
    Assessment,
    Band,
    Claim,
    Part,
    Tables,
    Verdict,
    claim,
    needed,
    within,
)
from stocha.lm.campaign import by_seed, paired, recorded
from stocha.sparse import traffic
from stocha.toy import gradual

GRADUAL = "13_gradual_or_sudden"
UNCERTAINTY = "18_uncertainty"
GPU = "34_gpu_sparsity"
CONSTANTS = ("relu", "p 0.25", "stocha", "p 0.75", "silu")
"""The arms of a constant p, from 0 to 1."""
NEGLIGIBLE = Band(-0.01, 0.01)
"""Nats of validation loss."""
_PEERS = {"the flip": "flip 0.1", "StochA": "stocha"}
_COARSER = {"one draw a layer": "layer", "one draw a row": "token", "every step": "every 1"} | {
    f"every {k} steps": f"every {k}" for k in (2, 4, 8, 16, 32)
}
PAIRS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "Q1": (
        "val_loss_relu",
        {
            f"{shape} − {peer}": (f"anneal {shape}", arm)
            for shape in ("linear", "cosine")
            for peer, arm in _PEERS.items()
        },
    ),
    "Q2": ("val_loss_relu", {name: (arm, "stocha") for name, arm in _COARSER.items()}),
    "Q3": (
        "val_loss_own",
        {"learnable": ("learnable_stoch", "best"), "Gumbel": ("gumbel_stoch", "best")},
    ),
}
"""Of each question, the loss it looks at and the differences between two arms, by name."""
_SOURCE = "the two posts"
_question = partial(
    claim,
    criterion="Each difference in final validation loss, paired over networks, is *resolved* (its "
    "interval, at 1 − 0.05/k for k differences, excludes zero) or *negligible* (it lies within "
    f"{NEGLIGIBLE} nats): answered; partly where one is.",
    source=_SOURCE,
    page=GRADUAL,
)


def at_once(values: Iterable[float], comparisons: int) -> Estimate:
    """Mean and Student-t interval of one of several `comparisons` that 95 % hold of together."""
    sample = list(values)
    found, n = estimate(sample), len(sample)
    if n < 2:
        return found
    usual, wider = stats.t.ppf([(1 + LEVEL) / 2, 1 - (1 - LEVEL) / 2 / comparisons], n - 1)
    half = (found.high - found.mean) * float(wider / usual)
    return Estimate(found.mean, found.mean - half, found.mean + half)


def told(found: Estimate, n: int) -> str:
    """`resolved`, `negligible`, or the networks that would resolve a mean of this size."""
    if found.low > 0 or found.high < 0:
        return "resolved"
    if within(found, *NEGLIGIBLE) is Verdict.REPLICATED:
        return "negligible"
    return f"{math.ceil(needed(found, n)):,} networks"


def differences(
    losses: pd.DataFrame, arms: Iterable[str], peer: str, comparisons: int
) -> pd.DataFrame:
    """Mean differences of `arms` from a `peer` in `losses`, rows networks, by arm.

    Columns: `mean`, `low` and `high`, of `at_once`; one without a name says what `told` does.
    """
    found = {arm: at_once(losses[arm] - losses[peer], comparisons) for arm in arms}
    rows = {arm: vars(one) | {"": told(one, len(losses))} for arm, one in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def labels(config: gradual.Config) -> dict[str, str]:
    """What figures and tables call each arm."""
    positive = "mixed" if config.draw == "all" else "identity"
    arms = config.change() | config.often() | config.gates()
    return {arm: own.labelled(positive=positive) for arm, own in arms.items()} | {
        "layer": "StochA, a draw a layer",
        "token": "StochA, a draw a row",
        "best": "the best constant p",
    }


def final_losses(
    final: pd.DataFrame, loss: str, constants: Sequence[str] = CONSTANTS
) -> pd.DataFrame:
    """Rows networks, columns arms, and `best`: the best of the arms `constants`.

    It is the one of the lowest mean among the networks whose number is odd where this one's is
    even, and the other way round; no column where an arm is missing.
    """
    wide = final.pivot(index="run", columns="arm", values=loss)
    if set(constants) <= set(wide):
        among, odd = wide[list(constants)], wide.index % 2 == 1
        best_of_odd, best_of_even = (among[half].mean().idxmin() for half in (odd, ~odd))
        wide["best"] = among[best_of_even].where(odd, among[best_of_odd])
    return wide


def _answer(tables: Tables, question: str) -> Assessment:
    """What the differences that a question asks for say together."""
    loss, pairs = PAIRS[question]
    losses = final_losses(tables(GRADUAL, "final"), loss)
    n, level = len(losses), f"{100 * (1 - (1 - LEVEL) / len(pairs)):.4g} %"
    parts = [
        Part(name, at_once(losses[arm] - losses[peer], len(pairs)), None, "nats", n, level)
        for name, (arm, peer) in pairs.items()
    ]
    said = [told(part.found, part.n) for part in parts]
    settled = [word in ("resolved", "negligible") for word in said]
    verdict = Verdict.ANSWERED if all(settled) else Verdict.NOT_RESOLVED
    if any(settled) and not all(settled):
        verdict = Verdict.PARTLY
    return Assessment(verdict, _listed(parts, said), parts=tuple(parts))


def _listed(parts: Sequence[Part], said: Sequence[str]) -> str:
    """Each difference; of more than four alike, the lowest and the highest."""
    texts = {
        part.found.mean: f"{part.name} {part.found.text('+.4f')}"
        + (f" ({word} would resolve it)" if word.endswith("networks") else "")
        for part, word in zip(parts, said, strict=True)
    }
    if len(parts) <= 4:
        return "; ".join(texts.values())
    resolved = f"{said.count('resolved')} of {len(parts)} resolved"
    return f"{resolved}, from {texts[min(texts)]} to {texts[max(texts)]}"


@_question(
    "Q1",
    "What if one activation changes gradually into the other instead of a flip? "
    "(Annealing minus Swi+FT at α = 0.1, and minus StochA(0.5); both under ReLU.)",
)
def q1_gradual_against_flip(tables: Tables) -> Assessment:
    """Annealing p from 1 to 0 against a flip at 10 % before the end and a constant p.

    The language model's control stands beside it; the verdict is the toy network's.
    """
    found = _answer(tables, "Q1")
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
    "How often should one switch? (A coarser draw, or alternation every 1 to 32 steps, minus a "
    "draw per element; both under ReLU.)",
)
def q2_how_often(tables: Tables) -> Assessment:
    """Draws that a layer or a row shares, and alternation, against a draw per element."""
    return _answer(tables, "Q2")


@_question(
    "Q3",
    "What if the switch depends on the input? (Learned gates minus the best constant p, each with "
    "its own activation.)",
)
def q3_input_dependent(tables: Tables) -> Assessment:
    """The two learned gates against the constant p that other networks find best."""
    return _answer(tables, "Q3")


METHODS = {
    "single": "one network",
    "temperature": "temperature scaling",
    "laplace": "Laplace, last layer",
    "stocha mean": "StochA, its expectation",
    "ensemble": "ensemble of five",
    "stocha few": "StochA, 5 draws",
    "stocha": "StochA, 20 draws",
    "stochact": "stochact, 20 draws",
    "dropout": "dropout, 20 draws",
}
"""What is compared on uncertainty, in words."""
MEASURES = {
    "passes": "passes",
    "nll": "loss",
    "brier": "Brier",
    "accuracy": "accuracy",
    "ece": "ECE",
    "ece_bias": "its bias",
    "aurc": "AURC",
    "auroc_entropy": "AUROC",
    "auroc_information": "by information",
}
"""By what."""
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
    peers = ("single", "temperature", "ensemble")
    beside = "; ".join(f"minus {METHODS[peer]} {against(peer).text('+.4f')}" for peer in peers)
    return Assessment(part.verdict, f"{part.name} {part.found.text('+.4f')}", beside, (part,))


Q5 = Claim(
    "Q5",
    _SOURCE,
    "A full comparison with GELU, ReLU², xIELU, RReLU, ASH, dropout and LayerDrop?",
)


TOKENS, BLOCK = 16, 16
RESOLUTION = 0.05
"""How well a ceiling must be known."""


def limit(skipped: Any) -> Any:
    """The largest speed-up of a gated layer that reads its gate and what is not skipped."""
    return traffic.limit("sparse", 1, 1, skipped)


@claim(
    "Q6",
    "What can a GPU do with such sparsity? (The largest speed-up of the feed-forward layers that "
    "is left, by bytes or for 2:4 by products.)",
    f"Answered where the 95 % interval of each ceiling, over texts that a trained model reads, is "
    f"at most ±{RESOLUTION}× wide.",
    source=_SOURCE,
    page=GPU,
)
def q6_gpu(tables: Tables) -> Assessment:
    """Ceilings from masks: single neurons, blocks of them, a batch, and groups of four."""
    blocks, batches, fours = (tables(GPU, name) for name in ("blocks", "batches", "fours"))
    single = blocks[(blocks["order"] == "as trained") & (blocks["block"] == 1)]
    packed = blocks[(blocks["order"] == "by activity") & (blocks["block"] == BLOCK)]
    batch = batches[(batches["kind"] == "of as many texts") & (batches["tokens"] == TOKENS)]
    ceilings = {
        "one token": limit(single["skipped"]),
        f"blocks of {BLOCK}": limit(packed["skipped"]),
        f"{TOKENS} tokens": limit(batch["skipped"]),
        "2:4": 3 / (2.5 + fours.loc[fours["order"] == "dealt out", "beyond"]),
    }
    parts = tuple(
        Part(name, estimate(values), None, "×", len(values)) for name, values in ceilings.items()
    )
    known = all(part.found.high - part.found.mean <= RESOLUTION for part in parts)
    text = "; ".join(f"{part.name} {part.found.text('.2f')}×" for part in parts)
    return Assessment(Verdict.ANSWERED if known else Verdict.NOT_RESOLVED, text, parts=parts)
