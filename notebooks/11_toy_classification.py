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
#     experiment: stocha.toy.classification
#     inputs: ["results/11_toy_classification/*.csv"]
# ---

# %% [markdown]
# # Toy classification
#
# The toy post {cite:p}`kosti2025fun` saw about half of ReLU's first layer near zero, a quarter of
# StochA's and practically nothing of the learnable mixture's (T2 to T4).
# {numref}`fig-toy-sparsity` decides: among the living networks the shares are
# {glue:text}`toy-alive-relu`, {glue:text}`toy-alive-stocha` and
# {glue:text}`toy-alive-learnable_stoch`, as reported. Over *all* networks they are not, because
# {glue:text}`toy-dead` of {glue:text}`toy-networks` networks end dead. The first verdicts of the
# [ledger](01_claims.ipynb) rest on these networks: {glue:text}`toy-verdicts`. A set-up without deaths
# was [searched](19_which_setup.ipynb), and has the second.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
samples: int = 5000  # generated, a fifth of them for validation [10, inf)
features: int = 30  # inputs, all informative [1, inf)
classes: int = 2  # classes [2, inf)
scaled: bool = False  # standardise the features by the training samples'
lr: float = 0.001  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # coefficient of the decay [0, inf)
optimizer: str = "adam"  # its decay: L2 in the gradient (adam) or decoupled (adamw) {adam, adamw}
batch_size: int = 128  # samples a step [1, inf)
epochs: "Optional[int]" = None  # passes over the training data [1, inf)
runs: "Optional[int]" = None  # independent networks of each ensemble [1, inf)
seed: int = 0  # first network's seed; the others follow [0, 4294967295]
data_seed: int = 0  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
device: str = "cpu"  # where to train, as torch names it
activations: list[str] = ["relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch"]  # compared {relu, silu, gelu, relu2, gelu2, clipped_relu2, leaky_relu2, drelu, rrelu, stocha, bernoulli_silu, dropout, learnable_stoch, gumbel_stoch, xielu, polynorm, ash}  # fmt: skip
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x ≥ 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
temperature: float = 1.0  # Gumbel StochA: of the relaxation (0, inf)
gate_input: str = "element"  # what a gate sees: one pre-activation or its layer {element, layer}
width: int = 4  # units of each hidden layer [1, inf)
layers: int = 4  # hidden layers [1, inf)
other_widths: list[int] = [30, 30, 4, 30]  # second reading: one narrow layer among wide [1, inf)  # fmt: skip
workers: "Optional[int]" = None  # processes to train in [1, inf)
plots: bool = True  # draw the figures; tables are always written

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 5, "workers": 2},
    "full": {"epochs": 100, "runs": 10, "workers": 2},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Tables, ledger
from stocha.study.session import open_run
from stocha.toy import classification

run = open_run("11_toy_classification", globals())
figures.style()
run.badge()
config = classification.Config(**run.parameters)
show = plt.show if config.plots else plt.close
recorded = Tables()
page = "11_toy_classification"
full = {
    path.stem: run.table(f"full_{path.stem}", recorded(page, path.stem))
    for path in sorted(recorded.root.glob(f"{page}/*.csv"))
}
curves, ends, sparsity = full["curves"], full["runs"], full["sparsity"]
key = ["activation", "run"]
alive = ends.loc[~ends.dead, key]
main = np.isclose(sparsity.threshold, config.threshold)
first = sparsity[main & (sparsity.layer == 1)].merge(ends[[*key, "dead"]])


# %% mystnb={"figure": {"name": "fig-toy-sparsity", "caption": "Sparsity of the first hidden layer over epochs, as recorded at full scale: every network (left), the living ones (right). Networks thin, mean thick, one standard deviation shaded. Epoch 0 is the untrained network."}, "image": {"alt": "Two panels of first-layer sparsity over epochs. Left, with all networks, dead ones go to one and pull the means up. Right, living networks only: ReLU near one half, StochA and Gumbel StochA near one quarter, SiLU and the learnable mixture near zero."}} tags=["hide-input"]
def twice(rows):
    """All networks' rows, and the living ones' once more."""
    living = rows[~rows.dead].assign(networks="living")
    return pd.concat([rows.assign(networks="all"), living])


