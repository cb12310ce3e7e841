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
# # Gradual or sudden
#
# Would a *gradual* change from SiLU to ReLU do better than the flip of Swi+FT
# {cite:p}`lomeli2025stochastic`, and *how often* should one switch if one switches all the time, as
# StochA does for every single element? {numref}`fig-switch-paired` decides the first question: linear
# annealing differs from the flip by {glue:text}`switch-anneal-linear` nats, network by network.
# {numref}`fig-switch-often` decides the second: {glue:text}`switch-often-resolved` of
# {glue:text}`switch-often-arms` coarser grains differ from a draw per element by more than their
# interval.
#
# Every arm has the same budget, and network $r$ of every arm has the same initialisation and the same
# batches, so that arms are compared network by network.

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
alphas: list[float] = [0.05, 0.1, 0.2]  # Swi+FT: share of steps after the switch [0, 1]
every: list[int] = [1, 2, 4, 8, 16, 32]  # alternation: steps between switches [1, inf)
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x ≥ 0 {identity, silu, mixed}
widths: list[int] = [16, 16, 16, 16]  # units of each hidden layer [1, inf)
workers: "Optional[int]" = None  # processes to train in [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 5, "workers": 2},
    "full": {"epochs": 100, "runs": 10, "workers": 2},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.arms import switch_step
from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Tables
from stocha.study.session import open_run
from stocha.toy import gradual

run = open_run("13_gradual_or_sudden", globals())
figures.style()
run.badge()
config = gradual.Config(**run.parameters)
change, often = config.change(), config.often()
arms = change | often
names = {arm: own.labelled(positive=config.positive) for arm, own in arms.items()}
recorded = Tables()
final, learning, paired = (
    run.table(f"full_{name}", recorded("13_gradual_or_sudden", name))
    for name in ("final", "learning", "paired")
)
shown = {
    "val_loss_relu": "loss with ReLU",
    "val_loss_own": "loss as trained",
    "val_accuracy": "accuracy with ReLU",
    "sparsity": "sparsity with ReLU",
}


def intervals(reference):
    """Mean paired difference from an arm and its 95 % t-interval, one row an arm."""
    rows = paired[paired.reference == reference]
    rows = rows.groupby("arm", sort=False)["difference"]
    columns = {"mean": "mean difference", "low": "low", "high": "high"}
    found = pd.DataFrame({arm: vars(estimate(values)) for arm, values in rows}).T
    return found.rename(columns=columns, index=names)


def means(arms, reference):
    """Mean of every arm, and its difference from the reference, which has none."""
    table = final.groupby("arm")[list(shown)].mean().loc[arms]
    table = table.rename(columns=shown, index=names).round(4).astype(str)
    return table.join(intervals(reference).round(4).astype(str)).fillna("—")


# %% [markdown]
# ## The arms
#
# The network is the post's second one, with bottleneck 16: it can overfit, and, unlike the one of width 4
# ([Toy classification](11_toy_classification.ipynb)), it seldom dies, so that a difference between arms is not a
# difference in deaths. The learning rate is constant, as in the post. This matters for reading the result: in
# the paper a cosine has nearly ended when the switch comes, here the steps after the switch are as long as
# those before.
#
# Every arm is validated with what it trains with at that point, and again with **ReLU**, whose sparsity is
# what all this is for. The flips, in the recorded runs of {glue:text}`switch-epochs` epochs:

# %% tags=["hide-input"]
run.glue("switch-epochs", int(learning.epoch.max()))
total = int(learning.epoch.max()) * config.steps_per_epoch
steps = pd.DataFrame(
    {"share after the switch": alpha, "switch at step": switch_step(alpha, total)}
    for alpha in config.alphas
)
steps.assign(**{"steps after": total - steps["switch at step"]})

# %% [markdown]
# ## Losses under ReLU

