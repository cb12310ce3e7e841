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
# **Draw for every element, keep drawing, and let no gate decide.** The toy post {cite:p}`kosti2025fun` asks three
# questions; differences are of validation losses in nats, and a positive one is worse.
#
# - *Gradual or flipped?* It makes no difference that {glue:text}`ask-runs` networks could tell. Going from SiLU to
#   ReLU along a line differs from the flip of Swi+FT {cite:p}`lomeli2025stochastic` by
#   {glue:text}`ask-linear-flip` ({glue:text}`ask-linear-needed` would do). Along a cosine it is worse, by
#   {glue:text}`ask-cosine-flip`. StochA that is left as it is beats both, by {glue:text}`ask-linear-stocha` and
#   {glue:text}`ask-cosine-stocha` ({numref}`fig-ask-change`).
# - *How often?* For every element. Every coarser grain costs {glue:text}`ask-often-least` to
#   {glue:text}`ask-often-most`, and which one hardly matters: from a step to an epoch the losses stay within
#   {glue:text}`ask-often-range` ({numref}`fig-ask-often`).
# - *Should the switch see its input?* No. Both gates lose to a constant p, the learnable one by
#   {glue:text}`ask-learnable` and Gumbel's by {glue:text}`ask-gumbel` ({numref}`fig-ask-gates`).
#
# Every arm has the same budget and {glue:text}`ask-runs` networks with bottleneck 16. Network $r$
# of every arm has the same initialisation and the same batches, so that arms are compared network by
# network. What counts as an answer was [written before](../open_questions.md), and gives
# {glue:text}`ask-verdicts`. Intervals are those of that protocol, 95 % for all differences of a question together.

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
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.base.statistics import Estimate
from stocha.claims.all import verdicts
from stocha.claims.open_questions import differences, final_losses, labels
from stocha.study.session import open_run
from stocha.toy import gradual
from stocha.toy.readings import GATED

run = open_run("13_gradual_or_sudden", globals())
figures.style()
run.badge()
config = gradual.Config(**run.parameters)
found = run.result(gradual.run, config)
tables, data = run.at_full_scale(found)
final, learning = tables["final"], tables["learning"]
names, LOSS = labels(config), "validation loss / nats"
constants = ["relu", "silu", "stocha", *(f"p {p:g}" for p in config.constants)]
under_relu = final_losses(final, "val_loss_relu")
as_trained = final_losses(final, "val_loss_own", constants)


def dots(losses, keys, reference):
    """The differences as dots, a line an arm."""
    losses = losses[[reference, *keys]].melt(ignore_index=False, value_name=LOSS).reset_index()
    figures.paired_differences(losses, LOSS, reference, by="arm", names=names)
    plt.show()


def glue(name, table, arm):
    """A difference with its interval."""
    run.glue(name, Estimate(*table.loc[arm, ["mean", "low", "high"]]).text("+.3f"))


# %% [markdown]
# ## Gradual or flipped
#
# Sparse inference needs ReLU, so all arms are judged with **ReLU** in place of what they train with. The
# learning rate is constant, as in the post; in the paper it has nearly fallen to nothing when the switch comes.

