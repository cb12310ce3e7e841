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
# ---

# %% [markdown]
# # Toy classification
#
# The toy post {cite:p}`kosti2025fun` trains one small network with five activations on generated data
# and compares losses and sparsity. This chapter repeats that experiment at its full size: five
# activations, ten networks each, a hundred epochs. It looks at claims T1 to T4 of the
# [ledger](01_claims.ipynb), and at the networks that died on the way.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
activations: list[str] = [
    "relu",
    "silu",
    "stocha",
    "learnable_stoch",
    "gumbel_stoch",
]  # compared {relu, silu, gelu, relu2, rrelu, stocha, bernoulli_silu, learnable_stoch, gumbel_stoch}
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x >= 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
temperature: float = 1.0  # Gumbel StochA: temperature of the relaxation (0, inf)
gate_input: str = (
    "element"  # what a gate sees: one pre-activation or its whole layer {element, layer}
)
samples: int = 5000  # generated samples, a fifth of them for validation [10, inf)
features: int = 30  # inputs, all informative [1, inf)
classes: int = 2  # classes [2, inf)
widths: list[int] = [4, 4, 4, 4]  # units of each hidden layer [1, inf)
other_widths: list[int] = [30, 30, 4, 30]  # second reading: one narrow layer among wide [1, inf)
layers: int | None = None  # hidden layers; needs a single width, which all of them get [1, inf)
lr: float = 0.001  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # Adam's L2 coefficient [0, inf)
batch_size: int = 128  # samples a step [1, inf)
epochs: int = None  # passes over the training data [1, inf)
other_epochs: int = None  # the same for the networks with the other reading of widths [1, inf)
runs: int = None  # independent networks of each activation [1, inf)
seed: int = 0  # first network's seed; the others follow [0, inf)
data_seed: int = 0  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
device: str = "cpu"  # where to train, as torch names it
workers: int | None = None  # processes to train in [1, inf)
plots: bool = True  # draw the figures; tables are always written

# %% tags=["scales"]
scales = {
    "smoke": {"epochs": 3, "other_epochs": 2, "runs": 2, "workers": 1},
    "book": {"epochs": 100, "other_epochs": 40, "runs": 10, "workers": 2},
    "full": {"epochs": 100, "other_epochs": 100, "runs": 10, "workers": 2},
}

# %% tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.study.session import open_run
from stocha.toy.config import ToyConfig
from stocha.toy.data import make_data
from stocha.toy.ensemble import train_all

run = open_run("11_toy_classification", globals())
figures.style()
run.badge()

# %% [markdown]
# ## The experiment
#
# The data are scikit-learn's `make_classification` with every feature informative, split 80 : 20 by a
# fixed seed. The network is fully connected with four hidden layers and the activation after each of
# them; the loss is the cross-entropy of the logits, the optimizer Adam with L2 weight decay. The same
# activation is used in training and in validation.
#
# The post leaves some things open. The readings taken here, each of them a parameter above or a
# default that is easy to change:
#
# - *Widths.* The post gives four hidden layers and a bottleneck of 4, not every width. Here all four
#   hidden layers have the width of the bottleneck.
# - *Inputs* are not standardised, because nothing says that they were.
# - *Initialisation* is that of `torch.nn.Linear`.
# - *Tiny* means a magnitude below a threshold whose value the post does not give.
#   {numref}`fig-toy-threshold` shows how little it matters.
# - *Training loss* is the mean, over an epoch, of the loss that each batch had when it was used.

# %%
options = {
    "stocha": {"p": p, "positive": positive, "granularity": granularity},
    "learnable_stoch": {"input": gate_input},
    "gumbel_stoch": {"input": gate_input, "temperature": temperature},
}
if layers is not None and len(widths) != 1:
    raise ValueError(f"layers={layers}: allowed with a single width only, not widths={widths}")
