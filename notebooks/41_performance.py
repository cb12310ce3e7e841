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
#     inputs: ["results/toy_speed.*"]
# ---

# %% [markdown]
# # Speed of the toy study
#
# Fifty networks of a few hundred parameters, a hundred epochs each: the plain way is a loop over batches, in
# a process for each network. The study trains the ten networks of one activation **at once**, as stacked matrices.
# This chapter measures what that gains, where the time goes, and which of the things tried paid.
#
# Both ways do the same work. Given a seed, a network of the ensemble and the network of the plain loop
# follow the same trajectory to rounding error, for every activation; a test holds this.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
epochs: int | None = None  # epochs of the study's hundred that are measured live [1, 100]
runs: int | None = None  # networks of each activation [1, inf)
repeats: int | None = None  # repetitions of each small measurement [1, inf)
workers: int | None = None  # processes, one a core, for both ways [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"epochs": 1, "runs": 2, "repeats": 2, "workers": 1},
    "book": {"epochs": 3, "runs": 10, "repeats": 100, "workers": 2},
    "full": {"epochs": 10, "runs": 10, "repeats": 200, "workers": 2},
}

# %% tags=["hide-input"]
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display

from stocha import figures
from stocha.base.paths import results_root
from stocha.study.session import open_run
from stocha.toy.config import ToyConfig
from stocha.toy.data import make_data
from stocha.toy.ensemble import (
    Ensemble,
    RunNoise,
    by_autograd,
    by_kernels,
    epoch_order,
    one_thread,
    train,
    validate,
)
from stocha.toy.fast.adam import FlatAdam
from stocha.toy.fast.step import Step
from stocha.toy.pool import training_pool
from stocha.toy.records import History, gate_statistics
from stocha.toy.speed import ACTIVATIONS, ARMS, time_ensemble, time_reference

run = open_run("41_performance", globals())
figures.style()
run.badge()

# %% [markdown]
# ## Live: a fraction of the epochs
#
# The plain loop is written as one would write it: a model of `nn.Linear` layers, a `DataLoader` that shuffles,
# `torch.optim.Adam`, one thread a process, as many processes as cores; the ensemble gets the same number of
# processes. Starting the processes and compiling the kernels is not counted here, because on so few epochs it would
# be most of what is counted. Recording (validation, sparsity, gates) is counted for both.

# %%
config = ToyConfig(epochs=epochs, runs=runs)
configs = [replace(config, arm=arm) for arm in ARMS]
with training_pool(workers) as pool:
    list(pool.map(train, [replace(each, epochs=1) for each in configs] * workers))
    live = [time_ensemble(configs, pool)]
    for done, each in enumerate(configs, start=1):
        live.append(time_reference(each, pool))
        run.progress(done, len(configs), unit="activations")
live = run.table("live", pd.concat(live, ignore_index=True))

loop = live[live.method == "reference"]
stack = live[(live.method == "ensemble") & (live.activation == "all")]
run.glue("speed-live-ratio", loop.seconds.sum() / stack.seconds.sum(), "{:.1f}")
run.glue("speed-live-epochs", epochs)
run.glue("speed-live-loop", loop.seconds.sum(), "{:.1f}")
run.glue("speed-live-stack", stack.seconds.sum(), "{:.1f}")
run.glue("speed-workers", workers)

# %% [markdown]
# On {glue:text}`speed-live-epochs` of 100 epochs the plain loop took {glue:text}`speed-live-loop` s and the ensemble
# {glue:text}`speed-live-stack` s, both with {glue:text}`speed-workers` processes:
# **{glue:text}`speed-live-ratio` times** as fast in this build. Other programs that run on the same machine move
# this number; the recorded one below was taken with that in mind.

# %% mystnb={"figure": {"name": "fig-speed", "caption": "Processor time of ten networks in the measured epochs: the plain loop and the ensemble."}, "image": {"alt": "Horizontal bars by activation. For each, the bar of the plain loop is many times as long as that of the ensemble; gated activations are the most expensive for both."}}
busy = live[live.activation != "all"].pivot(index="activation", columns="method", values="busy")
busy = busy.loc[list(ACTIVATIONS)[::-1]]
at = np.arange(len(busy))
colours = [figures.COLOURS[name] for name in busy.index]
plt.barh(at + 0.2, busy.reference, 0.38, color=colours, alpha=0.4, label="plain loop")
plt.barh(at - 0.2, busy.ensemble, 0.38, color=colours, label="ensemble")
for y, (reference, ensemble) in zip(at, busy[["reference", "ensemble"]].to_numpy(), strict=True):
    plt.text(ensemble, y - 0.2, f" {reference / ensemble:.1f}×", va="center")
plt.yticks(at, [figures.LABELS[name] for name in busy.index])
plt.grid(axis="y", visible=False)
plt.legend()
plt.xlabel("process time / s (pale: plain loop, full: ensemble)")
plt.show()

# %% tags=["remove-input"]
run.figure_data("live")