# %% mystnb={"figure": {"name": "fig-switch-curves", "caption": "Validation loss with ReLU in place of whatever the arm trains with, from the tenth part of the training on: networks thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Validation loss under ReLU over epochs for five arms. SiLU's stays above ReLU's; the arm that flips to ReLU follows SiLU until the switch and then drops to ReLU's level within a few epochs; the annealed arm comes down gradually and ends slightly below ReLU."}} tags=["remove-input"]
later = learning[learning.epoch >= learning.epoch.max() // 10]
axes = figures.runs_over_epochs(later, "val_loss_relu", hue="arm", kind="t", names=names)
axes.set_ylabel("validation loss with ReLU / nats")
figures.legend_below(axes.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_learning")

# %% mystnb={"figure": {"name": "fig-switch-paired", "caption": "Final validation loss with ReLU: difference of each arm from a network that was trained with ReLU throughout, network by network. Dots are pairs, mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences in validation loss from ReLU by arm, with intervals around a zero line."}} tags=["remove-input"]
gradually = final[final.arm.isin(list(change))]
figure = plt.figure(figsize=(7, 4))
figures.paired_differences(gradually, "val_loss_relu", "relu", by="arm", names=names)
plt.gca().set(xlabel="difference in validation loss with ReLU / nats, from ReLU throughout")
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_final")

# %% tags=["hide-input"]
means(list(change), "relu")

# %% [markdown]
# The last columns are differences from ReLU throughout, so its own row has none. The flip and the annealing can
# also be compared with each other directly:

# %% tags=["hide-input"]
between = intervals(config.flip)
run.glue("switch-flip", names[config.flip])
for shape in ("linear", "cosine"):
    row = between.loc[names[f"anneal {shape}"]]
    run.glue(f"switch-anneal-{shape}", Estimate(*row).text("+.4f"))
cost = final[final.arm == "silu"]
run.glue("switch-silu-relu", cost.val_loss_relu.mean(), "{:.3f}")
run.glue("switch-silu-own", cost.val_loss_own.mean(), "{:.3f}")
between.round(4)

# %% [markdown]
# Each interval is for its arm alone; with this many arms, one in twenty would exclude zero by chance.
# Relative to *{glue:text}`switch-flip`*, linear annealing differs by {glue:text}`switch-anneal-linear` nats and
# cosine annealing by {glue:text}`switch-anneal-cosine`. Doing nothing has its price:
# SiLU, evaluated with ReLU without any training for it, goes from {glue:text}`switch-silu-own` to
# {glue:text}`switch-silu-relu`.
#
# ## How often to switch
#
# Alternating SiLU and ReLU after every $k$ steps, from each step to each epoch
# ({glue:text}`switch-epoch-steps` steps), is StochA with $p = 1/2$ at a coarser and coarser grain, and without
# chance. Between the two lie draws per layer and per row of the batch.

# %% mystnb={"figure": {"name": "fig-switch-often", "caption": "Final validation loss with ReLU by how often the activation changes, from a draw for every element (top) to a switch after every epoch: difference from the draw per element, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences in validation loss under ReLU from StochA drawn per element, for draws per row, per layer, and alternation every 1 to 32 steps."}} tags=["remove-input"]
run.glue("switch-epoch-steps", config.steps_per_epoch)
grain = final.set_index("arm").loc[["stocha", *often]].reset_index()
figure = plt.figure(figsize=(7, 4.2))
figures.paired_differences(grain, "val_loss_relu", "stocha", by="arm", names=names)
plt.gca().set(xlabel="difference in validation loss with ReLU / nats, from a draw per element")
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_final")
outside, from_relu = intervals("stocha"), intervals("relu")
run.glue("switch-often-resolved", int(((outside.low > 0) | (outside.high < 0)).sum()))
run.glue("switch-often-arms", len(outside))
run.glue("switch-often-best", outside["mean difference"].idxmin())
run.glue("switch-often-best-value", outside["mean difference"].min(), "{:+.4f}")
run.glue("switch-better", ", ".join(from_relu[from_relu.high < 0].index) or "none")
run.glue("switch-worse", ", ".join(from_relu[from_relu.low > 0].index) or "none")
run.glue("switch-dead", int(final.dead.sum()))
run.glue("switch-networks", len(final))
run.glue("switch-runs", final.run.nunique())

# %% tags=["hide-input"]
means(["stocha", *often], "stocha").drop(columns=shown["val_accuracy"])

# %% [markdown]
# {glue:text}`switch-often-resolved` of {glue:text}`switch-often-arms` grains differ from the draw per element by
# more than their interval; the lowest mean difference is {glue:text}`switch-often-best-value`
# (*{glue:text}`switch-often-best`*). "As trained" is the activation in force at the last step, which for an
# alternation is ReLU or SiLU as the count of steps has it.
#
# ## The same, live
#
# What this page's build trained itself, at its own scale, beside the recorded: the mean difference from ReLU
# throughout. Fewer networks and epochs, so a rougher number.

# %%
found = run.result(gradual.run, config)

# %% tags=["hide-input"]
live = found.tables["paired"].query("reference == 'relu'")
live = live.groupby("arm")["difference"].mean()
table = from_relu[["mean difference"]].rename(columns={"mean difference": "recorded"})
table.assign(live=live.rename(index=names)).round(4)

# %% [markdown]
# ## Summary
#
# - {glue:text}`switch-dead` of {glue:text}`switch-networks` networks died; every arm has
#   {glue:text}`switch-runs`, paired by initialisation and batches.
# - Better than ReLU throughout, with an interval that excludes zero: {glue:text}`switch-better`. Worse:
#   {glue:text}`switch-worse`.
# - Gradual against sudden: {glue:text}`switch-anneal-linear` (linear) and {glue:text}`switch-anneal-cosine`
#   (cosine), relative to *{glue:text}`switch-flip`*. This is a toy network at a constant learning rate; the
#   [ledger](01_claims.ipynb) keeps the question open for the language model.
