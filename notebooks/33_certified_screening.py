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
#     inputs: ["results/32_sparse_ffn/*.csv", "results/33_certified_screening/*.csv"]
# ---

# %% [markdown]
# # Certified screening
#
# The sparse layer of [the previous chapter](32_sparse_ffn.py) reads every row of the gate in float32,
# only to learn, for most of them, that the result is not positive. To learn that much, a rough look is
# often enough. This chapter keeps a copy of the gate in eight bits, proves for most neurons from that
# copy alone that they are inactive, and reads the float32 row of the others. The output does not change
# by a single bit, and the limit of $3/(1+2(1-s))$ no longer holds.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
width: int = None  # width d of the layer [2, inf)
neurons: int = None  # neurons h of the layer [32, inf)
sparsities: list[float] = None  # fractions of inactive neurons [0, 1)
widths: list[int] = None  # widths at which candidates are counted [2, inf)
samples: int = None  # inputs over which candidates are counted [1, inf)
threads: int = 1  # threads of the measured kernels [1, inf)
caches: float = None  # last-level caches that the layers taken in turn fill (0, inf)
repeats: int = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of weights and inputs [0, inf)

# %% tags=["scales"]
scales = {
    "smoke": {
        "width": 128,
        "neurons": 512,
        "sparsities": [0.5, 0.9],
        "widths": [64, 128],
        "samples": 2,
        "caches": 0.001,
        "repeats": 3,
    },
    "book": {
        "width": 2048,
        "neurons": 8192,
        "sparsities": [0.5, 0.9, 0.95],
        "widths": [256, 1024, 4096],
        "samples": 4,
        "caches": 3,
        "repeats": 9,
    },
    "full": {
        "width": 2048,
        "neurons": 8192,
        "sparsities": [0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98],
        "widths": [256, 512, 1024, 2048, 4096],
        "samples": 8,
        "caches": 10,
        "repeats": 15,
    },
}

# %% tags=["hide-input"]
import gc

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from stocha import figures
from stocha.base.paths import results_root
from stocha.sparse import SparseFFN, benchmark, screening, traffic
from stocha.sparse.peers import PEERS
from stocha.sparse.workload import make_inputs, make_layer
from stocha.study.session import open_run

run = open_run("33_certified_screening", globals())
figures.style()
run.badge()

# %% [markdown]
# ## The bound
#
# A row $w$ of the gate is stored a second time as $s\,q$: a scale $s = \max_i |w_i| / 127$ and integers
# $q_i \in [-127, 127]$. What that leaves out is $e = w - s q$, a vector that is known when the layer is
# built. For any input $x$, by Cauchy and Schwarz,
#
# $$|w\cdot x - s\,(q\cdot x)| = |e \cdot x| \le \lVert e\rVert\,\lVert x\rVert .$$
#
# That is not yet a proof about the kernel, which computes in float32. Let $u = 2^{-24}$ and
# $\gamma = d u / (1 - d u)$. A sum of $d$ products, whatever its order, fused or not, is off by at most
# $\gamma \sum_i |w_i||x_i| \le \gamma \lVert w\rVert\lVert x\rVert$. This holds for the float32 row and,
# with $\lVert s q\rVert \le \lVert w\rVert + \lVert e\rVert$, for the sum over the integers. With
#
# $$\mathrm{slack} = \lVert e\rVert + 2\gamma\,(\lVert w\rVert + \lVert e\rVert)$$
#
# it follows that
#
# $$s\cdot\mathrm{fl}(q\cdot x) + \mathrm{slack}\cdot\lVert x\rVert + c \le 0
# \quad\Longrightarrow\quad \mathrm{fl}(w\cdot x) \le 0 .$$
#
# So ReLU would have returned an exact zero: the neuron is *certified* inactive, and its three float32
# rows need not be read. All others are *candidates*; their float32 row is multiplied with the very
# routine that the unscreened kernel uses, additions in the same order, and ReLU decides on the same
# bits. The constant $c$ covers numbers so small that they lose digits or are flushed to zero. Norms and
# slack are computed in float64 and rounded up, once for each layer; $\lVert x\rVert$ once for each input.
# Where an input is so large that a sum could overflow, or is not a number, the layer does not screen.
#
# The test suite attacks this bound with random bit patterns, with scales from subnormal to huge, with
# sums that cancel, and with inputs parallel to $e$, for which Cauchy and Schwarz is an equality.