# %% [markdown]
# ## Recorded: the whole study
#
# All 5 × 10 networks and 100 epochs, measured once. The speed of a shared machine wanders within minutes, so the
# record was taken in pieces: the plain loop over one activation, then at once the whole study by the ensemble.
# Each piece gives the loop's time for its activation **in units of the study that ran beside it**, and the sum
# of these is the ratio for the whole study. The processes were started before the clock was.

# %% tags=["hide-input"]
recorded = results_root() / "toy_speed.csv"
if recorded.is_file():
    full = run.table("recorded", pd.read_csv(recorded))
    loop = full[full.method == "reference"].set_index("piece")
    study = full[(full.method == "ensemble") & (full.activation == "all")].set_index("piece")
    same = full[(full.method == "ensemble") & (full.activation == full.piece)].set_index("piece")
    pieces = pd.DataFrame(
        {
            "plain loop / s": loop.seconds,
            "whole study by the ensemble / s": study.seconds,
            "loop / study": loop.seconds / study.seconds,
            "process time, loop / ensemble": loop.busy / same.busy,
        }
    )
    run.glue("speed-ratio", pieces["loop / study"].sum(), "{:.1f}")
    run.glue("speed-pieces", len(pieces))
    run.glue("speed-bound", "" if len(pieces) == len(ACTIVATIONS) else "at least ")
    run.glue("speed-loop-minutes", loop.seconds.sum() / 60, "{:.1f}")
    run.glue("speed-study-fastest", study.seconds.min(), "{:.0f}")
    run.glue("speed-study-slowest", study.seconds.max(), "{:.0f}")
    run.glue("speed-start-fastest", loop.start.min(), "{:.0f}")
    display(pieces.round(1))
else:
    for name in ("ratio", "bound", "pieces", "loop-minutes", "study-fastest", "study-slowest"):
        run.glue(f"speed-{name}", "not recorded")
    run.glue("speed-start-fastest", "not recorded")

# %% [markdown]
# The ratio of the whole is {glue:text}`speed-bound` **{glue:text}`speed-ratio`**, from
# {glue:text}`speed-pieces` of five pieces; the aim was 15. The plain loop took {glue:text}`speed-loop-minutes` minutes
# for these, a study by the ensemble between {glue:text}`speed-study-fastest` and {glue:text}`speed-study-slowest`
# seconds. Starting two processes takes at least another {glue:text}`speed-start-fastest` s, the same for both. The
# last column compares the time in the processes for one activation alone: it is what stacking itself gains, without
# what two processes lose by waiting for the longest training.
#
# ## Where the time goes
#
# One step of the ensemble, taken apart. The loop below is the training loop with a clock between its lines.

# %%
FULL = ToyConfig(runs=runs)
data = make_data(FULL)


def prepared(activation):
    """Networks, their noise, and the two ways to differentiate them."""
    config = replace(FULL, arm=ARMS[ACTIVATIONS.index(activation)])
    network = Ensemble(config)
    gates = list(network.activations.parameters())
    adam = FlatAdam([*network.weights, *network.biases, *gates], 1e-3, 0.01)
    network.train()
    return config, network, adam, RunNoise(config)


def step_by_parts(activation, steps):
    """Median seconds of each part of one training step, and of an epoch's own work per step."""
    config, network, adam, noise = prepared(activation)
    gradients = by_kernels(network, data)
    history, clock = History(config, config.run_seeds), time.perf_counter
    step = Step(list(network.weights), list(network.biases))
    in_force, x = network.activations.in_force, np.zeros((runs, FULL.n_features, 128), np.float32)
    ticks = []
    for number in range(steps):
        t = [clock()]
        order = epoch_order(config, 1, config.train_samples)
        t.append(clock())
        if in_force[0].stochastic:
            for layer in range(config.n_layers):
                noise.at(number)(layer)
        t.append(clock())
        step.forward(x, in_force, noise.at(number))
        t.append(clock())
        gradients(order[:, :128], noise.at(number))
        t.append(clock())
        adam.step()
        t.append(clock())
        validate(network, data, noise.at("validation", 0), history, 1)
        network.train()
        t.append(clock())
        ticks.append(np.diff(t))
    shuffling, seeding, forward, whole, update, recording = np.median(ticks, axis=0)
    epoch = config.steps_per_epoch
    return {
        "seeding the noise": seeding,
        "forward": forward - seeding,
        "gathering and backward": whole - forward,
        "Adam": update,
        "shuffling": shuffling / epoch,
        "recording": recording / epoch,
    }