figure = figures.facets(
    twice(first),
    "networks",
    lambda rows, ax: figures.runs_over_epochs(rows, "sparsity", legend=None, ax=ax),
    names={"all": "all networks", "living": "living networks"},
)
figure.axes[0].set_ylim(-0.02, 1.02)
show()

# %% tags=["remove-input"]
run.figure_data("full_sparsity", "full_runs")
late = first[first.epoch > first.epoch.max() - 10]
shares = {"untrained": first[first.epoch == 0], "all": late, "alive": late[~late.dead]}
shares = {name: rows.groupby("activation")["sparsity"].mean() for name, rows in shares.items()}
for name, share in shares["alive"].items():
    run.glue(f"toy-alive-{name}", share, "{:.3f}")
    run.glue(f"toy-all-{name}", shares["all"][name], "{:.3f}")
verdicts = ledger([c for c in CLAIMS if c.id in ("T1", "T2", "T3", "T4")]).set_index("id")
run.glue("toy-verdicts", ", ".join(f"{c} {v}" for c, v in verdicts["first"].items()))
free, other = full["runs_without_decay"], full["runs_other"]
for name, table in {"dead": ends, "dead-free": free, "other-dead": other}.items():
    run.glue(f"toy-{name}", int(table.dead.sum()))
for name, value in {
    "networks": len(ends),
    "runs": ends.run.nunique(),
    "epochs": int(curves.epoch.max()),
    "steps": int(curves.epoch.max()) * config.steps_per_epoch,
    "train-samples": config.train_samples,
    "val-samples": config.samples - config.train_samples,
    "other-widths": ", ".join(map(str, config.other_widths)),
}.items():
    run.glue(f"toy-{name}", value)

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
#
# {glue:text}`toy-train-samples` samples are left for training and {glue:text}`toy-val-samples` for
# validation; each of {glue:text}`toy-runs` networks an activation trains for
# {glue:text}`toy-epochs` epochs, {glue:text}`toy-steps` steps. All networks of one activation train
# at once, as stacked matrices, and stay independent of each other: network $r$ has its own
# initialisation, batch order and activation noise, and the first two are the same for every
# activation, so that activations can be compared network by network. A second set of the same
# networks trains without weight decay; it is needed to understand the first. A third takes another
# reading of the widths: one narrow layer among wide ones. Everything that follows is the recorded
# full scale; the last section trains again, at the scale of this page.

# %% [markdown]
# ## Losses

# %% tags=["hide-input"]
names = {"train_loss": "training", "val_loss": "validation"}


def draw_losses(rows, log=False):
    """Training and validation loss side by side."""
    long = rows.melt([*key, "epoch"], list(names), "loss", "nats").dropna()
    figure = figures.facets(
        long,
        "loss",
        lambda part, ax: figures.runs_over_epochs(part, "nats", legend=None, ax=ax),
        names=names,
    )
    figure.axes[0].set_yscale("log" if log else "linear")
    show()


# %% mystnb={"figure": {"name": "fig-toy-loss", "caption": "Training loss (left) and validation loss (right) over epochs. Every network is drawn thin, their mean thick; the shaded band is one standard deviation over networks. A curve that stays at the top, at ln 2 for two classes, belongs to a dead network."}, "image": {"alt": "Two panels of loss over epochs, one colour for each of the activations. Most networks descend within the first twenty epochs; some stay flat at the height of a coin toss, which lifts the means and widens the bands."}} tags=["remove-input"]
draw_losses(curves)

# %% tags=["remove-input"]
run.figure_data("full_curves")

# %% [markdown]
# The bands are wide for one reason: some networks never leave, or fall back to, the loss of a coin toss.
# A network is called **dead** here if, after the last epoch, it gives every validation sample the same
# class, or if a whole hidden layer stays below the threshold on all of them.

# %% tags=["hide-input"]
full["deaths"].assign(activation=full["deaths"].activation.map(figures.LABELS))