# %%
layer = make_layer(width, neurons, 0.9, seed=seed)
x = make_inputs(width, samples, seed=seed)
screen = screening.build(layer.gate)
exact = x.astype(np.float64) @ layer.gate.T
estimate = screen.scale * (x.astype(np.float64) @ screen.int8.T)
slack = screen.slack * np.linalg.norm(x.astype(np.float64), axis=1)[:, None]
used = np.abs(exact - estimate) / slack
certified = estimate + slack + screen.constant <= 0
wrong = int((certified & (exact > 0)).sum())
run.metric(certified_wrongly=wrong)
run.glue("screen-cases", exact.size, "{:,}")
run.glue("screen-wrong", wrong)
run.glue("screen-used", used.max(), "{:.0%}")
run.glue("screen-certified", certified.mean(), "{:.1%}")
run.glue("screen-extra", screen.nbytes / (3 * layer.gate.nbytes), "{:.1%}")

# %% [markdown]
# In {glue:text}`screen-cases` cases of a layer that is 90 % sparse, {glue:text}`screen-certified` are
# certified and {glue:text}`screen-wrong` of these wrongly. The largest error that occurs is
# {glue:text}`screen-used` of the bound: a bound that must hold for every input is far from tight for
# most. The copy adds {glue:text}`screen-extra` to the layer's memory.

# %% mystnb={"figure": {"name": "fig-screen-margin", "caption": "Pre-activations of a layer that is 90 % sparse, in units of their standard deviation, and what the screen makes of them: certified inactive, candidates that turn out inactive, and active."}, "image": {"alt": "A Gaussian histogram centred left of zero. Most of its left part is certified; a band left of zero are candidates; the part right of zero is active."}} tags=["hide-input"]
unit = (exact / exact.std()).ravel()
flags = certified.ravel()
groups = {
    "certified inactive": (unit[flags], "#56b4e9"),
    "candidate, inactive": (unit[~flags & (unit <= 0)], "#e69f00"),
    "active": (unit[unit > 0], "#d55e00"),
}
edges = np.linspace(-5, 3, 81)
counted = pd.DataFrame({name: np.histogram(v, edges)[0] for name, (v, _) in groups.items()})
run.table("margin", counted.assign(left_edge=edges[:-1]))
figure, ax = plt.subplots(figsize=(figures.WIDTH, 3))
bottom = np.zeros(len(counted))
for name, (_, colour) in groups.items():
    ax.bar(edges[:-1], counted[name], 0.1, bottom, align="edge", color=colour, label=name)
    bottom += counted[name]
ax.set(xlabel="pre-activation / standard deviation", ylabel="cases")
_ = ax.legend()
# %% tags=["remove-input"]
run.figure_data("margin")

# %% [markdown]
# ## How many candidates
#
# For Gaussian weights the slack can be predicted: rounding to a step $\Delta$ leaves an error of
# $\Delta/\sqrt{12}$ a weight, $\sqrt{d}$ of them add up in $\lVert e\rVert$, and the step is a 127th of
# the largest of $d$ weights. In units of the pre-activation's standard deviation that is
#
# $$\delta(d) = \sqrt{d/12}\;\frac{\max_d}{127},$$
#
# and at sparsity $s$ the candidates are the fraction $1 - \Phi(\Phi^{-1}(s) - \delta)$ of neurons.

# %%
rows = []
for size in widths:
    values = make_inputs(size, samples, seed=seed + 1)
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    for sparsity in sparsities:
        made = make_layer(size, min(neurons, 4096), sparsity, seed=seed + 1)
        copy = screening.build(made.gate)
        bound = copy.scale * (values.astype(np.float64) @ copy.int8.T) + np.outer(norms, copy.slack)
        rows.append(
            {
                "width": size, "sparsity": sparsity, "candidates": (bound > 0).mean(),
                "predicted": traffic.expected_candidates(sparsity, size),
            }
        )  # fmt: skip