base = ToyConfig(
    n_samples=samples,
    n_features=features,
    n_classes=classes,
    widths=tuple(widths) * (layers or 1),
    lr=lr,
    weight_decay=weight_decay,
    epochs=epochs,
    runs=runs,
    seed=seed,
    data_seed=data_seed,
    batch_size=batch_size,
    threshold=threshold,
    more_thresholds=tuple(threshold * factor for factor in (0.001, 0.1, 10, 100)),
    device=device,
)
configs = [replace(base, activation=name, options=options.get(name, {})) for name in activations]
data = make_data(base)
run.glue("toy-train-samples", len(data.y_train))
run.glue("toy-val-samples", len(data.y_val))
run.glue("toy-runs", runs)
run.glue("toy-epochs", epochs)
run.glue("toy-other-epochs", other_epochs)
run.glue("toy-steps", base.total_steps)

# %% [markdown]
# {glue:text}`toy-train-samples` samples are left for training and {glue:text}`toy-val-samples` for
# validation. All networks of one activation train at once, as stacked matrices, and stay independent of
# each other: network $r$ has its own initialisation, batch order and activation noise, and the first two
# are the same for every activation, so that activations can be compared network by network. A second
# set of the same networks trains without weight decay; it is needed to understand the first. A third
# takes the other reading of the widths: one narrow layer among wide ones. The third set trains for
# {glue:text}`toy-other-epochs` epochs, the others for {glue:text}`toy-epochs`.

# %%
undecayed = [replace(config, weight_decay=0.0) for config in configs]
wider = [replace(c, widths=tuple(other_widths), epochs=other_epochs) for c in configs]
histories = train_all(
    configs + undecayed + wider,
    workers=workers,
    watch=lambda done, _: run.progress(done, 3 * len(configs), unit="ensembles"),
)
decayed, free, other = (histories[len(configs) * k : len(configs) * (k + 1)] for k in range(3))
curves = run.table("curves", pd.concat([h.curves() for h in decayed], ignore_index=True))
ends = run.table("runs", pd.concat([h.runs() for h in decayed], ignore_index=True))
ends_free = run.table("runs_without_decay", pd.concat([h.runs() for h in free], ignore_index=True))

# %% [markdown]
# ## Losses


# %% mystnb={"figure": {"name": "fig-toy-loss", "caption": "Training loss (left) and validation loss (right) over epochs. Every network is drawn thin, their mean thick; the shaded band is one standard deviation over networks. A curve that stays at the top, at ln 2 for two classes, belongs to a dead network."}, "image": {"alt": "Two panels of loss over epochs, one colour for each of the activations. Most networks descend within the first twenty epochs; some stay flat at the height of a coin toss, which lifts the means and widens the bands."}}
def draw_losses(rows):
    """Training and validation loss side by side; returns the panels."""
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(7, 4))
    figures.runs_over_epochs(rows[rows.epoch > 0], "train_loss", legend=None, ax=left)
    figures.runs_over_epochs(rows, "val_loss", legend=None, ax=right)
    left.set(ylabel="training loss / nats")
    right.set(ylabel="validation loss / nats")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, handlelength=2.4)
    return left, right


draw_losses(curves)
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("curves")

# %% [markdown]
# The bands are wide for one reason: some networks never leave, or fall back to, the loss of a coin toss.
# A network is called **dead** here if, after the last epoch, it gives every validation sample the same
# class, or if a whole hidden layer stays below the threshold on all of them.

# %% tags=["hide-input"]
n_dead, n_dead_free = int(ends.dead.sum()), int(ends_free.dead.sum())
run.glue("toy-dead", n_dead)
run.glue("toy-dead-free", n_dead_free)
run.glue("toy-networks", len(ends))
deaths = pd.DataFrame(
    {
        "dead": ends.groupby("activation", sort=False)["dead"].sum(),
        "with a silent layer": (
            ends[ends.zero_layers > 0].groupby("activation", sort=False)["dead"].sum()
        ),
        "dead without weight decay": ends_free.groupby("activation", sort=False)["dead"].sum(),
    }
)
deaths = deaths.reindex(activations).fillna(0).astype(int)
run.table("deaths", deaths.rename_axis("activation").reset_index())
deaths