# %% mystnb={"figure": {"name": "fig-ask-curves", "caption": "Validation loss with ReLU over epochs: mean of a hundred networks thick, twenty networks thin."}, "image": {"alt": "Five lines of validation loss under ReLU; all fall within twenty epochs and then climb. SiLU climbs highest; the flip follows it, drops by half at ninety epochs and climbs again. ReLU runs below SiLU, annealing and StochA lowest and close together."}} tags=["hide-input"]
means = learning[learning.run < 0].rename(columns={"val_loss": "mean"})
late = learning[(learning.run >= 0) & (learning.epoch > 0)]
plt.ylim(0.1, 0.6)
figures.courses(means.assign(measure="val_loss"), late, "val_loss", hue="arm", names=names)
plt.ylabel("validation loss with ReLU / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data(f"{data}learning")

# %% mystnb={"figure": {"name": "fig-ask-change", "caption": "Final validation loss with ReLU, minus that of Swi+FT, network by network: dots are pairs, mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences by arm around a zero line. The later flips and StochA lie left of it, annealing along a line just left, along a cosine just right, ReLU and the earlier flip further right."}} tags=["remove-input"]
change = [arm for arm in config.change() if arm not in (config.flip, "silu")]
dots(under_relu, change, config.flip)

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
annealed = [arm for arm in change if arm.startswith("anneal")]
against = differences(under_relu, change, config.flip, 4)
constant = differences(under_relu, annealed, "stocha", 4)
for arm in annealed:
    glue(f"ask-{arm.split()[-1]}-flip", against, arm)
    glue(f"ask-{arm.split()[-1]}-stocha", constant, arm)
run.glue("ask-verdicts", verdicts("Q1", "Q2", "Q3"))
run.glue("ask-linear-needed", against.loc["anneal linear", ""])
run.glue("ask-runs", len(under_relu))
run.glue("ask-dead", int(final.dead.sum()))
run.glue("ask-silu-relu", under_relu["silu"].mean(), "{:.3f}")
run.glue("ask-silu-own", as_trained["silu"].mean(), "{:.3f}")
flips = [f"{under_relu[arm].mean():.3f}" for arm in config.change() if arm.startswith("flip")]
run.glue("ask-flips", ", ".join(flips))
accuracy = final.groupby("arm")["val_accuracy"].mean()
run.glue("ask-accuracy-least", accuracy.min(), "{:.1%}")
run.glue("ask-accuracy-most", accuracy.max(), "{:.1%}")

# %% tags=["hide-input"]
versus = pd.concat({names[config.flip]: against, names["stocha"]: constant}, names=["minus"])
versus.rename(index=names, level=1).round(4)

# %% [markdown]
# The last column says whether a difference is resolved, or how many networks would make it, were the mean
# as it is. {glue:text}`ask-dead` networks died. SiLU evaluated with ReLU
# and without any training for it goes from {glue:text}`ask-silu-own` to {glue:text}`ask-silu-relu`.
#
# Read this with the overfitting in mind. With ReLU all arms classify alike, from
# {glue:text}`ask-accuracy-least` to {glue:text}`ask-accuracy-most` right; what differs is how sure the
# networks are where they err. ReLU without noise makes them surer every epoch ({numref}`fig-ask-curves`), and
# the longer it trains, the higher the loss: flips at 5, 10 and 20 % before the end have
# {glue:text}`ask-flips`. Annealing spends the last tenth almost as ReLU.
#
# ## How often to switch
#
# Alternating SiLU and ReLU every $k$ steps, up to an epoch, is StochA with $p = 1/2$ at a coarser and
# coarser grain, and without chance. Between them lie draws per row and per batch.

# %% mystnb={"figure": {"name": "fig-ask-often", "caption": "Final validation loss with ReLU by how often the activation changes, minus that of a draw per element, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences from StochA drawn per element: draws per layer and row, and alternation every 1 to 32 steps. All lie right of zero, at about a tenth of a nat."}} tags=["remove-input"]
often = list(config.often())
dots(under_relu, often, "stocha")

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
coarser = differences(under_relu, often, "stocha", len(often))
run.glue("ask-often-least", coarser["mean"].min(), "{:.3f}")
run.glue("ask-often-most", coarser["mean"].max(), "{:.3f}")
steps = coarser.loc[[arm for arm in often if arm.startswith("every")], "mean"]
run.glue("ask-often-range", steps.max() - steps.min(), "{:.3f}")

# %% tags=["hide-input"]
coarser.rename(index=names).round(4)

# %% [markdown]
# These tables do not say why. A guess: where every unit has a coin of its own, its share of a sum is uncertain,
# and a network cannot learn to undo that. A coin that a row or a step shares leaves the network two functions to
# learn, and it overfits with both.
#
# ## A switch that sees its input
#
# A gate chooses for every input; a constant p does not look. Each is judged with its own activation, since
# a gate has no meaning under ReLU. The best constant is that of the other half of the networks (odd for
# even, even for odd), so that none is chosen by the networks that judge it.

# %% mystnb={"figure": {"name": "fig-ask-gates", "caption": "Final validation loss, each with its own activation, minus that of the best constant p, network by network, with mean and 95 % t-interval."}, "image": {"alt": "Dot plot of paired differences from the best constant p: other constants, and the two gates."}} tags=["remove-input"]
ranked = sorted(constants, key=lambda arm: as_trained[arm].mean())
others = [arm for arm in ranked if any(as_trained[arm] != as_trained["best"])] + list(GATED)
dots(as_trained, others, "best")

# %% tags=["remove-input"]
run.figure_data(f"{data}final")
gates = differences(as_trained, others, "best", len(GATED))
run.glue("ask-best", names[ranked[0]])
for gate in GATED:
    glue(f"ask-{gate.split('_')[0]}", gates, gate)

# %% tags=["hide-input"]
gates.rename(index=names).round(4)

# %% [markdown]
# The best constant is *{glue:text}`ask-best`*. These networks overfit ([the gates](12_gates.ipynb)
# say how far): a draw is noise, and noise is what they lack. The learnable gate draws none and does worst;
# Gumbel's draws, and loses less.
#
# ## The same, live
#
# A check of the recorded numbers, with fewer networks and epochs: differences from the flip.

# %% tags=["hide-input"]
live = final_losses(found.tables["final"], "val_loss_relu")
live = differences(live, change, config.flip, 4)["mean"]
pd.DataFrame({"recorded": against["mean"], "live": live}).rename(index=names).round(4)

# %% [markdown]
# ## Summary
#
# These networks overfit, and noise helps against that. A coin of its own for every number, tossed at every step and to
# the end, does best. One coin for many numbers, or ReLU and SiLU in turn, costs {glue:text}`ask-often-least` to
# {glue:text}`ask-often-most` nats. Whether the change to ReLU comes at once or little by little is not
# resolved. A gate that decides by looking at its input does worse than the constant *{glue:text}`ask-best`*. None of this
# need hold for a network that does not overfit.
