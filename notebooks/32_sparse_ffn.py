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
#     experiment: stocha.sparse.experiments.layer
#     alone: true
#     inputs: ["results/32_sparse_ffn/*.csv"]
# ---

# %% [markdown]
# # The sparse FFN, explained
#
# The paper reports that 90 % sparsity makes the feed-forward network about 1.65 times as fast on a CPU
# (claim L7 of the [ledger](01_claims.py)). What can a kernel written for such zeros reach?
#
# **{glue:text}`ffn-sparse` at 90 % on one thread, {glue:text}`ffn-limit-90` being the limit** ({numref}`fig-ffn-recorded`).
# With the gate [screened in eight bits](33_certified_screening.py) it is {glue:text}`ffn-screened`, to the same bits.
# 1.65× is what library calls give.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
shape: "Optional[list[int]]" = None  # width d and neurons h of the layer [1, inf)
other_widths: "Optional[list[int]]" = None  # widths d of further layers [1, inf)
other_neurons: "Optional[list[int]]" = None  # neurons h of the same layers [1, inf)
sparsities: "Optional[list[float]]" = None  # its fractions of inactive neurons [0, 1)
other_sparsities: list[float] = [0.9]  # the same for the further layers [0, 1)
threads: "Optional[list[int]]" = None  # numbers of threads [1, inf)
batches: "Optional[list[int]]" = None  # inputs taken at once [1, 16]
caches: "Optional[float]" = None  # last-level caches that all weights fill (0, inf)
repeats: "Optional[int]" = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of weights and inputs [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"shape": [72, 320], "other_widths": [67], "other_neurons": [100],
        "sparsities": [0.0, 0.9], "threads": [1], "batches": [1, 4], "caches": 0.001,
        "repeats": 3},
    "book": {"shape": [2048, 8192], "other_widths": [768], "other_neurons": [3072],
        "sparsities": [0.0, 0.5, 0.9, 0.95], "threads": [1], "batches": [1, 2, 4, 8],
        "caches": 4.0, "repeats": 9},
    "full": {"shape": [2048, 8192], "other_widths": [768, 2045, 3072, 4096, 4096],
        "other_neurons": [3072, 8192, 8192, 11008, 14336],
        "sparsities": [0.0, 0.5, 0.8, 0.9, 0.95], "threads": [1, 2],
        "batches": [1, 2, 4, 8, 16], "caches": 10.0, "repeats": 9},
}  # fmt: skip

# %% tags=["hide-input"]
from functools import partial

import pandas as pd
import torch
from torch import nn

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.sparse import SparseFFN, traffic
from stocha.sparse.experiments import layer
from stocha.study.session import open_run

run = open_run("32_sparse_ffn", globals())
figures.style()
tables = Tables()
recorded = run.table("recorded", tables("32_sparse_ffn", "ffn_speed"))
wide, tall = 2048, 8192  # the layer of claim L7
detail = recorded.query("d == @wide and h == @tall")
at_90 = detail.query("sparsity == 0.9 and threads == 1").set_index("method", drop=False)

WAYS = ["numba screened", "numba sparse", "C fused", "embedding_bag", "gather + BLAS"]
LIMITS = {
    f"limit, {method}": partial(traffic.limit, method, wide, tall)
    for method in ("sparse", "screened")
}


def draw(table):
    """A panel for each number of threads; black, what the number of bytes allows."""
    return figures.facets(
        table,
        "threads",
        lambda rows, ax: figures.speedups(rows, WAYS, LIMITS, ax=ax),
        names={n: f"threads: {n}" for n in table["threads"]},
        figsize=(figures.WIDTH, 4.2),
    )


WORDS = {"ratio_median": "speed-up", "ratio_q1": "lower quartile", "ratio_q3": "upper quartile"}
WORDS |= {"q1": "lower quartile", "q3": "upper quartile", "d": "width", "h": "neurons"}
WORDS |= {"gbps": "GB/s", "roof_fraction": "of the roof"}


def show(table, name, **formats):
    """A table without its index, two digits where nothing else is said."""
    formats = {WORDS.get(column, column): spec for column, spec in formats.items()}
    style = table.rename(columns=WORDS).style.set_uuid(f"ffn-{name}")
    return style.format(formats or None, precision=2).hide(axis="index")


def peers(table, name):
    """One row a method, the slowest first."""
    columns = ["method", "kind", "ratio_median", "ratio_q1", "ratio_q3", "milliseconds"]
    rows = table[[*columns, "gbps", "roof_fraction"]].sort_values("ratio_median")
    return show(rows, name, gbps="{:.1f}", roof_fraction="{:.0%}")


