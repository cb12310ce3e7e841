"""A mean over independent runs, and how well it is known."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Confidence of every interval of the study."""


def number(value: float, spec: str) -> str:
    """`value` as `spec` formats it, a minus written as "−", as in all prose of the book."""
    return f"{value:{spec}}".replace("-", "−")


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and the ends of its 95 % Student-t interval."""

    mean: float
    low: float
    high: float

    def text(self, spec: str = ".3f") -> str:
        """`0.251 [0.240, 0.262]`, a minus as "−"."""
        mean, low, high = (number(part, spec) for part in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and 95 % Student-t interval of one value a run, independent of one another.

    A single run has an unbounded interval: it says nothing of the others. A missing value (NaN)
    makes all three NaN: what to do with it is for the caller to say.

    Raises:
        ValueError: no value at all.
    """
    sample = np.asarray(list(values), dtype=float)
    if not sample.size:
        raise ValueError("values=[]: allowed: a number a run, one run or more")
    mean = float(sample.mean())
    if sample.size < 2:
        return Estimate(mean, -math.inf, math.inf)
    half = float(stats.t.ppf((1 + LEVEL) / 2, sample.size - 1) * stats.sem(sample))
    return Estimate(mean, mean - half, mean + half)
