"""The one look of every plot: a palette by activation name, one function per kind of figure.

Every function draws onto an optional `ax` and returns it, shows every run thin and their mean
thick, and states its interval. Colours are those of Okabe and Ito, safe for colour-blind readers,
and each comes with its own line style and marker, so that a grey print stays legible. Figures are
dark on white; the book's stylesheet inverts them in dark mode.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from stocha.activations import LABELS
from stocha.arms import Arm
from stocha.base.statistics import estimate

COLOURS: dict[str, str] = {
    "relu": "#0072b2",
    "silu": "#d55e00",
    "stocha": "#009e73",
    "learnable_stoch": "#cc79a7",
    "gumbel_stoch": "#6a3d9a",
    "bernoulli_silu": "#8c510a",
    "gelu": "#e69f00",
    "relu2": "#56b4e9",
    "rrelu": "#767676",
    "gelu2": "#9a7d0a",
    "clipped_relu2": "#7b7be0",
    "leaky_relu2": "#12a5a5",
    "drelu": "#1f3a68",
    "dropout": "#e7298a",
    "xielu": "#b71c1c",
    "polynorm": "#556b2f",
    "ash": "#3b3b3b",
}
"""Each activation's colour, the same in the whole book."""

_ARM_COLOURS = COLOURS | {
    "expected": COLOURS["learnable_stoch"],
    "anneal": COLOURS["gumbel_stoch"],
}

INTERVALS = ("std", "t")
WIDTH = 7.0  # inches: at 200 dpi twice the 700 px of the book's column

_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (7, 1.5, 1.2, 1.5)),
    (0, (3, 1)),
    (0, (7, 1.5, 1.2, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (2, 2)),
    (0, (4, 1, 1, 1)),
    (0, (6, 3)),
    (0, (1, 3)),
    (0, (8, 1)),
    (0, (3, 1, 3, 3)),
    (0, (10, 1, 2, 1)),
    (0, (2, 1, 1, 1)),
    (0, (5, 5)),
    (0, (12, 3)),
)
_MARKERS = "osD^vP*Xph<>d8H|_"
_INK = "#1a1a1a"