# %% mystnb={"figure": {"name": "fig-ffn-recorded", "caption": "Speed-up of one gated layer, 2048 × 8192 in float32, over the fastest dense way to compute it, recorded at full scale on the reference machine with one and two threads: medians, quartiles shaded. Black: what the number of bytes allows."}, "image": {"alt": "Speed-up over the fastest dense way against the fraction of inactive neurons, one panel for each number of threads: the screened and the sparse kernel, the same in C, two ways by library calls, and two black lines for the limits of the sparse and the screened kernel."}} tags=["hide-input"]
figure = draw(detail)
# %% tags=["remove-input"]
run.figure_data("recorded")

# %% tags=["remove-cell"]
ratio, roof = at_90["ratio_median"], at_90["roof_fraction"]
single = detail[detail["threads"] == 1].set_index(["sparsity", "method"])
at_0, at_95 = (single["ratio_median"][s] for s in (0.0, 0.95))
wider = recorded.query("threads == 2 and sparsity == 0.9 and d >= 3072")
calm = wider.loc[wider["method"] == "numba sparse", "ratio_median"]
run.glue("ffn-sparse", ratio["numba sparse"], "{:.2f}×")
run.glue("ffn-screened", ratio["numba screened"], "{:.2f}×")
run.glue("ffn-screened-95", at_95["numba screened"], "{:.2f}×")
run.glue("ffn-limit-90", traffic.limit("sparse", wide, tall, 0.9), "{:.2f}")
run.glue("ffn-oracle", ratio["oracle"], "{:.1f}×")
run.glue("ffn-gather", ratio["gather + BLAS"], "{:.2f}×")
run.glue("ffn-bag", ratio["embedding_bag"], "{:.2f}×")
run.glue("ffn-fastest", at_90.loc[at_90["fastest_dense"], "method"].iloc[0])
run.glue("ffn-roof", roof["numba dense"], "{:.0%}")
run.glue("ffn-overhead", at_0["numba dense"] / at_0["numba sparse"], "{:.2f}")
run.glue("ffn-memory", at_90["gbps"]["read roof"], "{:.1f}")
run.glue("ffn-c", ratio["numba sparse"] / ratio["C fused"], "{:.2f}")
two = detail.query("threads == 2 and sparsity == 0.9").set_index("method")
for name in ("q1", "median", "q3"):
    run.glue(f"ffn-two-{name}", two[f"ratio_{name}"]["numba sparse"], "{:.2f}")
    run.glue(f"ffn-two-c-{name}", two[f"ratio_{name}"]["C fused"], "{:.2f}")
    run.glue(f"ffn-two-roof-{name}", two[f"ratio_{name}"]["read roof"], "{:.2f}")
run.glue("ffn-two-low", calm.min(), "{:.2f}×")
run.glue("ffn-two-high", calm.max(), "{:.2f}×")

# %% [markdown]
# The review {cite:p}`gonzo2025stochastic` asks what the paper leaves open: how the computation is done,
# whether one must read a zero to know it, how a dense model is converted, which matrix is stored by
# rows and which by columns. This chapter answers with code and measures it.
#
# ## One need not read a zero to know it
#
# The layer computes $y = W_2\,(\mathrm{ReLU}(W_1 x) \odot W_3 x)$: $W_1$ is the gate, $W_3$ the up and
# $W_2$ the down projection. Neuron $i$ owns row $i$ of $W_1$, row $i$ of $W_3$ and *column* $i$ of
# $W_2$. If the gate of a neuron is not positive, ReLU makes it exactly zero, whatever row $i$ of $W_3$
# holds, and column $i$ of $W_2$ is multiplied by that zero. So:
#
# 1. read all of $W_1$ and find out which neurons are active;
# 2. read the rows of $W_3$ of the active neurons only;
# 3. read the columns of $W_2$ of the active neurons only.
#
# The zeros of $W_3 x$ and of the product are never looked at: step 1 has told where they are. That also
# settles how to store the matrices. $W_1$ and $W_3$ are used by rows, as `torch.nn.Linear` keeps them.
# $W_2$ is used by columns; `Linear` keeps it by rows, so its transpose is stored, once, at conversion.
# There are no index lists in memory and no sparse formats, only a list of active neurons that is made
# anew for every input.
#
# ## Conversion
#
# Any dense layer of three bias-free linear maps can be converted. The layer keeps copies, that of the
# down projection transposed: what it knows of its weights it works out once, and a matrix changed
# behind its back would make that wrong without a word. The result is the dense result up to rounding in
# float32, and the same to the last bit for every method and number of threads: the order of all
# additions is fixed in the kernels, and inactive neurons add nothing.

