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
#     experiment: stocha.toy.speed
#     inputs: ["results/toy_speed.*"]
# ---

# %% [markdown]
# # Speed of the toy study
#
# Fifty networks of a few hundred parameters, a hundred epochs each. What does it gain to train the ten
# networks of one activation **at once**, as stacked matrices, instead of by a loop over batches in a
# process for each network?
#
# **The whole study is {glue:text}`speed-ratio` times as fast; the aim was 15** ({numref}`fig-speed`). The plain loop took
# {glue:text}`speed-loop-minutes` minutes, a study by the ensemble between
# {glue:text}`speed-study-fastest` and {glue:text}`speed-study-slowest` seconds, both with two processes.
# Starting them takes at least another {glue:text}`speed-start-fastest` s, the same for both.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
epochs: "Optional[int]" = None  # epochs measured, of the study's hundred [1, 100]
runs: "Optional[int]" = None  # networks of each activation [1, inf)
repeats: "Optional[int]" = None  # repetitions of each small measurement [1, inf)
workers: "Optional[int]" = None  # processes, one a core, for both ways [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"epochs": 1, "runs": 2, "repeats": 2, "workers": 1},
    "book": {"epochs": 3, "runs": 10, "repeats": 100, "workers": 2},
    "full": {"epochs": 10, "runs": 10, "repeats": 200, "workers": 2},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.base.paths import results_root
from stocha.study.session import open_run
from stocha.toy import speed

run = open_run("41_performance", globals())
figures.style()
full = run.table("recorded", pd.read_csv(results_root() / "toy_speed.csv"))
loop = full[full.method == "reference"].set_index("piece")
stacked = full[full.method == "ensemble"]
study = stacked[stacked.activation == "all"].set_index("piece")
same = stacked[stacked.activation == stacked.piece].set_index("piece")
pieces = pd.DataFrame(
    {
        "plain loop / s": loop.seconds,
        "whole study by the ensemble / s": study.seconds,
        "loop / study": loop.seconds / study.seconds,
        "process time, loop / ensemble": loop.busy / same.busy,
    }
)


def bars(reference, ensemble, ax, unit):
    """For each activation the plain loop's bar, pale, and the ensemble's."""
    at, names = np.arange(len(ensemble)), [figures.LABELS[name] for name in ensemble.index]
    colours = [figures.COLOURS[name] for name in ensemble.index]
    ax.barh(at - 0.2, reference, 0.38, color=colours, alpha=0.4)
    ax.barh(at + 0.2, ensemble, 0.38, color=colours)
    for y, pair in enumerate(zip(reference, ensemble, strict=True)):
        ax.text(pair[1], y + 0.2, f" {pair[0] / pair[1]:.1f}×", va="center")
    ax.set_yticks(at, names)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"{unit} (pale: plain loop, full: ensemble)")


# %% mystnb={"figure": {"name": "fig-speed", "caption": "Processor time of ten networks and a hundred epochs, as recorded: the plain loop and the ensemble."}, "image": {"alt": "Horizontal bars by activation: for each, a pale bar for the plain loop's processor time and a full one for the ensemble's, with the ratio of the two."}} tags=["hide-input"]
bars(loop.busy, same.busy, plt.gca(), "process time / s")
plt.show()
# %% tags=["remove-input"]
run.figure_data("recorded")

# %% tags=["remove-cell"]
run.glue("speed-ratio", pieces["loop / study"].sum(), "{:.1f}")
run.glue("speed-pieces", len(pieces))
run.glue("speed-loop-minutes", loop.seconds.sum() / 60, "{:.1f}")
run.glue("speed-study-fastest", study.seconds.min(), "{:.0f}")
run.glue("speed-study-slowest", study.seconds.max(), "{:.0f}")
run.glue("speed-start-fastest", loop.start.min(), "{:.0f}")

# %% [markdown]
# Both ways do the same work. Given a seed, a network of the ensemble and the network of the plain loop
# follow the same trajectory to rounding error, for every activation; a test holds this. The plain loop is
# written as one would write it: a model of `nn.Linear` layers, a `DataLoader` that shuffles,
# `torch.optim.Adam`, one thread a process, as many processes as cores; the ensemble gets the same number
# of processes. Recording (validation, sparsity, gates) is counted for both.
#
# The speed of a shared machine wanders within minutes, so the record was taken in
# {glue:text}`speed-pieces` pieces: the plain loop over one activation, then at once the whole study by
# the ensemble. Each piece gives the loop's time for its activation **in units of the study that ran
# beside it**, and the sum of these is the ratio for the whole study. The last column compares the time
# in the processes for one activation alone: it is what stacking itself gains, without what two processes
# lose by waiting for the longest training.

# %% tags=["hide-input"]
pieces.round(1)

