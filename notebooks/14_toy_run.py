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
#     experiment: stocha.toy.experiment
# ---

# %% [markdown]
# # One configuration, the unit of a sweep
#
# Trains the toy network with one activation and one set of parameters, and leaves its final
# values in one small table. A [sweep](../sweeps.md) executes this notebook once a point; on its
# own it is the quickest way to try a parameter. The same call works from Python:
# `stocha.toy.experiment.run(Config(...))` returns the same tables.

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
runs: "Optional[int]" = None  # independent networks of each ensemble [1, inf)
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
activation: str = "stocha"  # in every hidden layer {relu, silu, gelu, relu2, gelu2, clipped_relu2, leaky_relu2, drelu, rrelu, stocha, bernoulli_silu, dropout, learnable_stoch, gumbel_stoch, xielu, polynorm, ash}
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x ≥ 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
test: str = "sample"  # StochA: what validation uses {sample, expectation, silu, relu}
width: int = 4  # units of the bottleneck [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2},
    "book": {"epochs": 30, "runs": 5},
    "full": {"epochs": 100, "runs": 10},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.study.session import open_run
from stocha.toy import experiment

run = open_run("14_toy_run", globals())
figures.style()
found = run.result(experiment.run, experiment.Config(**run.parameters))

# %% [markdown]
# Seeds of a sweep must not overlap: point `seed` uses the networks `runs * seed` to
# `runs * seed + runs - 1`. The samples and their split are the same everywhere.

# %% mystnb={"figure": {"name": "fig-toy-run", "caption": "Validation loss of each network, thin, and their mean, thick, with one standard deviation shaded."}, "image": {"alt": "Validation loss over epochs, one line a network, of a single configuration of the toy experiment."}} tags=["hide-input"]
axes = figures.runs_over_epochs(found.tables["curves"], "val_loss")
axes.set_ylabel("validation loss / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data("curves")

# %% [markdown]
# What the sweep collects: one row a network, its values after the last epoch. `network` is the
# seed of the network, so that rows of different points with the same number began alike; `alpha`
# is the mean of its gates, where it has any.

# %%
found.tables["final"]
