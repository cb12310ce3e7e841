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
#     inputs: ["results/11_toy_classification/*.csv", "results/toy_first_gates/*.csv"]
# ---

# %% [markdown]
# # What the gates learn
#
# **With few units the gates stay undecided on average; with many they choose ReLU.** Two of the activations
# choose between ReLU and SiLU by a small trained gate $\alpha(x) \in [0, 1]$, the weight (learnable mixture) or the
# probability (Gumbel StochA) of **ReLU**:
#
# $$
# f(x) = \alpha(x)\,\mathrm{ReLU}(x) + (1 - \alpha(x))\,\mathrm{SiLU}(x),
# \qquad \alpha(x) = \sigma(\mathrm{gate}(x)) .
# $$
#
# With a bottleneck of 4 units the learnable gate's mean ends at {glue:text}`gates-learnable_stoch-4` (T6,
# {numref}`fig-gates-narrow`). With 16 it ends at {glue:text}`gates-learnable_stoch-16` and Gumbel's at
# {glue:text}`gates-gumbel_stoch-16` (T8, {numref}`fig-gates-wide`). Both are what the toy post
# {cite:p}`kosti2025fun` saw. Undecided on average is not indifferent: from one input to the next a gate's answers
# span {glue:text}`gates-spread-4` of the whole range.
#
# One observation does *not* come back, a Gumbel gate that first prefers SiLU (T7): its mean starts at
# {glue:text}`gates-start`, and its lowest value early on is {glue:text}`gates-lowest`. Verdicts on this set-up, and on
# the one fixed before the data: {glue:text}`gates-verdicts`.
#
# The gate of a layer is a network 1 → 8 → 1 with a tanh, shared by the layer's units and applied to one
# pre-activation at a time. The networks are those of [the previous chapter](11_toy_classification.ipynb).

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded tables {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.claims.all import judged, verdicts
from stocha.claims.ledger import Tables
from stocha.study.session import open_run

run = open_run("12_gates", globals())
figures.style()
recorded = Tables()
epochs, lines, networks, gates = (
    run.table(name, recorded("11_toy_classification", name))
    for name in ("epochs", "lines", "networks", "gates")
)
narrow, wide = sorted(networks.bottleneck.unique())
gated = list(gates.activation.unique())


def draw_gates(bottleneck):
    """α over epochs of both gates: mean, twenty networks, and what inputs it spans."""
    _, panels = plt.subplots(1, 2, sharey=True)
    for ax, name in zip(panels, gated, strict=True):
        case = f"activation == '{name}' and bottleneck == {bottleneck}"
        own = gates.query(case).groupby("epoch")[["q05", "q95"]].mean()
        colour = figures.COLOURS[name]
        ax.fill_between(own.index, own["q05"], own["q95"], color=colour, alpha=0.12, linewidth=0)
        ax.set(ylim=(0, 1), title=figures.LABELS[name])
        ax.axhline(0.5, color="0.5", linewidth=0.8)
        means = epochs.query(f"{case} and measure == 'alpha'")
        label = {name: f"mean {means['mean'].iloc[-1]:.2f}"}
        figures.courses(means, lines.query(case), "alpha", names=label, ax=ax)
        ax.set_ylabel("α: 0 is SiLU, 1 is ReLU")
        ax.label_outer()
    plt.show()


# %% mystnb={"figure": {"name": "fig-gates-narrow", "caption": "The gates with bottleneck 4: mean α over inputs and layers of a hundred networks (thick) and of twenty of them (thin); the band is the central 90 % of α over the inputs of one layer, on average."}, "image": {"alt": "Two panels of α over epochs, learnable mixture and Gumbel StochA. Both means stay near one half; the shaded band widens within twenty epochs to nearly the whole range."}} tags=["remove-input"]
draw_gates(narrow)

# %% tags=["remove-input"]
run.figure_data("epochs", "lines", "gates")

# %% mystnb={"figure": {"name": "fig-gates-wide", "caption": "The same with bottleneck 16, where the networks can overfit."}, "image": {"alt": "Two panels of α over epochs. Both means climb from one half to between 0.7 and 0.8 and stay there."}} tags=["remove-input"]
draw_gates(wide)

# %% tags=["remove-input"]
run.figure_data("epochs", "lines", "gates")
alpha = networks.dropna(subset="alpha_last").groupby(["activation", "bottleneck"])
run.glue("gates-{}-{}", alpha["alpha_last"].mean(), "{:.2f}")
run.glue("gates-spread-4", alpha["alpha_spread"].mean()["learnable_stoch", narrow], "{:.0%}")
gumbel = networks.query("activation == 'gumbel_stoch' and bottleneck == @narrow")
early = gumbel[[f"alpha_{epoch}" for epoch in (1, 2, 5, 10, 20)]].mean()
zeros = networks.query("layer == 1 and bottleneck == @narrow").groupby("activation")
zeros = zeros["sparsity_last"].mean()
run.glue("gates-below-zero", zeros["gumbel_stoch"] / zeros["relu"], "{:.2f}")
run.glue("gates-mean-first", gumbel.query("layer == 1")["alpha_last"].mean(), "{:.2f}")
run.glue("gates-start", gumbel["alpha_start"].mean(), "{:.3f}")
run.glue("gates-lowest", early.min(), "{:.3f}")
run.glue("gates-verdicts", verdicts("T5", "T6", "T7", "T8"))
run.glue("gates-would", judged("T7")["would"]["T7"])

# %% [markdown]
# ## Where the network can overfit
#
# With 16 units the training loss goes to {glue:text}`gates-train-16` while the validation loss ends at
# {glue:text}`gates-val-16`; with 4 they are {glue:text}`gates-train-4` and {glue:text}`gates-val-4`
# (learnable mixture). A gate learns from the training loss alone, and there the second to fourth layers
# take ReLU: their means end at {glue:text}`gates-deep-least` to {glue:text}`gates-deep-most`. The first layer does not join in, with
# {glue:text}`gates-first-learnable_stoch` (learnable) and {glue:text}`gates-first-gumbel_stoch` (Gumbel). That
# the choice does not help in validation, [the third question](13_gradual_or_sudden.ipynb) shows. Mean α in
# the end, by layer:

# %% tags=["hide-input"]
losses = networks.query("activation == 'learnable_stoch'").groupby("bottleneck")
run.glue("gates-train-{}", losses["train_loss"].mean(), "{:.3f}")
run.glue("gates-val-{}", losses["val_loss"].mean(), "{:.3f}")
by_layer = networks.dropna(subset="alpha_last")
by_layer = by_layer.groupby(["activation", "bottleneck", "layer"], sort=False)["alpha_last"].mean()
deep = by_layer.loc[:, wide].unstack("layer")
run.glue("gates-deep-least", deep.loc[:, 2:].min().min(), "{:.2f}")
run.glue("gates-deep-most", deep.loc[:, 2:].max().max(), "{:.2f}")
run.glue("gates-first-{}", deep[1], "{:.2f}")
by_layer.unstack("layer").rename(index=figures.LABELS, level=0).round(3)

# %% [markdown]
# What would decide T7? {glue:text}`gates-would`
#
# Perhaps T7 was about one layer's gate. Only the first layer's turns to SiLU, and it stays there. Gumbel's α at
# bottleneck 4 by layer, before training, after so many epochs, and in the end:

# %% tags=["hide-input"]
on_the_way = ["alpha_start", *early.index, "alpha_last"]
course = gumbel.groupby("layer")[on_the_way].mean()
course.rename(columns=lambda name: name.removeprefix("alpha_")).round(3)

# %% [markdown]
# ## An even mix that is no choice
#
# If weight decay acts inside Adam, the gates end at one half too, but for another reason. A gate's
# gradient is weak: it passes through ReLU − SiLU, at most 0.28 in magnitude, and through the slope of σ, at
# most ¼. Adam normalises it *together with* the decay, so the weights go to zero and the gate gives the same
# answer to every input, $\sigma(0) = 1/2$ ({numref}`fig-gates-decayed`, from the networks of the first
# reading). With decay on the gates' parameters {glue:text}`gates-collapsed-decayed` of the gates end as
# constants, without it {glue:text}`gates-collapsed-free`. **A collapsed gate has no preference; it no
# longer sees its input.** So T6 now also asks that the gate has moved, not only where it ends.

# %% mystnb={"figure": {"name": "fig-gates-decayed", "caption": "The literal reading, bottleneck 4: width of the central 90 % of α over inputs, with and without L2 decay on the gates' own parameters. Ten networks thin, their mean thick; zero is a gate that says the same to every input."}, "image": {"alt": "Two panels over epochs. With decay the width falls to zero for all networks, without it the width rises to nearly one."}} tags=["hide-input"]
first = recorded("toy_first_gates", "gates")
first["spread"] = first["q95"] - first["q05"]
small = run.table("first", first[first.bottleneck == narrow])
over = small.groupby(["activation", "gate_decay", "run", "epoch"], sort=False)["spread"].mean()
look = {"hue": "gate_decay", "kind": "t", "names": {True: "decay", False: "no decay"}}
figure = figures.facets(
    over.reset_index(),
    "activation",
    lambda rows, ax: figures.runs_over_epochs(rows, "spread", legend="direct", ax=ax, **look),
    subplot_kw={"ylim": (-0.02, 1.02)},
)
figure.axes[0].set_ylabel("width of the central 90 % of α")
plt.show()

# %% tags=["remove-input"]
run.figure_data("first")
runs = recorded("toy_first_gates", "gate_runs").query("not dead")
ends = first[first.epoch == first.epoch.max()].merge(
    runs[["activation", "bottleneck", "gate_decay", "run"]]
)
collapsed = (ends["spread"] < 0.01).groupby(ends["gate_decay"]).mean()
run.glue("gates-collapsed-decayed", collapsed[True], "{:.0%}")
run.glue("gates-collapsed-free", collapsed[False], "{:.0%}")

# %% [markdown]
# ## Why Gumbel's zeros vanish
#
# Gumbel StochA starts near StochA's share of zeros and then loses them (T5). A unit with a negative input is
# zero with probability α of *that input*, so the share falls where the gate turns to SiLU below zero, whatever
# it does above. In the first layer the mean of α ends at {glue:text}`gates-mean-first`, but below zero it
# must be near {glue:text}`gates-below-zero`: Gumbel's share of zeros, divided by ReLU's, which counts the
# negative inputs. The wide band of {numref}`fig-gates-narrow` hides this.
#
# ## Summary
#
# A gate that may choose between ReLU and SiLU for every number chooses by the size of the network. In one that
# is too narrow to overfit, it answers differently from input to input, and on average has no preference
# ({glue:text}`gates-learnable_stoch-4`, where 1 is ReLU and 0 is SiLU). In a wider one it moves to ReLU
# ({glue:text}`gates-learnable_stoch-16`), because that lowers the training loss; the validation loss ends at
# {glue:text}`gates-val-16`, higher than in the narrow one ({glue:text}`gates-val-4`). An average of one half is no evidence of a choice: gates that have
# stopped seeing their input have it too.