# %% [markdown]
# {glue:text}`toy-dead` of {glue:text}`toy-networks` networks die with the weight decay of the post and
# {glue:text}`toy-dead-free` without it. The decay is Adam's L2 term: it is added to the gradient *before*
# Adam divides by the gradient's own size, so in a network whose loss gradient is small the decay alone
# sets the step and the weights shrink at full speed. With four units a layer the gradient starts out
# small, and a network that does not find the way down in time is pulled to zero.

# %% mystnb={"figure": {"name": "fig-toy-final", "caption": "Validation loss of every network after the last epoch: with the weight decay of the post (left) and without (right). Dots are networks; the mark and bar are their mean and one standard deviation."}, "image": {"alt": "Dot plots of the final validation loss by activation. With weight decay the dots form two groups, a large one at low loss and one at the loss of a coin toss. Without weight decay the upper group is smaller or absent."}}
figure, (left, right) = plt.subplots(1, 2, sharex=True, sharey=True)
figures.estimates(ends, "val_loss", kind="std", ax=left)
figures.estimates(ends_free, "val_loss", kind="std", ax=right)
left.set(xlabel="validation loss / nats", title="weight decay as posted")
right.set(xlabel="validation loss / nats", title="no weight decay")
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("runs", "runs_without_decay")

# %% [markdown]
# Among the living the activations can be compared:

# %% mystnb={"figure": {"name": "fig-toy-loss-living", "caption": "Training loss (left) and validation loss (right) of the living networks, on a logarithmic axis; otherwise like the figure before."}, "image": {"alt": "Training and validation loss of the living networks over epochs. The means of all activations run close together within the spread of the networks."}}
left, right = draw_losses(curves.merge(ends.loc[~ends.dead, ["activation", "run"]]))
left.set_yscale("log")
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("curves", "runs")

# %% [markdown]
# The mean ± standard deviation over networks, all of them and then the living only. The claim (T1) is
# that training losses show a rough ordering while validation losses look alike. Means over all networks
# mostly count the dead; the ordering of the living is the fairer reading.


# %% tags=["hide-input"]
def summarise(rows):
    """Mean ± standard deviation over networks of the final losses and accuracy."""
    table = rows.groupby("activation", sort=False)
    columns = {
        "train_loss": "training loss",
        "val_loss": "validation loss",
        "val_accuracy": "accuracy",
    }
    return pd.DataFrame(
        {
            label: table[column].mean().map("{:.3f}".format)
            + " ± "
            + table[column].std().map("{:.3f}".format)
            for column, label in columns.items()
        }
    ).assign(networks=table.size())


alive = ends[~ends.dead]
summary = pd.concat({"all": summarise(ends), "living": summarise(alive)}, axis=1)
summary

# %% [markdown]
# ## Accuracy

# %% mystnb={"figure": {"name": "fig-toy-accuracy", "caption": "Share of validation samples classified correctly, over epochs: networks thin, mean thick, one standard deviation shaded."}, "image": {"alt": "Validation accuracy over epochs for each activation. Living networks rise to a common plateau; dead ones stay at the share of the more frequent class."}}
figures.runs_over_epochs(curves, "val_accuracy", legend=None)
plt.gca().set(ylabel="validation accuracy")
plt.gcf().legend(loc="outside lower center", ncols=5, handlelength=2.4)
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("curves")

# %% [markdown]
# ## Sparsity
#
# Sparsity is the share of a layer's activations, over all validation samples and units, whose magnitude
# is below the threshold. The claims are about the first hidden layer: about half for ReLU (T2), a
# quarter for StochA with $p = 0.5$ (T3), practically none for the learnable mixture (T4).
#
# The table keeps the first layer at the main threshold after every epoch, and the other layers and
# thresholds after every tenth.

