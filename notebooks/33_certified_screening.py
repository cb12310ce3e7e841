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
#     experiment: stocha.sparse.experiments.screening
#     alone: true
#     inputs: ["results/32_sparse_ffn/*.csv", "results/33_certified_screening/*"]
# ---

# %% [markdown]
# # Certified screening
#
# The sparse layer of [the previous chapter](32_sparse_ffn.py) reads every row of the gate in float32,
# only to learn, for most of them, that the result is not positive. Are eight bits enough to learn that
# much, without changing a single bit of the output?
#
# **Yes: {glue:text}`screen-90` instead of {glue:text}`screen-90-sparse` at 90 %, and
# {glue:text}`screen-ratio` at {glue:text}`screen-top`, with every output equal to the last bit**
# ({numref}`fig-screen-speed`). A copy of the gate in eight bits *proves* most neurons inactive, and the float32 row is read of the
# others alone. So the limit of $3/(1+2(1-s))$ no longer holds.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
width: "Optional[int]" = None  # width d of the layer [2, inf)
neurons: "Optional[int]" = None  # neurons h of the layer [32, inf)
sparsities: "Optional[list[float]]" = None  # fractions of inactive neurons [0, 1)
widths: "Optional[list[int]]" = None  # widths at which candidates are counted [2, inf)
samples: "Optional[int]" = None  # inputs over which candidates are counted [1, inf)
threads: int = 1  # threads of the measured kernels [1, inf)
caches: "Optional[float]" = None  # last-level caches that all weights fill (0, inf)
repeats: "Optional[int]" = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of weights and inputs [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"width": 128, "neurons": 512, "sparsities": [0.5, 0.9],
        "widths": [64, 128], "samples": 2, "caches": 0.001, "repeats": 3},
    "book": {"width": 2048, "neurons": 8192, "sparsities": [0.5, 0.9, 0.95],
        "widths": [256, 1024, 4096], "samples": 4, "caches": 3.0, "repeats": 9},
    "full": {"width": 2048, "neurons": 8192,
        "sparsities": [0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98],
        "widths": [256, 512, 1024, 2048, 4096], "samples": 8, "caches": 10.0,
        "repeats": 15},
}  # fmt: skip

# %% tags=["hide-input"]
import json
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.base.paths import results_root
from stocha.claims.ledger import Tables
from stocha.sparse import traffic
from stocha.sparse.experiments import screening
from stocha.study.session import open_run

PAGE = "33_certified_screening"
run = open_run(PAGE, globals())
figures.style()
tables = Tables()
recorded = run.table("recorded", tables(PAGE, "speed"))
counted = run.table("recorded_candidates", tables(PAGE, "candidates"))
margin = run.table("recorded_margin", tables(PAGE, "margin"))
about = json.loads((results_root() / PAGE / "metrics.json").read_text())
COLOURS = ("#56b4e9", "#e69f00", "#d55e00")
curve = np.linspace(0.05, 0.99, 95)


def draw(table):
    """Measured speed-ups of one layer, and the limits that their bytes set."""
    limits = {
        f"limit, {way}": partial(traffic.limit, way, *table[["d", "h"]].iloc[0])
        for way in ("screened", "sparse")
    }
    _, ax = plt.subplots(figsize=(figures.WIDTH, 3.4))
    figures.speedups(table, ["numba screened", "numba sparse"], limits, ax=ax).legend()


# %% mystnb={"figure": {"name": "fig-screen-speed", "caption": "Speed-up of the screened and of the unscreened layer, 2048 × 8192 in float32 on one thread, over the fastest dense way, recorded at full scale on the reference machine: medians, quartiles shaded. Black: what the number of bytes allows."}, "image": {"alt": "Speed-up over the fastest dense way against the fraction of inactive neurons: lines for the screened and the sparse kernel with shaded quartiles, and black lines for the limit of each."}} tags=["hide-input"]
draw(recorded)
# %% tags=["remove-input"]
run.figure_data("recorded")

