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
#     inputs: ["results/31_sparse_matvec/*.csv"]
# ---

# %% [markdown]
# # Sparse matrix–vector products
#
# Generating text with a language model multiplies large matrices by one vector at a time. Each weight
# is read once and used for one multiplication and one addition, so the time is that of reading the
# matrix, and the only way to be faster is to read less of it. Zeros allow that, but in two very
# different ways. This chapter measures both, before [the next](32_sparse_ffn.py) puts the useful one
# to work.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
rows: int = None  # rows of the matrix, outputs [8, inf)
columns: int = None  # columns of the matrix, inputs [8, inf)
sparsities: list[float] = None  # fractions of zeros [0, 1)
caches: float = None  # last-level caches that the matrices taken in turn fill (0, inf)
repeats: int = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # seed of matrices, inputs and zeros [0, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"rows": 256, "columns": 128, "sparsities": [0.5, 0.9], "caches": 0.001, "repeats": 3},
    "book": {
        "rows": 4096,
        "columns": 2048,
        "sparsities": [0.0, 0.5, 0.8, 0.9, 0.95],
        "caches": 2,
        "repeats": 9,
    },
    "full": {
        "rows": 8192,
        "columns": 2048,
        "sparsities": [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98],
        "caches": 10,
        "repeats": 15,
    },
}

# %% tags=["hide-input"]
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from stocha import figures
from stocha.base.paths import results_root
from stocha.sparse import benchmark, matvec
from stocha.study.session import open_run

run = open_run("31_sparse_matvec", globals())
figures.style()
torch.set_num_threads(1)
blas = threadpool_limits(1, user_api="blas")
run.badge()

# %% [markdown]
# ## Two kinds of zeros
#
# *Zeros among the weights* are the same for every input. One can store the other weights alone, each
# with its place: row by row (CSR) or column by column (CSC). A place takes four bytes, as many as a
# float32 weight, so that a matrix must lose more than half of its weights before reading the rest
# with their places is less work than reading all of it.
#
# *Zeros among the activations* come and go with the input. The matrix keeps all of its weights, and
# what is skipped is a whole line of it:
#
# - a zero **input** $x_j$ makes column $j$ of the matrix unnecessary;
# - an **output** $y_i$ that nobody asks for makes row $i$ unnecessary.
#
# Memory delivers 64 bytes at a time, at full speed only when neighbours follow. A line of the matrix
# can be skipped if it lies in one piece: *rows wanted* needs the matrix by rows, *inputs zero* needs it
# by columns, that is, its transpose by rows. No list of places has to be stored, so such zeros begin to
# pay at once.

# %%
rng = np.random.default_rng(seed)
count = max(2, math.ceil(caches * benchmark.last_level_cache() / (4 * rows * columns)))
matrices = [rng.standard_normal((rows, columns), np.float32) for _ in range(count)]
inputs = rng.standard_normal((8, columns), np.float32)
small, v = matrices[0][:64, :48].copy(), inputs[0][:48].copy()
small[rng.random(small.shape) < 0.7] = 0
v[::2] = 0
exact = small.astype(np.float64) @ v
pd.DataFrame(
    {
        "format": [
            form.__name__ for form in (matvec.Dense, matvec.Columns, matvec.CSR, matvec.CSC)
        ],
        "bytes": [
            form(small).nbytes for form in (matvec.Dense, matvec.Columns, matvec.CSR, matvec.CSC)
        ],
        "largest error": [
            np.abs(form(small)(v) - exact).max()
            for form in (matvec.Dense, matvec.Columns, matvec.CSR, matvec.CSC)
        ],
    }
)

# %% [markdown]
# Each format multiplies like the dense matrix; only what it stores and reads differs. The last column
# is float32 rounding.
#
# ## How it is measured
#
# {glue:text}`matvec-count` different matrices of {glue:text}`matvec-shape` float32 numbers take turns,
# together {glue:text}`matvec-megabytes` MB, beside a last-level cache of {glue:text}`matvec-cache` MB:
# no method finds its matrix in a cache. All methods are timed once in every round, so that a slow
# moment of the machine hits all of them, and a ratio compares two times of the same round. Everything
# here runs on one thread. Results are compared with float64 before anything is timed; a wrong one stops
# the chapter.

