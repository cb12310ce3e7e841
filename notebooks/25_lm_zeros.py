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
#     inputs: ["results/lm_campaign*/*.csv", "sweeps/lm_campaign*.yml", "notebooks/21_lm_run.py"]
# ---

# %% [markdown]
# # Where the zeros are
#
# A neuron whose activation is exactly zero need not be computed further: its rows of two of the three matrices
# stay unread ([Sparse inference](32_sparse_ffn.ipynb)). L6 says that with ReLU more than 90 % can be zero
# {cite:p}`lomeli2025stochastic`. This page asks where they are, whether they are the same from token to token, and
# what a threshold on SiLU would buy instead.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from stocha.claims.lm_paper import ends_with_relu

from stocha import figures
from stocha.base.paths import project_root
from stocha.claims import campaign
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("25_lm_zeros", globals())
figures.style()
pd.options.display.max_colwidth = None
sweeps = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]
points = run.table("points", campaign.recorded_or_empty("points"))
progress = campaign.progress([p for s in sweeps for p in s.points], points)
done, wanted = progress["recorded"].sum(), progress[["recorded", "missing"]].sum().sum()
have = [arm for arm in progress["arm"] if arm in set(points["arm"])]
names = {arm: campaign.label(arm) for arm in progress["arm"]}
if missing := campaign.incomplete(campaign.SWEEPS, done, wanted):
    display(Markdown(missing))

# %% [markdown]
# ## How many
#
# Mean share of exact zeros over layers, each model with its own activation, of the arms that end as a
# ReLU model. A *dead* neuron is zero at every token evaluated; the sparsity of the living is the share of
# zeros among the other neurons.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-sparsity", "caption": "Share of exact zeros after the activation, mean of the layers, of the arms that end with ReLU. Dots are seeds; mark and bar their mean and 95 % t-interval; the line is the 0.9 of L6."}, "image": {"alt": "Dot plot of the mean sparsity of every arm that ends with ReLU, one line an arm, with a vertical line at 0.9."}}
ending = [arm for arm in have if ends_with_relu(arm)]
figure = plt.figure(figsize=(figures.WIDTH, 4.6))
if ending:
    shown = points.set_index("arm").loc[ending].reset_index()
    figures.estimates(shown, "sparsity", by="arm", names=names)
    plt.axvline(0.9, color="grey", linestyle="--", linewidth=1)
    plt.gca().set_xlabel("share of exact zeros")
else:
    figures.blank()
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% tags=["hide-input"]
layers = run.table("sparsity", campaign.recorded_or_empty("sparsity"))
own = layers[layers["form"] == "own"] if len(layers) else layers
summary = pd.DataFrame(columns=["sparsity", "dead", "sparsity_live"])
if ending and len(own):
    summary = own.groupby("arm")[["sparsity", "dead", "sparsity_live"]].mean().reindex(ending)
most, least = (
    (summary["sparsity"].idxmax(), summary["sparsity"].idxmin()) if len(summary) else (None, None)
)
for key, arm in {"most": most, "least": least}.items():
    run.glue(f"lm-zeros-{key}-arm", names.get(arm, "—"))
    for column in summary:
        value = f"{summary.loc[arm, column]:.3f}" if arm else "—"
        run.glue(f"lm-zeros-{key}-{column.replace('_', '-')}", value)
words = {"dead": "dead neurons", "sparsity_live": "sparsity of the living"}
summary.rename(index=names, columns=words).rename_axis("arm").round(3)

# %% [markdown]
# The sparsest of them is {glue:text}`lm-zeros-most-arm` with {glue:text}`lm-zeros-most-sparsity`; of its neurons
# {glue:text}`lm-zeros-most-dead` are dead, and among the living {glue:text}`lm-zeros-most-sparsity-live` of
# the values are zero. The least sparse is {glue:text}`lm-zeros-least-arm` with {glue:text}`lm-zeros-least-sparsity`.
#
# ## Which layer, which token

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-zeros-layers", "caption": "Share of zeros by layer: median over tokens (mark) and central 90 % (bar), mean of the seeds; the hollow mark is the sparsity of the living neurons, mean over tokens."}, "image": {"alt": "Sparsity by layer for a few arms that end with ReLU: a mark and a vertical bar for the range over tokens, and a hollow mark for living neurons only."}}
chosen = ["relu", "silu+ft(0.1)", "stocha(0.5)+ft(0.1)", "anneal"]
chosen = [arm for arm in chosen if arm in ending]
if chosen and len(own):
    axes, looks = plt.gca(), figures.look(chosen)
    columns = ["q05", "q50", "q95", "sparsity_live"]
    by_layer = own.groupby(["arm", "layer"])[columns].mean()
    for place, arm in enumerate(chosen):
        rows, colour = by_layer.loc[arm], looks[arm]["color"]
        at = rows.index + 1 + 0.15 * (place - (len(chosen) - 1) / 2)
        axes.vlines(at, rows["q05"], rows["q95"], color=colour, linewidth=2)
        mark = {"marker": looks[arm]["marker"], "color": colour, "linestyle": ""}
        axes.plot(at, rows["q50"], label=names[arm], **mark)
        axes.plot(at, rows["sparsity_live"], markerfacecolor="none", **mark)
    axes.set(xlabel="layer", ylabel="share of zeros", ylim=(0, 1))
    axes.set_xticks(sorted(own["layer"].unique() + 1))
    plt.gcf().legend(loc="outside lower center", ncols=2)
