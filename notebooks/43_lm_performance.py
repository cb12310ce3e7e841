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
#     inputs: ["results/43_lm_performance/*.csv"]
# ---

# %% [markdown]
# # Speed of the language model
#
# The language models of this study are small: at the width of the *tiny* one PyTorch's own way, a chain of short
# operations, spends much of a step between the matrix products. This chapter measures how near to the machine's limit
# a training step comes, against the same model in plain PyTorch and in Hugging Face's *transformers*, and what each
# decision was worth.
#
# The limit is the speed of a product of two 1024 × 1024 float32 matrices. A step is charged with the products that
# the model needs, 6 FLOPs for each weight and token; the scores of attention, recomputation and everything else
# count as nothing. (The usual *model FLOPs utilisation* counts attention's products with scores too; the summary
# gives both.)

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
vocabulary: "Optional[int]" = None  # tokens of the vocabulary [2, inf)
width: "Optional[int]" = None  # of the residual stream [4, inf)
layers: "Optional[int]" = None  # blocks [1, inf)
ffn: "Optional[int]" = None  # neurons of a block's feed-forward [1, inf)
context: "Optional[int]" = None  # tokens a sequence [2, inf)
batch: "Optional[int]" = None  # sequences a step [1, inf)
micro_batches: "Optional[list[int]]" = (
    None  # sequences at a time: the usual number, and others to compare [1, inf)
)
rounds: "Optional[int]" = None  # rounds in which every way makes one step [1, inf)
part_rounds: "Optional[int]" = None  # rounds of the measurements of parts and decisions [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {
        "vocabulary": 64,
        "width": 16,
        "layers": 1,
        "ffn": 24,
        "context": 16,
        "batch": 4,
        "micro_batches": [4, 2],
        "rounds": 2,
        "part_rounds": 2,
    },
    "book": {
        "vocabulary": 2048,
        "width": 128,
        "layers": 4,
        "ffn": 512,
        "context": 256,
        "batch": 16,
        "micro_batches": [16],
        "rounds": 5,
        "part_rounds": 3,
    },
    "full": {
        "vocabulary": 2048,
        "width": 128,
        "layers": 4,
        "ffn": 512,
        "context": 256,
        "batch": 16,
        "micro_batches": [16, 8, 4],
        "rounds": 40,
        "part_rounds": 15,
    },
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from stocha import figures
from stocha.base.paths import results_root
from stocha.lm import speed
from stocha.lm.config import ModelConfig
from stocha.lm.training import keep_heap
from stocha.study.session import open_run

run = open_run("43_lm_performance", globals())
figures.style()
run.badge()
keep_heap()


def model(sizes):
    names = ("vocabulary", "width", "layers", "ffn", "context")
    return ModelConfig(**{name: sizes[name] for name in names}, heads=2, kv_heads=1)


shape = model(globals())
usual = micro_batches[0]

# %% [markdown]
# ## The same computation
#
# Before anything is timed, loss and gradients of our step are compared with those of the plain PyTorch path of
# the same model, draws of StochA included, and the loss with that of `LlamaForCausalLM` with the same
# weights. If one of them differs by more than {glue:text}`lmspeed-tolerance`, this page is not made.

# %%
with speed.one_thread():
    agreement = run.table("agreement", speed.agreement(shape))
run.glue("lmspeed-tolerance", speed.TOLERANCE, "{:g}")
run.glue("lmspeed-gradients", agreement["gradients"].max(), "{:.0e}")
run.glue("lmspeed-loss", agreement["loss"].max(), "{:.0e}")
peer_note = (
    "timed below"
    if speed.has_peer()
    else "not installed where this page was made, so its rows are missing"
)
run.glue("lmspeed-peer", peer_note)

# %% [markdown]
# The largest difference of a loss is {glue:text}`lmspeed-loss` of it, that of a gradient {glue:text}`lmspeed-gradients`
# of its norm. *transformers* is {glue:text}`lmspeed-peer`.
#
# ## Whole steps
#
# A step is {glue:text}`lmspeed-batch` sequences of {glue:text}`lmspeed-context` tokens, {glue:text}`lmspeed-micro` at a
# time, for a model of {glue:text}`lmspeed-parameters` parameters: loss, gradients, clipping, AdamW. Everything is on one
# thread. All ways take their turn in every round, and so does the matrix product, repeated for about as long as a step
# takes; ratios and fractions are of times of one round, because the speed of a machine changes from round to
# round. Hugging Face's model is trained as it comes, without compilation, on its own attention and loss.

# %%
flops = shape.flops_per_token() * batch * context
with speed.one_thread():
    times = speed.time_rounds(
        speed.whole_steps(shape, batch, micro_batches),
        rounds,
        lambda done, total: run.progress(done, total, "rounds"),
    )
steps = run.table("steps", speed.ratios(times, speed.SILU, flops))


