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
# # What the gates learn
#
# Two of the activations choose between ReLU and SiLU by a small trained gate
# $\alpha(x) \in [0, 1]$, the weight (learnable mixture) or the probability (Gumbel StochA) of **ReLU**:
#
# $$
# f(x) = \alpha(x)\,\mathrm{ReLU}(x) + (1 - \alpha(x))\,\mathrm{SiLU}(x),
# \qquad \alpha(x) = \sigma(\mathrm{gate}(x)) .
# $$
#
# The toy post {cite:p}`kosti2025fun` saw the learnable gate settle at an even mix (T6), the Gumbel gate
# prefer SiLU for a while and then come to rest (T7), both prefer ReLU strongly with a wider bottleneck
# (T8), and Gumbel's sparsity fall (T5). This chapter repeats that with and without weight decay on the
# gates' own parameters, because an even mix is also what a gate gives that has been decayed to nothing:
# $\sigma(0) = 1/2$.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
bottlenecks: list[int] = [4, 16]  # widths of all hidden layers, compared [1, inf)
layers: int = 4  # hidden layers [1, inf)
gate_input: str = (
    "element"  # what a gate sees: one pre-activation or its whole layer {element, layer}
)
temperature: float = 1.0  # Gumbel StochA: temperature of the relaxation (0, inf)
samples: int = 5000  # generated samples, a fifth of them for validation [10, inf)
features: int = 30  # inputs, all informative [1, inf)
classes: int = 2  # classes [2, inf)
lr: float = 0.001  # Adam's learning rate (0, inf)
weight_decay: float = 0.01  # Adam's L2 coefficient (0, inf)
batch_size: int = 128  # samples a step [1, inf)
epochs: int = None  # passes over the training data [1, inf)
runs: int = None  # independent networks of each configuration [1, inf)
seed: int = 0  # first network's seed; the others follow [0, inf)
data_seed: int = 0  # seed of the samples and of their split [0, 4294967295]
threshold: float = 0.001  # an activation of smaller magnitude counts as zero (0, inf)
workers: int = None  # processes to train in [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"epochs": 3, "runs": 2, "workers": 1},
    "book": {"epochs": 30, "runs": 5, "workers": 2},
    "full": {"epochs": 100, "runs": 10, "workers": 2},
}

# %% tags=["hide-input"]
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.study.session import open_run
from stocha.toy.config import ToyConfig
from stocha.toy.ensemble import fit, train_all

run = open_run("12_gates", globals())
figures.style()
run.badge()

# %% [markdown]
# ## The configurations
#
# Two activations, two bottlenecks, weight decay on the gates or not: everything else is as in
# {numref}`fig-toy-loss`, weight decay on the linear layers included. The gate of a layer is a network
# 1 → 8 → 1 with a tanh, shared by the layer's units and applied to one pre-activation at a time; neither
# source says what its gate was.

# %%
gated = {"learnable_stoch": {}, "gumbel_stoch": {"temperature": temperature}}
base = ToyConfig(
    n_samples=samples,
    n_features=features,
    n_classes=classes,
    lr=lr,
    weight_decay=weight_decay,
    epochs=epochs,
    runs=runs,
    seed=seed,
    data_seed=data_seed,
    batch_size=batch_size,
    threshold=threshold,
)
cases = list(product(gated, bottlenecks, [True, False]))
configs = [
    replace(
        base,
        activation=activation,
        options={"input": gate_input, **gated[activation]},
        widths=(width,) * layers,
        gate_weight_decay=None if decay else 0.0,
    )
    for activation, width, decay in cases
]
histories = train_all(
    configs,
    workers=workers,
    watch=lambda done, _: run.progress(done, len(configs), unit="ensembles"),
)


# %% tags=["hide-input"]
def collect(table):
    """One tidy table of all configurations; `table` turns a history into its part."""
    parts = []
    for (_, width, decay), history in zip(cases, histories, strict=True):
        part = table(history)
        part.insert(1, "bottleneck", width)
        part.insert(2, "gate_decay", decay)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


