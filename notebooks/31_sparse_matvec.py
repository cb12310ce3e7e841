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
#     experiment: stocha.sparse.experiments.products
#     alone: true
#     inputs: ["results/31_sparse_matvec/*.csv"]
# ---

# %% [markdown]
# # Sparse matrix–vector products
#
# Does a matrix–vector product get faster when most of its numbers are zero? It depends on where the
# zeros are.
#
# **Zero activations pay almost at once, zero weights only when they are most of all.** Skipping the
# columns of zero inputs pays from {glue:text}`matvec-first-columns` zeros on. Storing only the weights that are not zero (CSR) pays
# from {glue:text}`matvec-first-csr` on. At {glue:text}`matvec-top` zeros they gain {glue:text}`matvec-columns` and
# {glue:text}`matvec-csr` ({numref}`fig-matvec-speed`).

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
rows: "Optional[int]" = None  # rows of the matrix, outputs [8, inf)
columns: "Optional[int]" = None  # columns of the matrix, inputs [8, inf)
sparsities: "Optional[list[float]]" = None  # fractions of zeros [0, 1)
caches: "Optional[float]" = None  # last-level caches that all weights fill (0, inf)
repeats: "Optional[int]" = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of matrices, inputs and zeros [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"rows": 256, "columns": 128, "sparsities": [0.5, 0.9], "caches": 0.001,
        "repeats": 3},
    "book": {"rows": 4096, "columns": 2048, "sparsities": [0.0, 0.5, 0.8, 0.9, 0.95],
        "caches": 2.0, "repeats": 9},
    "full": {"rows": 8192, "columns": 2048,
        "sparsities": [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98], "caches": 10.0,
        "repeats": 15},
}  # fmt: skip

# %% tags=["hide-input"]
import numpy as np

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.sparse import matvec
from stocha.sparse.experiments import products
from stocha.study.session import open_run

run = open_run("31_sparse_matvec", globals())
figures.style()
recorded = run.table("recorded", Tables()("31_sparse_matvec", "speed"))

WAYS = ["numba CSR", "numba CSC", "scipy CSR", "scipy CSC", "torch CSR"]
WAYS += ["numba columns", "numba rows", "gather + BLAS"]
TITLES = {
    "weights": "Zero weights",
    "inputs": "Zero inputs",
    "outputs": "Unwanted outputs",
}


def panel(rows, ax):
    """Speed-ups for one problem; black, what the number of bytes allows."""
    share = 0.5 if (rows["problem"] == "weights").all() else 1
    limits = {"bytes predict": lambda s: share / (1 - s)}
    figures.speedups(rows, WAYS, limits, ax=ax).set(xlabel="fraction of zeros")
    ax.set_yscale("log")


def draw(table):
    """A panel for each problem."""
    size = (figures.WIDTH, 3.8)
    return figures.facets(table, "problem", panel, names=TITLES, figsize=size)


# %% mystnb={"figure": {"name": "fig-matvec-speed", "caption": "Speed-up over the fastest dense product as zeros increase, recorded at full scale on the reference machine: median of all rounds, quartiles shaded. The thin black line is what the number of bytes allows."}, "image": {"alt": "Three panels, zero weights, zero inputs and unwanted outputs: speed-up over the fastest dense product, on a logarithmic axis, against the fraction of zeros, one line for each method, with a dotted line at one and a thin line for what bytes predict."}} tags=["hide-input"]
figure = draw(recorded)
# %% tags=["remove-input"]
run.figure_data("recorded")

# %% tags=["remove-cell"]
top = recorded["sparsity"].max()
rows_at_top = recorded[recorded["sparsity"] == top]
at_top = rows_at_top.set_index(["problem", "method"])["ratio_median"]
points = Tables()("31_sparse_matvec", "break_even")
first = points.set_index(["problem", "method"])["break_even"]
run.glue("matvec-top", top, "{:.0%}")
run.glue("matvec-csr", at_top["weights", "numba CSR"], "{:.1f}×")
run.glue("matvec-columns", at_top["inputs", "numba columns"], "{:.1f}×")
run.glue("matvec-rows", at_top["outputs", "numba rows"], "{:.1f}×")
run.glue("matvec-gather", at_top["outputs", "gather + BLAS"], "{:.1f}×")
run.glue("matvec-first-csr", first["weights", "numba CSR"], "{:.0%}")
run.glue("matvec-first-columns", first["inputs", "numba columns"], "{:.0%}")