# %%
torch.manual_seed(seed)
gate, up = (nn.Linear(256, 1024, bias=False) for _ in range(2))
down = nn.Linear(1024, 256, bias=False)
x = torch.randn(256)
with torch.no_grad():
    dense = down(torch.relu(gate(x)) * up(x))
    ffn = SparseFFN(gate, up, down, method="dense")
    ways = [(method, n) for method in ("dense", "sparse", "screened") for n in (1, 2)]
    results = [ffn.variant(method=method, threads=n)(x) for method, n in ways]
distinct = len({y.numpy().tobytes() for y in results})
deviation = float((results[0] - dense).abs().max() / dense.abs().max())

# %% tags=["remove-cell"]
run.glue("ffn-deviation", deviation, "{:.1e}")
run.glue("ffn-variants", len(results))
run.glue("ffn-distinct", distinct)

# %% [markdown]
# {glue:text}`ffn-variants` ways to compute it, {glue:text}`ffn-distinct` distinct result. It differs
# from torch's dense result by {glue:text}`ffn-deviation` of the largest output, which is rounding.
#
# What if a weight or an input is not a number, or infinite? Zero times infinity is not zero, so a layer
# that skips would differ from the dense one. The layer checks every input against the largest weight;
# where anything could overflow it runs the dense kernel.
#
# ## The limit
#
# With a fraction $s$ of neurons inactive, the sparse layer reads one matrix and $1-s$ of two others
# instead of three:
#
# $$\text{speed-up} \le \frac{3}{1 + 2(1 - s)}$$
#
# which is {glue:text}`ffn-limit-90` at 90 %, and never more than three. It says what reading less can
# give if memory is read equally fast; nothing that reads all of $W_1$ in float32 gets past it.
# [The next chapter](33_certified_screening.py) does not read all of $W_1$. An oracle that is told the
# active neurons reads $1-s$ of everything.
#
# ## How it is measured
#
# - **Inputs.** A trained ReLU gate is mostly closed because its rows point away from the mean of its
#   inputs. The layers here are made like that: inputs share a mean direction, gate rows are Gaussian
#   with a component against it that sets the sparsity. Over neurons and inputs, pre-activations are a
#   shifted Gaussian, with no gap around zero. Rows differ in scale.
# - **Cold caches.** Layers take turns, and so do inputs, hence masks. The recorded rotation fills ten
#   last-level caches.
# - **Turns.** Every method runs once in each round, dense and sparse ones alternating. A ratio compares
#   two times of one round; medians and quartiles are over rounds. Finding the active neurons and all
#   call overhead are included, compilation is not.
# - **Right results only.** Each method is compared with float64 first; a wrong one is listed, not timed.
# - **The roof.** A kernel that only reads, eight rows at a time, and a triad run in the same rounds, on
#   the same memory and threads.
# - **The peer to beat** is the fastest of five dense ways to compute the layer, in that run.
#
# ## Every peer, at 90 %

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Every way to compute it", "code_prompt_hide": "Every way to compute it"}
peers(at_90, "peers-recorded")

# %% [markdown]
# The fastest dense way is {glue:text}`ffn-fastest`. Against it the sparse kernel reaches
# {glue:text}`ffn-sparse`, and the screened one {glue:text}`ffn-screened`. The oracle,
# {glue:text}`ffn-oracle`, shows what knowing the mask for nothing would be worth.
#
# - *Dense kernel*: {glue:text}`ffn-roof` of the read roof of {glue:text}`ffn-memory` GB/s. There is
#   nothing to win by computing faster.
# - *No sparsity at all*: the sparse kernel takes {glue:text}`ffn-overhead` of the dense kernel's time
#   at sparsity 0, so finding the active neurons costs next to nothing.
# - *What numba leaves on the table*: its speed is {glue:text}`ffn-c` of the same algorithm in C,
#   compiled for this machine by the system's compiler.
# - *Libraries*: gathering the active rows and calling BLAS gives {glue:text}`ffn-gather`, an
#   `embedding_bag` for the down projection {glue:text}`ffn-bag`. Both copy active rows before using
#   them, and each step waits for the one before.
#
# **Two threads** gave {glue:text}`ffn-two-median` [{glue:text}`ffn-two-q1`, {glue:text}`ffn-two-q3`]
# here, but the same algorithm in C gave {glue:text}`ffn-two-c-median` [{glue:text}`ffn-two-c-q1`,
# {glue:text}`ffn-two-c-q3`] and merely reading memory scattered as widely,
# {glue:text}`ffn-two-roof-median` [{glue:text}`ffn-two-roof-q1`, {glue:text}`ffn-two-roof-q3`], in these
# rounds. The wider layers of the same record, whose rounds were calmer, reach
# {glue:text}`ffn-two-low` to {glue:text}`ffn-two-high` on two threads. So the record points at the
# second core's share of a machine that others use, not at the kernel. Two more things add the same time
# to a long and a short call and so lower the ratio: waking a thread that has slept, and the sum over the
# sections at the end. The experiment times an empty call, with and without a pause before it, beside the
# roof of the same round; a record taken on a quiet machine decides.
#
# ## Where 1.65× can come from
#
# The paper does not say how its CPU figure was obtained. Bytes narrow it down. At 90 %:

# %%
active = 1 - 0.9
stories = {
    "only the down projection skips": 3 / (2 + active),
    "up and down skip (the limit above)": 3 / (1 + 2 * active),
    "up and down skip, active rows copied first, then read": 3 / (1 + 6 * active),
    "the same, and the dense peer at 2/3 of the roof": 1.5 * 3 / (1 + 6 * active),
    "up and down skip, at 2/3 of the dense kernel's rate": 2 / (1 + 2 * active),
    "an ungated layer: only the down projection skips": 2 / (1 + active),
}
rows = pd.DataFrame(stories.items(), columns=["story", "speed-up"])
show(run.table("stories", rows), "stories")

# %% [markdown]
# A layer that skips in the down projection alone cannot reach 1.65×, a gated one that skips in both
# and reads at two thirds of the dense rate does, as does one that copies the active rows before it
# uses them, roughly. An ungated layer ends a little above. The measured library methods of this page
# are of this kind. So 1.65× is what one gets without a kernel written for it; it is not the limit.
#
# ## Other shapes

# %% tags=["hide-input"]
keys, kernels = ["d", "h", "threads"], ["numba dense", "numba sparse", "numba screened"]
ours = recorded[recorded["method"].isin(kernels) & (recorded["sparsity"] == 0.9)]
shapes = ours.pivot(index=keys, columns="method", values="ratio_median")
bounds = [traffic.limit("screened", d, h, 0.9) for d, h, _ in shapes.index]
shapes["limit, screened"] = bounds
show(shapes[[*kernels, "limit, screened"]].reset_index(), "shapes")

# %% [markdown]
# Speed-ups at 90 % over the fastest dense way. The limit of the sparse kernel does not depend on the
# shape; that of the screened one falls with the width, because rounding errors of a longer row can add
# up to more.
#
# ## Small batches
#
# Several inputs share one pass over the weights, and a row is needed if it is active for any of them.
# The union grows with the batch, fast for independent inputs, slower where inputs resemble each other.

# %% tags=["hide-input"]
batches = tables("32_sparse_ffn", "batches")
beyond = batches.loc[batches["ratio_median"] > batches["limit"], "batch"]
run.glue("ffn-beyond", " and ".join(map(str, beyond)))
show(batches, "batches")

# %% [markdown]
# The peer is `F.linear` on the whole batch, a matrix product that uses each weight for every input.
# **The limit is no bound against this peer.** It counts bytes and takes for granted that the dense way
# reads each weight once, at the rate of memory. A library's product of a few rows need not: it may copy
# the matrix into the order that it likes, or read it more than once. Where it does, a sparse layer
# passes the "limit", in the record at batches of {glue:text}`ffn-beyond`. So the check below times our
# own dense kernel as a second peer, which reads each weight once, and the rate at which each peer gets
# through the weights: if the library's is below the read roof where the limit is passed, that is the
# cause. From a few inputs on, the layer is no longer bound by memory, and sparsity of this kind has
# little left to give.
#
# ## bf16
#
# Halving the bytes of a weight helps dense and sparse layers alike. The kernels widen bf16 in registers
# and add in float32, so that the result is that of float32 arithmetic on rounded weights.

# %% tags=["remove-cell"]
bf16 = tables("32_sparse_ffn", "bf16").set_index("method")["ratio_median"]
points = tables("32_sparse_ffn", "break_even").iloc[0]
run.glue("ffn-bf16", bf16["sparse, bf16"], "{:.2f}×")
run.glue("ffn-break-even", points["sparse"], "{:.0%}")
run.glue("ffn-break-even-screened", points["screened"], "{:.0%}")