# %% [markdown]
# ## Other readings of the network
#
# The [search](19_which_setup.ipynb) trains wider layers and other optimizers too. A wider layer gains less from stacking,
# since the plain loop then spends less of its time on calls and more on arithmetic, which both ways share. There is no
# record by reading yet: trials on busy cores put layers of 16 units above the aim of fifteen and layers of 30 and 64
# units below it, and no timed reading below torch's batched products. The record above is older than the present step, which is faster on wide layers.
#
# ## Measured here
#
# A check of the record on the first epochs, on the machine that made this page. Starting the processes,
# their imports and the compilation of the kernels are not counted: on so few epochs they would be most of
# what is counted.

# %% tags=["hide-input"]
run.badge()
found = run.result(speed.run, speed.Config(**run.parameters)).tables
live, parts = found["live"], found["parts"].set_index("activation")
whole = live[(live.method == "ensemble") & (live.activation == "all")]
busy = live[live.activation != "all"]
busy = busy.pivot(index="activation", columns="method", values="busy")

# %% tags=["remove-cell"]
plain = live.loc[live.method == "reference", "seconds"].sum()
run.glue("speed-live-ratio", plain / whole.seconds.sum(), "{:.1f}")
run.glue("speed-live-epochs", epochs)
run.glue("speed-live-loop", plain, "{:.1f}")
run.glue("speed-live-stack", whole.seconds.sum(), "{:.1f}")
run.glue("speed-workers", workers)

# %% [markdown]
# On {glue:text}`speed-live-epochs` of 100 epochs the plain loop took {glue:text}`speed-live-loop` s and the
# ensemble {glue:text}`speed-live-stack` s, on {glue:text}`speed-workers` processes:
# {glue:text}`speed-live-ratio` times. Other programs on the machine move this number; the recorded one was
# taken with that in mind.

# %% mystnb={"figure": {"name": "fig-speed-live", "caption": "The same as {numref}`fig-speed`, for the epochs measured here."}, "image": {"alt": "Horizontal bars by activation of processor time as measured by this build, pale for the plain loop and full for the ensemble, with their ratio."}} tags=["hide-input"]
busy = busy.loc[list(speed.ACTIVATIONS)]
bars(busy.reference, busy.ensemble, plt.gca(), "process time / s")
plt.show()
# %% tags=["remove-input"]
run.figure_data("live")

# %% [markdown]
# ## Where the time goes
#
# One step of the ensemble, taken apart: the training loop with a clock between its lines.

# %% mystnb={"figure": {"name": "fig-speed-parts", "caption": "One step of the ensemble by part, measured here. Shuffling and recording happen once an epoch and are divided by its steps."}, "image": {"alt": "Stacked horizontal bars, one an activation, of microseconds a step spent in seeding, forward, backward, Adam, shuffling and recording."}} tags=["hide-input"]
labelled = parts.rename(index=figures.LABELS).rename_axis(None)
ax = labelled.plot.barh(stacked=True, colormap="cividis", width=0.8, legend=False)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_xlabel("time of a step / µs")
ax.figure.legend(loc="outside lower center", ncols=3)
plt.show()
# %% tags=["remove-input"]
run.figure_data("parts")

# %% tags=["hide-input"]
labelled.assign(sum=labelled.sum(axis=1)).round(0).astype(int)

# %% [markdown]
# ## What paid and what did not
#
# Each line is one decision, measured by itself in this build: what one would write first, and what the ensemble
# does. All of it is on one thread and at the sizes of the study.

# %% tags=["hide-input"]
decisions = found["decisions"].set_index("decision").rename_axis(None)
decisions.rename(
    index=lambda name: name.replace(
        word := name.split(",")[0].split()[-1], figures.LABELS.get(word, word)
    )
).round({"first / µs": 0, "kept / µs": 0, "ratio": 1})

# %% [markdown]
# Also tried, and not kept:
#
# - *Only the activations in kernels*, autograd for the rest. A gate is some thirty operations of autograd, each on a
#   few thousand numbers, and became one kernel each way; but what autograd itself costs a layer remained. So the
#   whole step was written out (`stocha.toy.fast.step`); a property test holds it against autograd in float64.
# - *More threads.* Operations of a few thousand numbers are not worth sharing out; the cores are better used by
#   one process for each activation.
# - *`torch.compile`* was not used: it needs a C++ compiler where the book is built, and compiles for longer than
#   the study runs.
#
# What is left is, for StochA and Gumbel, the draws: one generator for each network, step and layer, which is the price
# of noise that no other draw can move; for the gates, eight hyperbolic tangents an element.
#
# ## Summary
#
# Small networks leave a processor idle: most of a step is calling functions, not computing. Training the networks of an activation
# together makes the whole study {glue:text}`speed-ratio` times as fast, with the same numbers. The gain is smallest where random
# draws take the time, because every network keeps its own.