# every epoch early and late, every fifth between: small enough to be kept with the sources
kept = [e for e in range(epochs + 1) if e <= 20 or e % 5 == 0 or e > epochs - 10]
gates = collect(lambda h: h.gates())
gates = run.table("gates", gates[gates.epoch.isin(kept)].round(5))
gate_runs = run.table("gate_runs", collect(lambda h: h.runs()))
sparsity = collect(lambda h: h.layer_sparsity())
sparsity = sparsity[(sparsity.layer == 1) & sparsity.epoch.isin(kept)]
sparsity = run.table("gate_sparsity", sparsity.drop(columns=["layer", "threshold"]).round(6))
case = ["activation", "bottleneck", "gate_decay"]
alive = gate_runs[~gate_runs.dead][[*case, "run"]]
names = {True: "decayed gate", False: "free gate"}
run.glue("gates-runs", runs)
run.glue("gates-dead", int(gate_runs.dead.sum()))
run.glue("gates-networks", len(gate_runs))
gate_runs.groupby(case, sort=False)["dead"].agg(dead="sum", networks="size").astype(int)

# %% [markdown]
# {glue:text}`gates-dead` of {glue:text}`gates-networks` networks die, in the sense of
# [the previous chapter](11_toy_classification.ipynb). They stay in the figures, thin like the rest; a network
# that has stopped learning has a gate that only decays, or none of its gradient.
#
# ## Where α goes

# %% mystnb={"figure": {"name": "fig-gate-mean", "caption": "Mean of the gate α, the share of ReLU, over validation data and layers. Networks thin, mean thick, 95 % t-interval shaded; the grey line is an even mix."}, "image": {"alt": "Four panels, activation by bottleneck, of mean alpha over epochs for decayed and free gates. Decayed gates settle close to one half. Free gates at bottleneck 4 rise a little and come back to one half; at bottleneck 16 they climb to between 0.7 and 1."}}
over_layers = gates.groupby([*case, "run", "epoch"], sort=False)["mean"].mean().reset_index()
figure, panels = plt.subplots(
    len(gated), len(bottlenecks), sharex=True, sharey=True, squeeze=False, figsize=(7, 5.2)
)
for (row, activation), (column, width) in product(enumerate(gated), enumerate(bottlenecks)):
    panel = panels[row, column]
    rows = over_layers[(over_layers.activation == activation) & (over_layers.bottleneck == width)]
    panel.axhline(0.5, color="0.5", linewidth=1)
    figures.runs_over_epochs(
        rows,
        "mean",
        hue="gate_decay",
        kind="t",
        names=names,
        legend="legend" if row == column == 0 else None,
        ax=panel,
    )
    panel.set(title=f"{figures.LABELS[activation]}, {width} units", ylabel="mean α", xlabel="epoch")
    panel.label_outer()
plt.show()

# %% tags=["remove-input"]
run.figure_data("gates")


# %% tags=["hide-input"]
def late(rows, column):
    """Mean of the last ten epochs of each network."""
    rows = rows[rows.epoch > rows.epoch.max() - 10]
    return rows.groupby([*case, "run"], sort=False)[column].mean()


final = late(over_layers, "mean").reset_index().merge(alive)
table = final.groupby(case, sort=False)["mean"].agg(["mean", "std", "min", "max", "size"])
for (activation, width, decay), values in table.iterrows():
    key = f"{activation.split('_')[0]}-{width}-{'decayed' if decay else 'free'}"
    run.glue(f"gates-alpha-{key}", values["mean"], "{:.3f}")
    run.glue(f"gates-alpha-sd-{key}", values["std"], "{:.3f}")
table.rename(columns={"size": "living networks"}).round(3)