with one_thread():
    parts = {name: step_by_parts(name, max(repeats // 2, 2)) for name in ACTIVATIONS}
parts = (pd.DataFrame(parts).T * 1e6).rename_axis("activation")
_ = run.table("parts", parts.reset_index())

# %% mystnb={"figure": {"name": "fig-speed-parts", "caption": "One step of the ensemble of ten networks by part. Shuffling and recording happen once an epoch and are divided by its steps."}, "image": {"alt": "Stacked horizontal bars, one an activation, of microseconds a step spent in seeding, forward, backward, Adam, shuffling and recording. Forward and backward are the largest; the gated activations take several times as long as ReLU."}}
shades = plt.get_cmap("cividis")(np.linspace(0, 0.95, len(parts.columns)))
left = np.zeros(len(parts))
for column, shade in zip(parts.columns, shades, strict=True):
    plt.barh(range(len(parts)), parts[column], left=left, color=shade, label=column)
    left += parts[column].to_numpy()
plt.yticks(range(len(parts)), [figures.LABELS[name] for name in parts.index])
plt.gca().invert_yaxis()
plt.grid(axis="y", visible=False)
plt.xlabel("time of a step / µs")
plt.gcf().legend(loc="outside lower center", ncols=3)
plt.show()

# %% tags=["remove-input"]
run.figure_data("parts")
parts.assign(sum=parts.sum(axis=1)).round(0).astype(int)

# %% [markdown]
# ## What paid and what did not
#
# Each line is one decision, measured by itself in this build: what one would write first, and what the ensemble
# does. All of it is on one thread and at the sizes of the study.


# %%
def median_time(function, setup=lambda: None):
    """Median seconds of a call."""
    times = []
    for _ in range(repeats + 2):
        setup()
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))


def adam_step(kind):
    """A function that makes one optimizer step of the ReLU ensemble."""
    network = Ensemble(FULL)
    parameters = [*network.weights, *network.biases]
    if kind == "flat":
        optimizer = FlatAdam(parameters, 1e-3, 0.01)
        return optimizer.step
    optimizer = torch.optim.Adam(parameters, 1e-3, weight_decay=0.01, **kind)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    return optimizer.step


def forward_and_backward(function, x):
    """A function that differentiates `function` at x."""
    x = x.detach().requires_grad_()
    slope = torch.ones_like(function(x))
    return lambda: torch.autograd.backward(function(x), slope)


def one_step_each_way(activation):
    """Gradients of one batch by autograd and by kernels, as two functions."""
    _, network, _, noise = prepared(activation)
    first = order[:, :128]
    ways = (by_autograd(network, data), by_kernels(network, data))
    return tuple(lambda way=way: way(first, noise.at(0)) for way in ways)


with one_thread():
    draw = torch.Generator().manual_seed(0)
    order = epoch_order(FULL, 1, FULL.train_samples)
    rows = torch.randn(runs, 128, 30, generator=draw)
    weight = torch.randn(runs, 4, 30, generator=draw)
    bias = torch.randn(runs, 4, 1, generator=draw)
    hidden = torch.randn(runs, 4, 128, generator=draw)
    square = torch.randn(runs, 4, 4, generator=draw)
    logits = torch.randn(runs, 2, 1000, generator=draw).mT
    alpha = torch.rand(runs, 1000, 4, generator=draw)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    decisions = {
        "Adam over a list of parameters → one flat buffer": (adam_step({}), adam_step("flat")),
        "Adam, foreach → one flat buffer": (adam_step({"foreach": True}), adam_step("flat")),
        "Adam, fused → one flat buffer": (adam_step({"fused": True}), adam_step("flat")),
        "hidden layer, batch first → batch last": (
            forward_and_backward(
                lambda h: torch.baddbmm(bias.mT, h, square.mT), hidden.mT.contiguous()
            ),
            forward_and_backward(lambda h: torch.baddbmm(bias, square, h), hidden),
        ),
        "first layer, batch first → transposed view": (
            lambda: torch.baddbmm(bias.mT, rows, weight.mT),
            lambda: torch.baddbmm(bias, weight, rows.mT),
        ),
        **{
            f"a step of {figures.LABELS[name]}, autograd → kernels": one_step_each_way(name)
            for name in ("relu", "stocha", "learnable_stoch", "gumbel_stoch")
        },
        "an epoch's samples, x[order] → index_select": (
            lambda: data.x_train[order],
            lambda: data.x_train.index_select(0, order.flatten()),
        ),
        "predicted class, argmax → max": (
            lambda: logits.argmax(-1),
            lambda: logits.max(-1).indices,
        ),
        "quantiles of α, torch.quantile → sort in numpy": (
            lambda: torch.quantile(alpha.flatten(1), levels, dim=1),
            lambda: gate_statistics(alpha),
        ),
    }
    measured = {name: [median_time(f) * 1e6 for f in pair] for name, pair in decisions.items()}
gains = pd.DataFrame(measured, index=["first / µs", "kept / µs"]).T
gains["ratio"] = gains.iloc[:, 0] / gains.iloc[:, 1]
run.table("decisions", gains.rename_axis("decision").reset_index())
gains.round({"first / µs": 0, "kept / µs": 0, "ratio": 1})

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
# - Recorded for the whole study: {glue:text}`speed-bound` {glue:text}`speed-ratio` times; live, on {glue:text}`speed-live-epochs` epochs:
#   {glue:text}`speed-live-ratio` times.
# - The gain is largest where a step is all calls and smallest where draws keep their own generators.
