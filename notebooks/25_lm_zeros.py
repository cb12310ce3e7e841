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
#     inputs: ["results/lm_headline/*.csv", "results/lm_arms*/*.csv"]
# ---

# %% [markdown]
# # Where the zeros are
#
# With ReLU more than 90 % of the activations can be zero, says L6 {cite:p}`lomeli2025stochastic`. A neuron whose
# activation is exactly zero need not be computed further: its rows of two of the three matrices stay unread
# ([Sparse inference](32_sparse_ffn.ipynb)).
#
# **Not at this size.** The sparsest arm that ends with ReLU is {glue:text}`lm-zeros-most-arm` with
# {glue:text}`lm-zeros-most-sparsity` ({numref}`fig-lm-sparsity`). Of its neurons {glue:text}`lm-zeros-most-dead` are dead, and
# among the living {glue:text}`lm-zeros-most-sparsity-live` of the values are zero. The least sparse is
# {glue:text}`lm-zeros-least-arm` with {glue:text}`lm-zeros-least-sparsity`. The paper's models are thousands of times larger.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.claims.lm import l6_sparsity_above_90_percent
from stocha.claims.open_questions import limit
from stocha.lm import campaign
from stocha.study.session import open_run

run = open_run("25_lm_zeros", globals())
figures.style()
pd.options.display.max_colwidth = None
points, layers, union, cuts = (
    run.table(name, campaign.recorded(Tables(), name))
    for name in ("points", "sparsity", "union_sparsity", "threshold")
)
names = campaign.labels(points)
ending = [arm for arm in names if campaign.ends_with_relu(arm)]
chosen = ["relu", "silu+ft(0.1)", "stocha(0.7)+ft(0.1)"]
looks = figures.look(chosen)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-sparsity", "caption": "Share of exact zeros after the activation, mean of the layers, of the arms that end with ReLU. Dots are seeds; mark and bar their mean and 95 % t-interval; the line is the 0.9 of L6."}, "image": {"alt": "Dot plot of the mean sparsity of every arm that ends with ReLU, one line an arm, with a vertical line at 0.9."}}
plt.figure(figsize=(figures.WIDTH, 0.9 + 0.4 * len(ending)))
axes = figures.estimates(points[points["arm"].isin(ending)], "sparsity", by="arm")
axes.axvline(0.9, color="grey", linestyle="--", linewidth=1)
axes.set_xlabel("share of exact zeros")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% tags=["remove-cell"]
own = layers[layers["form"] == "own"]
run.glue("lm-zeros-verdict", str(l6_sparsity_above_90_percent.assess(Tables()).verdict))
summary = own.groupby("arm")[["sparsity", "dead", "sparsity_live"]].mean().loc[ending]
for key, arm in {
    "most": summary["sparsity"].idxmax(),
    "least": summary["sparsity"].idxmin(),
}.items():
    run.glue(f"lm-zeros-{key}-arm", names[arm])
    for column, value in summary.loc[arm].items():
        run.glue(f"lm-zeros-{key}-{column.replace('_', '-')}", value, "{:.3f}")

# %% [markdown]
# ## How many
#
# Mean share of exact zeros over layers, each model with its own activation, of the arms that end with
# ReLU. A *dead* neuron is zero at every token evaluated; the sparsity of the living is the share of
# zeros among the other neurons.

# %% tags=["hide-input"]
words = {"dead": "dead neurons", "sparsity_live": "sparsity of the living"}
summary.rename(index=names, columns=words).round(3)

# %% [markdown]
# ## Which layer, which token

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-zeros-layers", "caption": "Share of zeros by layer: median over tokens (mark) and central 90 % (bar), mean of the seeds; the hollow mark is the sparsity of the living neurons, mean over tokens."}, "image": {"alt": "Sparsity by layer for a few arms that end with ReLU: a mark and a vertical bar for the range over tokens, and a hollow mark for living neurons only."}}
by_layer = own.groupby(["arm", "layer"])[["q05", "q50", "q95", "sparsity_live"]].mean()
axes = plt.gca()
for place, arm in enumerate(chosen):
    rows, look = by_layer.loc[arm], looks[arm] | {"linestyle": ""}
    at = rows.index + 1 + 0.15 * (place - 1)
    axes.vlines(at, rows["q05"], rows["q95"], color=look["color"], linewidth=2)
    axes.plot(at, rows["q50"], **look)
    axes.plot(at, rows["sparsity_live"], **look | {"markerfacecolor": "none", "label": None})
