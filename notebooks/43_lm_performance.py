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
#     experiment: stocha.lm.speed
#     alone: true
#     inputs: ["results/43_lm_performance/*.csv"]
# ---

# %% [markdown]
# # Speed of the language model
#
# The language models of this study are small: as a chain of PyTorch's short operations a step spends much
# of its time between the matrix products. How near to the machine's limit can a training step come on a
# CPU, and which decisions are worth it?
#
# **Our step reaches {glue:text}`lmspeed-recorded-fraction` of the speed of a matrix product; the aim was 0.60**
# ({numref}`fig-lmspeed-recorded`). Hugging Face's *transformers* takes {glue:text}`lmspeed-recorded-hf` times as long at whichever
# number of sequences at a time suits it best, plain PyTorch {glue:text}`lmspeed-recorded-plain` times. StochA costs
# {glue:text}`lmspeed-recorded-stocha` of a SiLU step, draws included, ReLU {glue:text}`lmspeed-recorded-relu`.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
vocabulary: "Optional[int]" = None  # tokens of the vocabulary [2, inf)
width: "Optional[int]" = None  # of the residual stream [4, inf)
layers: "Optional[int]" = None  # blocks [1, inf)
heads: int = 2  # query heads [1, inf)
kv_heads: int = 1  # key-value heads they share [1, inf)
ffn: "Optional[int]" = None  # neurons of a block's feed-forward [1, inf)
context: "Optional[int]" = None  # tokens a sequence [2, inf)
batch: "Optional[int]" = None  # sequences a step [1, inf)
micro_batches: "Optional[list[int]]" = None  # at a time: the usual, and others [1, inf)
rounds: "Optional[int]" = None  # in which every way makes one step [1, inf)
part_rounds: "Optional[int]" = None  # of parts [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"vocabulary": 64, "width": 16, "layers": 1, "ffn": 24, "context": 16,
        "batch": 4, "micro_batches": [4, 2], "rounds": 2, "part_rounds": 2},
    "book": {"vocabulary": 2048, "width": 128, "layers": 4, "ffn": 512, "context": 256,
        "batch": 16, "micro_batches": [16], "rounds": 5, "part_rounds": 3},
    "full": {"vocabulary": 2048, "width": 128, "layers": 4, "ffn": 512, "context": 256,
        "batch": 16, "micro_batches": [16, 8, 4], "rounds": 40, "part_rounds": 15},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.lm import speed
from stocha.study.session import open_run

run = open_run("43_lm_performance", globals())
figures.style()
tables = Tables()
recorded = {name: tables("43_lm_performance", name) for name in ("steps", "parts", "decisions")}
ARMS = {speed.SILU: "silu", speed.RELU: "relu", speed.STOCHA: "stocha"}
WORDS = {"ratio_q1": "lower quartile", "ratio_q3": "upper quartile", "of_roof": "of the roof"}


def draw(table):
    """A bar for each way: model FLOP/s over those of a matrix product, quartiles as lines."""
    ways = table[table["way"] != speed.ROOF].iloc[::-1]
    colours = [figures.COLOURS.get(ARMS.get(way), "#767676") for way in ways["way"]]
    ends = ways[["of_roof_q1", "of_roof_q3"]].to_numpy().T
    spread = np.abs(ends - ways["of_roof"].to_numpy())
    _, ax = plt.subplots(figsize=(figures.WIDTH, 0.7 + 0.36 * len(ways)))
    ax.barh(ways["way"], ways["of_roof"], color=colours, xerr=spread, ecolor="#1a1a1a")
    ax.axvline(1, color="#1a1a1a", linewidth=0.9)
    ax.set(xlabel="model FLOP/s over those of a matrix product", xlim=(0, 1.03))
    ax.grid(axis="y", visible=False)
    plt.show()


def shown(table, uuid, **formats):
    formats = {WORDS.get(name, name): spec for name, spec in formats.items()}
    style = table.rename(columns=WORDS).style.set_uuid(uuid)
    return style.format(formats, na_rep="", escape="html").hide(axis="index")


