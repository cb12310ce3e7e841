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
#     alone: true
#     inputs: ["results/32_sparse_ffn/*.csv"]
# ---

# %% [markdown]
# # The sparse FFN, explained
#
# The paper reports that 90 % sparsity makes the feed-forward network about 1.65 times as fast on a CPU
# (claim L7 of the [ledger](01_claims.py)). The review {cite:p}`gonzo2025stochastic` asks what that
# leaves open: how the computation is done, whether one must read a zero to know it, how a dense model
# is converted, which matrix is stored by rows and which by columns. This chapter answers with code and
# measures it.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
shape: list[int] = None  # width d and number of neurons h of the layer measured in detail [1, inf)
other_widths: list[int] = None  # widths d of further layers [1, inf)
other_neurons: list[int] = None  # numbers of neurons h of the same layers [1, inf)
sparsities: list[float] = None  # fractions of inactive neurons in detail [0, 1)
other_sparsities: list[float] = None  # the same for the further layers [0, 1)
threads: list[int] = None  # numbers of threads [1, inf)
batches: list[int] = None  # inputs taken at once [1, 16]
caches: float = None  # last-level caches that the layers taken in turn fill (0, inf)
repeats: int = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of weights and inputs [0, inf)

# %% tags=["scales"]
scales = {
    "smoke": {
        "shape": [72, 320],
        "other_widths": [67],
        "other_neurons": [100],
        "sparsities": [0.0, 0.9],
        "other_sparsities": [0.9],
        "threads": [1],
        "batches": [1, 4],
        "caches": 0.001,
        "repeats": 3,
    },
    "book": {
        "shape": [2048, 8192],
        "other_widths": [768],
        "other_neurons": [3072],
        "sparsities": [0.0, 0.5, 0.9, 0.95],
        "other_sparsities": [0.9],
        "threads": [1],
        "batches": [1, 2, 4, 8],
        "caches": 4,
        "repeats": 9,
    },
    "full": {
        "shape": [2048, 8192],
        "other_widths": [768, 2045, 3072, 4096, 4096],
        "other_neurons": [3072, 8192, 8192, 11008, 14336],
        "sparsities": [0.0, 0.5, 0.8, 0.9, 0.95],
        "other_sparsities": [0.9],
        "threads": [1, 2],
        "batches": [1, 2, 4, 8, 16],
        "caches": 10,
        "repeats": 9,
    },
}

# %% tags=["hide-input"]
import gc

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from torch import nn
from torch.nn import functional

from stocha import figures
from stocha.base.paths import results_root
from stocha.sparse import SparseFFN, benchmark, traffic
from stocha.sparse.workload import make_inputs
from stocha.study.session import open_run

run = open_run("32_sparse_ffn", globals())
figures.style()
d, h = shape
if len(other_widths) != len(other_neurons):
    raise ValueError(f"other_neurons={other_neurons}: must be as many as other_widths")
run.badge()

# %% [markdown]
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
    results = {
        (method, n): SparseFFN.from_linear(gate, up, down, method=method, threads=n)(x)
        for method in ("dense", "sparse", "screened")
        for n in (1, 2)
    }
same_bits = len({y.numpy().tobytes() for y in results.values()})
deviation = float((results["sparse", 1] - dense).abs().max() / dense.abs().max())
run.glue("ffn-variants", len(results))
run.glue("ffn-distinct", same_bits)
run.glue("ffn-deviation", deviation, "{:.1e}")

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

# %% tags=["remove-cell"]
run.glue("ffn-limit-90", traffic.limit("sparse", d, h, 0.9), "{:.2f}")

# %% tags=["hide-input"]
grid = np.round(np.arange(0, 0.991, 0.01), 2)
limits = run.table(
    "limits",
    pd.DataFrame(
        [
            {"sparsity": s, "method": method, "limit": traffic.limit(method, d, h, s)}
            for method in ("sparse", "screened", "oracle")
            for s in grid
        ]
    ),
)

# %% [markdown]
# ## How it is measured
#
# - **Inputs.** A trained ReLU gate is mostly closed because its rows point away from the mean of its
#   inputs. The layers here are made like that: inputs share a mean direction, gate rows are Gaussian
#   with a component against it that sets the sparsity. Over neurons and inputs, pre-activations are a
#   shifted Gaussian, with no gap around zero. Rows differ in scale.
# - **Cold caches.** Layers take turns, and so do inputs, hence masks. Weights of a rotation fill
#   {glue:text}`ffn-caches` last-level caches of {glue:text}`ffn-cache` MB here.
# - **Turns.** Every method runs once in each round, dense and sparse ones alternating. A ratio compares
#   two times of one round; medians and quartiles are over rounds. Finding the active neurons and all
#   call overhead are included, compilation is not.
# - **Right results only.** Each method is compared with float64 first; a wrong one is listed, not timed.
# - **The roof.** A kernel that only reads, eight rows at a time, and a triad run in the same rounds, on
#   the same memory and threads.
# - **The peer to beat** is the fastest of five dense ways to compute the layer, in that run.