# %% [markdown]
# ## Two kinds of zeros
#
# Generating text with a language model multiplies large matrices by one vector at a time. Each weight
# is read once and used for one multiplication and one addition, so the time is that of reading the
# matrix, and the only way to be faster is to read less of it. Zeros allow that, in two very different
# ways.
#
# *Zeros among the weights* are the same for every input. One can store the other weights alone, each
# with its place: row by row (CSR) or column by column (CSC). A place takes four bytes, as many as a
# float32 weight, so that a matrix must lose more than half of its weights before reading the rest
# with their places is less work than reading all of it. Bytes predict a speed-up of $1 / (2(1 - s))$
# at sparsity $s$.
#
# *Zeros among the activations* come and go with the input. The matrix keeps all of its weights, and
# what is skipped is a whole line of it:
#
# - a zero **input** $x_j$ makes column $j$ of the matrix unnecessary;
# - an **output** $y_i$ that nobody asks for makes row $i$ unnecessary. This is what an up projection
#   needs whose gate is closed for the other neurons.
#
# Memory delivers 64 bytes at a time, at full speed only when neighbours follow. A line of the matrix
# can be skipped if it lies in one piece: *rows wanted* needs the matrix by rows, *inputs zero* needs it
# by columns, that is, its transpose by rows. No list of places has to be stored, so such zeros begin to
# pay at once, and bytes predict $1 / (1 - s)$. The whole method for zero inputs, and its kernel's
# deviation from it:

# %%
rng = np.random.default_rng(seed)
matrix = rng.standard_normal((64, 48), np.float32)
x = rng.standard_normal(48, np.float32) * (rng.random(48) < 0.1)  # 90 % zeros
by_columns = np.ascontiguousarray(matrix.T)  # once
y = np.zeros(64, np.float32)
for j in np.flatnonzero(x):
    y += x[j] * by_columns[j]  # the other columns are never read
float(np.abs(y - matvec.Columns(matrix)(x)).max())

# %% [markdown]
# Its competitor in a library gathers the lines that it needs into a new matrix and multiplies that:
# it writes a copy and reads it again, hence {glue:text}`matvec-gather` instead of
# {glue:text}`matvec-rows` at {glue:text}`matvec-top`.
#
# Two things keep CSR from its line. It fetches the input in the order of the stored places, not in its
# own, and a processor loads scattered numbers one by one even when one instruction asks for sixteen of
# them. The skipping kernels read whole lines, so their inner loop is that of the dense product.
#
# The break-even point of each method, interpolated between the sparsities that were recorded:

# %% tags=["hide-input"]
reached = points["break_even"].fillna(1.0) < 1
words = points["break_even"].map("{:.0%}".format).where(reached, "not reached")
table = points.assign(problem=points["problem"].map(TITLES), break_even=words)
table = table.rename(columns={"break_even": "pays from"})
table.style.set_uuid("matvec-break-even").hide(axis="index")

# %% [markdown]
# ## Measured here
#
# The same on the machine that made this page, with fewer sparsities and smaller matrices: a check of
# the record, not a second result.

# %% tags=["hide-input"]
run.badge()
found = run.result(products.run, products.Config(**run.parameters))

# %% tags=["remove-cell"]
run.glue("matvec-count", found.metrics["count"])
run.glue("matvec-shape", f"{rows} × {columns}")
run.glue("matvec-megabytes", found.metrics["megabytes"], "{:,.0f}")
run.glue("matvec-cache", found.metrics["cache"], "{:.0f}")

# %% [markdown]
# {glue:text}`matvec-count` different matrices of {glue:text}`matvec-shape` float32 numbers take turns,
# together {glue:text}`matvec-megabytes` MB, beside a last-level cache of {glue:text}`matvec-cache` MB.
# All methods are timed once in every round, so that a slow moment of the machine hits all of them, and
# a ratio compares two times of the same round. Everything runs on one thread. Zeros change from call to
# call, and finding them is part of the time. Results are compared with float64 before anything is
# timed; a wrong one stops the chapter.

# %% mystnb={"figure": {"name": "fig-matvec-live", "caption": "The same as {numref}`fig-matvec-speed`, measured on the machine that made this page, at its scale."}, "image": {"alt": "The three panels of the first figure, as measured by this build."}} tags=["hide-input"]
figure = draw(found.tables["speed"])
# %% tags=["remove-input"]
run.figure_data("speed")

# %% [markdown]
# Each format multiplies like the dense matrix; only what it stores and reads differs. On a small
# matrix with 70 % zeros:

# %% tags=["hide-input"]
formats = found.tables["formats"].style.set_uuid("matvec-formats")
formats.format({"largest error": "{:.1e}"}).hide(axis="index")

# %% [markdown]
# ## Summary
#
# Multiplying a large matrix by one vector takes as long as reading the matrix, so only what is not read saves time. Zeros among
# the weights must be stored with their places, which costs as much as the numbers: they pay from {glue:text}`matvec-first-csr`
# zeros on. Zeros among the activations need no places. A whole row or column is skipped, if the matrix lies in memory that way
# round, and that pays from {glue:text}`matvec-first-columns` on. [The next chapter](32_sparse_ffn.py) puts this kind to work.