# %% tags=["remove-cell"]
run.glue("matvec-count", count)
run.glue("matvec-shape", f"{rows} × {columns}")
run.glue("matvec-megabytes", count * rows * columns * 4 / 1e6, "{:,.0f}")
run.glue("matvec-cache", benchmark.last_level_cache() / 2**20, "{:.0f}")


# %% tags=["hide-input"]
def checked(name, function, x, exact, *more):
    """The function, after it gave the float64 result for one input."""
    y = np.asarray(function(x, *more))
    assert np.abs(y - exact).max() <= 1e-5 * max(np.abs(exact).max(), 1), f"{name} is wrong"
    return function


def dense_methods(matrix):
    tensor = torch.from_numpy(matrix)
    return {
        "numpy": lambda x: matrix @ x,
        "torch.mv": lambda x: torch.mv(tensor, torch.from_numpy(x)).numpy(),
        "numba dense": matvec.Dense(matrix),
    }


def csr_of_torch(matrix):
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    stored = torch.sparse_csr_tensor(
        *(torch.from_numpy(part) for part in scipy_parts(matrix)), matrix.shape,
        check_invariants=False,
    )  # fmt: skip
    return lambda x: (stored @ torch.from_numpy(x)[:, None])[:, 0].numpy()


def scipy_parts(matrix):
    stored = matvec.CSR(matrix).stored
    return stored.indptr.astype(np.int64), stored.indices.astype(np.int64), stored.data


def measure(problem, sparsity, functions, arguments):
    """Time functions[k][name] in turn; returns their ratios to the fastest dense one."""
    names = list(functions[0])
    calls = {
        name: lambda number, turn, name=name: functions[number % len(functions)][name](
            *arguments(turn)
        )
        for name in names
    }
    for name in names:  # compiles and warms
        calls[name](0, 0)
    table = benchmark.interleave(calls, repeats=repeats)
    found = benchmark.ratios(table, ["numpy", "torch.mv", "numba dense"])
    found.insert(0, "sparsity", sparsity)
    found.insert(0, "problem", problem)
    return found


# %% [markdown]
# ## Zeros among the weights
#
# A fraction of the weights, chosen at random, is set to zero. The dense methods do not notice. The
# sparse ones get their format built beforehand, since weights do not change. Bytes predict a speed-up
# of $1 / (2(1 - s))$ at sparsity $s$ over a dense product: break-even at one half.