# %% [markdown]
# {glue:text}`toy-dead` of {glue:text}`toy-networks` networks die with the weight decay of the post and
# {glue:text}`toy-dead-free` without it. The decay is Adam's L2 term: it is added to the gradient *before*
# Adam divides by the gradient's own size, so in a network whose loss gradient is small the decay alone
# sets the step and the weights shrink at full speed. With four units a layer the gradient starts out
# small, and a network that does not find the way down in time is pulled to zero.

# %% mystnb={"figure": {"name": "fig-toy-final", "caption": "Validation loss of every network after the last epoch: with the weight decay of the post (left) and without (right). Dots are networks; the mark and bar are their mean and one standard deviation."}, "image": {"alt": "Dot plots of the final validation loss by activation. With weight decay the dots form two groups, a large one at low loss and one at the loss of a coin toss. Without weight decay the upper group is smaller or absent."}} tags=["hide-input"]
final = pd.concat([ends.assign(decay="as posted"), free.assign(decay="none")])
figure = figures.facets(
    final,
    "decay",
    lambda rows, ax: figures.estimates(rows, "val_loss", kind="std", ax=ax),
    names={"as posted": "weight decay as posted", "none": "no weight decay"},
)
for ax in figure.axes:
    ax.set_xlabel("validation loss / nats")
show()

# %% tags=["remove-input"]
run.figure_data("full_runs", "full_runs_without_decay")

# %% [markdown]
# Among the living the activations can be compared:

# %% mystnb={"figure": {"name": "fig-toy-loss-living", "caption": "Training loss (left) and validation loss (right) of the living networks, on a logarithmic axis; otherwise like the figure before."}, "image": {"alt": "Training and validation loss of the living networks over epochs. The means of all activations run close together within the spread of the networks."}} tags=["remove-input"]
draw_losses(curves.merge(alive), log=True)

# %% tags=["remove-input"]
run.figure_data("full_curves", "full_runs")

# %% [markdown]
# The mean ± standard deviation over networks, all of them and then the living only. The claim (T1) is
# that training losses show a rough ordering and validation losses a similar picture. Means over all
# networks mostly count the dead; the ordering of the living is the fairer reading.


# %% tags=["hide-input"]
def spread(values):
    """Mean ± standard deviation over networks."""
    return f"{values.mean():.3f} ± {values.std():.3f}"


columns = [*names, "val_accuracy"]
both = twice(ends)
table = both.groupby(["activation", "networks"], sort=False)[columns].agg(spread)
table["networks counted"] = both.groupby(["activation", "networks"]).size()
table = table.rename(index=figures.LABELS).unstack("networks")
table.rename(columns=names | {"val_accuracy": "accuracy"})

# %% [markdown]
# ## Accuracy

# %% mystnb={"figure": {"name": "fig-toy-accuracy", "caption": "Share of validation samples classified correctly, over epochs: networks thin, mean thick, one standard deviation shaded."}, "image": {"alt": "Validation accuracy over epochs for each activation. Living networks rise to a common plateau; dead ones stay at the share of the more frequent class."}} tags=["remove-input"]
axes = figures.runs_over_epochs(curves, "val_accuracy")
axes.set_ylabel("validation accuracy")
figures.legend_below(axes.figure)
show()

# %% tags=["remove-input"]
run.figure_data("full_curves")

# %% [markdown]
# ## Sparsity
#
# Sparsity is the share of a layer's activations, over all validation samples and units, whose magnitude
# is below the threshold. The claims are about the first hidden layer, {numref}`fig-toy-sparsity`;
# means of the last ten epochs:

# %% tags=["hide-input"]
named = {"untrained": "untrained", "all": "all networks", "alive": "living networks"}
table = pd.DataFrame(shares).rename(index=figures.LABELS, columns=named)
table.map("{:.3f}".format)

# %% [markdown]
# Before training, the shares are what the definitions give for pre-activations that are negative half of
# the time: ReLU is zero there, StochA is zero there for half of the draws, and SiLU and the mixture are
# not zero anywhere. Training moves the living networks little from this. A dead network's first layer is
# silent and counts as fully sparse, whatever its activation; it is the number of deaths, then, that decides
# where the mean over all networks ends.
#
# ### Every layer

