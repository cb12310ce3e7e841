"""A claim, its criterion and its verdict, computed from recorded tables."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stocha.base.paths import results_root
from stocha.base.statistics import Estimate


class Verdict(enum.StrEnum):
    """What the tables say of a claim, by the criterion stated beside it."""

    REPLICATED = "replicated"
    PARTLY = "partly"
    NOT_RESOLVED = "not resolved"
    CONTRADICTED = "contradicted"
    NOT_STUDIED = "not yet studied"
    ANSWERED = "answered"
    """For an open question, which has no reported value to replicate."""


def within(found: Estimate, low: float, high: float) -> Verdict:
    """Replicated, contradicted, not resolved: the interval lies inside, outside, on an edge."""
    if low <= found.low and found.high <= high:
        return Verdict.REPLICATED
    if found.high < low or found.low > high:
        return Verdict.CONTRADICTED
    return Verdict.NOT_RESOLVED


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


@dataclass(frozen=True)
class Assessment:
    """A verdict and the estimate it rests on, in words with its interval."""

    verdict: Verdict
    estimate: str
    beside: str = ""
    """Estimates that help to read it and decide nothing."""


class Tables:
    """Recorded tables by notebook and name: `tables("11_toy_classification", "curves")`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or results_root()

    def __call__(self, notebook: str, name: str) -> pd.DataFrame:
        """The table.

        Raises:
            FileNotFoundError: it has not been recorded.
        """
        return pd.read_csv(self.root / notebook / f"{name}.csv")


Assess = Callable[[Tables], Assessment]


@dataclass(frozen=True)
class Claim:
    """One line of the ledger; ids and statements as in the study's list of claims."""

    id: str
    source: str
    statement: str
    criterion: str
    page: str | None
    """The notebook that studies it; None while nothing does."""
    assess: Assess | None = None
    reported: str = "—"


def assess(claim: Claim, tables: Tables) -> Assessment:
    """The claim's assessment; not yet studied where its code or its tables are missing."""
    nothing = Assessment(Verdict.NOT_STUDIED, "—")
    if claim.assess is None:
        return nothing
    try:
        return claim.assess(tables)
    except FileNotFoundError:
        return nothing


def ledger(claims: Iterable[Claim], tables: Tables | None = None) -> pd.DataFrame:
    """One row a claim: id, source, claim, reported, criterion, estimate, beside, verdict, page."""
    tables = tables or Tables()
    rows = []
    for claim in claims:
        found = assess(claim, tables)
        rows.append(
            {
                "id": claim.id,
                "source": claim.source,
                "claim": claim.statement,
                "reported": claim.reported,
                "criterion": claim.criterion,
                "estimate": found.estimate,
                "beside": found.beside,
                "verdict": found.verdict.value,
                "page": claim.page or "",
            }
        )
    return pd.DataFrame(rows)
