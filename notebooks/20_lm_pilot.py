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
#     inputs: ["results/lm_pilot*/*.csv", "results/lm_campaign*/*.csv"]
# ---

# %% [markdown]
# # What makes a small model's runs comparable
#
# Is there a setting at which all runs of a small model learn to use their context early, so that they differ
# by activation more than by seed?
#
# **{glue:text}`lm-pilot-verdict`** From one seed to the next, ReLU − SiLU varies with a standard deviation of
# {glue:text}`lm-pilot-silu` nats, {glue:text}`lm-pilot-before` in the first campaign; ReLU − (StochA(0.7) + Swi+FT(0.1)) varies
# with {glue:text}`lm-pilot-together` ({numref}`fig-lm-pilot`). The [protocol](../lm_protocol.md) asks for 0.03 at most.

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

run = open_run("20_lm_pilot", globals())
figures.style()
tables, pilot = Tables(), ["lm_pilot"]
points, recall, asked = (
    run.table(name, campaign.recorded(tables, name, pilot))
    for name in ("points", "recall", "probes")
)
first = campaign.recorded(tables, "points", campaign.FIRST)
TOGETHER = "stocha(0.7)+ft(0.1)"
PAIRS = {"ReLU − SiLU": ("relu", "silu"), "ReLU − (StochA(0.7) + Swi+FT(0.1))": ("relu", TOGETHER)}
paired = []
for name, rows in {"first campaign": first, "pilot": points}.items():
    wide = campaign.by_seed(rows, "loss")
    for words, (one, other) in PAIRS.items():
        difference = (wide[one] - wide[other]).dropna().rename("difference").reset_index()
        paired.append(difference.assign(pair=words, setting=name))
paired = run.table("paired", pd.concat(paired))
spread = paired.groupby(["setting", "pair"], sort=False)["difference"].std().unstack("pair")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-pilot", "caption": "Differences of validation losses with the same seed, in the first campaign and at the pilot's setting. Dots are seeds; mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Two panels, ReLU minus SiLU and ReLU minus StochA with Swi+FT: differences by seed in the first campaign, widely spread, and in the pilot."}}
_, panels = plt.subplots(1, 2, sharey=True, figsize=(figures.WIDTH, 2.2))
for panel, (words, rows) in zip(panels, paired.groupby("pair", sort=False), strict=True):
    figures.estimates(rows, "difference", by="setting", ax=panel)
    panel.axvline(0, color="grey", linewidth=1)
    panel.set(title=words, xlabel="difference of losses / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data("paired")

# %% tags=["remove-cell"]
widest = spread.loc["pilot"].max()
run.glue("lm-pilot-before", spread.loc["first campaign", "ReLU − SiLU"], "{:.3f}")
run.glue("lm-pilot-silu", spread.loc["pilot", "ReLU − SiLU"], "{:.3f}")
run.glue("lm-pilot-together", spread.loc["pilot"].iloc[1], "{:.3f}")
latest, steps = points["transition_step"].max(skipna=False), recall["step"].max()
passed = widest <= 0.03 and latest <= steps / 2  # both of the protocol's conditions
run.glue("lm-pilot-verdict", "Yes." if passed else "Not this one.")
run.glue("lm-pilot-latest", latest, "{:,.0f}")
run.glue("lm-pilot-steps", steps, "{:,}")
run.glue("lm-pilot-seeds", points["seed"].nunique())

# %% [markdown]
# Where that is missed, the protocol's levers come next (`sweeps/lm_pilot_levers.yml`). What the headline's arms say at this
# setting stands, with the intervals it has. (The first campaign's StochA drew for every x.)
#
# ## What was wrong, and what was tried
#
# In the [first campaign](28_lm_first_campaign.ipynb) some runs learned, half way through, to find in their context what comes
# next, and some never did. Arm and seed together decided which, and it was worth more than any arm. So the
# pilot looks for a setting under which this happens early in every run. Two leads came from single trials. One is **fewer
# parameters and more tokens for each**, which costs the same. The other is attention keys of which half the dimensions are those
# of the position before, so that a head finds what followed a token without help from the layer below.
#
# ## When runs learn to use their context
#
# Some tokens followed the same two tokens before in their window: the context holds the answer. How much would their loss rise
# with only the eight tokens before them in sight? A model that knows frequent phrases and no more stands at zero.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-transition", "caption": "What the context beyond the last 8 tokens is worth on tokens whose answer it holds. Seeds thin, mean thick, 95 % t-interval shaded; the dashed line is where a run counts as past its transition."}, "image": {"alt": "Gain from the context in nats against tokens trained on: for every arm and seed it rises from zero to nearly two nats early in training."}}
rows = recall.assign(tokens=recall["tokens"] / 1e6)
axes = figures.runs_over_epochs(rows, "gain", x="tokens", hue="arm", run="seed", kind="t")
axes.axhline(0.5, color="grey", linestyle="--", linewidth=1)
axes.set(xlabel="tokens / millions", ylabel="worth of the context / nats")
figures.legend_below(axes.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("recall")

# %% [markdown]
# The last of all runs is past its transition at step {glue:text}`lm-pilot-latest` of {glue:text}`lm-pilot-steps`.
#
# ## How many seeds a campaign needs
#
# If differences spread with a standard deviation s, n seeds give an interval of ± t·s/√n. Seeds for an interval of ± 0.01 and
# ± 0.02 nats, from the spreads above:

# %% tags=["hide-input"]
needed = spread.stack().rename("spread / nats").to_frame()
for half in (0.01, 0.02):
    needed[f"seeds for ± {half:g}"] = [campaign.seeds_for(s, half) for s in needed.iloc[:, 0]]
run.table("seeds_needed", needed.reset_index())
needed.round(4)

# %% [markdown]
# A spread from {glue:text}`lm-pilot-seeds` seeds is itself known to a factor between 0.6 and 2.5 only.

# %% [markdown]
# ## Probes that discriminate
#
# A probe that every model passes, or that none answers better than chance, decides nothing. Accuracy with SiLU, as a mean over
# seeds, the accuracy of chance, the margin of the true answer in nats, and whether the protocol counts the probe:

# %% tags=["hide-input"]
silu = asked.query("form == 'own' and arm == 'silu'").groupby("probe", sort=False)
probes = silu[["accuracy", "margin"]].mean().assign(chance=1 / silu["choices"].first())
probes["counts"] = campaign.standard_margins(asked).groupby("probe")["counts"].first()
run.table("probes_kept", probes.reset_index())
probes.rename(index=lambda probe: probe.replace("_", " ")).round(3)

# %% [markdown]
# ## Summary
#
# Small models trained alike end apart, because some find out how to use what they have read and others do not. At this setting
# all of them do, within the first {glue:text}`lm-pilot-latest` of {glue:text}`lm-pilot-steps` steps, and ReLU − SiLU varies
# less from seed to seed: {glue:text}`lm-pilot-silu` nats instead of {glue:text}`lm-pilot-before`. That is still more than the
# protocol wanted, so small differences between activations stay undecided.
