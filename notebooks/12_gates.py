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
#     experiment: stocha.toy.gates
#     inputs: ["results/12_gates/*.csv"]
# ---

# %% [markdown]
# # What the gates learn
#
# The toy post {cite:p}`kosti2025fun` saw the learnable gate settle at an even mix (T6), the Gumbel gate
# prefer SiLU for a while and then come to rest (T7), both prefer ReLU strongly with a wider bottleneck
# (T8), and Gumbel's sparsity fall (T5). {numref}`fig-gate-spread` decides what an even mix means: the
# gates that end there answer every input alike, {glue:text}`gates-collapsed-decayed` of those with
# weight decay on their own parameters and {glue:text}`gates-collapsed-free` of those without. A
# collapsed gate has learned no preference. The first verdicts of the [ledger](01_claims.ipynb) rest on
# these networks: {glue:text}`gates-verdicts`. The second are of a set-up that was
# [searched](19_which_setup.ipynb).
#
# Two of the activations choose between ReLU and SiLU by a small trained gate
# $\alpha(x) \in [0, 1]$, the weight (learnable mixture) or the probability (Gumbel StochA) of **ReLU**:
#
# $$
# f(x) = \alpha(x)\,\mathrm{ReLU}(x) + (1 - \alpha(x))\,\mathrm{SiLU}(x),
# \qquad \alpha(x) = \sigma(\mathrm{gate}(x)) .
# $$
#
# This chapter trains them with and without weight decay on the gates' own parameters, because an even
# mix is also what a gate gives that has been decayed to nothing: $\sigma(0) = 1/2$.

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
bottlenecks: list[int] = [4, 16]  # widths of all hidden layers [1, inf)
layers: int = 4  # hidden layers [1, inf)
gate_input: str = "element"  # what a gate sees: one pre-activation or its layer {element, layer}
temperature: float = 1.0  # Gumbel StochA: of the relaxation (0, inf)
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
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Tables, ledger
from stocha.study.session import open_run
from stocha.toy import gates as experiment
from stocha.toy.gates import CASE

run = open_run("12_gates", globals())
figures.style()
run.badge()
config = experiment.Config(**run.parameters)
recorded = Tables()
names = ("gates", "gate_runs", "gate_sparsity", "gate_parameters")
gates, gate_runs, sparsity, sizes = (
    run.table(f"full_{name}", recorded("12_gates", name)) for name in names
)
decays = {True: "decayed gate", False: "free gate"}
units = {width: f"{width} units" for width in gates.bottleneck.unique()}
words = figures.LABELS | units
alive = gate_runs[~gate_runs.dead][[*CASE, "run"]]
last = gates.epoch.max()


def grid(rows, y, **options):
    """A panel for each activation and bottleneck: decayed and free gates over epochs."""
    return figures.facets(
        rows,
        "bottleneck",
        lambda part, ax: figures.runs_over_epochs(
            part, y, hue="gate_decay", kind="t", names=decays, ax=ax
        ),
        names=words,
        **options,
    )


# %% [markdown]
# ## The configurations
#
# Two activations, two bottlenecks, weight decay on the gates or not: everything else is as in
# {numref}`fig-toy-loss`, weight decay on the linear layers included. The gate of a layer is a network
# 1 → 8 → 1 with a tanh, shared by the layer's units and applied to one pre-activation at a time; neither
# source says what its gate was. What is shown is the recorded full scale; the last section trains again,
# at the scale of this page. Dead networks, of {glue:text}`gates-runs` each:

# %% tags=["hide-input"]
counts = gate_runs.groupby(CASE, sort=False)["dead"].sum().unstack("gate_decay")
run.glue("gates-runs", gate_runs.run.nunique())
run.glue("gates-dead", int(gate_runs.dead.sum()))
run.glue("gates-networks", len(gate_runs))
counts.rename(index=figures.LABELS, columns=decays)

# %% [markdown]
# {glue:text}`gates-dead` of {glue:text}`gates-networks` networks die, in the sense of
# [the previous chapter](11_toy_classification.ipynb). They stay in the figures, thin like the rest; a network
# that has stopped learning has a gate that only decays, or none of its gradient.
#
# ## Where α goes