# %%
found = []
for step, sparsity in enumerate([s for s in sparsities if s >= 0.5]):
    functions = []
    for matrix in matrices[: max(2, count // 2)]:
        pruned = matrix.copy()
        pruned[rng.random(matrix.shape, np.float32) < sparsity] = 0
        csr, csc = matvec.CSR(pruned), matvec.CSC(pruned)
        functions.append(
            dense_methods(pruned)
            | {
                "numba CSR": csr,
                "numba CSC": csc,
                "scipy CSR": csr.stored.__matmul__,
                "scipy CSC": csc.stored.__matmul__,
                "torch CSR": csr_of_torch(pruned),
            }
        )
    exact = pruned.astype(np.float64) @ inputs[0]
    for name, function in functions[-1].items():
        checked(name, function, inputs[0], exact)
    found.append(measure("weights", sparsity, functions, lambda turn: (inputs[turn % 8],)))
    run.progress(step + 1, 3 * len(sparsities), "sparsities")
weights = pd.concat(found)

# %% [markdown]
# ## Zeros among the activations
#
# The same matrices with all of their weights. First a fraction of the *inputs* is zero, other ones in
# every call. `Columns` walks over the rows of the stored transpose and adds those whose input is not
# zero; its competitor in a library is to gather these rows into a new matrix and to multiply that.
# Finding the nonzero inputs is part of the time.

# %%
found = []
transposed = [matvec.Columns(matrix) for matrix in matrices]


def gather_columns(columns_of):
    tensor = torch.from_numpy(columns_of.transposed)

    def multiply(x):
        value = torch.from_numpy(x)
        places = torch.nonzero(value)[:, 0]
        return torch.mv(tensor.index_select(0, places).T, value[places]).numpy()

    return multiply


functions = [
    dense_methods(matrix)
    | {"numba columns": by_columns, "gather + BLAS": gather_columns(by_columns)}
    for matrix, by_columns in zip(matrices, transposed, strict=True)
]
for step, sparsity in enumerate(sparsities):
    sparse_inputs = inputs * (rng.random(inputs.shape, np.float32) >= sparsity)
    exact = matrices[0].astype(np.float64) @ sparse_inputs[0]
    for name, function in functions[0].items():
        checked(name, function, sparse_inputs[0], exact)
    found.append(measure("inputs", sparsity, functions, lambda turn: (sparse_inputs[turn % 8],)))
    run.progress(len(sparsities) + step + 1, 3 * len(sparsities), "sparsities")
zero_inputs = pd.concat(found)
del transposed, functions

# %% [markdown]
# Then only some of the *outputs* are wanted, as given by a mask that changes with every call. This
# is what an up projection needs whose gate is closed for the other neurons.


# %%
def rows_of_blas(matrix):
    tensor = torch.from_numpy(matrix)

    def multiply(x, wanted):
        y = torch.zeros(len(wanted))
        places = torch.nonzero(torch.from_numpy(wanted))[:, 0]
        y[places] = torch.mv(tensor.index_select(0, places), torch.from_numpy(x))
        return y.numpy()

    return multiply


def ignoring_the_mask(function):
    return lambda x, wanted: function(x) * wanted


found = []
functions = [
    {name: ignoring_the_mask(function) for name, function in dense_methods(matrix).items()}
    | {"numba rows": matvec.Rows(matrix), "gather + BLAS": rows_of_blas(matrix)}
    for matrix in matrices
]
for step, sparsity in enumerate(sparsities):
    masks = rng.random((8, rows)) >= sparsity
    exact = (matrices[0].astype(np.float64) @ inputs[0]) * masks[0]
    for name, function in functions[0].items():
        checked(name, function, inputs[0], exact, masks[0])
    found.append(
        measure("outputs", sparsity, functions, lambda turn: (inputs[turn % 8], masks[turn % 8]))
    )
    run.progress(2 * len(sparsities) + step + 1, 3 * len(sparsities), "sparsities")
wanted_outputs = pd.concat(found)
speed = run.table("speed", pd.concat([weights, zero_inputs, wanted_outputs], ignore_index=True))

# %% [markdown]
# ## What zeros are worth

# %% tags=["hide-input"]
LOOKS = {
    "numba CSR": ("#0072b2", "o", "-"),
    "numba CSC": ("#d55e00", "s", "-"),
    "scipy CSR": ("#56b4e9", "D", "--"),
    "scipy CSC": ("#e69f00", "^", "--"),
    "torch CSR": ("#767676", "v", ":"),
    "numba columns": ("#0072b2", "o", "-"),
    "numba rows": ("#0072b2", "o", "-"),
    "gather + BLAS": ("#d55e00", "s", "--"),
}
TITLES = {"weights": "Zero weights", "inputs": "Zero inputs", "outputs": "Unwanted outputs"}
PREDICTED = {"weights": lambda s: 0.5 / (1 - s), "inputs": lambda s: 1 / (1 - s)}


def draw(table):
    figure, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 3.3), sharey=True)
    for ax, (problem, group) in zip(axes, table.groupby("problem", sort=False), strict=True):
        for name, (colour, marker, line) in LOOKS.items():
            method = group[group["method"] == name]
            if len(method):
                ax.fill_between(
                    method["sparsity"],
                    method["ratio_q1"],
                    method["ratio_q3"],
                    color=colour,
                    alpha=0.2,
                )
                ax.plot(
                    method["sparsity"], method["ratio_median"], line, marker=marker, markersize=4,
                    color=colour, label=name,
                )  # fmt: skip
        curve = np.linspace(min(table["sparsity"]), max(table["sparsity"]), 100)
        law = PREDICTED.get(problem, PREDICTED["inputs"])
        ax.plot(curve, law(curve), color="#1a1a1a", linewidth=0.8, label="bytes predict")
        ax.axhline(1, color="#1a1a1a", linewidth=0.6, linestyle=":")
        ax.set(title=TITLES[problem], xlabel="fraction of zeros", yscale="log")
        ax.legend(fontsize=7)
    axes[0].set_ylabel("speed-up over fastest dense")
    return figure