# %% tags=["remove-cell"]
run.glue("ffn-caches", caches)
run.glue("ffn-cache", benchmark.last_level_cache() / 2**20, "{:.0f}")

# %%
jobs = [(d, h, s) for s in sparsities] + [
    (width, neurons, s)
    for width, neurons in zip(other_widths, other_neurons, strict=True)
    for s in other_sparsities
]
found = []
for done, (width, neurons, sparsity) in enumerate(jobs):
    rotation = benchmark.make_rotation(width, neurons, sparsity, caches=caches, seed=seed)
    for n in threads:
        times = benchmark.time_layers(rotation, threads=n, repeats=repeats)
        found.append(benchmark.summarise(times, rotation, threads=n))
    del rotation
    gc.collect()
    run.progress(done + 1, len(jobs), "layers")
speed = run.table("ffn_speed", pd.concat(found, ignore_index=True))
machine = run.table("machine", pd.DataFrame([benchmark.machine(max(threads))]))
machine.T.rename(columns={0: "this machine"})

# %% [markdown]
# ## Every peer, at 90 %

# %% tags=["hide-input"]
main = speed[(speed["d"] == d) & (speed["h"] == h)]
nearest = min(sparsities, key=lambda s: abs(s - 0.9))
at_90 = main[(main["sparsity"] == nearest) & (main["threads"] == threads[0])]
COLUMNS = ["method", "kind", "ratio_median", "ratio_q1", "ratio_q3", "milliseconds", "gbps"]


def peers_table(table, uuid):
    return (
        table[[*COLUMNS, "roof_fraction"]]
        .sort_values("ratio_median")
        .style.set_uuid(uuid).format(
            {
                "ratio_median": "{:.2f}", "ratio_q1": "{:.2f}", "ratio_q3": "{:.2f}",
                "milliseconds": "{:.2f}", "gbps": "{:.1f}", "roof_fraction": "{:.0%}",
            }
        )
        .hide(axis="index")
    )  # fmt: skip


peers_table(at_90, "ffn-peers-live")

# %% tags=["remove-cell"]


def ratio(method, table=at_90, column="ratio_median"):
    return float(table.loc[table["method"] == method, column].iloc[0])


at_0 = main[(main["sparsity"] == min(sparsities)) & (main["threads"] == threads[0])]
run.glue("ffn-sparsity", nearest, "{:.0%}")
run.glue("ffn-sparse", ratio("numba sparse"), "{:.2f}×")
run.glue("ffn-screened", ratio("numba screened"), "{:.2f}×")
run.glue("ffn-oracle", ratio("oracle") if nearest >= 0.5 else np.nan, "{:.1f}×")
run.glue("ffn-gather", ratio("gather + BLAS"), "{:.2f}×")
run.glue("ffn-bag", ratio("embedding_bag"), "{:.2f}×")
run.glue("ffn-fastest", str(at_90.loc[at_90["fastest_dense"] == True, "method"].iloc[0]))  # noqa: E712
run.glue("ffn-roof", ratio("numba dense", column="roof_fraction"), "{:.0%}")
run.glue("ffn-overhead", ratio("numba dense", at_0) / ratio("numba sparse", at_0), "{:.2f}")
run.glue("ffn-memory", ratio("read roof", column="gbps"), "{:.1f}")
if "C fused" in set(at_90["method"]):
    run.glue("ffn-c", ratio("numba sparse") / ratio("C fused"), "{:.2f}")
else:
    run.glue("ffn-c", "not measured: no cc")

# %% [markdown]
# The fastest dense way here is {glue:text}`ffn-fastest`. Against it the sparse kernel reaches
# {glue:text}`ffn-sparse` of the {glue:text}`ffn-limit-90` that bytes allow, and the screened one
# {glue:text}`ffn-screened`. The oracle, {glue:text}`ffn-oracle`, shows what knowing the mask for nothing
# would be worth.
#
# - *Dense kernel*: {glue:text}`ffn-roof` of the read roof of {glue:text}`ffn-memory` GB/s. There is
#   nothing to win by computing faster.
# - *No sparsity at all*: the sparse kernel takes {glue:text}`ffn-overhead` of the dense kernel's time
#   at the lowest sparsity measured, so finding the active neurons costs next to nothing.
# - *What numba leaves on the table*: its speed is {glue:text}`ffn-c` of the same algorithm in C,
#   compiled for this machine by the system's compiler.
# - *Libraries*: gathering the active rows and calling BLAS gives {glue:text}`ffn-gather`, an
#   `embedding_bag` for the down projection {glue:text}`ffn-bag`. Both copy active rows before using
#   them, and each step waits for the one before.
#
# ## Sparsity pays from the beginning

