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
#     inputs: ["results/lm_lr/*.csv", "sweeps/lm_campaign.yml", "sweeps/lm_lr.yml"]
# ---

# %% [markdown]
# # Which learning rate
#
# Does one learning rate favour one activation? A rate that suits SiLU and not ReLU can decide their
# comparison.
#
# **Perhaps; two seeds cannot tell.** SiLU is best at {glue:text}`lm-rate-best-silu`, ReLU at
# {glue:text}`lm-rate-best-relu` ({numref}`fig-lm-rate`). Every arm is trained at {glue:text}`lm-rate-used`. What ReLU
# gives away there to its own best, in nats: {glue:text}`lm-rate-cost-relu`.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads the recorded sweep {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.base.paths import project_root
from stocha.claims.ledger import Tables
from stocha.lm.campaign import by_seed, over_seeds
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("22_lm_rate", globals())
figures.style()
points = run.table("points", Tables()("lm_lr", "points"))
folder = project_root() / "sweeps"
(used,) = {point["lr"] for point in read_sweep(folder / "lm_campaign.yml").points}

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-rate", "caption": "Validation loss after training at each peak learning rate. Thin: one seed; thick: mean, shaded a standard deviation either way. The dashed line is the rate of the campaign."}, "image": {"alt": "Validation loss in nats against the peak learning rate on a logarithmic axis, one colour for SiLU and one for ReLU, with a dashed line at the rate the campaign uses."}}
axes = figures.sweep(points, "loss", "lr", run="seed", kind="std", log=True)
axes.axvline(used, color="grey", linestyle="--", linewidth=1)
axes.set(xlabel="peak learning rate", ylabel="validation loss / nats a token")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% tags=["remove-cell"]
cost = "loss at the campaign's rate − best / nats"
rows = []
for activation, mine in points.groupby("activation", sort=False):
    wide = by_seed(mine.assign(arm=mine["lr"]), "loss")
    means = wide.mean()
    best = means.idxmin()
    given = "0" if used == best else over_seeds(wide[used] - wide[best]).value()
    row = {"activation": figures.LABELS[activation], "best rate": f"{best:g}"}
    interior = means.index.min() < best < means.index.max()
    rows.append(row | {"loss": means[best], "interior": interior, cost: given})
    run.glue(f"lm-rate-best-{activation}", best, "{:g}")
    run.glue(f"lm-rate-cost-{activation}", given)
best = run.table("best", pd.DataFrame(rows)).set_index("activation")
run.glue("lm-rate-used", used, "{:g}")
run.glue("lm-rate-tokens", read_sweep(folder / "lm_lr.yml").points[0]["tokens"], "{:,}")
run.glue("lm-rate-seeds", points["seed"].nunique())

# %% [markdown]
# ## How it was chosen
#
# SiLU and ReLU are trained at the size of the [first campaign](28_lm_first_campaign.ipynb), on a
# quarter of its tokens, at five rates (`sweeps/lm_lr.yml`). Everything else is as in [one
# run](21_lm_run.ipynb). The campaign's rate was fixed on the first seed; the second seed of this
# table came while the campaign ran, and did not change it.
#
# Each activation's best rate, by the mean over seeds, and what the campaign's rate costs it. *Interior* means
# that a lower and a higher rate were tried and were worse.

# %% tags=["hide-input"]
best.round({"loss": 4})

# %% tags=["hide-input"]
losses = points.groupby(["lr", "activation"])["loss"].mean().unstack()
losses.rename(columns=figures.LABELS).rename_axis("mean loss", axis=1).round(4)

# %% [markdown]
# {glue:text}`lm-rate-seeds` seeds a rate resolve large differences only. The rate was chosen on {glue:text}`lm-rate-tokens` tokens
# a run, and a longer run may prefer a lower one. It was not tuned for StochA, nor for what comes after a switch.
#
# ## Summary
#
# All activations are trained at one learning rate, {glue:text}`lm-rate-used`. It is the best of those tried for SiLU; for ReLU the next
# higher one may be better. So part of what the campaign finds between activations can be due to the rate and not to the
# activation. How much, two short runs a rate cannot say.
