"""The chapter *Claims*: a forest plot of every estimate, then a small table a claim.

The plot is HTML with one inline SVG an estimate: it keeps its size on a narrow screen, takes the
page's colours, and is read out as the sentence that its numbers make.
"""

import math
import re
from collections.abc import Iterable, Iterator
from html import escape

from scipy import stats

from stocha.base.statistics import LEVEL, number
from stocha.claims.ledger import Assessment, Claim, Part, Verdict
from stocha.lm.campaign import seeds_for

Judged = Iterable[tuple[Claim, Assessment]]

SIGNS = {
    Verdict.REPLICATED: "●",
    Verdict.ANSWERED: "◆",
    Verdict.PARTLY: "◐",
    Verdict.NOT_RESOLVED: "○",
    Verdict.CONTRADICTED: "✕",
    Verdict.NOT_STUDIED: "·",
}
"""Each verdict's shape, in plots and in words."""
MOST_RUNS = 1000
"""No more runs are counted up to: so many nobody will make."""

_WIDTH, _HEIGHT = 200, 18
_DATA_SET = re.compile(r"^(data set \w+)(?:: |$)")


def badge(found: Assessment) -> str:
    """HTML: the verdict in words after its shape, and the first one where there are two."""
    first = f" (first: {found.first.verdict})" if found.first else ""
    name = "-".join(("verdict", *found.verdict.split()))
    return f'<span class="verdict {name}">{SIGNS[found.verdict]} {found.verdict}{first}</span>'


def numbers(part: Part) -> str:
    """`0.489 [0.483, 0.495] share`: to two digits of the interval's half width."""
    half = (part.found.high - part.found.low) / 2
    digits = max(0, min(5, 1 - math.floor(math.log10(half)))) if 0 < half < math.inf else None
    spec = ".3g" if digits is None else f".{digits}f"
    value = part.found.text(spec) if half else number(part.found.mean, spec)
    return f"{value} {part.unit}".strip()


def forest(judged: Judged) -> str:
    """HTML: a list of the claims, each with its estimates against what its criterion asks."""
    return f'<ul class="forest">{"".join(map(_entry, *zip(*judged, strict=True)))}</ul>'


def _entry(claim: Claim, found: Assessment) -> str:
    lines = [
        f'<li><p><a href="#{claim.id.lower()}">{claim.id}</a> {escape(claim.statement)} '
        f"{badge(found)}</p>"
    ]
    for name, parts in _rows(found.parts).items():
        kin = [part for part in found.parts if part.unit == parts[0].unit]
        means = [_short(part.found.mean) for part in parts]
        told = ", ".join(means if len(set(means)) > 1 else means[:1])
        told = f"{told} {parts[0].unit}" if parts[1:] else numbers(parts[0])
        wanted = f" <small>wanted: {parts[0].band}</small>" if parts[0].band else ""
        lines.append(
            f"<div><span>{escape(name)}</span>"
            f"<span>{''.join(glyph(part, kin) for part in parts)}</span>"
            f"<span>{escape(told)}{wanted}</span></div>"
        )
    return "".join([*lines, "</li>"])


def _short(mean: float) -> str:
    return "< 0.0001" if 0 < mean < 0.0001 else number(mean, ".3g")