# %% mystnb={"figure": {"name": "fig-toy-layers", "caption": "Sparsity of each hidden layer over epochs, living networks only; networks thin, mean thick."}, "image": {"alt": "Four panels, one a hidden layer, of sparsity over epochs for each activation. The order of the activations is the same in every layer; deeper layers vary more between networks."}} tags=["remove-input"]
figures.facets(
    sparsity[main & (sparsity.epoch % 10 == 0)].merge(alive),
    "layer",
    lambda rows, ax: figures.runs_over_epochs(rows, "sparsity", legend=None, ax=ax),
    names={layer: f"layer {layer}" for layer in sparsity.layer.unique()},
)
show()

# %% tags=["remove-input"]
run.figure_data("full_sparsity", "full_runs")

# %% [markdown]
# ### Does the threshold matter?

# %% mystnb={"figure": {"name": "fig-toy-threshold", "caption": "First-layer sparsity after the last epoch, living networks, against the magnitude below which an activation counts as zero."}, "image": {"alt": "Sparsity against threshold on a logarithmic axis over five decades. The lines are flat over most of the range and rise only at the right end, where the threshold reaches the size of typical activations."}} tags=["remove-input"]
last = sparsity[(sparsity.epoch == sparsity.epoch.max()) & (sparsity.layer == 1)].merge(alive)
figures.sweep(last, "sparsity", "threshold", kind="std", log=True).set_ylim(-0.02, 1.02)
show()

# %% tags=["remove-input"]
run.figure_data("full_sparsity")
means = last.groupby(["threshold", "activation"])["sparsity"].mean().unstack()
below = means[means.index <= config.threshold * 10.5]
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

# %% mystnb={"figure": {"name": "fig-toy-other", "caption": "Sparsity of the first hidden layer over epochs with one narrow layer among wide ones: all networks thin, mean thick, one standard deviation shaded."}, "image": {"alt": "First-layer sparsity over epochs for the five activations when only one hidden layer is narrow."}} tags=["remove-input"]
other = full["sparsity_other"]
figures.runs_over_epochs(other, "sparsity").set_ylim(-0.02, 1.02)
show()

# %% tags=["remove-input"]
run.figure_data("full_sparsity_other")
late = other[other.epoch > other.epoch.max() - 10].groupby("activation")["sparsity"].mean()
for name, share in late.items():
    run.glue(f"toy-other-{name}", share, "{:.3f}")

# %% [markdown]
# Over the last ten epochs ReLU has {glue:text}`toy-other-relu`, StochA {glue:text}`toy-other-stocha`,
# Gumbel StochA {glue:text}`toy-other-gumbel_stoch` and the learnable mixture
# {glue:text}`toy-other-learnable_stoch`. The ledger's first verdicts rest on the first reading, which
# was chosen before its results were seen.
#
# ## The same, live
#
# What this page's build trained itself, at its own scale, beside the recorded: the first layer's
# sparsity of the living networks at the end. Fewer networks and epochs, so a rougher number.

# %%
found = run.result(classification.run, config)

# %% tags=["hide-input"]
living = found.tables["runs"].query("not dead")
live = living.groupby("activation")["sparsity"].agg(["mean", "size"])
table = live.rename(columns={"mean": "live", "size": "living networks, live"})
table.assign(recorded=shares["alive"]).rename(index=figures.LABELS).round(3)

# %% [markdown]
# ## Summary
#
# - With this reading of the widths and the weight decay of the post, a network of width 4 is fragile:
#   {glue:text}`toy-dead` of {glue:text}`toy-networks` end dead, {glue:text}`toy-dead-free` without decay.
#   Means over all networks say more about deaths than about activations.
# - Of the living, ReLU has {glue:text}`toy-alive-relu` of its first layer below the threshold (T2),
#   StochA {glue:text}`toy-alive-stocha` (T3), the learnable mixture
#   {glue:text}`toy-alive-learnable_stoch` (T4), Gumbel StochA {glue:text}`toy-alive-gumbel_stoch`; over
#   all networks these are {glue:text}`toy-all-relu`, {glue:text}`toy-all-stocha`,
#   {glue:text}`toy-all-learnable_stoch` and {glue:text}`toy-all-gumbel_stoch`.
# - Gumbel StochA's share is taken up, with its gate, in [the next chapter](12_gates.ipynb).