# %% mystnb={"figure": {"name": "fig-gate-mean", "caption": "Mean of the gate α, the share of ReLU, over validation data and layers. Networks thin, mean thick, 95 % t-interval shaded; the grey line is an even mix."}, "image": {"alt": "Four panels, activation by bottleneck, of mean alpha over epochs for decayed and free gates. Decayed gates settle close to one half. Free gates at bottleneck 4 rise a little and come back to one half; at bottleneck 16 they climb to between 0.7 and 1."}} tags=["remove-input"]
gates["spread of α"] = gates["q95"] - gates["q05"]
gates["mean α"] = gates["mean"]
measures = ["mean α", "spread of α"]
over_layers = gates.groupby([*CASE, "run", "epoch"], sort=False)[measures].mean().reset_index()
figure = grid(over_layers, "mean α", row="activation", figsize=(7, 5.2))
for ax in figure.axes:
    ax.axhline(0.5, color="0.5", linewidth=1)
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_gates")
final = over_layers[over_layers.epoch > last - 10].merge(alive)
final = final.groupby([*CASE, "run"], sort=False)["mean α"].mean()
table = final.groupby(CASE, sort=False).agg(["mean", "std", "min", "max", "size"])
for (activation, width, decay), mean in table["mean"].items():
    short = f"{activation.split('_')[0]}-{width}-{'decayed' if decay else 'free'}"
    run.glue(f"gates-alpha-{short}", mean, "{:.3f}")

# %% tags=["hide-input"]
table = table.rename(index=figures.LABELS, level=0).rename(index=decays, level=2)
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

# %% mystnb={"figure": {"name": "fig-gate-spread", "caption": "Width of the central 90 % of α over validation data (95 % minus 5 % quantile), mean of the layers. Zero means that the gate says the same to every input."}, "image": {"alt": "Four panels as before, of the spread of alpha over epochs. For decayed gates it falls to zero; for free gates it grows, with 4 units to nearly the whole range from 0 to 1."}} tags=["remove-input"]
grid(over_layers, "spread of α", row="activation", figsize=(7, 5.2))
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_gates")

# %% [markdown]
# So what pulls? The gate's gradient is weak. It reaches the gate through ReLU − SiLU, which is at most 0.28
# in magnitude, and through the slope of σ, at most ¼. Adam's L2 term is added to this gradient before Adam
# normalises. Where it is the larger of the two, a parameter moves towards zero by about the learning rate a
# step, however small the decay: {glue:text}`gates-lr` a step, {glue:text}`gates-steps` steps an epoch.

# %% mystnb={"figure": {"name": "fig-gate-parameters", "caption": "Root mean square of the parameters of the learnable gate's last layer, which makes the logit of α: weights (left) and bias (right), first bottleneck. Without weights α is the same for every input; without bias too it is ½."}, "image": {"alt": "Two panels of root mean square parameters over epochs for decayed and free gates. Left: the weights of decayed gates fall to zero, those of free gates grow throughout. Right: the biases of both stay at small values, one network's decayed bias at zero."}} tags=["remove-input"]
figure = figures.facets(
    sizes,
    "parameter",
    lambda rows, ax: figures.runs_over_epochs(rows, "rms", hue="gate", kind="t", ax=ax),
    names={"weight_out": "weights", "bias_out": "bias"},
)
figure.axes[0].set_ylabel("root mean square")
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_gate_parameters")
end = sizes[sizes.epoch == last].groupby(["gate", "parameter"])["rms"].median()
run.glue("gates-lr", config.lr, "{:g}")
run.glue("gates-steps", config.steps_per_epoch)
run.glue("gates-rms-decayed", end["decayed gate", "weight_out"], "{:.2g}")
run.glue("gates-rms-free", end["free gate", "weight_out"], "{:.2g}")
ends = gates[gates.epoch == last].merge(alive)
ends["collapsed"] = ends["spread of α"] < 0.01
collapsed = ends[ends.collapsed]
constants = collapsed[collapsed.gate_decay]["q50"]
run.glue("gates-constant-low", constants.min(), "{:.2f}")
run.glue("gates-constant-high", constants.max(), "{:.2f}")
run.glue("gates-constant-free", collapsed[~collapsed.gate_decay]["q50"].median(), "{:.2f}")
shares = ends.groupby(CASE, sort=False)["collapsed"].mean().unstack("gate_decay")
run.glue("gates-collapsed-decayed", shares[True].mean(), "{:.0%}")
run.glue("gates-collapsed-free", shares[False].mean(), "{:.0%}")
verdicts = ledger([c for c in CLAIMS if c.id in ("T5", "T6", "T7", "T8")]).set_index("id")
run.glue("gates-verdicts", ", ".join(f"{c} {v}" for c, v in verdicts["first"].items()))