def _rows(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The estimates by name; those of several data sets share a row."""
    rows: dict[str, list[Part]] = {}
    for part in parts:
        rows.setdefault(_DATA_SET.sub("", part.name), []).append(part)
    return rows


def glyph(part: Part, kin: Iterable[Part] = ()) -> str:
    """An inline SVG: the interval, its mean as the verdict's shape, the criterion's band in grey.

    Parameters: `kin`, the estimates whose scale it shares.
    """
    ends = [end for each in (part, *kin) for end in (*vars(each.found).values(), *each.edges)]
    known: list[float] = [end for end in ends if math.isfinite(end)]
    low, high = min(known), max(known)
    margin = 0.08 * (high - low) or abs(low) or 1.0

    def x(value: float) -> float:
        share = (value - low + margin) / (high - low + 2 * margin)
        return round(min(max(share, 0.0), 1.0) * _WIDTH, 1)

    middle = _HEIGHT / 2
    drawn = []
    if part.band:
        left, right = map(x, part.band)
        drawn.append(
            f'<rect x="{left}" width="{right - left:.1f}" height="{_HEIGHT}" '
            'fill="currentColor" fill-opacity="0.13"/>'
        )
    drawn += [
        f'<path d="M{x(edge)} 0v{_HEIGHT}" stroke="currentColor" stroke-opacity="0.45"/>'
        for edge in part.edges
    ]
    name = "-".join(("verdict", *part.verdict.split()))
    drawn.append(f'<g class="{name}" fill="currentColor" stroke="currentColor" stroke-width="2">')
    if math.isfinite(part.found.mean):
        left, right = x(part.found.low), x(part.found.high)
        drawn.append(f'<path d="M{left} {middle}H{right}"/>')
        drawn.append(_mark(part.verdict, x(part.found.mean), middle))
    label = f"{part.name}: {numbers(part)}"
    label += f", wanted {part.band}" if part.band else ""
    label += f": {part.verdict}"
    return (
        f'<svg role="img" aria-label="{escape(label.lstrip(": "))}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f"{''.join(drawn)}</g></svg>"
    )


def _mark(verdict: Verdict, x: float, y: float) -> str:
    """The verdict's shape: those that leave something open are hollow."""
    if verdict is Verdict.CONTRADICTED:
        return f'<path d="M{x - 4:.1f} {y - 4}l8 8m0-8l-8 8"/>'
    if verdict is Verdict.ANSWERED:
        return f'<path d="M{x - 5:.1f} {y}l5-5 5 5-5 5z"/>'
    fill = ' class="hollow" fill="#fff"' if verdict is Verdict.NOT_RESOLVED else ""
    return f'<circle cx="{x}" cy="{y}" r="4"{fill}/>'


def claim_tables(judged: Judged) -> str:
    """Markdown: a table a claim, from what was said to what would decide it."""
    return "\n\n".join(_table(claim, found) for claim, found in judged)


def _table(claim: Claim, found: Assessment) -> str:
    undecided = dict.fromkeys(_DATA_SET.sub("", reason) for reason in _undecided(found))
    rows = {
        "verdict": badge(found),
        "criterion": claim.criterion,
        "came out": _lines(found.estimate),
        "beside it": _lines(found.beside),
        "first": _lines(found.first.estimate) if found.first else "",
        "not decided": "<br>".join(undecided),
        "what would": found.would or (more_runs(found) if undecided else ""),
        "reported": claim.reported,
        "source": claim.source + (f", studied in []({claim.page}.ipynb)" if claim.page else ""),
    }
    head = (f'<span id="{claim.id.lower()}" class="claim">{claim.id}</span>', claim.statement)
    told = [head, *((name, text) for name, text in rows.items() if text and text != "—")]
    lines = [f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in told]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


def _lines(text: str) -> str:
    return text.replace("; ", "<br>")


def _undecided(found: Assessment) -> Iterator[str]:
    """Why each estimate of a claim that is not decided does not speak for it."""
    if found.verdict not in (Verdict.NOT_RESOLVED, Verdict.PARTLY):
        return
    for part in found.parts:
        edges = " and ".join(
            number(x, "g") for x in part.edges if part.found.low <= x <= part.found.high
        )
        if part.verdict is Verdict.CONTRADICTED:
            reason = f"it is not {part.band}"
        elif part.verdict is not Verdict.NOT_RESOLVED:
            continue
        elif 0 < part.n < part.least:
            reason = f"{part.n} of the {part.least} runs that are the least"
        else:
            reason = f"its interval holds {edges}" if edges else "nothing is recorded"
        yield f"{part.name}: {reason}"


def more_runs(found: Assessment) -> str:
    """How many runs would decide what is open, if the means and the spread stay as they are."""
    needed = [count for part in found.parts if (count := runs_needed(part))]
    if not needed:
        return ""
    most = max(needed)
    shown = f"more than {MOST_RUNS:,}" if most > MOST_RUNS else f"about {most:,}"
    made = max(part.n for part in found.parts)
    return f"{shown} runs in place of {made:,}, if mean and spread stay as they are"


def runs_needed(part: Part) -> int | None:
    """Runs that keep the interval clear of the edge nearest to the mean; at most `MOST_RUNS` + 1.

    None where the estimate decides, or has no interval over independent runs.
    """
    if part.verdict is not Verdict.NOT_RESOLVED or part.interval != "95 %" or part.n < 2:
        return None
    half = (part.found.high - part.found.low) / 2
    spread = half * math.sqrt(part.n) / float(stats.t.ppf((1 + LEVEL) / 2, part.n - 1))
    gap = min(abs(part.found.mean - edge) for edge in part.edges)
    if (stats.norm.ppf((1 + LEVEL) / 2) * spread) ** 2 >= MOST_RUNS * gap**2:
        return MOST_RUNS + 1
    return max(part.least, seeds_for(spread, gap))