# %% [markdown]
# Against the faster of two dense ways in bf16, the sparse layer in bf16 gains {glue:text}`ffn-bf16`.
#
# ## int8
#
# Who quantises today reads a quarter of float32's bytes without training anything: that is the rival's
# precision. `weights="int8"` rounds the weights once, in groups of 32 with a scale each, 34 bytes for 32
# weights as llama.cpp's Q8_0 has it; sums stay float32. *Exact* then means: the bits of the dense kernel
# on the same rounded weights. All of the gate is read, up and down for active neurons alone, so that the
# limit of $3/(1+2(1-s))$ is the same, against a dense layer in int8. It has not been recorded yet; the
# check at the end of this page measures it.
#
# ## Choosing a method
#
# `SparseFFN` with `method="auto"` times its methods on its own weights when it is built and notes from
# which sparsity each wins. A call then uses the method that the sparsity of the last call suggests;
# the result has the same bits in any case. On the reference machine skipping paid from
# {glue:text}`ffn-break-even` inactive neurons on, and screening the gate in int8 from
# {glue:text}`ffn-break-even-screened` on.
#
# A layer with SiLU has no exact zeros. With a threshold, neurons of small magnitude can be left out all
# the same, as CATS does {cite:p}`lee2024cats`; `activation="silu", threshold=…` does that. It is then
# an approximation whose cost must be measured on the model, while everything above is exact.
#
# ## Against the aims
#
# What was aimed at before the kernels were written, and what was recorded, 2048 × 8192 in float32 on one
# thread, cold caches, against the fastest dense peer:
#
# | | aim | recorded |
# |---|---|---|
# | sparse at 90 % | at least 2.25× | {glue:text}`ffn-sparse` |
# | screened at 90 % | at least 3.2× | {glue:text}`ffn-screened` |
# | screened at 95 % | at least 4.2× | {glue:text}`ffn-screened-95` |
# | dense, share of the read roof | at least 90 % | {glue:text}`ffn-roof` |
# | sparse at 0 % over dense, time | at most 1.1 | {glue:text}`ffn-overhead` |
# | numba over C, speed | at least 0.95 | {glue:text}`ffn-c` |
#
# ## Measured here
#
# The same on the machine that made this page, at its scale: a check of the record, not a second result.

# %% tags=["hide-input"]
run.badge()
found = run.result(layer.run, layer.Config(**run.parameters)).tables
live = found["ffn_speed"].query("d == @shape[0] and h == @shape[1]")
near = live[live["sparsity"] == layer.nearest(sparsities)]
machines = [tables("32_sparse_ffn", "machine"), found["machine"]]
pd.concat(machines, keys=["reference machine", "this machine"]).droplevel(1).T

# %% mystnb={"figure": {"name": "fig-ffn-speed", "caption": "The same as {numref}`fig-ffn-recorded`, measured on the machine that made this page, at its scale."}, "image": {"alt": "Speed-up against sparsity as measured by this build, with the same methods and limits as the first figure."}} tags=["hide-input"]
figure = draw(live)
# %% tags=["remove-input"]
run.figure_data("ffn_speed")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Every peer, here", "code_prompt_hide": "Every peer, here"}
peers(near[near["threads"] == threads[0]], "peers-live")

# %% [markdown]
# One input at a time in int8, against our own dense kernel and torch's, which rounds the inputs too:

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "int8, here", "code_prompt_hide": "int8, here"}
show(found["int8"], "int8-live")

# %% [markdown]
# What a call costs besides reading, in milliseconds, with and without a pause before it in which threads
# fall asleep. An empty call is a layer of 32 neurons:

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "What a call costs, here", "code_prompt_hide": "What a call costs, here"}
show(found["calls"].round(4), "calls-live", q1="{:.3f}", median="{:.3f}", q3="{:.3f}")

# %% [markdown]
# Small batches, against `F.linear` and against our own dense kernel, with the rate at which the peer gets
# through the weights:

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Batches, here", "code_prompt_hide": "Batches, here"}
show(found["batches"], "batches-live")

# %% [markdown]
# ## Summary
#
# The first of a layer's three matrices tells which neurons are zero, and the rows and columns of those need not be read from the
# other two. So with nine tenths of the neurons zero, a layer can be at most {glue:text}`ffn-limit-90` times as fast. A kernel
# written for it reaches {glue:text}`ffn-sparse`, exactly, and costs next to nothing where there are no zeros. The paper's 1.65×
# is what ready-made library calls give. All of this is for one input at a time: a batch leaves little of it.