def style() -> None:
    """Set matplotlib's defaults to the book's look; call once at the head of a notebook."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 200,
            "savefig.dpi": 200,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#d9d9d9",
            "grid.linewidth": 0.6,
            "lines.linewidth": 2.0,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "legend.handlelength": 3.2,
        }
    )


def look(levels: Iterable[Hashable]) -> dict[Hashable, dict[str, Any]]:
    """Return colour, line style, marker and label of every level, for matplotlib's keywords.

    An activation has its own everywhere. An arm (`stocha.arms`), as `stocha(0.5)+ft(0.1)`, has its
    label, the colour of the activation it begins with, and a line style and marker that tell it
    from its kin. Other levels (widths, schedules, …) take what the activations present leave over,
    in the order given, and their text as label.
    """
    order = list(dict.fromkeys(levels))
    names = list(COLOURS)
    spare = [slot for slot, name in enumerate(names) if name not in order]
    chosen: dict[Hashable, dict[str, Any]] = {}
    kin: Counter[str] = Counter()
    for level in order:
        arm = _arm(level)
        if arm is None:
            slot = spare.pop(0) if spare else len(chosen)
            colour = COLOURS[names[slot % len(names)]]
        else:
            colour = _ARM_COLOURS[arm.look]
            slot = list(COLOURS.values()).index(colour) + kin[arm.look]
            kin[arm.look] += 1
        chosen[level] = {
            "color": colour,
            "linestyle": _DASHES[slot % len(_DASHES)],
            "marker": _MARKERS[slot % len(_MARKERS)],
            "label": LABELS.get(str(level), arm.label if arm else str(level)),
        }
    return chosen


def _arm(level: Hashable) -> Arm | None:
    try:
        return Arm.parse(str(level))
    except ValueError:
        return None


def interval(values: npt.ArrayLike, kind: str = "t") -> tuple[float, float, float]:
    """Return the mean of `values` (one per run; NaN left out) and the two ends of an interval.

    Parameters: `kind`, "std" for mean ± one standard deviation over runs (how they scatter), "t"
    for the 95 % Student-t confidence interval of the mean (how well it is known). Fewer than two
    values have no interval: both ends are NaN. Raises ValueError for another `kind`.
    """
    if kind not in INTERVALS:
        raise ValueError(f"interval={kind!r}: allowed: {', '.join(INTERVALS)}")
    sample = np.asarray(values, dtype=float)
    sample = sample[~np.isnan(sample)]
    if sample.size < 2:
        return float(sample.mean()) if sample.size else float("nan"), float("nan"), float("nan")
    if kind == "t":
        found = estimate(sample)
        return found.mean, found.low, found.high
    mean, half = float(sample.mean()), float(sample.std(ddof=1))
    return mean, mean - half, mean + half


def runs_over_epochs(
    df: pd.DataFrame,
    y: str,
    *,
    x: str = "epoch",
    hue: str = "activation",
    run: str = "run",
    kind: str = "std",
    names: Mapping[Any, str] | None = None,
    legend: str | None = "legend",
    ax: Axes | None = None,
) -> Axes:
    """Draw `y` over epochs: every run thin, the mean thick, its interval shaded.

    Parameters:
        df: tidy, one row per (`hue`, `run`, `x`); without a column `run`, one line per `hue`.
        kind: of the shaded `interval`, "std" or "t".
        names: labels of `hue` levels, where `LABELS` does not serve.
        legend: "legend", "direct" (labels at the right end of the lines: set scales and limits
            first) or None.
        ax: where to draw; by default a new figure.

    Returns the axes.
    """
    ax = ax or plt.gca()
    looks = look(df[hue])
    ends: list[tuple[float, str, str]] = []
    for level, rows in _levels(df, hue):
        shape = dict(looks[level], label=(names or {}).get(level, looks[level]["label"]))
        shape.pop("marker")
        label = shape.pop("label") if legend == "direct" else shape["label"]
        ends.append((_trace(ax, rows, x, y, run, kind, shape), label, shape["color"]))
    ax.set_xlabel(x.replace("_", " "))
    ax.set_ylabel(y.replace("_", " "))
    if legend == "legend":
        ax.legend()
    elif legend == "direct":
        _label_ends(ax, float(df[x].max()), ends)
    return ax


def courses(
    means: pd.DataFrame,
    lines: pd.DataFrame,
    measure: str,
    *,
    hue: str = "activation",
    names: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean of many networks thick, a few networks' own course thin, each mean labelled.

    Parameters: `means`, rows (`hue`, measure, epoch, mean); `lines`, rows (`hue`, run, epoch, and a
    column a measure); set the axes' limits first. Returns the axes.
    """
    ax = ax or plt.gca()
    looks, ends = look(lines[hue]), []
    for level, rows in _levels(lines, hue):
        shape = {name: looks[level][name] for name in ("color", "linestyle")}
        wide = rows.pivot(index="epoch", columns="run", values=measure)
        ax.plot(wide.index, wide.to_numpy(), color=shape["color"], linewidth=0.4, alpha=0.22)
        mean = means[(means[hue] == level) & (means["measure"] == measure)]
        if mean.empty:
            continue
        ax.plot(mean["epoch"], mean["mean"], zorder=3, **shape)
        label = (names or {}).get(level, looks[level]["label"])
        ends.append((float(mean["mean"].iloc[-1]), label, shape["color"]))
    ax.set_xlabel("epoch")
    ax.set_ylabel(measure.replace("_", " "))
    _label_ends(ax, float(lines["epoch"].max()), ends)
    return ax