candidates = run.table("candidates", pd.DataFrame(rows))
miss = (candidates["predicted"] / candidates["candidates"] - 1).abs().max()
run.glue("screen-miss", miss, "{:.0%}")

# %% mystnb={"figure": {"name": "fig-screen-candidates", "caption": "Left: fraction of gate rows that the screen leaves uncertain, counted (markers) and predicted (lines), for layers of several widths. Right: limit of the speed-up that follows; dashed, the limit without screening."}, "image": {"alt": "Left, candidates fall with sparsity and rise with width, markers on the predicted lines. Right, the limit with screening exceeds the unscreened limit above medium sparsity and more so for narrow layers."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.4))
shades = plt.get_cmap("viridis")(np.linspace(0, 0.8, len(widths)))
markers = "osD^v"
curve = np.linspace(0.05, 0.99, 95)
limit_rows = []
for index, (size, shade) in enumerate(zip(widths, shades, strict=True)):
    one = candidates[candidates["width"] == size]
    law = [traffic.expected_candidates(s, size) for s in curve]
    bounds = [traffic.limit("screened", size, 4 * size, s) for s in curve]
    axes[0].plot(curve, law, color=shade, linewidth=1)
    axes[0].plot(
        one["sparsity"], one["candidates"], markers[index % 5], color=shade, label=f"d = {size}"
    )
    axes[1].plot(curve, bounds, color=shade, label=f"d = {size}")
    limit_rows += [
        {"width": size, "sparsity": s, "limit": b} for s, b in zip(curve, bounds, strict=True)
    ]
axes[1].plot(
    curve, [3 / (1 + 2 * (1 - s)) for s in curve], "--", color="#1a1a1a", label="unscreened"
)
axes[0].set(xlabel="fraction of inactive neurons", ylabel="candidates")
axes[1].set(xlabel="fraction of inactive neurons", ylabel="limit of the speed-up")
axes[0].legend()
axes[1].legend()
_ = run.table("limits", pd.DataFrame(limit_rows))
# %% tags=["remove-input"]
run.figure_data("candidates", "limits")

# %% [markdown]
# The prediction is within {glue:text}`screen-miss` of what is counted. It gives the traffic: a byte for
# each gate weight and eight for each row's scale and slack, then four bytes for each weight of the
# candidates' gate rows and of the active neurons' other rows,
#
# $$\text{speed-up} \le \frac{3}{\tfrac14 + c(s, d) + 2(1-s)} .$$
#
# At low sparsity nearly every row is a candidate and screening is a loss; it wins as
# soon as more than a quarter of the gate's rows can be certified. Wider layers gain less, since $\delta$ grows with
# $\sqrt d$.
#
# ## What the inputs look like matters
#
# The layers above are Gaussian. Trained ones are not quite, so here are harder ones: inputs with a few
# coordinates thirty times as large as the rest, as transformers are known to have, rows of very
# different scale, and rows in which a few weights are ten times as large.

