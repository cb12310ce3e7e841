"""What the relufication's recorded runs answer, by their protocol (`book/hf_protocol.md`).

A *way* to train is an arm's name, or its label and what is done beyond it: `relu`, `ReLU, taught`.
Chapter *Making it sparse*.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from stocha.arms import Arm
from stocha.base.statistics import Estimate, estimate, number

SWEEPS = ("hf_relufication", "hf_relufication_zeros", "hf_relufication_more")
CONTROL, AT_ONCE = "silu", "relu"
SWITCHED, DRAWN = "silu+ft(0.3)", "stocha(0.7)+ft(0.3)"
TAUGHT, LAYERS_FIRST = "ReLU, taught", "ReLU, layers first, taught"
DRAWN_TAUGHT = "StochA(0.7) + Swi+FT(0.3), taught"
AIMS = (0.8, 0.9)
FURTHER = (
    TAUGHT,
    LAYERS_FIRST,
    DRAWN_TAUGHT,
    *(f"ReLU, {100 * aim:.0f} % asked for" for aim in AIMS),
)
"""The ways of the further sweeps."""
DECIDES = "heldout"
"""The text whose losses decide."""

BLOCK = 4
"""Neighbouring windows that are one value."""
SMALLEST = 0.01
"""Nats below which no difference is resolved; and the share of zeros, for theirs."""
REACHED = 0.03
"""How far from its aim the share of zeros may end."""

POWERS = (0.05, 4.0)
FARTHEST, ASTRAY, APART = 4.0, 0.1, 1.5
"""Of a fit: times the tokens trained on; share of a gap it may miss; factor between two fits."""

Read = Callable[[str, str], pd.DataFrame]
"""(sweep, table) → the recorded table; FileNotFoundError where nothing of the sweep is."""


def recorded(read: Read, name: str) -> pd.DataFrame:
    """The rows of the table `name` of all sweeps, with the `way` that each run trained.

    Raises FileNotFoundError where nothing of the first sweep is recorded.
    """
    parts = [read(SWEEPS[0], name)]
    for sweep in SWEEPS[1:]:
        with suppress(FileNotFoundError):
            parts.append(read(sweep, name))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(way=[_way(run) for run in table.to_dict("records")])


def _way(run: dict[Any, Any]) -> str:
    more = ["layers first"] if run["local"] else []
    more += ["taught"] if run["distil"] else []
    more += [f"{100 * run['sparsity']:.0f} % asked for"] if run["sparsity"] else []
    return ", ".join([Arm.parse(run["arm"]).label, *more]) if more else str(run["arm"])


def label(way: str) -> str:
    """A way in words."""
    with suppress(ValueError):
        return Arm.parse(way).label
    return way


def losses(evaluation: pd.DataFrame, text: str = DECIDES, tokens: int | None = None) -> Any:
    """The loss of a text after `tokens`, by default at the end: rows (seed, block), columns ways.

    Parameters: `evaluation`, rows (way, seed, tokens, text, window, loss).
    """
    at = evaluation["tokens"].max() if tokens is None else tokens
    rows = evaluation[(evaluation["text"] == text) & (evaluation["tokens"] == at)]
    rows = rows.assign(block=rows["window"] // BLOCK)
    return rows.pivot_table(index=["seed", "block"], columns="way", values="loss")


@dataclass(frozen=True)
class Compared:
    """A difference of two ways: of every seed its mean and 95 % t-interval over blocks of text."""

    name: str
    seeds: dict[int, Estimate]

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN without any."""
        return float(np.mean([found.mean for found in self.seeds.values() or [_NOTHING]]))

    @property
    def sign(self) -> int:
        """1 or −1 where the difference is resolved (protocol), else 0."""
        signs = {int(found.low > 0) - int(found.high < 0) for found in self.seeds.values()}
        agreed = len(self.seeds) > 1 and len(signs) == 1 and abs(self.mean) >= SMALLEST
        return signs.pop() if agreed else 0

    @property
    def text(self) -> str:
        """`+0.71 nats (+0.70 [+0.65, +0.75]; +0.72 [+0.66, +0.78])`, or a dash."""
        each = "; ".join(found.text("+.3f") for found in self.seeds.values())
        return f"{number(self.mean, '+.3f')} nats ({each})" if each else "—"