# %% tags=["remove-cell"]
at = recorded.set_index(["sparsity", "method"])["ratio_median"]
best = recorded["sparsity"].max()
miss = (counted["predicted"] / counted["candidates"] - 1).abs().max()
run.glue("screen-90", at[0.9, "numba screened"], "{:.2f}×")
run.glue("screen-90-sparse", at[0.9, "numba sparse"], "{:.2f}×")
run.glue("screen-top", best, "{:.0%}")
run.glue("screen-ratio", at[best, "numba screened"], "{:.2f}×")
run.glue("screen-limit", traffic.limit("screened", 2048, 8192, best), "{:.2f}×")
run.glue("screen-miss", miss, "{:.0%}")
run.glue("screen-cases", about["screen-cases"], "{:,}")
run.glue("screen-wrong", about["screen-wrong"])
run.glue("screen-used", about["screen-used"], "{:.0%}")
run.glue("screen-certified", about["screen-certified"], "{:.1%}")
run.glue("screen-extra", about["screen-extra"], "{:.1%}")

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
#
# In {glue:text}`screen-cases` recorded cases of a layer that is 90 % sparse,
# {glue:text}`screen-certified` are certified and {glue:text}`screen-wrong` of these wrongly. The largest
# error that occurs is {glue:text}`screen-used` of the bound: a bound that must hold for every input is
# far from tight for most. The copy adds {glue:text}`screen-extra` to the layer's memory.

# %% mystnb={"figure": {"name": "fig-screen-margin", "caption": "Pre-activations of a layer that is 90 % sparse, in units of their standard deviation, and what the screen makes of them: certified inactive, candidates that turn out inactive, and active."}, "image": {"alt": "A stacked histogram of pre-activations in standard deviations, its bars divided into certified inactive, candidate but inactive, and active."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(figures.WIDTH, 3))
left, groups = margin["left_edge"], list(margin.columns[:3])
look = {"stacked": True, "color": COLOURS, "label": groups}
cases = [margin[group] for group in groups]
ax.hist([left] * 3, [*left, left.max() + 0.1], weights=cases, **look)
ax.set(xlabel="pre-activation / standard deviation", ylabel="cases")
_ = ax.legend()
# %% tags=["remove-input"]
run.figure_data("recorded_margin")

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

# %% mystnb={"figure": {"name": "fig-screen-candidates", "caption": "Left: fraction of gate rows that the screen leaves uncertain, counted (markers) and predicted (lines), for layers of several widths. Right: limit of the speed-up that follows; dashed, the limit without screening."}, "image": {"alt": "Two panels against the fraction of inactive neurons, a colour for each width: left, the fraction of candidates, markers for what was counted and lines for what is predicted; right, the limit of the speed-up with screening, and dashed without."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.4))
sizes = counted["width"].unique()
shades = np.linspace(0, 0.8, len(sizes))
for size, marker, shade in zip(sizes, "osD^v", shades, strict=True):
    colour, one = plt.get_cmap("viridis")(shade), counted[counted["width"] == size]
    law = [traffic.expected_candidates(s, size) for s in curve]
    axes[0].plot(curve, law, color=colour, linewidth=1)
    look = {"color": colour, "label": f"d = {size}"}
    axes[0].plot(one["sparsity"], one["candidates"], marker, **look)
    bounds = [traffic.limit("screened", size, 4 * size, s) for s in curve]
    axes[1].plot(curve, bounds, **look)
plain = traffic.limit("sparse", 1, 1, curve)
axes[1].plot(curve, plain, "--", color="#1a1a1a", label="unscreened")
axes[0].set(xlabel="fraction of inactive neurons", ylabel="candidates")
axes[1].set(xlabel="fraction of inactive neurons", ylabel="limit of the speed-up")
axes[0].legend()
_ = axes[1].legend()
# %% tags=["remove-input"]
run.figure_data("recorded_candidates")

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

# %% tags=["hide-input"]
tables(PAGE, "sensitivity").style.set_uuid("screen-sensitivity").format(
    {"inactive": "{:.1%}", "candidates": "{:.1%}", "limit": "{:.2f}×"}
).hide(axis="index")