# %% tags=["hide-input"]
LOOKS = {
    "numba screened": ("#009e73", "D", "screened"),
    "numba sparse": ("#0072b2", "o", "sparse"),
    "C fused": ("#56b4e9", "s", "the same in C"),
    "embedding_bag": ("#e69f00", "^", "embedding_bag"),
    "gather + BLAS": ("#d55e00", "v", "gather + BLAS"),
}


def draw(table):
    numbers = sorted(table["threads"].unique())
    figure, axes = plt.subplots(
        1, len(numbers), figsize=(figures.WIDTH, 3.8), sharey=True, squeeze=False
    )
    for ax, n in zip(axes[0], numbers, strict=True):
        for name, (colour, marker, label) in LOOKS.items():
            one = table[(table["method"] == name) & (table["threads"] == n)].sort_values("sparsity")
            if len(one):
                ax.fill_between(
                    one["sparsity"], one["ratio_q1"], one["ratio_q3"], color=colour, alpha=0.2
                )
                ax.plot(
                    one["sparsity"], one["ratio_median"], marker=marker, markersize=4,
                    color=colour, label=label,
                )  # fmt: skip
        for method, dash in (("sparse", "--"), ("screened", ":")):
            curve = limits[(limits["method"] == method) & (limits["sparsity"] <= 0.96)]
            ax.plot(
                curve["sparsity"], curve["limit"], dash, color="#1a1a1a", linewidth=0.9,
                label=f"limit, {method}",
            )  # fmt: skip
        ax.axhline(1, color="#767676", linewidth=0.6)
        ax.set(
            title=f"{n} thread" if n == 1 else f"{n} threads", xlabel="fraction of inactive neurons"
        )
    axes[0][0].set_ylabel("speed-up over fastest dense")
    axes[0][0].legend(fontsize=7)
    return figure


# %% mystnb={"figure": {"name": "fig-ffn-speed", "caption": "Speed-up of one gated layer over the fastest dense way to compute it, on this machine: medians, quartiles shaded. Black: what the number of bytes allows."}, "image": {"alt": "Speed-up against sparsity. The sparse kernel follows its limit closely up to about two and a third at ninety percent; the screened kernel starts below one, crosses the sparse kernel at medium sparsity and passes three at ninety percent; library methods stay well below."}}
figure = draw(main)
# %% tags=["remove-input"]
run.figure_data("ffn_speed", "limits")

# %% [markdown]
# ## Where 1.65× can come from
#
# The paper does not say how its CPU figure was obtained. Bytes narrow it down. At 90 %:

# %%
active = 1 - 0.9
stories = pd.DataFrame(
    [
        ("only the down projection skips", 3 / (2 + active)),
        ("up and down skip (the limit above)", 3 / (1 + 2 * active)),
        ("up and down skip, active rows copied first, then read", 3 / (1 + 2 * 3 * active)),
        ("the same, but the dense peer reaches only 2/3 of the roof", 1.5 * 3 / (1 + 6 * active)),
        ("up and down skip, at 2/3 of the dense kernel's rate", 2 / (1 + 2 * active)),
        ("an ungated layer: only the down projection skips", 2 / (1 + active)),
    ],
    columns=["story", "speed-up"],
)
run.table("stories", stories)
stories.style.set_uuid("ffn-stories").format({"speed-up": "{:.2f}×"}).hide(axis="index")

# %% [markdown]
# A layer that skips in the down projection alone cannot reach 1.65×, a gated one that skips in both
# and reads at two thirds of the dense rate does, as does one that copies the active rows before it
# uses them, roughly. An ungated layer ends a little above. The measured library methods of this page
# are of this kind. So 1.65× is what one gets without a kernel written for it; it is not the limit.
#
# ## Other shapes

# %% tags=["hide-input"]
chosen = ["numba dense", "numba sparse", "numba screened"]
shapes = speed[speed["method"].isin(chosen) & np.isclose(speed["sparsity"], nearest)]
by_shape = shapes.pivot_table(
    index=["d", "h", "threads"], columns="method", values="ratio_median"
).reset_index()
by_shape.columns.name = None
by_shape["limit, screened"] = [
    traffic.limit("screened", int(row.d), int(row.h), nearest) for row in by_shape.itertuples()
]
run.table("shapes", by_shape)
by_shape.style.set_uuid("ffn-shapes").format(dict.fromkeys(by_shape.columns[3:], "{:.2f}×")).hide(
    axis="index"
)