# %% mystnb={"figure": {"name": "fig-lmspeed-recorded", "caption": "How much of the machine's matrix-product speed a training step turns into model FLOPs, recorded at full scale: medians over rounds, lines from quartile to quartile."}, "image": {"alt": "Horizontal bars, one a way to make a training step, of the fraction of a matrix product's speed, with quartiles; a vertical line at 1, the matrix product."}} tags=["hide-input"]
run.table("recorded", recorded["steps"])
draw(recorded["steps"])
# %% tags=["remove-input"]
run.figure_data("recorded")


# %% tags=["remove-cell"]
def found(table, way, column="ratio"):
    return float(table.set_index("way").loc[way, column])


def cite(prefix, steps, shape):
    """Glue what the text says of a table of steps."""
    fraction = found(steps, speed.SILU, "of_roof")
    scores = shape.flops_per_token(attention=True) / shape.flops_per_token()
    against = steps.loc[steps["way"].str.startswith(speed.PEER), "ratio"]
    roof = speed.ROOF_FLOPS / found(steps, speed.ROOF, "milliseconds") / 1e6
    run.glue(f"{prefix}-roof", roof, "{:.0f}")
    run.glue(f"{prefix}-fraction", fraction, "{:.2f}")
    run.glue(f"{prefix}-with-scores", fraction * scores, "{:.2f}")
    for name, way in {"stocha": speed.STOCHA, "relu": speed.RELU, "plain": speed.PLAIN}.items():
        run.glue(f"{prefix}-{name}", found(steps, way), "{:.2f}")
    run.glue(f"{prefix}-hf", f"{against.min():.2f}" if len(against) else "(not installed)")


cite("lmspeed-recorded", recorded["steps"], speed.Config().shape)
run.glue("lmspeed-parameters", speed.Config().shape.parameters, "{:,}")
run.glue("lmspeed-tolerance", speed.TOLERANCE, "{:g}")
run.glue("lmspeed-decisions", len(recorded["decisions"]))
run.glue("lmspeed-lost", int((recorded["decisions"]["ratio"] < 1).sum()))

# %% [markdown]
# The limit is the speed of a product of two 1024 × 1024 float32 matrices. A step is charged with the products
# that the model needs, 6 FLOPs for each weight and token; the scores of attention, recomputation and
# everything else count as nothing. The usual *model FLOPs utilisation* counts attention's products with
# scores too and would be {glue:text}`lmspeed-recorded-with-scores`.
#
# A step is loss, gradients, clipping and AdamW of a model of {glue:text}`lmspeed-parameters` parameters, on one
# thread. All ways take their turn in every round, and so does the matrix product, repeated for about as long
# as a step takes; ratios and fractions are of times of one round, because the speed of a shared machine
# changes from round to round. Hugging Face's model is trained as it comes, without compilation, on its own
# attention and loss. Before anything is timed, loss and gradients of our step are compared with those of plain
# PyTorch, draws of StochA included, and the loss with that of `LlamaForCausalLM` with the same weights: if
# one differs by more than {glue:text}`lmspeed-tolerance` of it, nothing is timed.

# %% tags=["hide-input"]
columns = ["way", "milliseconds", "ratio", "ratio_q1", "ratio_q3", "of_roof"]
formats = dict.fromkeys(columns[2:5], "{:.2f}") | {"milliseconds": "{:.1f}", "of_roof": "{:.0%}"}
shown(recorded["steps"][columns], "recorded", **formats)

# %% [markdown]
# *Ratio* is the time of a step over that of ours with SiLU, as a median between quartiles; *of the roof* is the share of the matrix
# product's {glue:text}`lmspeed-recorded-roof` GFLOP/s that the step turns into model FLOPs.
#
# ## How it is done
#
# The model calls one set of operations, which is chosen when it is made: `stocha.lm.operations` says in plain
# PyTorch what each of them is, `stocha.lm.fast.operations` computes the same faster. Three ideas are behind them.
#
# - *One pass between two products.* What PyTorch does in several operations, each from and to memory, a numba
#   kernel does row by row in cache. Its exponential is a polynomial that the compiler turns into vector code;
#   it is exact to two units in the last place. The activation is recomputed in the backward pass and not kept.
# - *Blocks that fit.* A feed-forward or the head works on so few tokens at a time that gate, up and hidden
#   values, or the logits, stay in the core's own cache from one product to the next. Attention multiplies, for a
#   block of positions, only the keys that one of them may see.
# - *Few draws.* StochA needs one random byte an element; the kernel reads the mask as bytes.
#
# In the next table each line is one decision, by itself: what one would write first, and what is kept. Both run in every round; a
# ratio above 1 is a gain. Of {glue:text}`lmspeed-decisions` decisions {glue:text}`lmspeed-lost` did not pay. Blocks are
# worth what the core's own cache is, and on a busy machine others use it too.