# %% [markdown]
# A row's own scale cancels. Large single weights cost most, since they stretch the step for a whole row;
# a scale for each part of a row would help there. The output is exact in every case; only the number of
# candidates changes.
#
# ## Would four bits do, for a gate in int8?
#
# A layer whose weights are int8 reads its gate at a byte a weight. Its upper bits could screen it in the
# same way, exactly. What $b$ bits leave out is one of $n = 2^{8-b}$ steps, so the margin is
# $\sqrt{d(n^2-1)/12}$ steps of a 127th of the largest of 32 weights, and the gate costs $b/8$ bytes a
# weight and the candidates' rows once more. Below one, screening pays:


# %%
def gate_bytes(bits, d, sparsity):
    """Read of an int8 gate by screening with its upper bits, a weight."""
    margin = traffic.upper_bits_margin(d, bits)
    return bits / 8 + traffic.expected_candidates(sparsity, d, margin=margin)


cases = [(d, s) for d in (576, 2048) for s in (0.9, 0.95, 0.98)]
rows = {f"{b} bits": [gate_bytes(b, *case) for case in cases] for b in (4, 5, 6, 7)}
columns = pd.MultiIndex.from_tuples(cases, names=["width", "sparsity"])
pd.DataFrame.from_dict(rows, "index", columns=columns).round(2)

# %% [markdown]
# **No.** At 2048 columns the margin of four bits is about four standard deviations: nearly no neuron is
# proved inactive, and the gate would be read one and a half times. Six bits break even at 95 %. A bound
# by Cauchy and Schwarz grows with $\sqrt d$ and with $2^{-b}$, and most of it is never used; so the int8
# layer reads its whole gate. A test counts candidates of made layers and holds the formula to them.
#
# ## What keeps it from its limit
#
# At {glue:text}`screen-top` the screened layer reaches {glue:text}`screen-ratio` of the
# {glue:text}`screen-limit` that its bytes allow. The gap has three parts. Rows of the eight-bit copy are a
# quarter as long, and widening their numbers takes instructions, so that they are read somewhat more
# slowly than float32 rows; eight rows that lie side by side even share pages, which is why the kernel
# takes rows 8 KB apart together. Candidates and active rows are scattered: each list ends with a block
# that is not full. And the fixed costs of a call, small beside a dense layer, are not small beside a
# quarter of it.
#
# ## Measured here
#
# The same on the machine that made this page, at its scale: a check of the record, not a second result.
# Outputs of the screened and the unscreened layer are compared for every sparsity; one differing bit
# stops the chapter.

# %% tags=["hide-input"]
run.badge()
found = run.result(screening.run, screening.Config(**run.parameters))

# %% mystnb={"figure": {"name": "fig-screen-live", "caption": "The same as {numref}`fig-screen-speed`, measured on the machine that made this page, at its scale."}, "image": {"alt": "Speed-up against the fraction of inactive neurons as measured by this build, with the limits of both kernels."}} tags=["hide-input"]
draw(found.tables["speed"])
# %% tags=["remove-input"]
run.figure_data("speed")

# %% tags=["remove-cell"]
run.glue("screen-live-cases", found.metrics["cases"], "{:,}")
run.glue("screen-live-wrong", found.metrics["certified_wrongly"])

# %% [markdown]
# Of {glue:text}`screen-live-cases` cases counted here, {glue:text}`screen-live-wrong` were certified
# wrongly.
#
# ## Summary
#
# A rough copy of the weights is enough to prove that most neurons will be zero; only the others are computed with the full
# weights. Nothing is approximated: the proof allows for every rounding error, and the output has the same bits. With nine tenths of
# the neurons zero the layer becomes {glue:text}`screen-90` times as fast as a dense one, instead of
# {glue:text}`screen-90-sparse`. Most of what is left to gain lies in neurons that the rough copy cannot decide. A tighter bound, with
# a scale for each part of a row or a second look at eight more bits, would be the next step.