def steps_table(table):
    return (
        table[["way", "milliseconds", "ratio", "ratio_q1", "ratio_q3", "of_roof"]]
        .style.format(
            {
                "milliseconds": "{:.1f}", "ratio": "{:.2f}", "ratio_q1": "{:.2f}",
                "ratio_q3": "{:.2f}", "of_roof": "{:.0%}",
            }
        )
        .hide(axis="index")
    )  # fmt: skip


def found(table, way, column="ratio"):
    rows = table.loc[table["way"] == way, column]
    return float(rows.iloc[0]) if len(rows) else np.nan


def cite(prefix, table, shape):
    roof = speed.ROOF_FLOPS / found(table, speed.ROOF, "milliseconds") / 1e6
    run.glue(f"{prefix}-roof", roof, "{:.0f}")
    fraction = found(table, speed.SILU, "of_roof")
    run.glue(f"{prefix}-fraction", fraction, "{:.2f}")
    with_scores = shape.flops_per_token(attention=True) / shape.flops_per_token()
    run.glue(f"{prefix}-with-scores", fraction * with_scores, "{:.2f}")
    run.glue(f"{prefix}-stocha", found(table, speed.STOCHA), "{:.2f}")
    run.glue(f"{prefix}-relu", found(table, speed.RELU), "{:.2f}")
    run.glue(f"{prefix}-plain", found(table, speed.PLAIN), "{:.2f}")
    against = table.loc[table["way"].str.startswith(speed.PEER), "ratio"]
    run.glue(f"{prefix}-hf", f"{against.min():.2f}" if len(against) else "not measured")


run.glue("lmspeed-batch", batch)
run.glue("lmspeed-context", context)
run.glue("lmspeed-micro", usual)
run.glue("lmspeed-parameters", shape.parameters, "{:,}")
cite("lmspeed", steps, shape)
steps_table(steps)

# %% [markdown]
# The column `ratio` is the time of a step over that of ours with SiLU, with quartiles; `of_roof` the fraction of the
# matrix product's {glue:text}`lmspeed-roof` GFLOP/s. In this build our SiLU step reaches
# **{glue:text}`lmspeed-fraction`** of it. Plain PyTorch takes {glue:text}`lmspeed-plain` times as long, Hugging Face's
# model {glue:text}`lmspeed-hf` times, at whichever number of sequences at a time suits it best. A StochA step costs
# {glue:text}`lmspeed-stocha` of a SiLU step, draws included, and a ReLU step {glue:text}`lmspeed-relu`.

# %% tags=["hide-input"]
PALETTE = {speed.SILU: "silu", speed.RELU: "relu", speed.STOCHA: "stocha"}


def draw(table):
    ways = table[table["way"] != speed.ROOF].iloc[::-1]
    colours = [figures.COLOURS.get(PALETTE.get(way), "#767676") for way in ways["way"]]
    spread = np.abs(ways[["of_roof_q1", "of_roof_q3"]].to_numpy().T - ways["of_roof"].to_numpy())
    figure, ax = plt.subplots(figsize=(figures.WIDTH, 0.7 + 0.36 * len(ways)))
    ax.barh(ways["way"], ways["of_roof"], color=colours, xerr=spread, ecolor="#1a1a1a")
    ax.axvline(1, color="#1a1a1a", linewidth=0.9)
    ax.set(xlabel="model FLOP/s over those of a matrix product", xlim=(0, 1.03))
    ax.grid(axis="y", visible=False)
    return figure


# %% mystnb={"figure": {"name": "fig-lmspeed", "caption": "How much of the machine's matrix-product speed a training step turns into model FLOPs, in this build: medians over rounds, lines from quartile to quartile."}, "image": {"alt": "Horizontal bars, one a way to make a training step. Our steps with ReLU, SiLU and StochA reach further towards one, the speed of a matrix product, than plain PyTorch and Hugging Face's Llama."}}
figure = draw(steps)
# %% tags=["remove-input"]
run.figure_data("steps")

# %% [markdown]
# ## Where the time goes
#
# Every part by itself at its true shapes, times the number of its calls in a SiLU step. The head makes its gradients in
# the forward pass. `of_roof` counts products with weights only: attention's scores come on top.

# %%
with speed.one_thread():
    parts = run.table("parts", speed.time_parts(shape, batch, usual, part_rounds))
total = parts["forward"].sum() + parts["backward"].sum()
run.glue("lmspeed-parts", total / found(steps, speed.SILU, "milliseconds"), "{:.2f}")


def parts_table(table):
    both = table["forward"] + table["backward"]
    return (
        table.assign(share=both / both.sum())
        .style.format(
            {"forward": "{:.1f}", "backward": "{:.1f}", "of_roof": "{:.2f}", "share": "{:.0%}"},
            na_rep="",
        )
        .hide(axis="index")
    )


parts_table(parts)

# %% [markdown]
# In milliseconds a step. Together they are {glue:text}`lmspeed-parts` of the whole step measured above, at another time;
# the rest is autograd's accounting and caches that the part before has filled.

