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
#     experiment: stocha.toy.uncertainty
#     inputs: ["results/18_uncertainty/*.csv"]
# ---

# %% [markdown]
# # Uncertainty from sampled activations
#
# A network trained with StochA can go on drawing when it answers, as dropout does {cite:p}`gal2016dropout`. Is the mean of
# its draws unsure where it should be (Q4)?
#
# **By the criterion fixed beforehand: {glue:text}`uncertainty-verdict`.** Its loss less that of Monte Carlo dropout is
# {glue:text}`uncertainty-dropout` nats over four data sets ({numref}`fig-uncertainty`; [criterion](01_claims.ipynb)). The splits of a data set
# overlap, so that more of them cannot narrow this interval by more than {glue:text}`uncertainty-floor`; other data sets would.
#
# **Is it worth it? Nothing here speaks for it.** Against one network without draws it changes the loss by
# {glue:text}`uncertainty-single`. An ensemble of five is better in fewer passes (StochA − ensemble:
# {glue:text}`uncertainty-ensemble`). And the draws are not what helps: sampling changes the loss of StochA's own
# expectation, which takes one pass, by {glue:text}`uncertainty-mean`. **The cost** is {glue:text}`uncertainty-passes` forward
# passes a prediction instead of one; five do as well ({glue:text}`uncertainty-few`, twenty − five).

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
data: "Optional[list[str]]" = None  # scikit-learn's {toy, digits, cancer, wine}
splits: "Optional[int]" = None  # of each data set [2, inf)
members: int = 5  # networks of the ensemble [2, inf)
draws: int = 20  # at test time [5, inf)
width: int = 32  # of both hidden layers [1, inf)
epochs: "Optional[int]" = None  # passes over the training data [1, inf)
batch_size: int = 64  # samples a step [1, inf)
lr: float = 0.003  # Adam's learning rate (0, inf)
seed: int = 0  # of splits, networks and draws [0, 4294967295]
peers: "Optional[bool]" = None  # train stochact's networks too (pip install 'stocha[peers]')

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"data": ["wine"], "splits": 2, "epochs": 3, "peers": False},
    "book": {"data": ["toy", "digits", "cancer", "wine"], "splits": 2, "epochs": 20,
        "peers": False},
    "full": {"data": ["toy", "digits", "cancer", "wine"], "splits": 20, "epochs": 40,
        "peers": True},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.all import verdicts
from stocha.claims.ledger import Tables
from stocha.claims.open_questions import MEASURES, METHODS, OVERLAP, over_splits, per_split
from stocha.study.session import open_run
from stocha.toy import uncertainty

run = open_run("18_uncertainty", globals())
figures.style()
run.badge()
scores = run.table("full_scores", Tables()("18_uncertainty", "scores"))
run.glue("uncertainty-verdict", verdicts("Q4").removeprefix("Q4 "))
run.glue("uncertainty-passes", int(scores["passes"].max()))
splits = scores["split"].nunique()
narrower = 1 - (OVERLAP / (OVERLAP + 1 / splits)) ** 0.5
run.glue("uncertainty-floor", narrower, "{:.0%}")
for peer in ("dropout", "single", "ensemble", "stocha mean", "stocha few"):
    found = over_splits(per_split(scores, "nll", "stocha", peer))
    run.glue(f"uncertainty-{peer.removeprefix('stocha ')}", found.text("+.4f"))

# %% [markdown]
# ## Loss and doubt

