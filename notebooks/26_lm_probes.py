# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   stocha:
#     inputs: ["results/lm_campaign*/*.csv", "sweeps/lm_campaign*.yml", "notebooks/21_lm_run.py"]
# ---

# %% [markdown]
# # Downstream
#
# The paper reports that on downstream tasks the new methods beat ReLU and trail SiLU (L10)
# {cite:p}`lomeli2025stochastic`. Models of this size answer no such tasks. Three probes stand in for them,
# made from a package that no training text comes from and scored by log-likelihood:
#
# *next line*
# : the line that follows, against three lines of as many tokens from elsewhere;
#
# *corrupted line*
# : the line that follows, against itself with two tokens exchanged;
#
# *copy*
# : the next token of a random sequence seen once before, against three others of it.
#
# Every model meets the same questions. The *margin* of a question is the log-likelihood of the true answer less that of
# the best other, in nats: unlike accuracy it also counts how clear a decision was.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

from stocha import figures
from stocha.base.paths import project_root
from stocha.claims import campaign
from stocha.claims.lm_paper import probe_margins
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("26_lm_probes", globals())
figures.style()
pd.options.display.max_colwidth = None
sweeps = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]
points = campaign.recorded_or_empty("points")
progress = campaign.progress([p for s in sweeps for p in s.points], points)
done, wanted = progress["recorded"].sum(), progress[["recorded", "missing"]].sum().sum()
names = {arm: campaign.label(arm) for arm in progress["arm"]}
if missing := campaign.incomplete(campaign.SWEEPS, done, wanted):
    display(Markdown(missing))
probes = run.table("probes", campaign.recorded_or_empty("probes"))
kinds = {"next_line": "next line", "corrupted_line": "corrupted line", "copy": "copy"}
best = campaign.best_stocha(points, "+ft(0.1)") if len(points) else None
together = f"stocha({0.5 if best is None else best:g})+ft(0.1)"
shown = list(
    dict.fromkeys(
        [
            "silu",
            "relu",
            "silu+ft(0.1)",
            together,
            "stocha(0.5)+ft(0.1)",
            "stocha(0.5)",
            "bernoulli_silu",
        ]
    )
)
shown = [arm for arm in shown if arm in set(probes["arm"])]
own = probes[probes["form"] == "own"] if len(probes) else probes
run.glue("lm-probes-together", campaign.label(together))
run.glue("lm-probes-questions", int(own["questions"].min()) if len(own) else "—")


def panels_of(column, words, mark):
    """One panel a probe: `column` of every arm shown, each seed a dot."""
    _figure, panels = plt.subplots(1, 3, sharey=True, figsize=(figures.WIDTH, 3.4))
    for panel, (kind, title) in zip(panels, kinds.items(), strict=True):
        if not shown:
            figures.blank(ax=panel)
            continue
        rows = own[own["probe"] == kind].set_index("arm").loc[shown].reset_index()
        panel.axvline(mark[kind], color="grey", linestyle="--", linewidth=1)
        figures.estimates(rows, column, by="arm", names=names, ax=panel)
        panel.set(title=title, xlabel=words)
    plt.show()


# %% [markdown]
# ## Accuracy

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-accuracy", "caption": "Share of questions answered rightly, each model with its own activation. Dots are seeds; mark and bar their mean and 95 % t-interval; the dashed line is chance."}, "image": {"alt": "Three panels, one a probe, of accuracy by arm: a dot for each seed, mean and interval, and a line at chance."}}
chance = dict.fromkeys(kinds, 0.25)
if len(own):
    chance |= (1 / own.groupby("probe")["choices"].first()).to_dict()
panels_of("accuracy", "accuracy", chance)

# %% tags=["remove-input"]
run.figure_data("probes")

# %% tags=["remove-cell"]
for kind in kinds:
    rows = own[own["probe"] == kind] if len(own) else own
    found = f"{rows['accuracy'].min():.2f} to {rows['accuracy'].max():.2f}" if len(rows) else "—"
    run.glue(f"lm-probes-{kind.replace('_', '-')}", found)

# %% [markdown]
# Over all runs of the campaign, *next line* is answered rightly in {glue:text}`lm-probes-next-line` of the questions,
# *corrupted line* in {glue:text}`lm-probes-corrupted-line` and *copy* in {glue:text}`lm-probes-copy`. A probe that every model
# passes, or that none answers better than chance, tells no two of them apart by accuracy; its margins may.
#
# ## Margin

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-margin", "caption": "Mean margin of the true answer over the best other, in nats, each model with its own activation. Dots are seeds; mark and bar their mean and 95 % t-interval; at the dashed line both are equally likely."}, "image": {"alt": "Three panels, one a probe, of the mean margin by arm: a dot for each seed, mean and interval, and a line at zero."}}
panels_of("margin", "margin / nats", dict.fromkeys(kinds, 0.0))

# %% tags=["remove-input"]
run.figure_data("probes")

# %% [markdown]
# ## L10's differences
#
# Paired by seed, for {glue:text}`lm-probes-together`, the p that the protocol chooses: its margin over ReLU's, and
# SiLU's over its own, in nats.

# %% tags=["hide-input"]
rows = []
for first, second in ((together, "relu"), ("silu", together)):
    found = probe_margins(probes, first, second) if len(probes) else {}
    for kind, difference in found.items():
        row = {"difference of margins": difference.name, "probe": kinds.get(kind, kind)}
        rows.append(row | difference.row("+.3f"))
columns = ["difference of margins", "probe", "mean", "95 % interval", "seeds"]
differences = run.table("differences", pd.DataFrame(rows, columns=columns))
differences.set_index(["difference of margins", "probe"])

# %% [markdown]
# The interval is over seeds, on the same {glue:text}`lm-probes-questions` questions a probe: how another choice of questions would
# move the margin is the standard error in the data (`margin_sem`), and is not part of it. The verdict on L10, by the criterion of
# the [protocol](../lm_protocol.md), is in the [ledger](01_claims.ipynb).