_NOTHING = Estimate(math.nan, -math.inf, math.inf)


def compare(wide: pd.DataFrame, first: str, second: str) -> Compared:
    """`first` − `second`, of losses as `losses` gives them, over the seeds that both have."""
    words = [f"({text})" if " + " in (text := label(way)) else text for way in (first, second)]
    pair = wide.reindex(columns=pd.Index([first, second])).dropna()
    each = (pair[first] - pair[second]).groupby(level="seed")
    found = {int(str(seed)): estimate(rows) for seed, rows in each}
    return Compared(" − ".join(words), found)


def extreme(wide: pd.DataFrame, sign: int) -> str | None:
    """The one of the three ways at equal tokens that is below (−1) or above (1) both others."""
    ways = (AT_ONCE, SWITCHED, DRAWN)
    for way in ways:
        if all(compare(wide, way, other).sign == sign for other in ways if other != way):
            return way
    return None


def aims(summary: pd.DataFrame, cuts: pd.DataFrame) -> pd.DataFrame:
    """A row for each run that was asked for zeros.

    Columns: seed, aim, zeros, `reached`; `price`, its loss less that of ReLU at once; `gain`, the
    loss of ReLU at once cut to as many zeros less its own (NaN outside the cuts). Nats.
    """
    rows = []
    for run in summary[summary["sparsity"] > 0].to_dict("records"):
        plain = summary[(summary["way"] == AT_ONCE) & (summary["seed"] == run["seed"])]
        cut = cuts[(cuts["way"] == AT_ONCE) & (cuts["seed"] == run["seed"])].sort_values("zeros")
        zeros, own = run["zeros"], run[DECIDES]
        there = np.interp(zeros, cut["zeros"], cut["loss"], left=math.nan, right=math.nan)
        rows.append(
            {
                "seed": run["seed"],
                "aim": run["sparsity"],
                "zeros": zeros,
                "reached": abs(zeros - run["sparsity"]) <= REACHED,
                "price": own - plain[DECIDES].mean(),
                "gain": float(there) - own,
            }
        )
    return pd.DataFrame(rows, columns=["seed", "aim", "zeros", "reached", "price", "gain"])


def sampled_between(swap: pd.DataFrame, p: str = "stocha(0.7)") -> tuple[Compared, Compared]:
    """L8 on pretrained weights: ReLU − StochA and StochA − SiLU, by draw; both signs decide.

    Parameters: `swap`, the table `losses` of *A pretrained model*.
    """
    draws = swap.loc[swap["activation"] == p, "draw"].unique()
    plain = swap[swap["activation"].isin([CONTROL, AT_ONCE])].drop(columns="draw")
    rows = pd.concat(
        [swap[swap["activation"] == p], plain.merge(pd.DataFrame({"draw": draws}), how="cross")]
    ).rename(columns={"draw": "seed", "activation": "way"})
    wide = losses(rows.assign(text=DECIDES, tokens=0))
    return compare(wide, AT_ONCE, p), compare(wide, p, CONTROL)


def gap(evaluation: pd.DataFrame, way: str = AT_ONCE) -> pd.DataFrame:
    """Rows (seed, tokens, gap): the loss of `way` − the control's after the same tokens, nats."""
    rows = evaluation[evaluation["text"] == DECIDES]
    wide = rows.pivot_table(index=["seed", "tokens"], columns="way", values="loss")
    return (wide[way] - wide[CONTROL]).dropna().rename("gap").reset_index()


@dataclass(frozen=True)
class Curve:
    """gap(T) = floor + scale·(T/first)^(−power), T in tokens, `first` the first T fitted."""

    floor: float
    scale: float
    power: float
    first: float

    def __call__(self, tokens: Any) -> Any:
        """The gap after `tokens`."""
        return self.floor + self.scale * (np.asarray(tokens) / self.first) ** -self.power

    def tokens(self, gap: float) -> float:
        """When the gap is as small as `gap`; infinite where the floor lies above it."""
        if gap <= self.floor:
            return math.inf
        return float(self.first * (self.scale / (gap - self.floor)) ** (1 / self.power))


