"""L11: what the recorded answers say, by their protocol (`book/answers_protocol.md`)."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stocha.base.statistics import Estimate
from stocha.claims.ledger import Assessment, Band, Part, Tables, both, claim

SWEEP, PAGE = "hf_answers", "56_several_answers"
SETTING = ["tuned", "p", "temperature", "top_p", "grain", "positive"]
CHECKED = ("arithmetic", "facts", "code")
QUALITY = ("right", "pass_8", "majority", "likelihood")
GRAINS = {
    "token": "a draw a layer and token",
    "layer": "a draw a layer and answer",
    "answer": "one network an answer",
}
SEVERAL, LOWER, SLIGHTLY = Band(2, math.inf), Band(-math.inf, 0), Band(-0.05, math.inf)
SAMPLES = 2000
"""Of the bootstrap."""

_NOTHING = Estimate(math.nan, -math.inf, math.inf)


def recorded(tables: Tables, name: str = "points") -> pd.DataFrame:
    """The sweep's table `name` with every row's `setting` in words; of `points`, `pass_8` too."""
    rows = tables(SWEEP, name)
    words = {row: _words(*row) for row in rows[SETTING].drop_duplicates().itertuples(index=False)}
    rows = rows.assign(setting=[words[row] for row in rows[SETTING].itertuples(index=False)])
    if name == "points":
        rows["pass_8"] = (rows["right"] > 0).astype(float).where(rows["right"].notna())
    return rows


def _words(
    tuned: bool, p: float, temperature: float, top_p: float, grain: str, positive: str
) -> str:
    parts = [{0.0: "ReLU", 1.0: "SiLU"}.get(p, f"StochA({p:g})")]
    if temperature or p in (0, 1):
        parts.append(f"temperature {temperature:g}")
    parts += [f"top-p {top_p:g}"] if top_p < 1 else []
    parts += [GRAINS[grain]] if grain in GRAINS else []
    parts += ["identity"] if positive == "identity" and not tuned else []
    return ", ".join(["tuned"] * bool(tuned) + parts)


def settings(rows: pd.DataFrame, group: str, tuned: bool = False) -> list[str]:
    """The settings of a group, in the order of the protocol's table, of one of the two models.

    Parameters: `group`, "temperature", "top_p", "stocha", "grains" or "both".
    """
    drawn = (rows["p"] > 0) & (rows["p"] < 1)
    plain = (rows["grain"] == "element") & ((rows["positive"] == "mixed") | tuned)
    of = {
        "temperature": ~drawn & (rows["top_p"] == 1),
        "top_p": ~drawn & (rows["top_p"] < 1),
        "stocha": drawn & plain & (rows["temperature"] == 0),
        "grains": drawn & ~plain,
        "both": drawn & (rows["temperature"] > 0),
    }[group]
    return list(dict.fromkeys(rows.loc[of & (rows["tuned"] == tuned), "setting"]))


def resampled(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Means over prompts, columns settings: row 0 as recorded, then the bootstrap's samples.

    Prompts are drawn with replacement within their task, the same in every setting and measure.
    """
    checked = rows[rows["task"].isin(CHECKED)]
    wide = checked.pivot(index=["task", "prompt"], columns="setting", values=measure)
    rng = np.random.default_rng(0)
    sizes = wide.groupby(level="task", sort=False).size()
    counts = [rng.multinomial(n, [1 / n] * n, SAMPLES) for n in sizes]
    weights = np.vstack([np.ones(len(wide)), np.hstack(counts)]) / len(wide)
    return pd.DataFrame(weights @ wide.to_numpy(dtype=float), columns=wide.columns)