# %% mystnb={"figure": {"name": "fig-uncertainty", "caption": "Every method minus one deterministic network, a mean over four data sets: test loss (left, lower is better) and the area under the ROC curve that tells inputs from inside and outside by predictive entropy (right, higher is better). Bars are 95 % intervals over 20 splits, widened for their overlap."}, "image": {"alt": "Two dot plots of eight methods against one network. On the left dropout, the ensemble and Laplace have the lowest losses and StochA lies between them and zero, its bar across zero. On the right Laplace, the ensemble and dropout are to the right of zero and StochA stays near it."}} tags=["remove-input"]
words = {"nll": "difference in loss / nats", "auroc_entropy": "difference in AUROC"}
rows = [
    {"measure": m, "method": name, **vars(over_splits(per_split(scores, m, name, "single")))}
    for m in words
    for name in list(METHODS)[1:]
]
differences = run.table("differences", pd.DataFrame(rows))
_, axes = plt.subplots(1, 2, sharey=True, figsize=(figures.WIDTH, 3.4))
for ax, (measure, word) in zip(axes, words.items(), strict=True):
    shown = differences[differences.measure == measure].set_index("method")
    figures.intervals(shown, names=METHODS, ax=ax).set_xlabel(word)
plt.show()

# %% tags=["remove-input"]
run.figure_data("differences")

# %% [markdown]
# All measures, means over data sets and splits. The **calibration error** (ECE) of a finite sample is never zero: its
# *bias* is what a perfectly calibrated forecaster with the same probabilities gets from as many
# samples, and only the excess is miscalibration. AURC, the area under the risk–coverage curve, is the mean error of the surest
# inputs, over all shares of them. AUROC, the area under the ROC curve, is by entropy, or by *information*, the part of the entropy
# that comes from draws that disagree.

# %% tags=["remove-input"]
table = scores.groupby("method")[list(MEASURES)].mean().loc[list(METHODS)]
table = table.rename(index=METHODS, columns=MEASURES).rename_axis(None)
passes = table["passes"].astype(int)
table.map("{:.3f}".format).replace("nan", "—").assign(passes=passes)

# %% [markdown]
# How well entropy tells inputs from outside (AUROC), by data set. Only held-out digits are doubted as they should be. Where
# features are shifted by three standard deviations most networks grow *surer*, so that the AUROC is below one half.
# StochA's do too.

# %% tags=["remove-input"]
table = scores.pivot_table(index="method", columns="data", values="auroc_entropy")
table.loc[list(METHODS)].rename(index=METHODS).rename_axis(None, axis=1).rename_axis(None).round(2)

# %% [markdown]
# ## How it was compared
#
# Two hidden layers, Adam, SiLU where nothing else is said; splits of 60, 20 and 20 % of scikit-learn's digits, breast cancer
# and wine, and new toy data in each. From outside are two classes of digits that no training saw, another pair in each split, and elsewhere
# the test inputs with every feature moved by three standard deviations. Every method with a setting chooses among five by validation loss:
# StochA and `stochact` {cite:p}`stochact2026` the probability of SiLU, dropout its rate, temperature scaling its temperature,
# Laplace its prior precision. Laplace is our own, of the last layer in closed form: the package `laplace-torch` needs
# ten others, torchvision among them. `stochact` is called as it is published; it mixes ReLU and SiLU for all x, as the toy post does, StochA here for x < 0 only.
#
# Splits of one data set share samples, so the variance of a mean over n splits is taken as s²(1/n + 1/3), with a third as many
# test as training samples, instead of s²/n. The networks are small and the data easy: what is said here need not hold for images.
#
# A check at this page's own scale:

# %% tags=["hide-input"]
check = run.result(uncertainty.run, uncertainty.Config(**run.parameters)).tables["scores"]
means = check.groupby("method")[["passes", "nll", "accuracy"]].mean()
means = means.reindex(list(METHODS)).dropna().rename(index=METHODS, columns=MEASURES)
means.rename_axis(None).round(3).astype({"passes": int})

# %% [markdown]
# ## Summary
#
# Asking a StochA network the same question twenty times gives no better sense of doubt than asking it once with the
# average activation. It is a little better than a plain network in the mean, but no clear gain; dropout and an ensemble of five
# do more, on these four small data sets. A network that must know when it does not know should use one of those.
#
# Three [exercises](60_exercises.ipynb) belong to this part of the book.