# %% [markdown]
# The table has the mean α over the last ten epochs, living networks only. With decay the learnable gate ends
# at {glue:text}`gates-alpha-learnable-4-decayed` (bottleneck 4) and
# {glue:text}`gates-alpha-learnable-16-decayed` (16), the Gumbel gate at
# {glue:text}`gates-alpha-gumbel-4-decayed` and {glue:text}`gates-alpha-gumbel-16-decayed`. Without decay on
# the gate these are {glue:text}`gates-alpha-learnable-4-free`,
# {glue:text}`gates-alpha-learnable-16-free`, {glue:text}`gates-alpha-gumbel-4-free` and
# {glue:text}`gates-alpha-gumbel-16-free`.
#
# ## Is an even mix a choice?
#
# A mean of one half can be a gate that is 0 for some inputs and 1 for others, or one that says ½ to
# everything. The quantiles tell the two apart: the width of the central 90 % of α over validation data is
# zero for the second.

# %% mystnb={"figure": {"name": "fig-gate-spread", "caption": "Width of the central 90 % of α over validation data (95 % minus 5 % quantile), mean of the layers. Zero means that the gate says the same to every input."}, "image": {"alt": "Four panels as before, of the spread of alpha over epochs. For decayed gates it falls to zero; for free gates it grows, with 4 units to nearly the whole range from 0 to 1."}}
gates["spread"] = gates["q95"] - gates["q05"]
spread = gates.groupby([*case, "run", "epoch"], sort=False)["spread"].mean().reset_index()
figure, panels = plt.subplots(
    len(gated), len(bottlenecks), sharex=True, sharey=True, squeeze=False, figsize=(7, 5.2)
)
for (row, activation), (column, width) in product(enumerate(gated), enumerate(bottlenecks)):
    panel = panels[row, column]
    rows = spread[(spread.activation == activation) & (spread.bottleneck == width)]
    figures.runs_over_epochs(
        rows,
        "spread",
        hue="gate_decay",
        kind="t",
        names=names,
        legend="legend" if row == column == 0 else None,
        ax=panel,
    )
    panel.set(
        title=f"{figures.LABELS[activation]}, {width} units",
        xlabel="epoch",
        ylabel="spread of α",
        ylim=(-0.03, 1.05),
    )
    panel.label_outer()
plt.show()

# %% tags=["remove-input"]
run.figure_data("gates")

# %% [markdown]
# So what pulls? The gate's gradient is weak. It reaches the gate through ReLU − SiLU, which is at most 0.28
# in magnitude, and through the slope of σ, at most ¼. Adam's L2 term is added to this gradient before Adam
# normalises. Where it is the larger of the two, a parameter moves towards zero by about the learning rate a
# step, however small the decay: {glue:text}`gates-lr` a step, {glue:text}`gates-steps` steps an epoch.

# %%
measured = []


def parameter_size(label):
    """Return a watcher that notes each network's root mean square gate parameter."""

    def note(epoch, network):
        for name in ("weight_out", "bias_out"):
            layers_ = [getattr(a.logit, name).detach().flatten(1) for a in network.activations]
            size = np.sqrt(np.mean([p.square().mean(1).numpy() for p in layers_], axis=0))
            measured.extend(
                {"gate": label, "parameter": name, "run": r, "epoch": epoch, "rms": float(value)}
                for r, value in enumerate(size)
            )

    return note


run.glue("gates-lr", f"{lr:g}")
run.glue("gates-steps", base.steps_per_epoch)
narrow = bottlenecks[0]
for (activation, width, decay), config in zip(cases, configs, strict=True):
    if activation == "learnable_stoch" and width == narrow:
        fit(config, watch=parameter_size(names[decay]))
sizes = run.table("gate_parameters", pd.DataFrame(measured))