# %%
variants = {}
base = make_layer(width, neurons, 0.9, seed=seed + 2)
plain = make_inputs(width, samples, seed=seed + 2)
variants["as above"] = (base.gate, plain)
variants["rows of very different scale"] = (
    make_layer(width, neurons, 0.9, seed=seed + 2, spread=2.0).gate,
    plain,
)
variants["inputs with 4 outlying coordinates"] = (
    base.gate,
    make_inputs(width, samples, seed=seed + 2, outliers=4),
)
spiky = base.gate.copy()
spiky[:, :: max(1, width // 8)] *= 10
variants["rows with 8 large weights"] = (spiky, plain)
rows = []
for name, (gate, values) in variants.items():
    copy = screening.build(gate)
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    bound = copy.scale * (values.astype(np.float64) @ copy.int8.T) + np.outer(norms, copy.slack)
    inactive = float((values @ gate.T <= 0).mean())
    share = float((bound > 0).mean())
    rows.append(
        {
            "layer": name, "inactive": inactive, "candidates": share,
            "limit": traffic.limit("screened", width, neurons, inactive, candidates=share),
        }
    )  # fmt: skip
sensitivity = run.table("sensitivity", pd.DataFrame(rows))
del variants, spiky, base
sensitivity.style.format({"inactive": "{:.1%}", "candidates": "{:.1%}", "limit": "{:.2f}×"}).hide(
    axis="index"
)

# %% [markdown]
# A row's own scale cancels. Large single weights cost most, since they stretch the step for a whole row;
# a scale for each part of a row would help there. The output is exact in every case; only the number of
# candidates changes.
#
# ## Measured

# %%
names = [
    "torch.mv, stacked", "torch.mv, W2 by columns", "numpy", "numba dense", "numba sparse",
    "numba screened",
]  # fmt: skip
peers = [peer for peer in PEERS if peer.name in names]
found, equal = [], []
for done, sparsity in enumerate(sparsities):
    rotation = benchmark.make_rotation(width, neurons, sparsity, caches=caches, seed=seed)
    times = benchmark.time_layers(rotation, threads=threads, repeats=repeats, peers=peers)
    found.append(benchmark.summarise(times, rotation, threads=threads))
    first = rotation.layers[0]
    pair = [
        SparseFFN(first.gate, first.up, first.down_rows, method=method, threads=threads)
        for method in ("sparse", "screened")
    ]
    outputs = [[ffn(value).tobytes() for value in rotation.inputs] for ffn in pair]
    equal.append(outputs[0] == outputs[1])
    found[-1]["candidates"] = np.where(
        found[-1]["method"] == "numba screened", pair[1].candidates, np.nan
    )
    del rotation, first, pair
    gc.collect()
    run.progress(done + 1, len(sparsities), "sparsities")
speed = run.table("speed", pd.concat(found, ignore_index=True))
assert all(equal), "a screened layer differs from the unscreened one"
best = speed[speed["method"] == "numba screened"].sort_values("sparsity").iloc[-1]
run.glue("screen-top", best["sparsity"], "{:.0%}")
run.glue("screen-ratio", best["ratio_median"], "{:.2f}×")
run.glue("screen-limit", traffic.limit("screened", width, neurons, best["sparsity"]), "{:.2f}×")


# %% tags=["hide-input"]
def table_of(speed):
    chosen = speed[speed["method"].isin(["numba sparse", "numba screened"])]
    wide = chosen.pivot_table(
        index=["d", "h", "threads", "sparsity"], columns="method", values="ratio_median"
    ).reset_index()
    wide.columns.name = None
    for method, label in (("sparse", "limit, sparse"), ("screened", "limit, screened")):
        wide[label] = [
            traffic.limit(method, int(row.d), int(row.h), row.sparsity) for row in wide.itertuples()
        ]
    return wide.style.format(
        {"sparsity": "{:.0%}"} | dict.fromkeys(wide.columns[4:], "{:.2f}×")
    ).hide(axis="index")


table_of(speed)

# %% [markdown]
# Speed-ups over the fastest dense way in the same run, on this machine. Outputs of the screened and the
# unscreened layer were compared for every sparsity and are equal to the last bit. At
# {glue:text}`screen-top` the screened layer reaches {glue:text}`screen-ratio` of the
# {glue:text}`screen-limit` that its bytes allow.
#
# The gap to the limit has three parts. Rows of the eight-bit copy are a quarter as long, and widening
# their numbers takes instructions, so that they are read somewhat more slowly than float32 rows; eight
# rows that lie side by side even share pages, which is why the kernel takes rows 8 KB apart together.
# Candidates and active rows are scattered: each list ends with a block that is not full. And the fixed
# costs of a call, small beside a dense layer, are not small beside a quarter of it.
#
# ## Recorded on the reference machine

# %% tags=["hide-input"]
path = results_root() / "32_sparse_ffn" / "ffn_speed.csv"
if path.is_file():
    display(table_of(pd.read_csv(path)))
else:
    print("Nothing has been recorded yet.")

# %% [markdown]
# ## Summary
#
# - Eight bits and a proven bound suffice to know most inactive neurons; the others are recomputed, so
#   the result is that of the float32 layer to the last bit.
# - The bound includes the rounding of both computations and underflow; it does not depend on the order
#   of additions.
# - The limit moves from $3/(1+2(1-s))$ to $3/(\frac14 + c(s,d) + 2(1-s))$. What is left is mostly
#   candidates: a tighter bound, such as a scale for each part of a row or a second look at eight more
#   bits, would be the next step.