# %% tags=["hide-input"]
spread = dict.fromkeys(["first / ms", "kept / ms", "ratio", "ratio_q1", "ratio_q3"], "{:.2f}")
named = {"first": "first / ms", "kept": "kept / ms"}
shown(recorded["decisions"].rename(columns=named), "decisions", **spread)

# %% [markdown]
# ## Where the time goes
#
# Every part by itself at its true shapes, times the number of its calls in a SiLU step. The head makes its
# gradients in the forward pass. *Of the roof* counts products with weights only: attention's scores come on top.

# %% mystnb={"figure": {"name": "fig-lmspeed-parts", "caption": "A SiLU step by part, each measured by itself, as recorded."}, "image": {"alt": "Horizontal bars of milliseconds a step, one a part of it, with the time of the forward pass and that of the backward pass stacked."}} tags=["hide-input"]
parts = run.table("recorded-parts", recorded["parts"])
ax = parts.set_index("part")[["forward", "backward"]].plot.barh(
    stacked=True, color=["#56b4e9", "#0072b2"], figsize=(figures.WIDTH, 2.6)
)
ax.invert_yaxis()
ax.set(xlabel="time in a step / ms", ylabel="")
plt.show()
# %% tags=["remove-input"]
run.figure_data("recorded-parts")

# %% tags=["hide-input"]
both = parts["forward"] + parts["backward"]
spread = {"forward": "{:.1f}", "backward": "{:.1f}", "of_roof": "{:.2f}", "share": "{:.0%}"}
shown(parts.assign(share=both / both.sum()), "parts", **spread)

# %% [markdown]
# ## Measured here
#
# A check of the record on the machine that made this page, in fewer rounds and beside whatever else runs on it.

# %% tags=["hide-input"]
run.badge()
live = run.result(speed.run, speed.Config(**run.parameters)).tables
cite("lmspeed", live["steps"], speed.Config(**run.parameters).shape)
shown(live["steps"][columns], "live", **formats)

# %% tags=["remove-cell"]
run.glue("lmspeed-gradients", live["agreement"]["gradients"].max(), "{:.0e}")
run.glue("lmspeed-loss", live["agreement"]["loss"].max(), "{:.0e}")
total = live["parts"][["forward", "backward"]].to_numpy().sum()
run.glue("lmspeed-parts", total / found(live["steps"], speed.SILU, "milliseconds"), "{:.2f}")

# %% [markdown]
# The largest difference of a loss is {glue:text}`lmspeed-loss` of it, that of a gradient
# {glue:text}`lmspeed-gradients` of its norm. The parts together are {glue:text}`lmspeed-parts` of a whole step; the rest is
# autograd's accounting and caches that the part before has filled.
#
# ## Summary
#
# | | aim | recorded | in this build |
# |---|---|---|---|
# | model FLOP/s over those of a matrix product | at least 0.60 | {glue:text}`lmspeed-recorded-fraction` | {glue:text}`lmspeed-fraction` |
# | the same, attention's scores counted | | {glue:text}`lmspeed-recorded-with-scores` | {glue:text}`lmspeed-with-scores` |
# | StochA step over SiLU step | at most 1.05 | {glue:text}`lmspeed-recorded-stocha` | {glue:text}`lmspeed-stocha` |
# | Hugging Face's step over ours | at least 1.3 | {glue:text}`lmspeed-recorded-hf` | {glue:text}`lmspeed-hf` |
#
# A training step of so small a model spends {glue:text}`lmspeed-recorded-fraction` of the processor's best speed on what the model
# needs. That is less than was aimed at, and faster than a common library by a factor of {glue:text}`lmspeed-recorded-hf`. The
# random draws of StochA cost next to nothing. The time that is left goes mostly into products, which are slower at these shapes
# than large square ones, and into reading and writing what the backward pass needs.