# %% tags=["hide-input"]
shares.rename(index=figures.LABELS, columns=decays).map("{:.0%}".format)

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


# %% mystnb={"figure": {"name": "fig-gate-layers", "caption": "α after the last epoch by layer, free gates of living networks: median over validation data (dot) and central 90 % (bar), one for each network."}, "image": {"alt": "Four panels, activation by bottleneck, showing for each layer and network the median and range of alpha. With 4 units the bars span most of the range from zero to one; with 16 units most medians lie high, near ReLU."}} tags=["remove-input"]
def draw_layers(rows, ax):
    """Median and central 90 % of α of every network, beside each other at its layer."""
    at = rows.layer + 0.07 * (rows.run - rows.run.mean())
    colour = figures.COLOURS[rows.activation.iloc[0]]
    ax.axhline(0.5, color="0.5", linewidth=1)
    ax.vlines(at, rows.q05, rows.q95, color=colour, linewidth=1)
    ax.plot(at, rows.q50, ".", color=colour)
    ax.set(xlabel="layer", ylabel="α", ylim=(0, 1), xticks=sorted(rows.layer.unique()))


free = ends[~ends.gate_decay]
figures.facets(free, "bottleneck", draw_layers, row="activation", names=words, figsize=(7, 5.2))
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_gates")

# %% [markdown]
# ## Sparsity under a learned gate
#
# T5 has Gumbel StochA start near StochA's share of tiny activations and settle at a much smaller one. A
# first-layer unit with negative input is zero with probability α, so sparsity follows the gate: a gate at
# one half gives a quarter, as StochA with $p = 0.5$ does. It falls only if the gate turns to SiLU where
# inputs are negative.

# %% mystnb={"figure": {"name": "fig-gate-sparsity", "caption": "Sparsity of the first hidden layer of living networks with Gumbel StochA. Networks thin, mean thick, 95 % t-interval shaded; the grey line is one quarter."}, "image": {"alt": "Two panels, one a bottleneck, of the first layer's sparsity over epochs for decayed and free gates of Gumbel StochA. Decayed gates stay around one quarter. Free gates fall to nearly zero with 4 units; with 16 some networks rise to about one half and others fall to zero."}} tags=["remove-input"]
gumbel = sparsity[sparsity.activation == "gumbel_stoch"].merge(alive)
for ax in grid(gumbel, "sparsity").axes:
    ax.axhline(0.25, color="0.5", linewidth=1)
plt.show()

# %% tags=["remove-input"]
run.figure_data("full_gate_sparsity", "full_gate_runs")
late = gumbel[gumbel.epoch > last - 10]
for (width, decay), share in late.groupby(["bottleneck", "gate_decay"])["sparsity"].mean().items():
    run.glue(f"gates-sparsity-{width}-{'decayed' if decay else 'free'}", share, "{:.3f}")

# %% [markdown]
# At the end it is {glue:text}`gates-sparsity-4-decayed` with a decayed and {glue:text}`gates-sparsity-4-free`
# with a free gate for bottleneck 4, and {glue:text}`gates-sparsity-16-decayed` and
# {glue:text}`gates-sparsity-16-free` for 16.
#
# ## The same, live
#
# What this page's build trained itself, at its own scale, beside the recorded: mean α of the living
# networks after the last epoch. Fewer networks and epochs, so a rougher number.

# %%
found = run.result(experiment.run, config)

# %% tags=["hide-input"]
live = found.tables["gates"].query("epoch == @config.epochs")
live = live.merge(found.tables["gate_runs"].query("not dead")[[*CASE, "run"]])
both = pd.DataFrame(
    {"live": live.groupby(CASE)["mean"].mean(), "recorded": final.groupby(CASE).mean()}
)
both.rename(index=figures.LABELS, level=0).rename(index=decays, level=2).round(3)

# %% [markdown]
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
#   the gates' parameters is not in its text; T5 and T8 hinge on it, and so says
#   [the search](19_which_setup.ipynb).