# %% mystnb={"figure": {"name": "fig-gate-parameters", "caption": "Root mean square of the parameters of the learnable gate's last layer, which makes the logit of α: weights (left) and bias (right), first bottleneck. Without weights α is the same for every input; without bias too it is ½."}, "image": {"alt": "Two panels of root mean square parameters over epochs for decayed and free gates. Left: the weights of decayed gates fall to zero, those of free gates grow throughout. Right: the biases of both stay at small values, one network's decayed bias at zero."}}
figure, axes = plt.subplots(1, 2, sharey=True)
for panel, (name, title) in zip(
    axes, {"weight_out": "weights", "bias_out": "bias"}.items(), strict=True
):
    figures.runs_over_epochs(
        sizes[sizes.parameter == name],
        "rms",
        hue="gate",
        kind="t",
        legend="legend" if name == "bias_out" else None,
        ax=panel,
    )
    panel.set(title=title, ylabel="root mean square")
    panel.label_outer()
plt.show()

# %% tags=["remove-input"]
run.figure_data("gate_parameters")
end = sizes[sizes.epoch == epochs].groupby(["gate", "parameter"])["rms"].median().unstack()
run.glue("gates-rms-decayed", end.loc[names[True], "weight_out"], "{:.2g}")
run.glue("gates-rms-free", end.loc[names[False], "weight_out"], "{:.2g}")
ends = gates[gates.epoch == epochs].merge(alive)
collapsed = ends["q95"] - ends["q05"] < 0.01
constants = ends[collapsed & ends.gate_decay]["q50"]
run.glue("gates-constant-low", constants.min(), "{:.2f}")
run.glue("gates-constant-high", constants.max(), "{:.2f}")
run.glue("gates-constant-free", ends[collapsed & ~ends.gate_decay]["q50"].median(), "{:.2f}")
shares = ends.assign(collapsed=collapsed).groupby(case, sort=False)["collapsed"].mean()
for decay in (True, False):
    share = shares[shares.index.get_level_values("gate_decay") == decay].mean()
    run.glue(f"gates-collapsed-{'decayed' if decay else 'free'}", share, "{:.0%}")
shares.unstack("gate_decay").rename(columns=names).map("{:.0%}".format)

# %% [markdown]
# The typical weight of the last layer ends at {glue:text}`gates-rms-decayed` with decay and at
# {glue:text}`gates-rms-free` without. The table above counts the gates (layers of living networks) that have
# collapsed: less than 0.01 between the 5 % and 95 % quantile of α. It is
# {glue:text}`gates-collapsed-decayed` of the decayed gates and {glue:text}`gates-collapsed-free` of the free
# ones. The collapsed gates are constants between {glue:text}`gates-constant-low` and
# {glue:text}`gates-constant-high`: the weights are gone, and what the bias can still hold against the decay is
# the whole of the gate. (A free gate that has become a constant has saturated: their median α is
# {glue:text}`gates-constant-free`.) **A collapsed gate is no learned preference for an even mix; it no longer sees its
# input.**
#
# ## Which layer, which input

# %% mystnb={"figure": {"name": "fig-gate-layers", "caption": "α after the last epoch by layer, free gates of living networks: median over validation data (dot) and central 90 % (bar), one for each network."}, "image": {"alt": "Four panels, activation by bottleneck, showing for each layer and network the median and range of alpha. With 4 units the bars span most of the range from zero to one; with 16 units most medians lie high, near ReLU."}}
free = ends[~ends.gate_decay]
figure, panels = plt.subplots(
    len(gated), len(bottlenecks), sharex=True, sharey=True, squeeze=False, figsize=(7, 5.2)
)
for (row, activation), (column, width) in product(enumerate(gated), enumerate(bottlenecks)):
    panel = panels[row, column]
    rows = free[(free.activation == activation) & (free.bottleneck == width)]
    at = rows.layer + 0.07 * (rows.run - (runs - 1) / 2)
    panel.axhline(0.5, color="0.5", linewidth=1)
    panel.vlines(at, rows.q05, rows.q95, color=figures.COLOURS[activation], linewidth=1)
    panel.plot(at, rows.q50, ".", color=figures.COLOURS[activation])
    panel.set(
        title=f"{figures.LABELS[activation]}, {width} units",
        xlabel="layer",
        ylabel="α",
        ylim=(0, 1),
        xticks=range(1, layers + 1),
    )
    panel.label_outer()
