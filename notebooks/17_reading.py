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
#     experiment: stocha.toy.readings
# ---

# %% [markdown]
# # One reading of the post
#
# The toy post leaves its network half described. This page trains the five activations under *one*
# reading of it, at one bottleneck, and asks each network what the claims T1 to T8 need.
# {numref}`fig-reading` shows how far that goes at this page's own scale:
# {glue:text}`reading-dead` of its networks are dead. It is the unit of the [search for the
# set-up](../toy_search.md), which executes it once for every reading.

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
seed: int = 0  # first network's seed; the others follow [0, 4294967295]
data_seed: int = 0  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
device: str = "cpu"  # where to train, as torch names it
layers: int = 4  # hidden layers [1, inf)
wide: "Optional[int]" = None  # units of layers that are no bottleneck [1, inf)
narrow: list[int] = [1, 2, 3, 4]  # which layers are, from 1, where `wide` is given; else all [1, inf)  # fmt: skip
gate_decays: bool = True  # the decay acts on the gates' parameters too
gate_input: str = "element"  # what a gate sees: one pre-activation or its layer {element, layer}
gate_start: str = "random"  # gates before training {random, even}
draw: str = "all"  # where an activation mixes: everywhere or x < 0 {all, below}
width: int = 4  # units of the bottleneck [1, inf)
workers: int = 1  # processes to train in [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2},
    "book": {"epochs": 30, "runs": 5},
    "full": {"epochs": 100, "runs": 20},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.study.session import open_run
from stocha.toy import readings

run = open_run("17_reading", globals())
figures.style()
run.badge()
config = readings.Config(**run.parameters)
found = run.result(readings.run, config)
networks = found.tables["networks"]
run.glue("reading-dead", networks["dead"].mean(), "{:.0%}")
run.glue("reading-widths", ", ".join(map(str, config.widths(config.width))))

# %% [markdown]
# Hidden layers of {glue:text}`reading-widths` units. The first layer's share of tiny activations, and
# the validation loss, each averaged over the last epochs:

# %% mystnb={"figure": {"name": "fig-reading", "caption": "Sparsity of the first hidden layer (left) and validation loss (right) of every network, means of the last epochs. The mark and bar are the mean over networks and its 95 % t-interval."}, "image": {"alt": "Two dot plots by activation, of the first layer's sparsity and of the validation loss, one dot a network."}} tags=["hide-input"]
first = networks[networks.layer == 1]
figure, (left, right) = plt.subplots(1, 2, sharey=True)
figures.estimates(first, "sparsity_last", ax=left).set_xlabel("sparsity")
figures.estimates(first, "val_loss", ax=right).set_xlabel("validation loss / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data("networks")

# %% [markdown]
# Where each gate went: α before training, at its lowest early on, and in the end, averaged over layers
# and networks; its travel is the furthest that a layer's mean α was from where it began.

# %% tags=["hide-input"]
alphas = [name for name in networks if name.startswith("alpha")]
gated = networks.dropna(subset="alpha_last").groupby("activation", sort=False)
short = {name: name.removeprefix("alpha_") for name in alphas}
gated[alphas].mean().rename(index=figures.LABELS, columns=short).round(3)