else:
    figures.blank()
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
union = campaign.recorded_or_empty("union_sparsity")
joint = pd.DataFrame(columns=["among", "arm", "seed", "tokens", "sparsity"])
if len(union):
    keys = ["among", "arm", "seed", "tokens"]
    joint = union[union["form"] == "relu"].groupby(keys)["sparsity"].mean().reset_index()
run.table("union", joint)
figure, panels = plt.subplots(1, 2, sharey=True)
for panel, among in zip(panels, ("consecutive tokens", "windows"), strict=True):
    rows = joint[(joint["among"] == among) & joint["arm"].isin(chosen)]
    if rows.empty:
        figures.blank(ax=panel)
        continue
    rows = rows.set_index("arm").loc[chosen].reset_index()
    panel.set_xscale("log", base=2)
    figures.runs_over_epochs(
        rows,
        "sparsity",
        x="tokens",
        hue="arm",
        run="seed",
        kind="t",
        names=names,
        legend=None,
        ax=panel,
    )
    panel.set(title=among, xlabel="tokens together (k)", ylabel="zero at all of them", ylim=(0, 1))
    panel.set_xticks(sorted(rows["tokens"].unique()), sorted(rows["tokens"].unique()))
    panel.label_outer()
if chosen:
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
plt.show()

# %% tags=["remove-input"]
run.figure_data("union")

# %% [markdown]
# At sparsity s the traffic of a gated layer falls by at most 3 / (1 + 2 (1 − s)): all of W1 is read, and of the other two
# matrices the rows of active neurons. What joint sparsity leaves of that limit, mean over seeds:

# %% tags=["hide-input"]
limits = pd.DataFrame(columns=["arm", "among"])
if chosen:
    kept = joint[joint["arm"].isin(chosen)].groupby(["arm", "among", "tokens"])["sparsity"].mean()
    limits = (3 / (1 + 2 * (1 - kept))).unstack("tokens").reindex(chosen, level="arm")
    run.table("limits", limits.rename(columns=lambda k: f"tokens_{k}").reset_index())
    limits = limits.rename(index=names).rename(columns=lambda k: f"k = {k}")
limits.map("{:.2f}×".format) if chosen else Markdown("Not recorded yet.")

# %% [markdown]
# ## A threshold on SiLU
#
# SiLU has no zeros to skip, but values near zero. Set those below a threshold to zero and the loss may rise; how
# much sparsity does a given rise buy? A model that ends with ReLU starts at its zeros, at no cost.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-threshold", "caption": "Rise of the validation loss against sparsity when values below a growing threshold are set to zero; each model with its own activation. Seeds thin, mean over seeds at equal thresholds thick; the axis ends at 0.2 nats."}, "image": {"alt": "Rise of the loss against sparsity for SiLU, ReLU and two Swi+FT arms, one line an arm, as the threshold grows."}}
cuts = campaign.recorded_or_empty("threshold")
lines = [
    arm for arm in ("silu", "gelu", "relu", "silu+ft(0.1)", "stocha(0.5)+ft(0.1)") if arm in have
]
if len(cuts):
    start = cuts.groupby(["arm", "seed"])["loss"].transform("first")
    cuts = cuts.assign(cost=cuts["loss"] - start)
run.table("threshold", cuts)
if lines and len(cuts):
    axes, looks = plt.gca(), figures.look(lines)
    for arm in lines:
        rows, shape = cuts[cuts["arm"] == arm], looks[arm] | {"label": names[arm]}
        for _, single in rows.groupby("seed"):
            axes.plot(
                single["sparsity"], single["cost"], color=shape["color"], linewidth=0.6, alpha=0.35
            )
        mean = rows.groupby("threshold")[["sparsity", "cost"]].mean()
        axes.plot(mean["sparsity"], mean["cost"], ms=4, **shape)
    axes.set(
        xlabel="share of zeros", ylabel="rise of the loss / nats", xlim=(0, 1), ylim=(-0.01, 0.2)
    )
    axes.legend()
else:
    figures.blank()
plt.show()

# %% tags=["remove-input"]
run.figure_data("threshold")


# %% tags=["hide-input"]
def above_silu(arm):
    """The paired difference of the loss from SiLU's, in words."""
    if arm == "silu":
        return "0"
    return campaign.paired(campaign.by_seed(points, "loss"), arm, "silu").value()


at_cost = campaign.by_seed(points, "sparsity_at_0.03") if have else pd.DataFrame()
zeros = campaign.by_seed(points, "sparsity") if have else pd.DataFrame()
rows = {}
for arm in lines:
    bought = campaign.over_seeds(at_cost[arm])
    free = campaign.over_seeds(zeros[arm])
    rows[names[arm]] = {
        "exact zeros": free.value(".3f"),
        "zeros at a rise of 0.03 nats": bought.value(".3f"),
        "loss − SiLU's, no threshold": above_silu(arm),
    }
bought = pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")
run.table("bought", bought.reset_index())
silu, relu = (names[arm] for arm in ("silu", "relu"))
run.glue("lm-zeros-silu-bought", rows.get(silu, {}).get("zeros at a rise of 0.03 nats", "—"))
run.glue("lm-zeros-relu-free", rows.get(relu, {}).get("exact zeros", "—"))
bought

# %% [markdown]
# With a rise of 0.03 nats allowed, the share of zeros of SiLU is {glue:text}`lm-zeros-silu-bought`; ReLU, trained
# from scratch, has {glue:text}`lm-zeros-relu-free` without a threshold. Whether a SiLU value lies below the threshold is
# known after W1, as with ReLU, so the same kernel skips it; but its result is no longer exact. The models start at
# different losses: the last column adds to the rise.
#
# The verdict on L6, by the criterion of the [protocol](../lm_protocol.md), is in the [ledger](01_claims.ipynb).
