"""A claim, its criterion and its verdict, computed from recorded tables.

A claim stands in one place: a function from tables to an assessment, decorated with the claim's
words. Where its criterion has a number, text and function read it from one constant::

    @claim("T2", "ReLU: about half is small.", f"The interval lies in {HALF}.", source=POST, page=…)
    def relu_half(tables: Tables) -> Assessment:
        values = …  # one a run
        return of_parts(Part("first layer", estimate(values), HALF, n=len(values)))
"""

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from stocha.base.errors import UserError
from stocha.base.paths import results_root
from stocha.base.recorded import read_provenance, read_table
from stocha.base.statistics import Estimate, number


class Verdict(enum.StrEnum):
    """What the tables say of a claim, by the criterion stated beside it."""

    REPLICATED = "replicated"
    PARTLY = "partly"
    NOT_RESOLVED = "not resolved"
    CONTRADICTED = "contradicted"
    NOT_STUDIED = "not yet studied"
    ANSWERED = "answered"
    """For an open question, which has no reported value to replicate."""


class Band(NamedTuple):
    """Where an estimate must lie; an end that is infinite is none."""

    low: float
    high: float

    def __str__(self) -> str:
        """`0.40–0.60`, `±0.05`, `below 0.5` or `above 0.6`."""
        if self.low == -self.high:
            return f"±{self.high:g}"
        if self.low == float("-inf"):
            return f"below {number(self.high, 'g')}"
        if self.high == float("inf"):
            return f"above {number(self.low, 'g')}"
        return f"{self.low:.2f}–{self.high:.2f}"


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
class Part:
    """One estimate that a verdict rests on, and the band that its criterion holds it against."""

    name: str
    found: Estimate
    """`exact` for a number without an interval."""
    band: Band | None
    """None for an open question, which is answered by an interval without zero."""
    unit: str = ""
    n: int = 0
    """Independent runs; 0 where the interval is not one over runs."""
    interval: str = "95 %"
    least: int = 2
    """Over fewer runs it decides nothing."""
    exists: bool = False
    """The claim is that something can be: what is measured elsewhere does not contradict it."""

    @property
    def edges(self) -> tuple[float, ...]:
        """The finite ends of the band; zero for an open question."""
        return tuple(filter(math.isfinite, self.band or (0.0,)))

    @property
    def verdict(self) -> Verdict:
        """What this estimate alone says."""
        if self.n and self.n < self.least:
            return Verdict.NOT_RESOLVED
        if self.band is None:
            apart = self.found.low > 0 or self.found.high < 0
            return Verdict.ANSWERED if apart else Verdict.NOT_RESOLVED
        found = within(self.found, *self.band)
        missed = self.exists and found is Verdict.CONTRADICTED
        return Verdict.NOT_RESOLVED if missed else found


@dataclass(frozen=True)
class Assessment:
    """A verdict and the estimate it rests on, in words with its interval."""

    verdict: Verdict
    estimate: str
    beside: str = ""
    """Estimates that help to read it and decide nothing."""
    parts: tuple[Part, ...] = ()
    """The estimates as numbers: the table `estimates` of chapter *Claims*."""
    first: "Assessment | None" = None
    """What was said before the set-up that this one rests on was found."""
    would: str = ""
    """What would decide what is open, where that is not a number of runs."""


def exact(value: float) -> Estimate:
    """A number without an interval."""
    return Estimate(value, value, value)


def needed(found: Estimate, n: int) -> float:
    """How many runs would tell a mean from zero, were mean and spread over `n` runs to stay."""
    return n * ((found.high - found.mean) / found.mean) ** 2 if found.mean else math.inf


def of_parts(*parts: Part, spec: str = ".3f", beside: str = "") -> Assessment:
    """The assessment that rests on all of `parts` alike."""
    text = "; ".join(f"{part.name} {part.found.text(spec)}".strip() for part in parts)
    return Assessment(both(*(part.verdict for part in parts)), text, beside, parts)


