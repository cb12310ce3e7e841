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
# # Gradual or sudden
#
# Swi+FT {cite:p}`lomeli2025stochastic` trains with SiLU and flips to ReLU for the last few per cent of the steps,
# so that inference with ReLU is sparse. Two questions that the posts leave open can be asked of the toy
# network: would a *gradual* change do better than a flip, and *how often* should one switch if one switches
# all the time, as StochA does for every single element?
#
# Every arm has the same budget, and network $r$ of every arm has the same initialisation and the same
# batches, so that arms are compared network by network.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
alphas: list[float] = [0.05, 0.1, 0.2]  # Swi+FT: share of steps after the switch [0, 1]
every: list[int] = [1, 2, 4, 8, 16, 32]  # alternation: steps between switches [1, inf)
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x >= 0 {identity, silu, mixed}
samples: int = 5000  # generated samples, a fifth of them for validation [10, inf)
features: int = 30  # inputs, all informative [1, inf)
classes: int = 2  # classes [2, inf)
widths: list[int] = [16, 16, 16, 16]  # units of each hidden layer [1, inf)
lr: float = 0.001  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # Adam's L2 coefficient [0, inf)
batch_size: int = 128  # samples a step [1, inf)
epochs: int = None  # passes over the training data [1, inf)
runs: int = None  # independent networks of each arm [2, inf)
seed: int = 0  # first network's seed; the others follow [0, inf)
data_seed: int = 0  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
workers: int = None  # processes to train in [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 10, "workers": 2},
    "full": {"epochs": 100, "runs": 10, "workers": 2},
}

# %% tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.arms import Alternate, Anneal, Phase, SwiFT, switch_step
from stocha.study.session import open_run
from stocha.toy.config import ToyConfig
from stocha.toy.ensemble import train_all

run = open_run("13_gradual_or_sudden", globals())
figures.style()
run.badge()

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
# what all this is for.

# %%
base = ToyConfig(
    n_samples=samples,
    n_features=features,
    n_classes=classes,
    widths=tuple(widths),
    lr=lr,
    weight_decay=weight_decay,
    epochs=epochs,
    runs=runs,
    seed=seed,
    data_seed=data_seed,
    batch_size=batch_size,
    threshold=threshold,
    inference=("relu",),
)
stocha = replace(base, activation="stocha", options={"p": p, "positive": positive})
drawn = Phase("stocha", (("p", p), ("positive", positive)))
silu = replace(base, activation="silu")
change = {
    "relu": base,
    "silu": silu,
    "stocha": stocha,
    **{f"flip {alpha:g}": replace(silu, schedule=SwiFT(alpha)) for alpha in alphas},
    **{
        f"stocha, flip {alpha:g}": replace(stocha, schedule=SwiFT(alpha, drawn))
        for alpha in alphas[:1]
    },
    "anneal linear": replace(stocha, schedule=Anneal("linear", phase=drawn)),
    "anneal cosine": replace(stocha, schedule=Anneal("cosine", phase=drawn)),
}
often = {
    "layer": replace(stocha, options={**stocha.options, "granularity": "layer"}),
    "token": replace(stocha, options={**stocha.options, "granularity": "token"}),
    **{f"every {k}": replace(silu, schedule=Alternate(k)) for k in every},
}
arms = change | often
histories = dict(
    zip(
        arms,
        train_all(
            list(arms.values()),
            workers=workers,
            watch=lambda done, _: run.progress(done, len(arms), unit="ensembles"),
        ),
        strict=True,
    )
)
names = {arm: arm for arm in arms} | {
    "relu": "ReLU",
    "silu": "SiLU",
    "stocha": f"StochA({p:g})",
    "layer": "draw per layer",
    "token": "draw per row",
    f"stocha, flip {alphas[0]:g}": f"StochA({p:g}), flip {alphas[0]:g}",
}

