"""Estimates with 95 % intervals over independent runs, and how they stand to a band."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stocha.claims.ledger import Verdict


@dataclass(frozen=True)
class Estimate:
    """A mean over runs with its 95 % Student-t interval."""

    mean: float
    low: float
    high: float

    def text(self, spec: str = ".3f") -> str:
        """`0.251 [0.240, 0.262]`."""
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def within(self, low: float, high: float) -> Verdict:
        """Replicated, contradicted, not resolved: the interval lies inside, outside, on an edge."""
        if low <= self.low and self.high <= high:
            return Verdict.REPLICATED
        if self.high < low or self.low > high:
            return Verdict.CONTRADICTED
        return Verdict.NOT_RESOLVED


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and 95 % t-interval of one value a run; an unbounded interval for a single run."""
    sample = np.asarray(list(values), dtype=float)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Estimate(mean, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample))
    return Estimate(mean, mean - half, mean + half)


def both(*parts: Verdict) -> Verdict:
    """The verdict on a claim of two parts or more: partly where some but not all are replicated."""
    verdicts = set(parts)
    if verdicts == {Verdict.REPLICATED}:
        return Verdict.REPLICATED
    if Verdict.REPLICATED in verdicts:
        return Verdict.PARTLY
    if Verdict.NOT_RESOLVED in verdicts:
        return Verdict.NOT_RESOLVED
    return Verdict.CONTRADICTED