def of_samples(values: NDArray[np.float64]) -> Estimate:
    """The first of `values`, with the 95 % percentile interval of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))


class Compared:
    """Settings against a curve of temperatures, at as many distinct answers."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        self.means = {name: resampled(rows, name) for name in ("distinct", *QUALITY)}
        self.curves = {tuned: settings(rows, "temperature", tuned) for tuned in (False, True)}

    def compared(self, group: str, tuned: bool = False, curve: bool | None = None) -> list[str]:
        """The settings of a group that have no more distinct answers than the curve reaches."""
        upto = self.curves[tuned if curve is None else curve]
        found, distinct = settings(self.rows, group, tuned), self.means["distinct"]
        return [s for s in found if upto and distinct[s][0] <= distinct[upto].iloc[0].max()]

    def samples(self, setting: str, curve: bool, measure: str = "right") -> NDArray[np.float64]:
        """The setting's gap: as recorded, and in each sample.

        Parameters: `curve`, whether it is that of the tuned model.
        """
        upto, distinct, quality = self.curves[curve], self.means["distinct"], self.means[measure]
        x, y = (means[upto].to_numpy() for means in (distinct, quality))
        x = np.maximum.accumulate(x, axis=1)
        at = distinct[setting].to_numpy()
        there = [np.interp(*each) for each in zip(at, x, y, strict=True)]
        return (quality[setting] - there).to_numpy()

    def gap(
        self, some: Iterable[str], curve: bool, measure: str = "right", than: str | None = None
    ) -> Estimate:
        """The mean gap of the settings, less that of `than`; unknown where there are none."""
        each = [self.samples(setting, curve, measure) for setting in some]
        if not each:
            return _NOTHING
        less = self.samples(than, curve, measure) if than else 0.0
        return of_samples(np.mean(each, axis=0) - less)

    def distinct(self, some: list[str]) -> Estimate:
        """Distinct answers, the mean over the settings."""
        means = self.means["distinct"][some].mean(axis=1)
        return of_samples(means.to_numpy()) if some else _NOTHING


def parting(rows: pd.DataFrame) -> Estimate:
    """Largest probability where answers part − its mean over all tokens, over prompts with both."""
    known = (rows["sure_at_parting"] - rows["sure"]).groupby(rows["prompt"]).mean().dropna()
    if known.empty:
        return _NOTHING
    drawn = np.random.default_rng(0).choice(known.to_numpy(), (SAMPLES, len(known))).mean(axis=1)
    return of_samples(np.append(known.mean(), drawn))


@claim(
    "L11",
    "Test-time StochA gives several different answers to one prompt: more diversity, slightly "
    "lower quality than SiLU with temperature.",
    f"Of eight answers, on untouched and on tuned weights: distinct ones {SEVERAL}; accuracy less "
    "that of temperature sampling from the same weights at as many distinct answers "
    f"{LOWER} and {SLIGHTLY}; means over p.",
    source="paper",
    reported="not available to us",
    page=PAGE,
)
def l11_several_answers(tables: Tables) -> Assessment:
    """Both models; the tuned one against SiLU's temperatures stands beside."""
    compared = Compared(recorded(tables))
    parts, texts = [], []
    for tuned, model in ((False, "untouched"), (True, "tuned")):
        some = compared.compared("stocha", tuned)
        distinct, gap = compared.distinct(some), compared.gap(some, tuned)
        unit = "right answers"
        parts += [
            Part(f"{model}: distinct answers", distinct, SEVERAL, "of 8"),
            Part(f"{model}: accuracy − temperature's", gap, LOWER, unit),
            Part(f"{model}: accuracy − temperature's, slightly", gap, SLIGHTLY, unit),
        ]
        texts.append(f"{model}: {distinct.text('.2f')} distinct answers, gap {gap.text('+.3f')}")
    literal = compared.gap(compared.compared("stocha", True, False), False)
    beside = f"tuned, from SiLU's temperatures: {literal.text('+.3f')}"
    verdict = both(*(part.verdict for part in parts))
    return Assessment(verdict, "; ".join(texts), beside, tuple(parts))


def by_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the checked prompts by setting, in words; `open_…` over the sentences."""
    checked = rows[rows["task"].isin(CHECKED)].groupby("setting", sort=False)
    names = ("right", "pass_8", "majority", "likelihood", "distinct", "entropy")
    sentences = rows[rows["task"] == "open"].groupby("setting", sort=False)
    more = sentences[["likelihood", "distinct", "distinct_1", "distinct_2", "self_bleu"]].mean()
    return checked[list(names)].mean().join(more.add_prefix("open_"))


def shown(found: Estimate) -> str:
    """`+0.012 [−0.010, +0.034]`, or a dash."""
    return "—" if math.isnan(found.mean) else found.text("+.3f")