# %% tags=["hide-input"]
every = pd.concat([h.layer_sparsity() for h in decayed], ignore_index=True)
main = np.isclose(every.threshold, threshold)
tenth = (every.epoch % 10 == 0) | (every.epoch == epochs)
sparsity = run.table("sparsity", every[tenth | (main & (every.layer == 1))].round(6))
first = sparsity[np.isclose(sparsity.threshold, threshold) & (sparsity.layer == 1)]
first = first.merge(ends[["activation", "run", "dead"]])

# %% mystnb={"figure": {"name": "fig-toy-sparsity", "caption": "Sparsity of the first hidden layer over epochs: all networks (left), the living only (right). Epoch 0 is the untrained network."}, "image": {"alt": "Two panels of first-layer sparsity over epochs. Left, with all networks: dead ones go to one and pull the means of every activation up. Right, living networks only: ReLU stays near one half, StochA and Gumbel StochA near one quarter, SiLU and the learnable mixture near zero."}}
figure, (left, right) = plt.subplots(1, 2, sharey=True)
figures.runs_over_epochs(first, "sparsity", ax=left, legend=None)
figures.runs_over_epochs(first[~first.dead], "sparsity", ax=right)
left.set(title="all networks", ylim=(-0.02, 1.02))
right.set(title="living networks", ylabel="")
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("sparsity", "runs")


# %% tags=["hide-input"]
def last_epochs(rows, count=10):
    """Mean over the last epochs of each network, then over networks."""
    late = rows[rows.epoch > rows.epoch.max() - count]
    return late.groupby(["activation", "run"])["sparsity"].mean().groupby("activation").mean()


sparsity_alive = last_epochs(first[~first.dead]).reindex(activations)
sparsity_all = last_epochs(first).reindex(activations)
for name in activations:
    run.glue(f"toy-sparsity-{name}", sparsity_all[name], "{:.3f}")
    run.glue(f"toy-sparsity-alive-{name}", sparsity_alive[name], "{:.3f}")
at_start = first[first.epoch == 0].groupby("activation")["sparsity"].mean().reindex(activations)
pd.DataFrame(
    {
        "untrained": at_start,
        "last ten epochs, all": sparsity_all,
        "last ten epochs, living": sparsity_alive,
    }
).map("{:.3f}".format)

# %% [markdown]
# Before training, the shares are what the definitions give for pre-activations that are negative half of
# the time: ReLU is zero there, StochA is zero there for half of the draws, and SiLU and the mixture are
# not zero anywhere. Training moves the living networks little from this. A dead network's first layer is
# silent and counts as fully sparse, whatever its activation; it is the number of deaths, then, that decides
# where the mean over all networks ends.
#
# ### Every layer

# %% mystnb={"figure": {"name": "fig-toy-layers", "caption": "Sparsity of each hidden layer over epochs, living networks only; networks thin, mean thick."}, "image": {"alt": "Four panels, one a hidden layer, of sparsity over epochs for each activation. The order of the activations is the same in every layer; deeper layers vary more between networks."}}
by_layer = every[tenth & main].merge(ends[["activation", "run", "dead"]])
by_layer = by_layer[~by_layer.dead]
figure, panels = plt.subplots(1, base.n_layers, sharey=True, squeeze=False)
for layer, panel in enumerate(panels[0], start=1):
    rows = by_layer[by_layer.layer == layer]
    figures.runs_over_epochs(rows, "sparsity", ax=panel, legend=None)
    panel.set(title=f"layer {layer}", ylabel="sparsity" if layer == 1 else "", ylim=(-0.02, 1.02))
handles, labels = panels[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=3)
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("sparsity", "runs")

# %% [markdown]
# ### Does the threshold matter?

