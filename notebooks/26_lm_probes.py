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
#     inputs: ["results/lm_campaign*/*.csv"]
# ---

# %% [markdown]
# # Downstream
#
# On downstream tasks the new methods beat ReLU and trail SiLU, says L10 {cite:p}`lomeli2025stochastic`. Models of this
# size answer no such tasks; three probes stand in for them.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.lm import campaign
from stocha.study.session import open_run

run = open_run("26_lm_probes", globals())
figures.style()
pd.options.display.max_colwidth = None
points, probes = (campaign.recorded(Tables(), name) for name in ("points", "probes"))
own = run.table("probes", probes).query("form == 'own'")
together, usual = campaign.best_stocha(points, "+ft(0.1)")
arms = ["silu", "relu", "silu+ft(0.1)", together, usual, "stocha(0.5)", "bernoulli_silu"]


def panels_of(column, words, mark):
    """One panel a probe: `column` of every arm shown, each seed a dot."""
    _, panels = plt.subplots(1, 3, sharey=True, figsize=(figures.WIDTH, 3.4))
    for panel, (kind, rows) in zip(panels, own.groupby("probe", sort=False), strict=True):
        panel.axvline(mark(rows), color="grey", linestyle="--", linewidth=1)
        shown = rows.set_index("arm").loc[[arm for arm in arms if arm]].reset_index()
        figures.estimates(shown, column, by="arm", ax=panel)
        panel.set(title=kind.replace("_", " "), xlabel=words)
    plt.show()


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-margin", "caption": "Mean margin of the true answer over the best other, in nats, each model with its own activation. Dots are seeds; mark and bar their mean and 95 % t-interval; at the dashed line both are equally likely."}, "image": {"alt": "Three panels, one a probe, of the mean margin by arm: a dot for each seed, mean and interval, and a line at zero."}}
panels_of("margin", "margin / nats", lambda rows: 0)

# %% tags=["remove-input"]
run.figure_data("probes")

# %% tags=["remove-cell"]
beats = campaign.margins(probes, together, "relu")
trails = campaign.margins(probes, "silu", together)
run.glue("lm-probes-together", campaign.label(together))
run.glue("lm-probes-questions", own["questions"].min())
run.glue("lm-probes-beats", beats["next_line"].value("+.2f"))
run.glue("lm-probes-trails", trails["next_line"].value("+.2f"))
for kind, rows in own.groupby("probe"):
    low, high = rows["accuracy"].agg(["min", "max"])
    run.glue(f"lm-probes-{kind.replace('_', '-')}", f"{low:.2f} to {high:.2f}")

# %% [markdown]
# **These probes cannot tell.** On *next line*, the one of the three with neither floor nor ceiling, the margin of
# {glue:text}`lm-probes-together` less ReLU's is {glue:text}`lm-probes-beats` nats, and SiLU's less its own
# {glue:text}`lm-probes-trails`: both intervals hold zero.
#
# ## The probes
#
# They are made from a package that no training text comes from and scored by log-likelihood:
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
#
# ## Accuracy

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-accuracy", "caption": "Share of questions answered rightly, each model with its own activation. Dots are seeds; mark and bar their mean and 95 % t-interval; the dashed line is chance."}, "image": {"alt": "Three panels, one a probe, of accuracy by arm: a dot for each seed, mean and interval, and a line at chance."}}
panels_of("accuracy", "accuracy", lambda rows: 1 / rows["choices"].iloc[0])

# %% tags=["remove-input"]
run.figure_data("probes")

# %% [markdown]
# Over all runs of the campaign, *next line* is answered rightly in {glue:text}`lm-probes-next-line` of the questions,
# *corrupted line* in {glue:text}`lm-probes-corrupted-line` and *copy* in {glue:text}`lm-probes-copy`. A probe that every model
# passes, or that none answers better than chance, tells no two of them apart by accuracy; its margins may.
#
# ## L10's differences
#
# Paired by seed, for {glue:text}`lm-probes-together`, the p that the first campaign's protocol chooses: its margin over
# ReLU's, and SiLU's over its own, in nats.

# %% tags=["hide-input"]
rows = [
    {"difference of margins": one.name, "probe": kind.replace("_", " "), **one.row("+.3f")}
    for found in (beats, trails)
    for kind, one in found.items()
]
run.table("differences", pd.DataFrame(rows)).set_index(["difference of margins", "probe"])

# %% [markdown]
# The interval is over seeds, on the same {glue:text}`lm-probes-questions` questions a probe: how another choice of questions would
# move the margin is the standard error in the data (`margin_sem`), and is not part of it. The verdict on L10, by the criterion of
# the [first campaign](../lm_first_campaign.md), is in the [ledger](01_claims.ipynb).