# %% [markdown]
# Speed-ups at {glue:text}`ffn-sparsity` over the fastest dense way. The limit of the sparse kernel
# does not depend on the shape; that of the screened one falls with the width, because rounding errors
# of a longer row can add up to more.
#
# ## Small batches
#
# Several inputs share one pass over the weights, and a row is needed if it is active for any of them.
# The union grows with the batch, fast for independent inputs, slower where inputs resemble each other.

# %%
rotation = benchmark.make_rotation(d, h, nearest, caches=min(caches, 4), seed=seed)
torch.set_num_threads(threads[0])
sparse_layers = [
    SparseFFN(w.gate, w.up, w.down_rows, method="sparse", threads=threads[0])
    for w in rotation.layers
]
tensors = [[torch.from_numpy(part) for part in (w.gate, w.up, w.down)] for w in rotation.layers]
count = len(rotation.layers)
rows = []
for batch in batches:
    inputs = make_inputs(d, batch, seed=seed + 1)
    as_tensor = torch.from_numpy(inputs)

    def linear(number, turn, value=as_tensor):
        gate, up, down = tensors[number % count]
        hidden = torch.relu(functional.linear(value, gate)) * functional.linear(value, up)
        return functional.linear(hidden, down)

    calls = {
        "F.linear": linear,
        "sparse": lambda number, turn, value=inputs: sparse_layers[number % count](value),
    }
    difference = np.abs(linear(0, 0).numpy() - calls["sparse"](0, 0)).max()
    assert difference <= 1e-4 * np.abs(calls["sparse"](0, 0)).max()
    timed = benchmark.interleave(calls, repeats=repeats, threads=threads[0])
    one = benchmark.ratios(timed, ["F.linear"]).set_index("method").loc["sparse"]
    union = 1 - sparse_layers[0].inactive
    rows.append(
        {
            "batch": batch, "active for any": union, "limit": 3 / (1 + 2 * union),
            "ratio_q1": one["ratio_q1"], "ratio_median": one["ratio_median"],
            "ratio_q3": one["ratio_q3"],
        }
    )  # fmt: skip
small_batches = run.table("batches", pd.DataFrame(rows))
small_batches.style.set_uuid("ffn-batches").format(precision=2).hide(axis="index")

# %% [markdown]
# The peer is `F.linear` on the whole batch, which is a matrix product and uses each weight for every
# input. From a few inputs on, the layer is no longer bound by memory, and sparsity of this kind has
# little left to give.
#
# ## bf16
#
# Halving the bytes of a weight helps dense and sparse layers alike. The kernels widen bf16 in registers
# and add in float32, so that the result is that of float32 arithmetic on rounded weights.

# %%
halves = [
    SparseFFN.from_linear(
        w.gate, w.up, w.down, weights="bfloat16", method="sparse", threads=threads[0]
    )
    for w in rotation.layers
]
dense_halves = [half.variant(method="dense") for half in halves]
half_tensors = [[part.bfloat16() for part in parts] for parts in tensors]
inputs = rotation.inputs


def torch_half(number, turn):
    gate, up, down = half_tensors[number % count]
    value = torch.from_numpy(inputs[turn % len(inputs)])[None].bfloat16()
    hidden = torch.relu(functional.linear(value, gate)) * functional.linear(value, up)
    return functional.linear(hidden, down).float()


calls = {
    "F.linear, bf16": torch_half,
    "dense, bf16": lambda number, turn: dense_halves[number % count](inputs[turn % len(inputs)]),
    "sparse, bf16": lambda number, turn: halves[number % count](inputs[turn % len(inputs)]),
    "sparse, float32": lambda number, turn: sparse_layers[number % count](
        inputs[turn % len(inputs)]
    ),
}
for call in calls.values():
    call(0, 0)
timed = benchmark.interleave(calls, repeats=repeats, threads=threads[0])
bf16 = run.table("bf16", benchmark.ratios(timed, ["F.linear, bf16", "dense, bf16"]))
bf16.style.set_uuid("ffn-bf16").format(precision=2).hide(axis="index")

# %% tags=["remove-cell"]
run.glue("ffn-bf16", float(bf16.set_index("method").loc["sparse, bf16", "ratio_median"]), "{:.2f}×")
for kept in (halves, dense_halves, half_tensors, tensors, sparse_layers):
    kept.clear()