# %% mystnb={"figure": {"name": "fig-toy-threshold", "caption": "First-layer sparsity after the last epoch, living networks, against the magnitude below which an activation counts as zero."}, "image": {"alt": "Sparsity against threshold on a logarithmic axis over five decades. The lines are flat over most of the range and rise only at the right end, where the threshold reaches the size of typical activations."}}
by_threshold = every[(every.epoch == epochs) & (every.layer == 1)]
by_threshold = by_threshold.merge(ends[["activation", "run", "dead"]])
by_threshold = by_threshold[~by_threshold.dead]
figures.sweep(by_threshold, "sparsity", "threshold", kind="std", log=True)
plt.gca().set(ylim=(-0.02, 1.02))
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("sparsity")
means = by_threshold.groupby(["threshold", "activation"])["sparsity"].mean().unstack()
below = means[means.index <= threshold * 10.5]
run.glue("toy-threshold-range", float((below.max() - below.min()).max()), "{:.3f}")
run.glue("toy-threshold-low", below.index.min(), "{:.0e}")
run.glue("toy-threshold-high", below.index.max(), "{:.0e}")

# %% [markdown]
# Between thresholds of {glue:text}`toy-threshold-low` and {glue:text}`toy-threshold-high` no activation's
# mean sparsity changes by more than {glue:text}`toy-threshold-range`. What is below the threshold is zero, or
# nearly so; only a threshold of the size of the activations themselves counts anything else.
#
# ### The other reading of the widths
#
# A bottleneck can also be one narrow layer among wide ones. With hidden layers of
# {glue:text}`toy-other-widths` units, {glue:text}`toy-other-dead` of {glue:text}`toy-networks` networks
# die:

# %% tags=["remove-cell"]
other_runs = run.table("runs_other", pd.concat([h.runs() for h in other], ignore_index=True))
other_all = pd.concat([h.layer_sparsity() for h in other], ignore_index=True)
other_first = other_all[np.isclose(other_all.threshold, threshold) & (other_all.layer == 1)]
run.table("sparsity_other", other_first.round(6))
run.glue("toy-other-widths", ", ".join(map(str, other_widths)))
run.glue("toy-other-dead", int(other_runs.dead.sum()))

# %% mystnb={"figure": {"name": "fig-toy-other", "caption": "Sparsity of the first hidden layer over epochs with one narrow layer among wide ones: all networks thin, mean thick, one standard deviation shaded."}, "image": {"alt": "First-layer sparsity over epochs for the five activations when only one hidden layer is narrow."}}
figures.runs_over_epochs(other_first, "sparsity")
plt.gca().set(ylim=(-0.02, 1.02))
plt.show() if plots else plt.close()

# %% tags=["remove-input"]
run.figure_data("sparsity_other")
sparsity_other = last_epochs(other_first).reindex(activations)
for name in activations:
    run.glue(f"toy-sparsity-other-{name}", sparsity_other[name], "{:.3f}")

# %% [markdown]
# Over the last ten epochs ReLU has {glue:text}`toy-sparsity-other-relu`, StochA
# {glue:text}`toy-sparsity-other-stocha`, Gumbel StochA {glue:text}`toy-sparsity-other-gumbel_stoch` and the
# learnable mixture {glue:text}`toy-sparsity-other-learnable_stoch`. The ledger's verdicts rest on the first
# reading, which was chosen before its results were seen; it shows this one beside them.
#
# ## Summary
#
# - With this reading of the widths and the weight decay of the post, a network of width 4 is fragile:
#   {glue:text}`toy-dead` of {glue:text}`toy-networks` end dead, {glue:text}`toy-dead-free` without decay.
#   Means over all networks say more about deaths than about activations.
# - Of the living, ReLU has {glue:text}`toy-sparsity-alive-relu` of its first layer below the threshold (T2),
#   StochA {glue:text}`toy-sparsity-alive-stocha` (T3), the learnable mixture
#   {glue:text}`toy-sparsity-alive-learnable_stoch` (T4), Gumbel StochA
#   {glue:text}`toy-sparsity-alive-gumbel_stoch`; over all networks these are
#   {glue:text}`toy-sparsity-relu`, {glue:text}`toy-sparsity-stocha`,
#   {glue:text}`toy-sparsity-learnable_stoch` and {glue:text}`toy-sparsity-gumbel_stoch`.
# - Gumbel StochA's share is taken up, with its gate, in [the next chapter](12_gates.ipynb).