axes.set(xlabel="layer", ylabel="share of zeros", ylim=(0, 1))
axes.set_xticks(sorted(own["layer"].unique() + 1))
figures.legend_below(axes.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("sparsity")

# %% [markdown]
# ## From one token to several
#
# A kernel that reads weights once for k tokens can skip a neuron only if it is zero at all of them. If zeros
# fell independently, a share s would leave s to the power k; neurons that are often zero leave more. *Consecutive* are
# neighbours in a text, as in speculative decoding; *windows* are the same position of k texts, a batch.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-union", "caption": "Share of neurons that are zero at all of k tokens, under ReLU, mean of the layers. Seeds thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Two panels of the share of neurons zero at all of k tokens, against k from 1 to 32: consecutive tokens on the left, windows of a batch on the right, a few arms each."}}
joint = union[(union["form"] == "relu") & union["arm"].isin(chosen)]
joint = joint.groupby(["among", "arm", "seed", "tokens"])["sparsity"].mean().reset_index()
run.table("union", joint)
figure, panels = plt.subplots(1, 2, sharey=True)
for panel, (among, rows) in zip(panels, joint.groupby("among"), strict=True):
    panel.set_xscale("log", base=2)
    look = {"hue": "arm", "run": "seed", "kind": "t", "legend": None, "ax": panel}
    figures.runs_over_epochs(rows, "sparsity", x="tokens", **look)
    panel.set(title=among, xlabel="tokens together (k)", ylabel="zero at all of them", ylim=(0, 1))
    panel.set_xticks(sorted(rows["tokens"].unique()), sorted(rows["tokens"].unique()))
    panel.label_outer()
figures.legend_below(figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("union")

# %% [markdown]
# A gated layer at sparsity s can be at most 3 / (1 + 2 (1 − s)) times as fast: all of its first matrix is read, and of the other
# two the rows of active neurons. What joint sparsity leaves of that limit, mean over seeds:

# %% tags=["hide-input"]
kept = joint.groupby(["arm", "among", "tokens"])["sparsity"].mean()
limits = limit(kept).unstack("tokens").rename(columns="k = {}".format)
limits.rename(index=names).map("{:.2f}×".format)

# %% [markdown]
# ## A threshold on SiLU
#
# SiLU has no zeros to skip, but values near zero. Set those below a threshold to zero and the loss may rise; how
# much sparsity does a given rise buy? A model that ends with ReLU starts at its zeros, at no cost.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-threshold", "caption": "Rise of the validation loss against sparsity when values below a growing threshold are set to zero; each model with its own activation. Seeds thin, mean over seeds at equal thresholds thick; the axis ends at 0.2 nats."}, "image": {"alt": "Rise of the loss against sparsity for SiLU, ReLU and two Swi+FT arms, one line an arm, as the threshold grows."}}
lines = ["silu", *chosen]
cuts["cost"] = cuts["loss"] - cuts.groupby(["arm", "seed"])["loss"].transform("first")
axes, looks = plt.gca(), figures.look(lines)
for arm in lines:
    rows = cuts[cuts["arm"] == arm]
    for _, single in rows.groupby("seed"):
        thin = {"color": looks[arm]["color"], "linewidth": 0.6, "alpha": 0.35}
        axes.plot(single["sparsity"], single["cost"], **thin)
    mean = rows.groupby("threshold")[["sparsity", "cost"]].mean()
    axes.plot(mean["sparsity"], mean["cost"], ms=4, **looks[arm])
axes.set(xlabel="share of zeros", ylabel="rise of the loss / nats", xlim=(0, 1), ylim=(-0.01, 0.2))
figures.legend_below(axes.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("threshold")

# %% tags=["hide-input"]
shown = {"sparsity": "exact zeros", "sparsity_at_0.03": "zeros at a rise of 0.03 nats"}
wide = {column: campaign.by_seed(points, column) for column in (*shown, "loss")}
bought = pd.DataFrame(
    {
        words: {arm: campaign.over_seeds(wide[column][arm]).value(".3f") for arm in lines}
        for column, words in shown.items()
    }
)
above = {arm: campaign.paired(wide["loss"], arm, "silu").value() for arm in lines[1:]}
bought["loss − SiLU's, no threshold"] = pd.Series({"silu": "0"} | above)
run.glue("lm-zeros-silu-bought", bought.loc["silu", shown["sparsity_at_0.03"]])
run.glue("lm-zeros-relu-free", bought.loc["relu", shown["sparsity"]])
run.table("bought", bought.rename_axis("arm").reset_index()).set_index("arm").rename(index=names)

# %% [markdown]
# With a rise of 0.03 nats allowed, the share of zeros of SiLU is {glue:text}`lm-zeros-silu-bought`; ReLU, trained
# from scratch, has {glue:text}`lm-zeros-relu-free` without a threshold. Whether a SiLU value lies below the threshold is
# known after the first matrix, as with ReLU, so the same kernel skips it; but its result is no longer exact. The models start at
# different losses: the last column adds to the rise.
#
# ## Summary
#
# In models this small ReLU leaves a share of {glue:text}`lm-zeros-most-sparsity` of the values zero, not nine tenths. For one
# token that is worth something. Several tokens together need nearly all neurons, and the gain melts away. SiLU
# with small values cut to zero is no way around ReLU: a rise of 0.03 nats buys a share of {glue:text}`lm-zeros-silu-bought`.
# The paper's claim, L6, is *{glue:text}`lm-zeros-verdict`* by the [protocol](../lm_protocol.md), because it says that such zeros exist
# in models thousands of times larger ([*Claims*](01_claims.ipynb)).
