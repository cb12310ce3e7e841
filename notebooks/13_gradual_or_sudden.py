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
#     experiment: stocha.toy.gradual
#     inputs: ["results/13_gradual_or_sudden/*.csv"]
# ---

# %% [markdown]
# # The post's three questions
#
# **Change gradually, switch as you like, and let no gate decide.** Annealing p from SiLU to ReLU differs
# from the flip of Swi+FT {cite:p}`lomeli2025stochastic` by {glue:text}`ask-anneal-flip` nats and from
# constant StochA by {glue:text}`ask-anneal-stocha`, with ReLU in the end
# ({numref}`fig-ask-change`). How often one switches matters little: of
# {glue:text}`ask-often` grains coarser than a draw per element {glue:text}`ask-often-resolved` differ
# from it, the furthest by {glue:text}`ask-often-most` ({numref}`fig-ask-often`). The learnable gate
# differs from the best constant p by {glue:text}`ask-learnable` and Gumbel's by
# {glue:text}`ask-gumbel` ({numref}`fig-ask-gates`).
#
# The toy post {cite:p}`kosti2025fun` asks: gradual or flipped, how often, and should the switch see its
# input? Every arm has the same budget and {glue:text}`ask-runs` networks with bottleneck 16, which can
# overfit; network $r$ of every arm has the same initialisation and the same batches, so that arms are
# compared network by network. A positive difference is a higher validation loss.

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
runs: "Optional[int]" = None  # networks of each arm [1, inf)
seed: int = 2000  # first network's seed; the others follow [0, 4294967295]
data_seed: int = 21  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
device: str = "cpu"  # where to train, as torch names it
layers: int = 4  # hidden layers [1, inf)
wide: "Optional[int]" = None  # units of layers that are no bottleneck [1, inf)
narrow: list[int] = [1, 2, 3, 4]  # which layers are, from 1, where `wide` is given; else all [1, inf)  # fmt: skip
gate_decays: bool = True  # the decay acts on the gates' parameters too
gate_input: str = "element"  # what a gate sees: one pre-activation or its layer {element, layer}
gate_start: str = "random"  # gates before training {random, even}
draw: str = "all"  # where an activation mixes: everywhere or x < 0 {all, below}
alphas: list[float] = [0.05, 0.1, 0.2]  # Swi+FT: share of steps after the switch [0, 1]
every: list[int] = [1, 2, 4, 8, 16, 32]  # alternation: steps between switches [1, inf)
p: float = 0.5  # StochA: probability of SiLU [0, 1]
constants: list[float] = [0.25, 0.75]  # further p that the gates are compared with [0, 1]  # fmt: skip
width: int = 16  # units of the bottleneck [1, inf)
workers: "Optional[int]" = None  # processes to train in [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 5, "workers": 2},
    "full": {"epochs": 100, "runs": 100, "workers": 2},
}  # fmt: skip

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.base.statistics import estimate
from stocha.claims.ledger import Tables
from stocha.study.session import open_run
from stocha.toy import gradual

run = open_run("13_gradual_or_sudden", globals())
figures.style()
run.badge()
config = gradual.Config(**run.parameters)
found = run.result(gradual.run, config)
tables, data = found.tables, ""
if scale != "full":  # the chapter argues from the recorded full scale
    recorded, data = Tables(), "full_"
    tables = {
        name: run.table(f"full_{name}", recorded("13_gradual_or_sudden", name)) for name in tables
    }
final, learning = tables["final"], tables["learning"]
arms = config.change() | config.often() | config.gates()
positive = "mixed" if config.draw == "all" else "identity"
names = {arm: own.labelled(positive=positive) for arm, own in arms.items()}


def differences(keys, reference, loss, rows=final):
    """Mean difference from an arm, its 95 % interval, and how many networks would resolve it."""
    wide = rows.pivot(index="run", columns="arm", values=loss)
    table = {}
    for key in keys:
        apart = wide[key] - wide[reference]
        value = estimate(apart)
        # the interval of n networks is narrower by the root of n
        needed = len(apart) * ((value.high - value.low) / 2 / value.mean) ** 2
        resolved = value.low > 0 or value.high < 0
        enough = "resolved" if resolved else f"{math.ceil(needed):,} networks"
        table[key] = {"mean": value.mean, "low": value.low, "high": value.high, "": enough}
    return pd.DataFrame(table).T


def dots(keys, reference, loss):
    """The differences as dots, a line an arm."""
    rows = final.set_index("arm").loc[[reference, *keys]].reset_index()
    plt.figure(figsize=(7, 0.9 + 0.42 * len(keys)))
    figures.paired_differences(rows, loss, reference, by="arm", names=names)
    plt.xlabel(f"validation loss / nats, minus that of {names[reference]}")
    plt.show()


def told(table, key):
    """A difference with its interval."""
    return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*table.loc[key, ["mean", "low", "high"]])


# %% [markdown]
# ## Gradual or flipped
#
# All are judged with **ReLU** in place of what they train with, which is what sparse inference needs. The
# learning rate is constant, as in the post; in the paper a cosine has nearly ended when the switch comes.