class Tables:
    """Recorded tables by notebook or sweep and name: `tables("toy_p", "points")`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or results_root()
        self.read: list[Path] = []

    def __call__(self, notebook: str, name: str) -> pd.DataFrame:
        """The table.

        Raises:
            FileNotFoundError: nothing of `notebook` is recorded.
            UserError: the table is missing beside others, or has not the bytes that were recorded.
        """
        path = self.root / notebook / f"{name}.csv"
        self.read.append(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent}: nothing is recorded")
        try:
            return read_table(path)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None


Assess = Callable[[Tables], Assessment]


@dataclass(frozen=True)
class Claim:
    """One line of the ledger; ids and statements as in chapter `sources`."""

    id: str
    source: str
    statement: str
    criterion: str = ""
    page: str | None = None
    """The notebook that studies it; None while nothing does."""
    assess: Assess | None = None
    reported: str = "—"


def claim(
    id: str,
    statement: str,
    criterion: str,
    *,
    source: str,
    page: str,
    reported: str = "—",
) -> Callable[[Assess], Claim]:
    """Make a claim of the function that assesses it."""
    return lambda assess: Claim(id, source, statement, criterion, page, assess, reported)


def claims_in(*modules: ModuleType) -> tuple[Claim, ...]:
    """Every claim that the modules define, T before L before Q, by number."""
    found = [each for module in modules for each in vars(module).values() if type(each) is Claim]
    ids = [each.id for each in found]
    assert len(set(ids)) == len(ids), f"an id stands twice: {sorted(ids)}"
    return tuple(sorted(found, key=lambda each: ("TLQ".index(each.id[0]), int(each.id[1:]))))


def assess(claim: Claim, tables: Tables) -> Assessment:
    """The claim's assessment; not yet studied where nothing assesses it or nothing is recorded.

    Raises:
        UserError: a table that it rests on is missing beside others, or is damaged.
    """
    nothing = Assessment(Verdict.NOT_STUDIED, "—")
    if claim.assess is None:
        return nothing
    before = len(tables.read)
    try:
        return claim.assess(tables)
    except FileNotFoundError:
        return nothing
    except UserError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        files = ", ".join(dict.fromkeys(map(str, tables.read[before:])))
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{claim.id}: cannot be assessed from {files}: {reason}") from error


def estimates(claims: Iterable[Claim], tables: Tables | None = None) -> pd.DataFrame:
    """One row an estimate that a verdict rests on.

    Columns: id, part (its name), mean, low, high, band_low and band_high (NaN for an open
    question), unit, n, interval, verdict (what it alone says): see `Part`.
    """
    tables = tables or Tables()
    return pd.DataFrame(
        {
            "id": each.id,
            "part": part.name,
            **vars(part.found),
            "band_low": part.band.low if part.band else math.nan,
            "band_high": part.band.high if part.band else math.nan,
            **{name: getattr(part, name) for name in ("unit", "n", "interval")},
            "verdict": part.verdict.value,
        }
        for each in claims
        for part in assess(each, tables).parts
    )


def as_data(claims: Iterable[Claim], tables: Tables) -> dict[str, Any]:
    """The claims as JSON, by `book/static/claims.schema.json`: the same for the same tables.

    An end that a band or an interval lacks is null. `results` are the recorded tables that a
    verdict rests on, `runs` the ids of the executions that made them.
    """
    told = []
    for each in claims:
        before = len(tables.read)
        found = assess(each, tables)
        files = [path for path in dict.fromkeys(tables.read[before:]) if path.is_file()]
        about = [read_provenance(folder) or {} for folder in dict.fromkeys(p.parent for p in files)]
        runs = sorted(run for one in about for run in one.get("identity", {}).get("points", ()))
        told.append(
            {
                "id": each.id,
                "source": each.source,
                "statement": each.statement,
                "criterion": each.criterion,
                "reported": each.reported,
                "verdict": found.verdict.value,
                "first_verdict": found.first.verdict.value if found.first else None,
                "estimates": [
                    {
                        "name": part.name,
                        **{end: _finite(value) for end, value in vars(part.found).items()},
                        "band": [_finite(end) for end in part.band] if part.band else None,
                        **{name: getattr(part, name) for name in ("unit", "n", "interval")},
                        "verdict": part.verdict.value,
                    }
                    for part in found.parts
                ],
                "results": [
                    f"results/{path.relative_to(tables.root).as_posix()}" for path in files
                ],
                "runs": runs,
                "page": f"book/executed/{each.page}.html" if each.page else None,
                "entry": f"book/executed/01_claims.html#{each.id.lower()}",
            }
        )
    return {"$schema": "_static/claims.schema.json", "version": 1, "claims": told}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ledger(claims: Iterable[Claim], tables: Tables | None = None) -> pd.DataFrame:
    """One row a claim: id, source, claim, reported, criterion, estimate, beside, verdict, page.

    `first` is an earlier verdict, with its estimate in `beside`; empty without one. `would` is what
    would decide it where a number of runs would not. `shown` is both verdicts, as pages and README
    print them.
    """
    tables = tables or Tables()
    rows = []
    for each in claims:
        found = assess(each, tables)
        beside = [found.beside] if found.beside else []
        if found.first:
            estimate = found.first.estimate.replace("; ", ", ")  # one line of the page
            beside.append(f"first verdict, {found.first.verdict}: {estimate}")
        rows.append(
            {
                "id": each.id,
                "source": each.source,
                "claim": each.statement,
                "reported": each.reported,
                "criterion": each.criterion,
                "estimate": found.estimate,
                "beside": "; ".join(beside),
                "verdict": found.verdict.value,
                "first": found.first.verdict.value if found.first else "",
                "would": found.would,
                "shown": f"{found.verdict} (first: {found.first.verdict})"
                if found.first
                else str(found.verdict),
                "page": each.page or "",
            }
        )
    return pd.DataFrame(rows)
