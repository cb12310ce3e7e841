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
#     inputs: ["results/11_toy_classification/*.csv", "results/toy_first_classification/*.csv"]
# ---

# %% [markdown]
# # Toy classification
#
# **The post's picture comes back, once its weight decay is read as decoupled.** The toy post
# {cite:p}`kosti2025fun` trains a small classifier with five activations and counts activations near zero:
# half of them with ReLU, a quarter with StochA, practically none with the learnable mixture, and a share that
# falls with Gumbel StochA (T2 to T5). Here the first layer ends at {glue:text}`toy-sparsity-relu`,
# {glue:text}`toy-sparsity-stocha`, {glue:text}`toy-sparsity-learnable_stoch` and
# {glue:text}`toy-sparsity-gumbel_stoch` ({numref}`fig-toy-sparsity`).
#
# ReLU ends with the highest loss in training and in validation, StochA with the next. SiLU and the two with a
# gate are close together, and their order differs between training and validation (T1, {numref}`fig-toy-loss`).
# Verdicts on the [set-up that a search found](19_which_setup.ipynb), and on the one fixed before the data:
# {glue:text}`toy-verdicts`.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
samples: int = 5000  # generated, a fifth of them for validation [10, inf)
features: int = 30  # inputs, all informative [1, inf)
classes: int = 2  # classes [2, inf)
scaled: bool = False  # standardise the features by the training samples'
lr: float = 0.001  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # coefficient of the decay [0, inf)
optimizer: str = "adamw"  # its decay: L2 in the gradient (adam) or decoupled (adamw) {adam, adamw}
batch_size: int = 128  # samples a step [1, inf)
epochs: "Optional[int]" = None  # passes over the training data [1, inf)
runs: "Optional[int]" = None  # networks of each ensemble [1, inf)
seed: int = 1000  # first network's seed; the others follow [0, 4294967295]
data_seed: int = 11  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
device: str = "cpu"  # where to train, as torch names it
layers: int = 4  # hidden layers [1, inf)
wide: "Optional[int]" = None  # units of layers that are no bottleneck [1, inf)
narrow: list[int] = [1, 2, 3, 4]  # which layers are, from 1, where `wide` is given; else all [1, inf)  # fmt: skip
gate_decays: bool = True  # the decay acts on the gates' parameters too
gate_input: str = "element"  # what a gate sees: one pre-activation or its layer {element, layer}
gate_start: str = "random"  # gates before training {random, even}
draw: str = "all"  # where an activation mixes: everywhere or x < 0 {all, below}
activations: list[str] = ["relu", "silu", "stocha", "learnable_stoch", "gumbel_stoch"]  # compared {relu, silu, gelu, relu2, gelu2, clipped_relu2, leaky_relu2, drelu, rrelu, stocha, bernoulli_silu, dropout, learnable_stoch, gumbel_stoch, xielu, polynorm, ash}  # fmt: skip
p: float = 0.5  # StochA: probability of SiLU [0, 1]
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
temperature: float = 1.0  # Gumbel StochA: of the relaxation (0, inf)
width: int = 4  # units of the bottleneck [1, inf)
wider: int = 16  # units of the bottleneck that can overfit [1, inf)
workers: "Optional[int]" = None  # processes to train in [1, inf)
plots: bool = True  # draw the figures; tables are always written

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 5, "workers": 2},
    "full": {"epochs": 100, "runs": 100, "workers": 2},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.all import judged, verdicts
from stocha.claims.ledger import Tables
from stocha.study.session import open_run
from stocha.toy import classification

run = open_run("11_toy_classification", globals())
figures.style()
run.badge()
config = classification.Config(**run.parameters)
show = plt.show if config.plots else plt.close
found = run.result(classification.run, config)
tables, data = run.at_full_scale(found)
small = {name: rows[rows.bottleneck == rows.bottleneck.min()] for name, rows in tables.items()}
means, lines, networks = (small[name] for name in ("epochs", "lines", "networks"))