class Refused(ValueError):
    """Why a curve is not fitted, or not believed."""


def fitted(tokens: NDArray[Any], gaps: NDArray[Any]) -> Curve:
    """Fit by least squares on the logarithm of the gap; Refused where that determines nothing."""
    if len(tokens) < 4:
        raise Refused("fewer than four points")
    first = float(tokens[0])

    def logarithm(t: Any, floor: float, scale: float, power: float) -> Any:
        return np.log(Curve(floor, scale, power, first)(t))

    start = (gaps[-1] / 2, gaps[0], 1.0)
    bounds = ([0, 1e-9, POWERS[0]], [gaps.min(), np.inf, POWERS[1]])
    try:
        (floor, scale, power), _ = curve_fit(
            logarithm, tokens, np.log(gaps), p0=start, bounds=bounds, max_nfev=5000
        )
    except RuntimeError as error:
        raise Refused("the fit does not converge") from error
    if not POWERS[0] * 1.01 < power < POWERS[1] * 0.99:
        raise Refused(f"the power, {power:.2f}, is at an end of what is allowed")
    return Curve(float(floor), float(scale), float(power), first)


def tokens_to_close(share: float, curve: pd.DataFrame) -> tuple[float, str]:
    """When `share` of the gap at the start is closed, and how that is known, of one seed.

    Parameters: `curve`, rows (tokens, gap), from 0 tokens on. Returns tokens (NaN where that is
    not known, infinite where the fit says never) and "measured", "fitted", or why not.
    """
    rows = curve.sort_values("tokens")
    tokens, gaps = (rows[name].to_numpy(dtype=float) for name in ("tokens", "gap"))
    wanted = (1 - share) * gaps[0]
    below = np.flatnonzero(gaps[1:] <= wanted) + 1
    if below.size:
        at = below[0]
        if at == 1:  # no logarithm of 0 tokens
            return float(tokens[1]), "measured: at the first evaluation already"
        inside = [gaps[at], gaps[at - 1]], np.log([tokens[at], tokens[at - 1]])
        return float(np.exp(np.interp(wanted, *inside))), "measured"
    try:
        return _beyond(tokens[1:], gaps[1:], wanted), "fitted"
    except Refused as reason:
        return math.nan, str(reason)


def _beyond(tokens: NDArray[Any], gaps: NDArray[Any], wanted: float) -> float:
    known = round(0.7 * len(tokens))
    curve, early = fitted(tokens, gaps), fitted(tokens[:known], gaps[:known])
    missed = np.abs(early(tokens[known:]) / gaps[known:] - 1).max()
    if missed > ASTRAY:
        raise Refused(f"fitted to the first {known} points it misses a later one by {missed:.0%}")
    found, other = curve.tokens(wanted), early.tokens(wanted)
    if found > FARTHEST * tokens[-1]:
        raise Refused(f"more than {FARTHEST * tokens[-1]:,.0f} tokens")
    if not 1 / APART < found / other < APART:
        raise Refused(f"two fits disagree: {found:,.0f} and {other:,.0f} tokens")
    return found


def closing(curve: pd.DataFrame, shares: tuple[float, ...] = (0.9, 0.95, 0.99)) -> pd.DataFrame:
    """Rows (share, seed, tokens, known) of `tokens_to_close`, of every seed of `gap`."""
    return pd.DataFrame(_closing(curve, shares))


def _closing(curve: pd.DataFrame, shares: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    for share in shares:
        for seed, rows in curve.groupby("seed"):
            tokens, known = tokens_to_close(share, rows)
            yield {"share": share, "seed": seed, "tokens": tokens, "known": known}


def asked(found: pd.DataFrame, share: float) -> str:
    """How many tokens close `share` of the gap, in words, or why that is not known."""
    rows = found[found["share"] == share]
    if rows["tokens"].notna().all() and len(rows) > 1:
        ends = dict.fromkeys(f"{rows['tokens'].agg(end):,.0f}" for end in ("min", "max"))
        return f"{' to '.join(ends)} tokens ({', '.join(dict.fromkeys(rows['known']))})"
    reasons = dict.fromkeys(rows.loc[rows["tokens"].isna(), "known"])
    return "not known: " + ("; ".join(reasons) or "one seed")
