"""The look is one look: colours by name, intervals that are right, every run drawn."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from scipy import stats

from stocha import figures
from stocha.activations import names


@pytest.fixture
def ax() -> Iterator[Axes]:
    with mpl.rc_context({"backend": "agg"}):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


@pytest.fixture
def curves() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [["silu", "relu"], range(4), range(1, 6)], names=["activation", "run", "epoch"]
    )
    return pd.DataFrame({"val_loss": rng.normal(size=len(index))}, index=index).reset_index()


def test_every_activation_has_its_own_colour_label_and_line() -> None:
    assert set(figures.COLOURS) == set(figures.LABELS) == set(names())
    looks = figures.look(names())
    for key in ("color", "linestyle", "marker", "label"):
        assert len({str(look[key]) for look in looks.values()}) == len(names())


def test_an_arm_has_the_colour_of_the_activation_it_begins_with() -> None:
    arms = ["silu", "silu+ft(0.1)", "stocha(0.5)", "stocha(0.5)+ft(0.1)", "relu+silu(0.1)", "relu2"]
    looks = figures.look(arms)
    begins = ["silu", "silu", "stocha", "stocha", "relu", "relu2"]
    assert [looks[arm]["color"] for arm in arms] == [figures.COLOURS[name] for name in begins]
    for first, second in (arms[:2], arms[2:4]):
        assert looks[first]["linestyle"] != looks[second]["linestyle"]
        assert looks[first]["marker"] != looks[second]["marker"]
    # levels that are no arm, beside one that is: the first colour that no activation here has
    assert figures.look(["silu", "flip 0.1"])["flip 0.1"]["color"] == figures.COLOURS["relu"]


def test_colours_are_dark_enough_for_white_and_its_inverse() -> None:
    def luminance(colour: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for colour in figures.COLOURS.values():
        assert 1.05 / (luminance(colour) + 0.05) > 2


def test_an_activation_looks_the_same_in_any_company() -> None:
    alone = figures.look(["stocha"])["stocha"]
    among = figures.look(["width 4", "stocha", "width 8", "relu"])
    assert among["stocha"] == alone
    assert len({look["color"] for look in among.values()}) == 4


def test_more_levels_than_colours_still_draw() -> None:
    assert len(figures.look(range(25))) == 25


@pytest.mark.parametrize("seed", range(3))
def test_intervals_agree_with_scipy(seed: int) -> None:
    sample = np.random.default_rng(seed).normal(size=7)
    mean, low, high = figures.interval(np.append(sample, np.nan), "t")
    wanted = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    np.testing.assert_allclose((mean, low, high), (sample.mean(), wanted.low, wanted.high))
    _, low, high = figures.interval(sample, "std")
    np.testing.assert_allclose((high - low) / 2, pd.Series(sample).std())


def test_one_run_has_no_interval() -> None:
    assert figures.interval([2.0])[0] == 2
    assert np.isnan(figures.interval([2.0])[1:]).all()
    assert np.isnan(figures.interval([])).all()
    with pytest.raises(ValueError, match="interval='iqr': allowed: std, t"):
        figures.interval([1.0, 2.0], "iqr")


def test_runs_over_epochs_draws_every_run_and_the_mean(ax: Axes, curves: pd.DataFrame) -> None:
    # in whatever order the rows come
    assert figures.runs_over_epochs(curves.sample(frac=1, random_state=1), "val_loss", ax=ax) is ax
    drawn = {tuple(np.round(np.asarray(line.get_ydata(), float), 9)) for line in ax.lines}
    assert len(ax.lines) == 2 * (4 + 1)
    for activation, rows in curves.groupby("activation"):
        wide = rows.pivot(index="epoch", columns="run", values="val_loss")
        for run in wide:
            assert tuple(np.round(wide[run], 9)) in drawn, (activation, run)
        assert tuple(np.round(wide.mean(axis=1), 9)) in drawn
    assert len(ax.collections) == 2
    legend = ax.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"SiLU", "ReLU"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "val loss")


def test_courses_draw_the_mean_that_is_given_and_a_few_networks(
    ax: Axes, curves: pd.DataFrame
) -> None:
    means = curves.groupby(["activation", "epoch"])["val_loss"].mean().reset_index(name="mean")
    others = means.assign(measure="sparsity", mean=9.0)
    means = pd.concat([means.assign(measure="val_loss"), others])
    figures.courses(means, curves, "val_loss", names={"relu": "the one"}, ax=ax)
    drawn = [line.get_ydata() for line in ax.lines]
    assert len(drawn) == 2 * (4 + 1)
    assert np.max(np.concatenate(drawn)) < 9
    wanted = curves[curves.activation == "relu"].groupby("epoch")["val_loss"].mean()
    np.testing.assert_allclose(drawn[-1], wanted)
    assert sorted(text.get_text() for text in ax.texts) == ["SiLU", "the one"]


def test_panels_draw_each_column_over_x() -> None:
    rows = pd.DataFrame({"activation": "relu", "x": [0.0, 1.0], "value": [0.0, 2.0], "slope": 3.0})
    with mpl.rc_context({"backend": "agg", "axes.titlelocation": "center"}):
        value, slope = figures.panels(rows, {"value": "f", "slope": "its slope"})
    assert [value.get_title(), slope.get_title()] == ["f", "its slope"]
    assert list(value.lines[0].get_ydata()) == [0.0, 2.0]
    assert list(slope.lines[0].get_ydata()) == [3.0, 3.0]
    plt.close(value.figure)


def test_direct_labels_keep_apart_where_lines_end_together(ax: Axes) -> None:
    level = pd.DataFrame(
        {"activation": names() * 2, "epoch": [1] * len(names()) + [2] * len(names()), "y": 1.0}
    )
    figures.runs_over_epochs(level, "y", legend="direct", ax=ax)
    heights = sorted(note.xy[1] for note in ax.texts)  # type: ignore[attr-defined]
    assert len(heights) == len(names())
    assert min(np.diff(heights)) > 0.05
    # all lines end in the middle, and so do the labels on average
    assert np.mean(heights) == pytest.approx(0.5)


def test_paired_differences_are_of_one_run(ax: Axes, curves: pd.DataFrame) -> None:
    last = curves[curves.epoch == 5].sample(frac=1, random_state=2)
    figures.paired_differences(last, "val_loss", "relu", ax=ax)
    wide = last.pivot(index="run", columns="activation", values="val_loss")
    wanted = wide["silu"] - wide["relu"]
    drawn = [sorted(np.asarray(line.get_xdata(), float)) for line in ax.lines]
    assert any(np.allclose(xs, sorted(wanted)) for xs in drawn if len(xs) == 4)
    assert any(np.allclose(xs, wanted.mean()) for xs in drawn if len(xs) == 1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["SiLU"]
    with pytest.raises(ValueError, match="baseline='gelu': no level of activation; allowed: "):
        figures.paired_differences(last, "val_loss", "gelu", ax=ax)


def test_estimates_show_a_dot_a_run(ax: Axes, curves: pd.DataFrame) -> None:
    figures.estimates(curves[curves.epoch == 5], "val_loss", ax=ax)
    assert sorted(len(np.asarray(line.get_xdata())) for line in ax.lines) == [1, 1, 2, 2, 4, 4]


def test_bars_say_their_share(ax: Axes) -> None:
    figures.bars(pd.Series({"relu": 0.5, "stocha": 0.25}), ax=ax)
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.25]  # type: ignore[attr-defined]
    assert [text.get_text() for text in ax.texts] == ["50 %", "25 %"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["ReLU", "StochA"]


def test_intervals_are_drawn_as_they_are_given(ax: Axes) -> None:
    table = pd.DataFrame(
        {"mean": [1.0, 2.0], "low": [0.5, -1], "high": [3.0, 2.5]}, index=["stocha few", "other"]
    )
    figures.intervals(table, names={"stocha few": "StochA, 5 draws"}, ax=ax)
    zero, *drawn = ax.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert [list(line.get_xdata()) for line in drawn] == [[0.5, 3], [1], [-1, 2.5], [2]]
    assert drawn[0].get_color() == figures.COLOURS["stocha"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["StochA, 5 draws", "other"]


def test_sweep_and_distribution_draw_every_run(ax: Axes, curves: pd.DataFrame) -> None:
    curves["val_loss"] += 9.0 * (curves["activation"] == "relu")
    figures.sweep(curves, "val_loss", "epoch", log=True, ax=ax)
    assert ax.get_xscale() == "log"
    assert len(ax.lines) == 2 * (4 + 1)
    last = curves[curves["epoch"] == 5].groupby("activation")["val_loss"].mean()
    ends = {note.get_text(): note.xy[1] for note in ax.texts}  # type: ignore[attr-defined]
    for name, label in (("silu", "SiLU"), ("relu", "ReLU")):
        height = ax.transAxes.transform((1, ends[label]))
        assert ax.transData.inverted().transform(height)[1] == pytest.approx(last[name])
    figure, other = plt.subplots()
    figures.distribution(curves, "val_loss", bins=5, ax=other)
    assert len(other.patches) == 2 * (4 + 1)
    plt.close(figure)


def test_dead_runs_do_not_hide_the_others(ax: Axes, curves: pd.DataFrame) -> None:
    curves.loc[curves.run == 0, "val_loss"] = np.nan
    figures.runs_over_epochs(curves, "val_loss", ax=ax)
    means = [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_zorder() == 3]
    assert len(means) == 2
    assert np.isfinite(means).all()