# %% mystnb={"figure": {"name": "fig-toy-loss", "caption": "Loss over epochs, bottleneck 4: the mean of a hundred networks thick, twenty networks thin. The first epochs, at ln 2, are cut off."}, "image": {"alt": "Two panels of loss over epochs. In training ReLU ends highest and StochA just below it, SiLU and the two gated activations lowest and together; in validation ReLU and StochA are the highest again and SiLU is the lowest."}} tags=["hide-input"]
_, panels = plt.subplots(1, 2, sharey=True)
for ax, measure in zip(panels, ("train_loss", "val_loss"), strict=True):
    ax.set_ylim(0.1, 0.42)
    figures.courses(means, lines, measure, ax=ax)
    ax.set(title={"train_loss": "training"}.get(measure, "validation"), ylabel="loss / nats")
    ax.label_outer()
show()

# %% tags=["remove-input"]
run.figure_data(f"{data}epochs", f"{data}lines")

# %% mystnb={"figure": {"name": "fig-toy-sparsity", "caption": "Share of activations near zero in the first hidden layer, over epochs: mean of a hundred networks thick, twenty networks thin. Epoch 0 is the untrained network."}, "image": {"alt": "Five lines over a hundred epochs. ReLU stays near one half, StochA near one quarter; Gumbel StochA begins at a quarter and falls below 0.05 within forty epochs; SiLU and the learnable mixture lie at zero."}} tags=["hide-input"]
plt.ylim(-0.02, 0.62)
figures.courses(means, lines, "sparsity")
show()

# %% tags=["remove-input"]
run.figure_data(f"{data}epochs", f"{data}lines")
end = means[means.epoch == means.epoch.max()].set_index(["measure", "activation"])
run.glue("toy-sparsity-{}", end.loc["sparsity", "median"], "{:.3f}")
run.glue("toy-verdicts", verdicts("T1", "T2", "T3", "T4", "T5"))
run.glue("toy-would", judged("T1")["would"]["T1"])
first = networks[networks.layer == 1]
run.glue("toy-runs", first.groupby("activation").size().max())
run.glue("toy-train-samples", config.train_samples)
run.glue("toy-val-samples", config.samples - config.train_samples)
run.glue("toy-data-seed", config.data_seed)

# %% [markdown]
# ## The experiment
#
# scikit-learn's `make_classification` with every feature informative, {glue:text}`toy-train-samples`
# samples for training and {glue:text}`toy-val-samples` for validation; a fully connected network of
# four hidden layers of four units, the activation after each; cross-entropy; Adam with *decoupled*
# weight decay, as in AdamW. The same activation is used in training and validation. Each activation
# has {glue:text}`toy-runs` networks. All are trained at once as stacked matrices and stay independent:
# network $r$ has the same initialisation and batches under every activation, so that activations are
# compared network by network. Data set {glue:text}`toy-data-seed` and these seeds were not used by
# the search.
#
# *Near zero* is a magnitude below a threshold whose value the post does not give. Training loss is the
# mean, over an epoch, of the loss that each batch had when it was used.
#
# ## Deaths, and numbers that a few of them cannot move
#
# A network is **dead** if, after the last epoch, it gives every validation sample the same class, or a
# whole hidden layer stays below the threshold. The post's mean ± standard deviation counts the dead;
# median and quartiles do not move by them. Validation loss in the end, and the dead:

# %% tags=["hide-input"]
loss = end.loc["val_loss"].map("{:.3f}".format)
table = pd.DataFrame({"mean ± std": loss["mean"] + " ± " + loss["std"]})
table["median [quartiles]"] = loss["median"] + " [" + loss["low"] + ", " + loss["high"] + "]"
table["dead"] = first.groupby("activation")["dead"].sum()
run.glue("toy-dead", int(table["dead"].sum()))
table.rename(index=figures.LABELS).rename_axis(None)

