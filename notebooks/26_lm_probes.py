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
#     inputs: ["results/lm_headline/*.csv", "results/lm_arms*/*.csv"]
# ---

# %% [markdown]
# # Downstream
#
# On downstream tasks the new methods beat ReLU and trail SiLU, says L10 {cite:p}`lomeli2025stochastic`. Models of this
# size answer no such tasks; small probes stand in for them.
#
# **L10 is {glue:text}`lm-probes-verdict`.** The decisive measure is how much likelier a model finds the true answer than the best
# other ({numref}`fig-lm-margin`). StochA(0.7) + Swi+FT(0.1) minus ReLU is {glue:text}`lm-probes-beats`, and SiLU minus it
# {glue:text}`lm-probes-trails`, in standard deviations over questions, as a mean of the {glue:text}`lm-probes-kept` probes of
# {glue:text}`lm-probes-all` that can tell models apart.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.claims.lm import TOGETHER, l10_downstream_between
from stocha.lm import campaign
from stocha.study.session import open_run

run = open_run("26_lm_probes", globals())
figures.style()
pd.options.display.max_colwidth = None
probes = run.table("probes", campaign.standard_margins(campaign.recorded(Tables(), "probes")))
counted = probes[probes["counts"]]
means = run.table("means", counted.groupby(["arm", "seed"])["margin"].mean().reset_index())

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-margin", "caption": "Margin of the true answer over the best other, mean over the probes that discriminate, less SiLU's with the same seed; in standard deviations of SiLU's margins over questions. Dots are seeds; mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of the mean probe margin less that of SiLU, one line an arm, with a line at zero."}}
figure = plt.figure(figsize=(figures.WIDTH, 0.9 + 0.32 * means["arm"].nunique()))
axes = figures.paired_differences(means, "margin", "silu", by="arm", pair="seed")
axes.set_xlabel("margin − SiLU's / standard deviations over questions")
plt.show()

# %% tags=["remove-input"]
run.figure_data("means")

# %% tags=["remove-cell"]
wide = campaign.by_seed(means, "margin")
run.glue("lm-probes-beats", campaign.paired(wide, TOGETHER, "relu").estimate.text("+.3f"))
run.glue("lm-probes-trails", campaign.paired(wide, "silu", TOGETHER).estimate.text("+.3f"))
run.glue("lm-probes-verdict", str(l10_downstream_between.assess(Tables()).verdict))
run.glue("lm-probes-kept", counted["probe"].nunique())
run.glue("lm-probes-all", probes["probe"].nunique())
run.glue("lm-probes-questions", probes["questions"].max())

# %% [markdown]
# ## The probes
#
# They are made from packages that no training text comes from and scored by log-likelihood:
#
# *next line*
# : the line that follows, against three lines of as many tokens from elsewhere;
#
# *corrupted line*, *corrupted 1*, *2*, *4*
# : the line that follows, against itself with two tokens exchanged, and with so many tokens replaced;
#
# *bracket*, *indent*, *agreement*
# : which closing bracket; how far the next line is indented; is or are, was or were, has or have;
#
# *recall 8*, *24*, *64*
# : a word last seen so many tokens back or more, against other words of the context;
#
# *copy*
# : the next token of a random sequence seen once before, against three others of it.
#
# Every model meets the same questions, up to {glue:text}`lm-probes-questions` a probe. The *margin* of a question is the
# log-likelihood of the true answer less that of the best other: unlike accuracy it also counts how clear a decision was.
# A probe that SiLU answers in more than 95 % of cases, or hardly better than chance, tells no two models apart and
# does not *count*.

# %% tags=["hide-input"]
silu = probes[probes["arm"] == "silu"].groupby("probe", sort=False)
table = silu[["accuracy"]].mean().assign(chance=1 / silu["choices"].first())
table["counts"] = silu["counts"].first()
for words, pair in {"− ReLU": (TOGETHER, "relu"), "− SiLU": (TOGETHER, "silu")}.items():
    table[f"StochA(0.7) + Swi+FT(0.1) {words}"] = pd.Series(
        {
            probe: campaign.paired(campaign.by_seed(rows, "margin"), *pair).value("+.3f")
            for probe, rows in probes.groupby("probe")
        }
    )
table = table.rename(columns={"accuracy": "accuracy of SiLU"}).round(3)
run.table("by_probe", table.reset_index())
table.rename(index=lambda name: name.replace("_", " ")).rename_axis(None)

# %% [markdown]
# Differences are of margins, in the same unit, paired by seed. The interval is over seeds, on the same questions. Another
# choice of questions would move a margin too; that standard error is in the data (`margin_sem`), and not in the interval.
#
# ## Summary
#
# Small tests of what the models have learned do not tell the activations apart: neither difference is as large as its own
# uncertainty from seed to seed. That is no evidence against the paper, whose models answer real tasks, and none for it.