# %% tags=["hide-input"]
finals, learning = [], []
for arm, history in histories.items():
    own, relu = history, history.swapped["relu"]
    finals.append(
        pd.DataFrame(
            {
                "arm": arm,
                "run": own.run_numbers,
                "val_loss_relu": relu.val_loss[:, -1],
                "val_loss_own": own.val_loss[:, -1],
                "val_accuracy": relu.val_accuracy[:, -1],
                "sparsity": relu.sparsity[:, -1, 0, 0],
                "dead": relu.dead,
            }
        )
    )
    learning.append(
        own.curves()
        .merge(
            relu.curves()[["run", "epoch", "val_loss"]], on=["run", "epoch"], suffixes=("", "_relu")
        )
        .assign(arm=arm)
    )
final = run.table("final", pd.concat(finals, ignore_index=True))
learning = pd.concat(learning, ignore_index=True)
flip = f"flip {alphas[len(alphas) // 2]:g}"
shown = ["relu", "silu", flip, f"stocha, flip {alphas[0]:g}", "anneal linear"]
curves = learning[learning.arm.isin(shown)].drop(columns="activation").round(6)
curves = run.table("learning", curves)
run.glue("switch-dead", int(final.dead.sum()))
run.glue("switch-networks", len(final))
run.glue("switch-runs", runs)
steps = pd.DataFrame(
    [
        {
            "share after the switch": f"{alpha:g}",
            "switch at step": switch_step(alpha, base.total_steps),
            "steps after": base.total_steps - switch_step(alpha, base.total_steps),
            "share of the summed learning rate after": f"{1 - switch_step(alpha, base.total_steps) / base.total_steps:.3f}",
        }
        for alpha in alphas
    ]
)
steps

# %% [markdown]
# ## Losses under ReLU

# %% mystnb={"figure": {"name": "fig-switch-curves", "caption": "Validation loss with ReLU in place of whatever the arm trains with, from the tenth part of the training on: networks thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Validation loss under ReLU over epochs for five arms. SiLU's stays above ReLU's; the arm that flips to ReLU follows SiLU until the switch and then drops to ReLU's level within a few epochs; the annealed arm comes down gradually and ends slightly below ReLU."}}
later = curves[curves.epoch >= epochs // 10]
figures.runs_over_epochs(later, "val_loss_relu", hue="arm", kind="t", names=names, legend=None)
plt.gca().set(ylabel="validation loss with ReLU / nats")
plt.gcf().legend(loc="outside lower center", ncols=3)
plt.show()

# %% tags=["remove-input"]
run.figure_data("learning")

# %% mystnb={"figure": {"name": "fig-switch-paired", "caption": "Final validation loss with ReLU: difference of each arm from a network that was trained with ReLU throughout, network by network. Dots are pairs, mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences in validation loss from ReLU by arm, with intervals around a zero line."}}
gradual = final[final.arm.isin(list(change))]
figure = plt.figure(figsize=(7, 4))
figures.paired_differences(gradual, "val_loss_relu", "relu", by="arm", names=names)
plt.gca().set(xlabel="difference in validation loss with ReLU / nats, from ReLU throughout")
plt.show()

# %% tags=["remove-input"]
run.figure_data("final")


# %% tags=["hide-input"]
def differences(reference, arms_):
    """Paired differences of the final loss under ReLU, tidy."""
    wide = final.pivot(index="run", columns="arm", values="val_loss_relu")
    return pd.concat(
        pd.DataFrame(
            {
                "arm": arm,
                "reference": reference,
                "run": wide.index,
                "difference": wide[arm] - wide[reference],
            }
        )
        for arm in arms_
        if arm != reference
    )


def intervals(paired):
    """Mean paired difference and its 95 % t-interval, one row an arm."""
    rows = {}
    for arm, group in paired.groupby("arm", sort=False):
        mean, low, high = figures.interval(group["difference"])
        rows[names[arm]] = {"mean difference": mean, "low": low, "high": high}
    return pd.DataFrame(rows).T


paired = run.table(
    "paired",
    pd.concat(
        [
            differences("relu", change),
            differences(flip, ["anneal linear", "anneal cosine"]),
            differences("stocha", often),
        ],
        ignore_index=True,
    ),
)
table = final.groupby("arm", sort=False)[
    ["val_loss_relu", "val_loss_own", "val_accuracy", "sparsity"]
]
table = table.mean().loc[list(change)].rename(index=names)
table.columns = ["loss with ReLU", "loss as trained", "accuracy with ReLU", "sparsity with ReLU"]
table.join(intervals(paired[paired.reference == "relu"])).round(4)

# %% [markdown]
# The last columns are differences from ReLU throughout. The flip and the annealing can also be compared with each
# other directly:

# %% tags=["hide-input"]
between = intervals(paired[paired.reference == flip])
run.glue("switch-flip", flip)
for shape in ("linear", "cosine"):
    row = between.loc[f"anneal {shape}"]
    text = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*row)
    run.glue(f"switch-anneal-{shape}", text)
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