plt.show()

# %% tags=["remove-input"]
run.figure_data("gates")

# %% [markdown]
# ## Sparsity under a learned gate
#
# T5 has Gumbel StochA start near StochA's share of tiny activations and settle at a much smaller one. A
# first-layer unit with negative input is zero with probability α, so sparsity follows the gate: a gate at
# one half gives a quarter, as StochA with $p = 0.5$ does. It falls only if the gate turns to SiLU where
# inputs are negative.

# %% mystnb={"figure": {"name": "fig-gate-sparsity", "caption": "Sparsity of the first hidden layer of living networks with Gumbel StochA. Networks thin, mean thick, 95 % t-interval shaded; the grey line is one quarter."}, "image": {"alt": "Two panels, one a bottleneck, of the first layer's sparsity over epochs for decayed and free gates of Gumbel StochA. Decayed gates stay around one quarter. Free gates fall to nearly zero with 4 units; with 16 some networks rise to about one half and others fall to zero."}}
gumbel = sparsity[sparsity.activation == "gumbel_stoch"].merge(alive)
figure, panels = plt.subplots(1, len(bottlenecks), sharey=True, squeeze=False)
for column, width in enumerate(bottlenecks):
    panel = panels[0, column]
    panel.axhline(0.25, color="0.5", linewidth=1)
    figures.runs_over_epochs(
        gumbel[gumbel.bottleneck == width],
        "sparsity",
        hue="gate_decay",
        kind="t",
        names=names,
        legend=None if column else "legend",
        ax=panel,
    )
    panel.set(title=f"{width} units", ylim=(0, 1))
    panel.label_outer()
plt.show()

# %% tags=["remove-input"]
run.figure_data("gate_sparsity", "gate_runs")
ended = late(sparsity, "sparsity").reset_index().merge(alive)
shares = ended.groupby(case, sort=False)["sparsity"].mean()
for width in bottlenecks:
    for decay in (True, False):
        key = f"{width}-{'decayed' if decay else 'free'}"
        value = shares.get(("gumbel_stoch", width, decay), float("nan"))
        run.glue(f"gates-sparsity-{key}", value, "{:.3f}")

# %% [markdown]
# At the end it is {glue:text}`gates-sparsity-4-decayed` with a decayed and {glue:text}`gates-sparsity-4-free`
# with a free gate for bottleneck 4, and {glue:text}`gates-sparsity-16-decayed` and
# {glue:text}`gates-sparsity-16-free` for 16.
#
# ## Summary
#
# - With the weight decay of the post on the gates' own parameters, a gate collapses to a constant near ½. This
#   looks like T6 and like the end of T7, and says nothing about what the task prefers.
# - Free gates do not collapse. Their mean α at bottleneck 4 is
#   {glue:text}`gates-alpha-learnable-4-free` (learnable) and {glue:text}`gates-alpha-gumbel-4-free` (Gumbel), but
#   with a wide spread over inputs; at bottleneck 16 it is {glue:text}`gates-alpha-learnable-16-free` and
#   {glue:text}`gates-alpha-gumbel-16-free`, which is where T8 expects a strong preference for ReLU.
# - Gumbel's sparsity at bottleneck 4 (T5) ends at {glue:text}`gates-sparsity-4-free` with a free gate and at
#   {glue:text}`gates-sparsity-4-decayed` with a decayed one. What the post's optimizer did with
#   the gates' parameters is not in its text; T5 and T8 hinge on it.
# - Verdicts, with the criteria that were fixed beforehand, are in the [ledger](01_claims.ipynb).