def sweep(
    df: pd.DataFrame,
    y: str,
    x: str,
    *,
    hue: str = "activation",
    run: str = "run",
    kind: str = "t",
    names: Mapping[Any, str] | None = None,
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw `y` against a swept parameter `x`: runs thin, means marked and joined, interval shaded.

    Parameters as in `runs_over_epochs`; `log` makes the x axis logarithmic, ticked where it was
    swept; without a column `hue` there is one line. Each line is labelled at its end: set the y
    axis first. Returns the axes.
    """
    ax = ax or plt.gca()
    if log:
        ax.set_xscale("log")
        swept = sorted(df[x].unique())
        ax.set_xticks(swept, [f"{value:g}" for value in swept])
        ax.minorticks_off()
    looks = look(df[hue]) if hue in df else {}
    ends: list[tuple[float, str, str]] = []
    for level, rows in _levels(df, hue):
        shape = dict(looks.get(level) or look(["relu"])["relu"] | {"label": y})
        shape["label"] = (names or {}).get(level, shape["label"])
        ends.append((_trace(ax, rows, x, y, run, kind, shape), shape["label"], shape["color"]))
    ax.set_xlabel(x.replace("_", " "))
    ax.set_ylabel(y.replace("_", " "))
    if looks:
        _label_ends(ax, float(df[x].max()), ends)
    return ax


def estimates(
    df: pd.DataFrame,
    y: str,
    *,
    by: str = "activation",
    kind: str = "t",
    names: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw `y` per level of `by`, one line each: a dot for every run, the mean and its interval.

    Parameters as in `runs_over_epochs`; `df` has one row per (`by`, run). Returns the axes.
    """
    ax = ax or plt.gca()
    looks = look(df[by])
    groups = [(level, rows[y].to_numpy(dtype=float)) for level, rows in _levels(df, by)]
    _rows_of_dots(ax, groups, looks, kind, names)
    ax.set_xlabel(y.replace("_", " "))
    return ax


def intervals(
    table: pd.DataFrame, *, names: Mapping[Any, str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a line a row, the first on top: its mean and its interval, beside a line at zero.

    Parameters: `table`, columns mean, low, high by level, one of whose words may be an activation
    and gives it its colour; `names`, their labels. Returns the axes.
    """
    ax = ax or plt.gca()
    ax.axvline(0, color=_INK, linewidth=1)
    for place, (level, row) in enumerate(table.iterrows()):
        colour = next((COLOURS[word] for word in str(level).split() if word in COLOURS), _INK)
        ax.plot([row["low"], row["high"]], [place, place], color=colour)
        ax.plot(row["mean"], place, "o", color=colour)
    labels = [(names or {}).get(level, str(level)) for level in table.index]
    ax.set_yticks(range(len(table)), labels)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    return ax


def paired_differences(
    df: pd.DataFrame,
    y: str,
    baseline: Hashable,
    *,
    by: str = "activation",
    pair: str = "run",
    kind: str = "t",
    names: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw, per level of `by`, the differences of `y` from `baseline`, each run against its pair.

    Runs of one number share data, order and initialisation, so the difference is free of what they
    share. A dot for every pair, the mean and its interval; the line at zero is the baseline.

    Parameters as in `estimates`; `pair` names the column that pairs rows. A figure that it has to
    make itself is as high as its lines need. Returns the axes.
    Raises ValueError if `baseline` is no level of `by`.
    """
    levels = list(dict.fromkeys(df[by]))
    if baseline not in levels:
        listed = ", ".join(map(str, levels))
        raise ValueError(f"baseline={baseline!r}: no level of {by}; allowed: {listed}")
    if ax is None and not plt.get_fignums():
        plt.figure(figsize=(WIDTH, 0.5 + 0.42 * len(levels)))
    ax = ax or plt.gca()
    wide = df.pivot(index=pair, columns=by, values=y)
    looks = look(levels)
    reference = wide[baseline].to_numpy(dtype=float)
    groups = [
        (level, wide[level].to_numpy(dtype=float) - reference)
        for level in levels
        if level != baseline
    ]
    ax.axvline(0, color=_INK, linewidth=1)
    _rows_of_dots(ax, groups, looks, kind, names)
    label = (names or {}).get(baseline, looks[baseline]["label"])
    ax.set_xlabel(f"{y.replace('_', ' ')}: difference from {label}, run by run")
    return ax


def distribution(
    df: pd.DataFrame,
    y: str,
    *,
    hue: str = "activation",
    run: str = "run",
    bins: int | Sequence[float] = 40,
    names: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the density of `y` per level of `hue`: every run thin, all runs together thick.

    Parameters as in `runs_over_epochs`; `bins`, their number over the range of all of `y`, or their
    edges. Returns the axes.
    """
    ax = ax or plt.gca()
    edges = np.histogram_bin_edges(df[y].dropna().to_numpy(dtype=float), bins=bins)
    looks = look(df[hue])
    for level, rows in _levels(df, hue):
        shape = dict(looks[level], label=(names or {}).get(level, looks[level]["label"]))
        shape.pop("marker")
        for _, single in _levels(rows, run) if run in rows else ():
            heights, _ = np.histogram(single[y].dropna(), edges, density=True)
            ax.stairs(heights, edges, color=shape["color"], alpha=0.35, linewidth=0.6)
        heights, _ = np.histogram(rows[y].dropna(), edges, density=True)
        ax.stairs(heights, edges, linewidth=2, **shape)
    ax.set_xlabel(y.replace("_", " "))
    ax.set_ylabel("density")
    ax.legend()
    return ax


def bars(values: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Draw a bar for each of `values`, shares by level: its name before it, its number behind."""
    ax = ax or plt.gca()
    looks = look(values.index)
    labels, colours = zip(*((one["label"], one["color"]) for one in looks.values()), strict=True)
    shown = [f"{value:.0%}".replace("%", " %") for value in values]
    ax.bar_label(ax.barh(labels, values, color=colours), shown, padding=3)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def speedups(
    df: pd.DataFrame,
    ways: Iterable[str],
    limits: Mapping[str, Callable[[float], float]] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many times faster each way is than the fastest dense one, against the sparsity.

    Parameters: `df`, rows (method, sparsity, ratio_q1, ratio_median, ratio_q3); `ways`, the methods
    drawn, in this order, where `df` has them; `limits`, label → the largest speed-up possible at a
    sparsity, in black. Medians are joined, quartiles shaded. Returns the axes.
    """
    ax = ax or plt.gca()
    for way, shape in look(ways).items():
        rows = df[df["method"] == way].sort_values("sparsity")
        if len(rows):
            at, low, high = (rows[name] for name in ("sparsity", "ratio_q1", "ratio_q3"))
            ax.fill_between(at, low, high, color=shape["color"], alpha=0.2, linewidth=0)
            ax.plot(at, rows["ratio_median"], markersize=4, linewidth=1.5, **shape)
    reach = np.linspace(df["sparsity"].min(), df["sparsity"].max(), 100)
    for (label, limit), dash in zip((limits or {}).items(), ("-", "--", ":"), strict=False):
        ax.plot(reach, list(map(limit, reach)), dash, color=_INK, linewidth=0.9, label=label)
    ax.axhline(1, color=_INK, linewidth=0.6, linestyle=":")
    ax.set(xlabel="fraction of inactive neurons", ylabel="speed-up over fastest dense")
    return ax


def facets(
    df: pd.DataFrame,
    column: str,
    draw: Callable[[pd.DataFrame, Axes], object],
    *,
    names: Mapping[Any, str] | None = None,
    **subplots: Any,
) -> Figure:
    """Draw a panel for every level of `column`, side by side, its title in words.

    Parameters: `draw(rows, ax)`, called with a panel's rows; `names`, labels of levels where
    `LABELS` does not serve; `subplots`, as of `plt.subplots`, whose axes are shared by default.

    Returns the figure: labels at its edge, one legend below for what the panels label.
    """
    groups = list(_levels(df, column))
    shared = {"sharex": True, "sharey": True, "squeeze": False} | subplots
    figure, panels = plt.subplots(1, len(groups), **shared)
    words = LABELS | dict(names or {})
    for ax, (level, rows) in zip(panels[0], groups, strict=True):
        draw(rows, ax)
        ax.set_title(str(words.get(level, level)))
        if shared["sharex"] and shared["sharey"]:
            ax.label_outer()
    legend_below(figure)
    return figure


def panels(rows: pd.DataFrame, columns: Mapping[str, str], **options: Any) -> list[Axes]:
    """Draw each of `columns` (column → title) over x in a panel of its own.

    Parameters: `rows`, tidy, with a column `x` and that of `hue`; `options` as of
    `runs_over_epochs`. Returns the panels' axes.
    """
    long = rows.melt(
        [name for name in rows if name not in columns], list(columns), "column", "height"
    )
    axes = facets(
        long,
        "column",
        lambda part, ax: runs_over_epochs(part, "height", x="x", ax=ax, **options),
        names=columns,
        sharey=False,
    ).axes
    for ax in axes:
        ax.set_ylabel("")
    return axes


def verdicts(table: pd.DataFrame, counts: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Draw a grid of verdicts, a row a reading and a column a claim, with a count at the right.

    Parameters: `table`, the words of `stocha.claims.ledger.Verdict`; `counts`, one a row. The
    darker, the better a claim is met; a cross marks what is contradicted. Returns the axes.
    """
    labels = [fill(str(name), 28) for name in table.index]
    if ax is None:  # narrower than others, so that a phone can show its many words
        _, ax = plt.subplots(figsize=(0.6 * WIDTH, 0.8 + 0.28 * len(table)))
    shades = {"replicated": 1.0, "partly": 0.5, "not resolved": 0.2, "contradicted": 0.0}
    heights = table.map(lambda verdict: shades[str(verdict)]).to_numpy(dtype=float)
    ax.imshow(heights, cmap="Greens", vmin=0, vmax=1.3, aspect="auto")
    for row, column in np.argwhere(heights == 0):
        ax.text(column, row, "×", ha="center", va="center", fontsize=8, color="0.5")
    for row, count in enumerate(counts):
        ax.text(table.shape[1] - 0.4, row, f"{count:g}", va="center", fontsize=8)
    ax.set_xticks(range(table.shape[1]), list(table.columns))
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(table)), labels, fontsize=8, linespacing=0.9)
    ax.grid(visible=False)
    return ax


def legend_below(figure: Figure) -> None:
    """Draw one legend below the panels, for every label that one of them has."""
    known: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
        if legend := ax.get_legend():
            legend.remove()
    if known:
        longest = max(map(len, known))
        columns = min(len(known), 5 if longest < 12 else 4 if longest < 16 else 3)
        figure.legend(
            known.values(), known, loc="outside lower center", ncols=columns, handlelength=2.4
        )


def _levels(df: pd.DataFrame, column: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield (level, its rows) in order of appearance; without the column, the whole table."""
    if column not in df:
        yield None, df
        return
    yield from df.groupby(column, sort=False)


def _trace(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, run: str, kind: str, shape: dict[str, Any]
) -> float:
    """Draw one level's runs, mean and interval; return the mean at the right end."""
    if run not in rows:
        line = rows.sort_values(x)
        ax.plot(line[x].to_numpy(), line[y].to_numpy(), **shape)
        return float(line[y].iloc[-1])
    wide = rows.pivot(index=x, columns=run, values=y).sort_index()
    at = wide.index.to_numpy()
    ax.plot(at, wide.to_numpy(), color=shape["color"], linewidth=0.6, alpha=0.35)
    ends = np.array([interval(values, kind) for values in wide.to_numpy(dtype=float)])
    ax.fill_between(at, ends[:, 1], ends[:, 2], color=shape["color"], alpha=0.15, linewidth=0)
    # above the other levels' runs, whatever the order
    ax.plot(at, ends[:, 0], zorder=3, **shape)
    return float(ends[-1, 0])


def _rows_of_dots(
    ax: Axes,
    groups: list[tuple[Any, npt.NDArray[np.float64]]],
    looks: dict[Hashable, dict[str, Any]],
    kind: str,
    names: Mapping[Any, str] | None,
) -> None:
    """Draw each group on its own line, the first on top: dots below, mean and interval above."""
    for row, (level, values) in enumerate(groups):
        shape = looks[level]
        # a fixed spread, so that a rebuilt figure is the same to the byte
        jitter = (
            row + 0.18 + 0.16 * np.linspace(-1, 1, values.size) if values.size > 1 else row + 0.18
        )
        ax.plot(
            values,
            np.broadcast_to(jitter, values.shape),
            "o",
            ms=3.5,
            color=shape["color"],
            alpha=0.5,
            markeredgewidth=0,
        )
        mean, low, high = interval(values, kind)
        ax.plot([low, high], [row - 0.12] * 2, color=shape["color"], linewidth=2)
        ax.plot(mean, row - 0.12, shape["marker"], ms=7, color=shape["color"])
    ax.set_yticks(range(len(groups)))
    ax.set_yticklabels([(names or {}).get(level, looks[level]["label"]) for level, _ in groups])
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def _label_ends(ax: Axes, right: float, ends: list[tuple[float, str, str]]) -> None:
    """Write each label beside the end of its line, or as near as leaves the labels apart."""
    ax.autoscale_view()  # limits are settled late: the transform alone would have earlier ones
    to_axes = ax.transData + ax.transAxes.inverted()
    known = sorted(end for end in ends if np.isfinite(end[0]))
    if not known:
        return
    heights = to_axes.transform([(right, height) for height, _, _ in known])[:, 1]
    steps = 0.07 * np.arange(len(known))
    heights = isotonic_regression(np.clip(heights, 0, 1) - steps).x + steps
    for height, (_, label, colour) in zip(heights, known, strict=True):
        ax.annotate(
            label,
            (1, height),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
            annotation_clip=False,
        )
