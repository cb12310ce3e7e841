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
# # One configuration, the unit of a sweep
#
# Trains the toy network with one activation and one set of parameters, and leaves its final
# values in one small table. A [sweep](../sweeps.md) executes this notebook once a point; on its
# own it is the quickest way to try a parameter.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
activation: str = "stocha"  # in every hidden layer {relu, silu, gelu, relu2, rrelu, stocha, bernoulli_silu, learnable_stoch, gumbel_stoch}
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x >= 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
test: str = "sample"  # StochA: what validation uses {sample, expectation, silu, relu}
width: int = 4  # units of each hidden layer [1, inf)
layers: int = 4  # hidden layers [1, inf)
epochs: int = None  # passes over the training data [1, inf)
runs: int = 2  # independent networks, trained together [1, inf)
seed: int = 0  # first network's seed; the others follow [0, inf)
lr: float = 1e-3  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # Adam's L2 coefficient [0, inf)
threshold: float = 1e-3  # an activation of smaller magnitude counts as zero (0, inf)

# %% tags=["scales"]
scales = {"smoke": {"epochs": 2}, "book": {"epochs": 100}, "full": {"epochs": 100}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.study.session import open_run
from stocha.toy.config import ToyConfig
from stocha.toy.ensemble import train

run = open_run("14_toy_run", globals())
figures.style()

# %% [markdown]
# Seeds of a sweep must not overlap: point `seed` uses the networks `runs * seed` to
# `runs * seed + runs - 1`. The samples and their split are the same everywhere.

# %%
stocha_options = {"p": p, "positive": positive, "granularity": granularity, "test": test}
config = ToyConfig(
    activation=activation,
    options=stocha_options if activation == "stocha" else {},
    widths=(width,) * layers,
    epochs=epochs,
    runs=runs,
    seed=runs * seed,
    lr=lr,
    weight_decay=weight_decay,
    threshold=threshold,
)
history = train(config, watch=lambda epoch, _: run.progress(epoch, epochs))

# %% mystnb={"figure": {"name": "fig-toy-run", "caption": "Validation loss of each network."}, "image": {"alt": "Validation loss over epochs, one line a network, of a single configuration of the toy experiment."}}
curves = run.table("curves", history.curves().assign(activation=activation))
figures.runs_over_epochs(curves, "val_loss")
plt.show()

# %% tags=["remove-input"]
run.figure_data("curves")

# %% [markdown]
# What the sweep collects: one row a network, its values after the last epoch. `network` is the
# seed of the network, so that rows of different points with the same number began alike.

# %%
alpha = history.gates().query("epoch == @epochs").groupby("run")["mean"].mean()
final = history.runs().assign(alpha=lambda frame: frame["run"].map(alpha))
final = final.rename(columns={"seed": "network"}).drop(columns="run")
run.table("final", final)
run.metric(val_loss=final["val_loss"].mean(), sparsity=final["sparsity"].mean())
final
