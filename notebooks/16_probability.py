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
#     inputs: ["results/toy_p/points.csv", "sweeps/toy_p.yml"]
# ---

# %% [markdown]
# # The probability of SiLU, and what happens above zero
#
# **The zeros follow $p$ alone, and what happens above zero hardly matters for the loss.** At $p =$ ½ the share of zeros is
# {glue:text}`p-sparsity-half` whatever the reading ({numref}`fig-p-sparsity`), a quarter as the
# toy post says (T3). A reading's validation loss differs from the mixed one's, network by network, in
# {glue:text}`p-readings-resolved` of {glue:text}`p-readings` comparisons, by at most
# {glue:text}`p-readings-most` nats ({numref}`fig-p-loss`).
#
# For $x \ge 0$ StochA may be the identity, always SiLU, or whatever the draw says ([the three
# readings](10_activations.ipynb)). This sweep trains the network of the
# [reading found](19_which_setup.ipynb) for $p$ from 0 to 1 under each. To record it anew:
#
# ```sh
# stocha sweep run sweeps/toy_p.yml --jobs 2
# stocha sweep collect sweeps/toy_p.yml
# ```

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads the recorded sweep {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["remove-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.claims.open_questions import differences
from stocha.study.session import open_run

run = open_run("16_probability", globals())
figures.style()
points = run.table("points", Tables()("toy_p", "points"))
living = points[~points["dead"]]
networks = points.groupby(["p", "positive"])["network"].nunique()
run.glue("p-dead", int(points["dead"].sum()))
run.glue("p-points", points["run_id"].nunique())
run.glue("p-networks", int(networks.min()))
half = living[living["p"] == 0.5]
run.glue("p-sparsity-half", half["sparsity"].mean(), "{:.3f}")
line = (1 - living["p"]) * living.loc[living["p"] == 0, "sparsity"].mean()
error = (living["sparsity"] - line).groupby(living["p"]).mean().abs().max()
run.glue("p-line-error", float(error), "{:.3f}")
wide = points.pivot(index=["p", "network"], columns="positive", values="val_loss")
others = ["identity", "silu"]
against = {p: differences(losses, others, "mixed", 1) for p, losses in wide.groupby("p")}
readings = pd.concat(against, names=["p", "reading"])
readings = readings.rename(columns={"mean": "difference", "": "verdict"})
run.table("readings", readings.reset_index())
run.glue("p-readings-resolved", int((readings["verdict"] == "resolved").sum()))
run.glue("p-readings", len(readings))
run.glue("p-readings-most", readings["difference"].abs().max(), "{:.3f}")

# %% [markdown]
# {glue:text}`p-points` executions, {glue:text}`p-networks` networks for each $p$ and reading; networks of
# the same number start from the same seed and see the same batches. {glue:text}`p-dead` networks died
# ([Toy classification](11_toy_classification.py) says what that means); a dead one is silent
# whatever $p$ is, so the first figure shows the living.

# %% mystnb={"figure": {"name": "fig-p-sparsity", "caption": "Fraction of tiny activations in the first hidden layer after the last epoch, over the probability of SiLU, for the three readings of x at or above 0; living networks."}, "image": {"alt": "Sparsity falls in a nearly straight line from about one half at p = 0 to about zero at p = 1, alike for the three readings."}} tags=["remove-input"]
words = {"xlabel": "p, the probability of SiLU", "ylabel": "share near zero, first layer"}
figures.sweep(living, "sparsity", "p", hue="positive", run="network").set(**words)
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# An activation is exactly zero when $x < 0$ and the draw says ReLU. Were half of the inputs
# negative whatever $p$ is, the sparsity would be the straight line $(1-p)$ times its value at
# $p = 0$; the means stay within {glue:text}`p-line-error` of that line. At $p = 0.5$ the fraction is
# {glue:text}`p-sparsity-half`; a fair coin on inputs that are negative half of the time gives one
# quarter, which is what T3 reports.

# %% mystnb={"figure": {"name": "fig-p-loss", "caption": "Validation loss after the last epoch over the probability of SiLU, sampling in validation as in training."}, "image": {"alt": "Validation loss against the probability of SiLU for three readings of x at or above zero: the lines lie together and fall slightly towards SiLU."}} tags=["remove-input"]
words["ylabel"] = "validation loss / nats"
figures.sweep(points, "val_loss", "p", hue="positive", run="network").set(**words)
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# Does the reading matter? Differences in validation loss to the mixed reading at the same $p$,
# paired over networks, with 95 % intervals: *resolved* where one excludes zero, *negligible* where it lies within
# ±0.01 nats, else as many networks as would resolve a difference of that size.

# %% tags=["hide-input"]
readings.round(4)

# %% [markdown]
# The interval excludes zero in {glue:text}`p-readings-resolved` of {glue:text}`p-readings`
# comparisons, none of them corrected for their number; one in twenty would do so by chance.
#
# ## Summary
#
# The probability of SiLU is a dial for zeros: the share of zeros falls from ReLU's to none along a straight line, to within
# {glue:text}`p-line-error`. In this network of four units a layer the loss falls a little towards SiLU. Whether the coin
# decides for negative numbers only, or for all, changes the loss by {glue:text}`p-readings-most` nats at most, and the zeros
# not at all.