# %% tags=["hide-input"]
run.glue("switch-epoch-steps", base.steps_per_epoch)
order = ["stocha", "token", "layer", *(f"every {k}" for k in every)]
grain = final.set_index("arm").loc[order].reset_index()

# %% mystnb={"figure": {"name": "fig-switch-often", "caption": "Final validation loss with ReLU by how often the activation changes, from a draw for every element (top) to a switch after every epoch: difference from the draw per element, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences in validation loss under ReLU from StochA drawn per element, for draws per row, per layer, and alternation every 1 to 32 steps."}}
figure = plt.figure(figsize=(7, 4.2))
figures.paired_differences(grain, "val_loss_relu", "stocha", by="arm", names=names)
plt.gca().set(xlabel="difference in validation loss with ReLU / nats, from a draw per element")
plt.show()

# %% tags=["remove-input"]
run.figure_data("final")
table = final.groupby("arm", sort=False)[["val_loss_relu", "val_loss_own", "sparsity"]].mean()
table = table.loc[order].rename(index=names)
table.columns = ["loss with ReLU", "loss as trained", "sparsity with ReLU"]
table.join(intervals(paired[paired.reference == "stocha"])).round(4)

# %% tags=["hide-input"]
outside = intervals(paired[paired.reference == "stocha"])
resolved = outside[(outside.low > 0) | (outside.high < 0)]
run.glue("switch-often-resolved", len(resolved))
run.glue("switch-often-arms", len(outside))
run.glue("switch-often-best", outside["mean difference"].idxmin())
run.glue("switch-often-best-value", outside["mean difference"].min(), "{:+.4f}")
change_intervals = intervals(paired[paired.reference == "relu"]).drop(index="SiLU")
better = change_intervals[change_intervals.high < 0]
worse = change_intervals[change_intervals.low > 0]
run.glue("switch-better", ", ".join(better.index) or "none")
run.glue("switch-worse", ", ".join(worse.index) or "none")

# %% [markdown]
# {glue:text}`switch-often-resolved` of {glue:text}`switch-often-arms` grains differ from the draw per element by
# more than their interval; the lowest mean difference is {glue:text}`switch-often-best-value`
# (*{glue:text}`switch-often-best`*). "As trained" is the activation in force at the last step, which for an
# alternation is ReLU or SiLU as the count of steps has it.
#
# ## Summary
#
# - {glue:text}`switch-dead` of {glue:text}`switch-networks` networks died; every arm has
#   {glue:text}`switch-runs`, paired by initialisation and batches.
# - Better than ReLU throughout, with an interval that excludes zero: {glue:text}`switch-better`. Worse:
#   {glue:text}`switch-worse`.
# - Gradual against sudden: {glue:text}`switch-anneal-linear` (linear) and {glue:text}`switch-anneal-cosine`
#   (cosine), relative to *{glue:text}`switch-flip`*. This is a toy network at a constant learning rate; the
#   [ledger](01_claims.ipynb) keeps the question open for the language model.