# %% mystnb={"figure": {"name": "fig-matvec-speed", "caption": "Speed-up over the fastest dense product as zeros increase, on this machine: median of all rounds, quartiles shaded. The thin line is what the number of bytes allows."}, "image": {"alt": "Three panels. With zero weights the CSR and CSC methods pass a ratio of one only well above half zeros; with zero inputs or unwanted outputs the skipping kernels are above one from the first zeros on and follow the predicted curve."}}
figure = draw(speed)
# %% tags=["remove-input"]
run.figure_data("speed")


# %% [markdown]
# The break-even point of each method, interpolated between the sparsities measured:


# %% tags=["hide-input"]
def break_even(group):
    group = group.sort_values("sparsity")
    below = group[group["ratio_median"] < 1]
    if below.empty:
        return group["sparsity"].iloc[0]
    last = below.iloc[-1]
    above = group[group["sparsity"] > last["sparsity"]]
    if above.empty:
        return np.nan
    first = above.iloc[0]
    share = (1 - last["ratio_median"]) / (first["ratio_median"] - last["ratio_median"])
    return last["sparsity"] + share * (first["sparsity"] - last["sparsity"])


sparse_only = speed[speed["method"].isin(LOOKS)]
points = (
    sparse_only.groupby(["problem", "method"], sort=False)[["sparsity", "ratio_median"]]
    .apply(break_even)
    .rename("break_even")
    .reset_index()
)
run.table("break_even", points)
points.style.set_uuid("matvec-break-even").format(
    {"break_even": "{:.0%}"}, na_rep="not reached"
).hide(axis="index")

# %% tags=["remove-cell"]
top = max(sparsities)


def ratio_of(problem, method):
    chosen = speed.query("problem == @problem and method == @method and sparsity == @top")
    return float(chosen["ratio_median"].iloc[0])


run.glue("matvec-top", top, "{:.0%}")
run.glue("matvec-csr", ratio_of("weights", "numba CSR"), "{:.1f}×")
run.glue("matvec-columns", ratio_of("inputs", "numba columns"), "{:.1f}×")
run.glue("matvec-rows", ratio_of("outputs", "numba rows"), "{:.1f}×")
run.glue("matvec-gather", ratio_of("outputs", "gather + BLAS"), "{:.1f}×")

# %% [markdown]
# At {glue:text}`matvec-top` zeros, CSR gains {glue:text}`matvec-csr`, column-skipping
# {glue:text}`matvec-columns` and row-skipping {glue:text}`matvec-rows`. Gathering rows for a library
# gains {glue:text}`matvec-gather`: it writes a copy of what it needs and reads it again.
#
# Two things keep CSR from its line. It fetches the input in the order of the stored places, not in its
# own, and a processor loads scattered numbers one by one even when one instruction asks for sixteen of
# them. The skipping kernels read whole lines, so their inner loop is that of the dense product.
#
# ## Recorded on the reference machine
#
# The figure above is of the machine that built this book. Below is the full-scale measurement that
# {ref}`was recorded <recorded-tables>`.

# %% mystnb={"figure": {"name": "fig-matvec-recorded", "caption": "The same as {numref}`fig-matvec-speed`, recorded at full scale on the reference machine."}, "image": {"alt": "The three panels of the previous figure with the recorded measurement."}} tags=["hide-input"]
recorded = results_root() / "31_sparse_matvec" / "speed.csv"
if recorded.is_file():
    figure = draw(pd.read_csv(recorded))
else:
    print("Nothing has been recorded yet.")

# %% [markdown]
# ## Summary
#
# - One vector times a matrix runs at the speed of memory; what counts is the bytes not read.
# - Zero weights must be stored with their places: they pay from well above one half on.
# - Zero activations need no places: skipping whole rows or columns pays from the first few percent
#   on and follows the prediction by bytes, if the matrix is stored in the direction that is skipped.