# %% [markdown]
# Against the faster of two dense ways in bf16, the sparse layer in bf16 gains {glue:text}`ffn-bf16`.
#
# ## Choosing a method
#
# `SparseFFN` with `method="auto"` times its methods on its own weights when it is built and notes from
# which sparsity each wins. A call then uses the method that the sparsity of the last call suggests;
# the result has the same bits in any case.

# %%
layer = rotation.layers[0]
chooser = SparseFFN(layer.gate, layer.up, layer.down_rows, threads=threads[0])
run.table(
    "break_even",
    pd.DataFrame([{"sparse": chooser.break_even.sparse, "screened": chooser.break_even.screened}]),
)
run.glue("ffn-break-even", chooser.break_even.sparse, "{:.0%}")
run.glue("ffn-break-even-screened", chooser.break_even.screened, "{:.0%}")
del rotation, layer, chooser
_ = gc.collect()

# %% [markdown]
# Here skipping pays from {glue:text}`ffn-break-even` inactive neurons on, and screening the gate in
# int8 from {glue:text}`ffn-break-even-screened` on.
#
# A layer with SiLU has no exact zeros. With a threshold, neurons of small magnitude can be left out all
# the same, as CATS does {cite:p}`lee2024cats`; `activation="silu", threshold=…` does that. It is then
# an approximation whose cost must be measured on the model, while everything above is exact.
#
# ## Recorded on the reference machine
#
# What is above was measured on the machine that built this book. The following {ref}`was recorded
# <recorded-tables>` at full scale.

# %% tags=["hide-input"]
folder = results_root() / "32_sparse_ffn"
recorded = pd.read_csv(folder / "ffn_speed.csv") if (folder / "ffn_speed.csv").is_file() else None
if recorded is None:
    print("Nothing has been recorded yet.")
else:
    display(pd.read_csv(folder / "machine.csv").T.rename(columns={0: "reference machine"}))

# %% mystnb={"figure": {"name": "fig-ffn-recorded", "caption": "The same as {numref}`fig-ffn-speed`, recorded at full scale on the reference machine, with one and two threads."}, "image": {"alt": "Speed-up against sparsity on the reference machine, one panel for each number of threads."}} tags=["hide-input"]
if recorded is not None:
    figure = draw(recorded[(recorded["d"] == 2048) & (recorded["h"] == 8192)])

# %% tags=["hide-input"]
if recorded is not None:
    reference = recorded.query("d == 2048 and h == 8192 and sparsity == 0.9 and threads == 1")
    display(peers_table(reference, "ffn-peers-recorded"))

# %% [markdown]
# ## Against the aims
#
# What was aimed at before the kernels were written, and what was recorded, 2048 × 8192 in float32 on one
# thread, cold caches, against the fastest dense peer:


# %% tags=["hide-input"]
def aims(table):
    def of(method, sparsity, column="ratio_median"):
        row = table.query("method == @method and sparsity == @sparsity")
        return float(row[column].iloc[0]) if len(row) else np.nan

    dense_0, sparse_0 = of("numba dense", 0.0), of("numba sparse", 0.0)
    rows = [
        ("sparse at 90 %", "≥ 2.25", of("numba sparse", 0.9)),
        ("screened at 90 %", "≥ 3.2", of("numba screened", 0.9)),
        ("screened at 95 %", "≥ 4.2", of("numba screened", 0.95)),
        ("dense, share of the read roof", "≥ 0.9", of("numba dense", 0.9, "roof_fraction")),
        ("sparse at 0 % over dense, time", "≤ 1.1", dense_0 / sparse_0),
        ("numba over C, speed", "≥ 0.95", of("numba sparse", 0.9) / of("C fused", 0.9)),
    ]
    return pd.DataFrame(rows, columns=["figure", "aim", "recorded"])


if recorded is not None:
    display(
        aims(recorded.query("d == 2048 and h == 8192 and threads == 1"))
        .style.set_uuid("ffn-aims")
        .format({"recorded": "{:.2f}"})
        .hide(axis="index")
    )

# %% [markdown]
# ## Summary
#
# - The gate tells which neurons are active; rows of $W_3$ and columns of $W_2$ of the others need not
#   be read. Zeros are never stored, searched or multiplied.
# - The limit is $3/(1+2(1-s))$. A kernel that keeps memory busy comes close to it, and at no sparsity
#   at all it costs nothing.
# - 1.65× at 90 % is what library calls give. It is neither the limit nor a lucky figure.
# - On one input at a time, what counts is the bytes read; the next chapter reads fewer.