# %% mystnb={"figure": {"name": "fig-ask-curves", "caption": "Validation loss with ReLU over epochs: mean of a hundred networks thick, twenty networks thin."}, "image": {"alt": "Five lines of validation loss under ReLU. SiLU stays highest; the flip follows it and drops at ninety epochs; annealing comes down gradually; StochA and ReLU run lower throughout."}} tags=["hide-input"]
means = learning[learning.run < 0].rename(columns={"val_loss": "mean"})
late = learning[(learning.run >= 0) & (learning.epoch > 0)]
plt.ylim(0.15, 0.6)
figures.courses(means.assign(measure="val_loss"), late, "val_loss", hue="arm", names=names)
plt.ylabel("validation loss with ReLU / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data(f"{data}learning")

# %% mystnb={"figure": {"name": "fig-ask-change", "caption": "Final validation loss with ReLU, minus that of Swi+FT, network by network: dots are pairs, mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences by arm around a zero line: annealing and StochA lie left of it, SiLU far right."}} tags=["remove-input"]
change = [arm for arm in config.change() if arm not in (config.flip, "silu")]
dots(change, config.flip, "val_loss_relu")

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
against = differences(change, config.flip, "val_loss_relu")
annealed = [arm for arm in change if arm.startswith("anneal")]
constant = differences(annealed, "stocha", "val_loss_relu")
run.glue("ask-anneal-flip", told(against, "anneal linear"))
run.glue("ask-anneal-stocha", told(constant, "anneal linear"))
run.glue("ask-runs", final.run.nunique())
run.glue("ask-dead", int(final.dead.sum()))
losses = final.groupby("arm")[["val_loss_relu", "val_loss_own"]].mean()
run.glue("ask-silu-relu", losses.loc["silu", "val_loss_relu"], "{:.3f}")
run.glue("ask-silu-own", losses.loc["silu", "val_loss_own"], "{:.3f}")

# %% tags=["hide-input"]
versus = pd.concat({names[config.flip]: against, names["stocha"]: constant}, names=["minus"])
versus.rename(index=names, level=1).infer_objects().round(4)

# %% [markdown]
# The last column says whether the interval excludes zero, or how many networks would make it, were the mean
# as it is. Each interval is for its arm alone. {glue:text}`ask-dead` networks died. SiLU evaluated with ReLU
# and without any training for it goes from {glue:text}`ask-silu-own` to {glue:text}`ask-silu-relu`.
#
# ## How often to switch
#
# Alternating SiLU and ReLU every $k$ steps, up to an epoch, is StochA with $p = 1/2$ at a coarser and
# coarser grain, and without chance. Between them lie draws per row and per batch.

# %% mystnb={"figure": {"name": "fig-ask-often", "caption": "Final validation loss with ReLU by how often the activation changes, minus that of a draw per element, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences from StochA drawn per element: draws per layer and row, and alternation every 1 to 32 steps."}} tags=["remove-input"]
often = list(config.often())
dots(often, "stocha", "val_loss_relu")

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
coarser = differences(often, "stocha", "val_loss_relu")
most = coarser["mean"].astype(float).abs().idxmax()
run.glue("ask-often", len(coarser))
run.glue("ask-often-resolved", int((coarser[""] == "resolved").sum()))
run.glue("ask-often-most", f"{told(coarser, most)} ({names[most]})")

# %% tags=["hide-input"]
coarser.rename(index=names).infer_objects().round(4)

# %% [markdown]
# ## A switch that sees its input
#
# A gate chooses for every input; a constant p does not look. Each is judged with its own activation, since
# a gate has no meaning under ReLU. The best constant is chosen on the same networks, which favours it a
# little.

# %% mystnb={"figure": {"name": "fig-ask-gates", "caption": "Final validation loss, each with its own activation, minus that of the best constant p, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences from the best constant p: other constants, and the two gates."}} tags=["remove-input"]
constants = ["relu", "p 0.25", "stocha", "p 0.75", "silu"]
constants = [arm for arm in constants if arm in losses.index]
best = losses.loc[constants, "val_loss_own"].idxmin()
others = [arm for arm in constants if arm != best] + ["learnable_stoch", "gumbel_stoch"]
dots(others, best, "val_loss_own")

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
gates = differences(others, best, "val_loss_own")
run.glue("ask-best", names[best])
run.glue("ask-learnable", told(gates, "learnable_stoch"))
run.glue("ask-gumbel", told(gates, "gumbel_stoch"))

# %% tags=["hide-input"]
gates.rename(index=names).infer_objects().round(4)

# %% [markdown]
# The best constant is *{glue:text}`ask-best`*. These networks overfit ([the gates](12_gates.ipynb)
# say how far): a draw is noise, and noise is what they lack.
#
# ## The same, live
#
# What this page's build trained itself, at its own scale, beside the recorded: differences from the flip.

# %% tags=["hide-input"]
live = differences(change, config.flip, "val_loss_relu", found.tables["final"])["mean"]
pd.DataFrame({"recorded": against["mean"], "live": live}, dtype=float).rename(index=names).round(4)