# %% [markdown]
# What would decide the order of these losses (T1)? {glue:text}`toy-would`
#
# ## Why the literal reading is not the default
#
# The post says *Adam, weight decay 0.01*. Read to the letter this is an L2 term, added to the gradient
# *before* Adam divides by the gradient's own size. Where the loss's gradient is small the decay alone
# then sets the step, and the weights shrink at full speed. With four units a layer the gradient starts
# out small: {glue:text}`toy-first-dead` of {glue:text}`toy-first-networks` networks of the
# literal reading end dead ({numref}`fig-toy-literal`). A dead layer is silent whatever its activation,
# so the means rise to values that the post does not report. With decoupled decay the count of the dead
# is {glue:text}`toy-dead` in {glue:text}`toy-all`.

# %% mystnb={"figure": {"name": "fig-toy-literal", "caption": "The literal reading, L2 decay in Adam: share of activations near zero in the first hidden layer. Ten networks an activation thin, their mean thick. A line that ends at one is a dead network."}, "image": {"alt": "First-layer sparsity over epochs. Several thin lines of every activation jump to one, and pull the means of SiLU and the learnable mixture up to between 0.2 and 0.5."}} tags=["hide-input"]
literal, ends = (Tables()("toy_first_classification", name) for name in ("sparsity", "runs"))
literal = run.table("literal", literal[(literal.layer == 1) & (literal.threshold == 1e-3)])
over = literal.groupby(["activation", "epoch"], sort=False)["sparsity"].agg(["mean"])
plt.ylim(-0.02, 1.02)
figures.courses(over.reset_index().assign(measure="sparsity"), literal, "sparsity")
show()

# %% tags=["remove-input"]
run.figure_data("literal")
run.glue("toy-first-dead", int(ends.dead.sum()))
run.glue("toy-first-networks", len(ends))
run.glue("toy-all", len(first))

# %% [markdown]
# ## Does the threshold matter?
#
# Sparsity of the first layer in the end, by the magnitude below which an activation counts as zero:

# %% tags=["hide-input"]
by = small["thresholds"].query("layer == 1")
by = by.pivot(index="activation", columns="threshold", values="sparsity")
run.glue("toy-threshold-range", float((by.iloc[:, 3] - by.iloc[:, 0]).max()), "{:.3f}")
by.loc[list(loss.index)].rename(index=figures.LABELS).round(3)

# %% [markdown]
# Up to a hundredth no activation's share changes by more than {glue:text}`toy-threshold-range`: what
# counts is zero, or nearly so.
#
# ## The same, live
#
# A check of the recorded numbers: the first layer's sparsity in the end, beside what this page's build
# trained itself, with fewer networks and epochs. Its numbers are rougher.

# %% tags=["hide-input"]
live = found.tables["networks"].query("layer == 1 and bottleneck == @config.width")
live = live.groupby("activation", sort=False)["sparsity_last"].median()
both = pd.DataFrame({"live": live, "recorded": end.loc["sparsity", "median"]})
both.rename(index=figures.LABELS).round(3)

# %% [markdown]
# ## Summary
#
# The activation decides how many numbers of this small network are zero, and training hardly moves it: about half with ReLU
# ({glue:text}`toy-sparsity-relu`), about a quarter with a fair coin between ReLU and SiLU
# ({glue:text}`toy-sparsity-stocha`). That is what [inputs that are negative half of the
# time](10_activations.ipynb) give by themselves. Only the activation that learns where to draw
# gives up its zeros ({glue:text}`toy-sparsity-gumbel_stoch`). With four units a layer zeros have a price: ReLU ends with
# the highest loss.
#
# All of this depends on how one line of the post is read. If the weight decay acts inside Adam,
# {glue:text}`toy-first-dead` of {glue:text}`toy-first-networks` networks stop working; if it acts beside Adam,
# {glue:text}`toy-dead` of {glue:text}`toy-all` do.