# %% mystnb={"figure": {"name": "fig-lmspeed-parts", "caption": "A SiLU step by part, each measured by itself."}, "image": {"alt": "Horizontal bars of milliseconds by part, forward and backward stacked. The feed-forward is the longest, then attention and the head; norms, embedding and optimizer are short."}}
fig, ax = plt.subplots(figsize=(figures.WIDTH, 2.6))
below = parts.iloc[::-1]
ax.barh(below["part"], below["forward"], color="#56b4e9", label="forward")
ax.barh(below["part"], below["backward"], left=below["forward"], color="#0072b2", label="backward")
ax.set(xlabel="time in a step / ms")
ax.grid(axis="y", visible=False)
ax.legend()
plt.show()
# %% tags=["remove-input"]
run.figure_data("parts")

# %% [markdown]
# ## What paid
#
# Each line is one decision, by itself: what one would write first, and what is kept. Both run in every round; a
# ratio above 1 is a gain. Where nothing else is said it is forward and backward together.

# %%
with speed.one_thread():
    decisions = run.table("decisions", speed.time_decisions(shape, usual, part_rounds))


def decisions_table(table):
    return (
        table.rename(columns={"first": "first / ms", "kept": "kept / ms"})
        .style.format(
            {
                "first / ms": "{:.2f}", "kept / ms": "{:.2f}", "ratio": "{:.2f}",
                "ratio_q1": "{:.2f}", "ratio_q3": "{:.2f}",
            }
        )
        .hide(axis="index")
    )  # fmt: skip


lost = decisions[decisions["ratio"] < 1]
run.glue("lmspeed-decisions", len(decisions))
run.glue("lmspeed-lost", len(lost))
decisions_table(decisions)

# %% [markdown]
# Of {glue:text}`lmspeed-decisions` decisions {glue:text}`lmspeed-lost` did not pay in this build: blocks are worth what the
# core's own cache is, and on a busy machine others use it too.
#
# The ideas behind them are three.
#
# - *One pass between two products.* What PyTorch does in several operations, each from and to memory, a numba
#   kernel does row by row in cache. Its exponential is a polynomial that the compiler turns into vector code; it is
#   exact to two units in the last place. The activation is recomputed in the backward pass and not kept.
# - *Blocks that fit.* A feed-forward or the head works on so few tokens at a time that gate, up and hidden values, or
#   the logits, stay in the core's own cache from one product to the next. Attention multiplies, for a block of
#   positions, only the keys that one of them may see.
# - *Few draws.* StochA needs one random byte an element; the kernel reads the mask as bytes.
#
# ## Recorded
#
# What is above was measured where this book was built. The following {ref}`was recorded <recorded-tables>` at full
# scale, with nothing else of ours running on a machine that is shared with others.

# %% tags=["hide-input"]
folder = results_root() / "43_lm_performance"
recorded = pd.read_csv(folder / "steps.csv") if (folder / "steps.csv").is_file() else None
if recorded is None:
    for name in ("roof", "fraction", "with-scores", "stocha", "relu", "plain", "hf"):
        run.glue(f"lmspeed-recorded-{name}", "not recorded")
    print("Nothing has been recorded yet.")
else:
    run.table("recorded", recorded)
    cite("lmspeed-recorded", recorded, model(scales["full"]))
    display(steps_table(recorded))
    for name, tabled in {"parts": parts_table, "decisions": decisions_table}.items():
        if (folder / f"{name}.csv").is_file():
            display(tabled(pd.read_csv(folder / f"{name}.csv")))

# %% mystnb={"figure": {"name": "fig-lmspeed-recorded", "caption": "The same as {numref}`fig-lmspeed`, recorded at full scale on the reference machine."}, "image": {"alt": "Horizontal bars of the fraction of the matrix product's speed, one a way to make a training step, on the reference machine."}} tags=["hide-input"]
if recorded is not None:
    figure = draw(recorded)
# %% tags=["remove-input"]
if recorded is not None:
    run.figure_data("recorded")

# %% [markdown]
# ## Summary
#
# | | aim | recorded | in this build |
# |---|---|---|---|
# | model FLOP/s over those of a matrix product | at least 0.60 | {glue:text}`lmspeed-recorded-fraction` | {glue:text}`lmspeed-fraction` |
# | the same, attention's scores counted | | {glue:text}`lmspeed-recorded-with-scores` | {glue:text}`lmspeed-with-scores` |
# | StochA step over SiLU step | at most 1.10 | {glue:text}`lmspeed-recorded-stocha` | {glue:text}`lmspeed-stocha` |
# | Hugging Face's step over ours | at least 1.3 | {glue:text}`lmspeed-recorded-hf` | {glue:text}`lmspeed-hf` |
#
# What is left is mostly products, and what the products lose at these shapes against large square ones; and, between
# them, reading and writing what has to be kept for the backward pass.
