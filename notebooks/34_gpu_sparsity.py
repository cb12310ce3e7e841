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
#     experiment: stocha.lm.blocks
#     inputs: ["results/34_gpu_sparsity/*.csv"]
# ---

# %% [markdown]
# # What a GPU can do with it
#
# The review {cite:p}`gonzo2025stochastic` asks what a GPU gains from zeros among activations, and
# whether 2:4 sparsity is the way (Q6). This study has no GPU. But what one could leave out can be read
# off the masks of a trained model, and the bytes and products that are left give the largest speed-up
# of the feed-forward layers: {numref}`fig-gpu-ceilings`.
#
# **One token at a time, {glue:text}`gpu-neurons`× if every zero is skipped,
# {glue:text}`gpu-blocks`× in blocks of 16 neurons; sixteen texts at once, {glue:text}`gpu-batch`×; by
# 2:4, {glue:text}`gpu-fours`×.** By the [ledger](01_claims.ipynb): {glue:text}`gpu-verdict`. These are
# ceilings, not times, and of one small model, {glue:text}`gpu-sparsity` of whose activations are zero.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
documents: "Optional[int]" = None  # files that the model was not trained on [4, inf)
tokens: "Optional[int]" = None  # tokens of each, from its beginning [1, 256]
blocks: list[int] = [1, 2, 4, 8, 16, 32]  # neurons in a block [1, inf)
batches: "Optional[list[int]]" = None  # tokens at once [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"documents": 8, "tokens": 32, "batches": [1, 2]},
    "book": {"documents": 112, "tokens": 256, "batches": [1, 2, 4, 8, 16]},
    "full": {"documents": 112, "tokens": 256, "batches": [1, 2, 4, 8, 16]},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.claims.open_questions import GPU, limit, q6_gpu
from stocha.lm import blocks as experiment
from stocha.study.session import open_run

run = open_run(GPU, globals())
figures.style()
run.badge()
found = run.result(experiment.run, experiment.Config(**run.parameters))
recorded = {name: Tables()(GPU, name) for name in found.tables}
rows, at_once, fours = (recorded[name] for name in ("blocks", "batches", "fours"))
assessed = q6_gpu.assess(Tables())
for part, key in zip(assessed.parts, ("neurons", "blocks", "batch", "fours"), strict=True):
    run.glue(f"gpu-{key}", part.found.text(".2f"))
run.glue("gpu-verdict", str(assessed.verdict))
single = rows.query("order == 'as trained' and block == 1")["skipped"].mean()
run.glue("gpu-sparsity", single, "{:.0%}")

# %% mystnb={"figure": {"name": "fig-gpu-ceilings", "caption": "The largest speed-up of the feed-forward layers that is left when only whole blocks of neurons are skipped, at one token (left), and when only neurons are skipped that are zero at every token of a batch (right). Means over texts, with 95 % intervals; dashed, what independent zeros of the same share would give."}, "image": {"alt": "Two panels of speed-up ceilings that fall: on the left against the number of neurons in a block, with neurons as trained and sorted by activity; on the right against the number of tokens at once, of one text and of as many texts; dashed lines for independent zeros."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.4), sharey=True)
panels = [(rows, "block", "order"), (at_once, "tokens", "kind")]
for ax, (table, x, hue) in zip(axes, panels, strict=True):
    shown = table.assign(ceiling=limit(table["skipped"]))
    sns.lineplot(shown, x=x, y="ceiling", hue=hue, style=hue, markers=True, seed=0, ax=ax)
    sizes = np.unique(table[x])
    ax.plot(sizes, limit(single**sizes), "--", color="0.4", label="independent zeros")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.legend(title=None)
axes[0].set(xlabel="neurons in a block", ylabel="largest speed-up")
axes[1].set(xlabel="tokens at once")
plt.show()

# %% tags=["remove-input"]
run.figure_data("blocks", "batches")

# %% [markdown]
# ## One token at a time: the same argument
#
# A layer that is applied to one vector does two operations for each weight it reads. An A100 does
# 312 · 10¹² operations a second in 16 bits and reads 2.04 · 10¹² bytes a second
# {cite:p}`nvidia2021a100`: it needs some 150 operations for each byte to be busy, and gets one. So it is
# bound by memory, like a CPU, and the limit is the same,
#
# $$\frac{3}{1 + 2(1-s)} .$$
#
# The unit that is skipped suits it, too: the row of a neuron is a few kilobytes in one piece, and all
# threads of a block read it together. What differs is size. Reading a layer takes tens of microseconds
# instead of milliseconds, so starting a second kernel, or waiting for the list of active neurons, is no
# longer small beside it.
#
# Deja Vu {cite:p}`liu2023dejavu` predicts the active neurons *before* the layer and loads only these; it
# reports more than twice the speed of FasterTransformer on OPT-175B, a model with ReLU. Its predictor
# can be wrong, so it is an approximation. TEAL {cite:p}`liu2025teal` sets small activations of models
# without ReLU to zero and reports 1.53 and 1.8 times the decoding speed at 40 % and 50 % sparsity. Both
# are for one or few sequences at a time.
#
# ## Blocks of neurons
#
# A kernel that works on 16 or 32 neurons together skips them together. Independent zeros would leave
# {glue:text}`gpu-independent` of the blocks of 16 empty; the model's leave
# {glue:text}`gpu-as-trained`, since some tokens open few neurons. Neurons may be put into any order, as
# long as all three matrices follow: sorted by how often they were active on *other* texts, the rare
# ones fill blocks of their own, and it is {glue:text}`gpu-sorted`. All the same, a gain of
# {glue:text}`gpu-gain` by single neurons becomes one of {glue:text}`gpu-gain-blocks`. Shares of neurons
# that are skipped, and the ceilings:

# %% tags=["hide-input"]
table = rows.assign(ceiling=limit(rows["skipped"]))
by_block = table.groupby(["block", "order"])[["skipped", "ceiling"]].mean().unstack()
run.glue("gpu-independent", single**16, "{:.2%}")
run.glue("gpu-as-trained", by_block["skipped", "as trained"][16], "{:.2%}")
run.glue("gpu-sorted", by_block["skipped", "by activity"][16], "{:.2%}")
run.glue("gpu-gain", by_block["ceiling", "as trained"][1] - 1, "{:.0%}")
run.glue("gpu-gain-blocks", by_block["ceiling", "by activity"][16] - 1, "{:.1%}")
by_block.round(3)

# %% [markdown]
# ## Load balance
#
# A GPU runs a layer on a hundred or so processors at once and waits for the last of them. Give each of
# $P$ processors $h/P$ neurons beforehand, and the number of active ones among them varies: its mean is
# $\mu = (1-s)h/P$, its standard deviation about $\sqrt{s\mu}$, and the largest of $P$ such numbers lies
# some $\sqrt{2\ln P}$ standard deviations above the mean. The time is that of the largest, so the share
# of it that is used is about
#
# $$\frac{1}{1 + \sqrt{2 s\ln P/\mu}} .$$
#
# With $h = 8192$, $s = 0.9$ and $P = 108$, $\mu$ is below 8 and half of the time is lost. The remedy is
# the one of the CPU kernels: make the list of active neurons first and divide the *list*. On a GPU that
# is a compaction, which costs a synchronisation of all processors between gate and up projection. The
# two-thread kernels of this study get along without it, because half of $h$ neurons is enough for the
# numbers to even out.
#
# ## Many tokens at once: the zeros no longer line up
#
# In training, and when a prompt is read, weights are used for many tokens at once. Then a GPU is bound
# by arithmetic, and its matrix units work on tiles. A neuron can be skipped for a batch of $B$ only if
# it is inactive for every token. If tokens were independent, that would be $s^B$ of the neurons: with
# $s = 0.9$, a fifth of them for $B = 16$ and practically none for $B = 100$. Tokens are not independent:
# some neurons are active at few of them. At sixteen tokens {glue:text}`gpu-one-text` of the neurons are
# left out if the tokens follow each other in one text, {glue:text}`gpu-many-texts` if each is of
# another text, where independent ones would leave {glue:text}`gpu-independent`:

# %% tags=["hide-input"]
table = at_once.assign(ceiling=limit(at_once["skipped"]))
by_size = table.groupby(["tokens", "kind"])[["skipped", "ceiling"]].mean().unstack()
run.glue("gpu-one-text", by_size["skipped", "of one text"][16], "{:.2%}")
run.glue("gpu-many-texts", by_size["skipped", "of as many texts"][16], "{:.2%}")
by_size.round(3)

# %% [markdown]
# The [small-batch table](32_sparse_ffn.ipynb) has times on a CPU. One can also skip single tiles that
# hold zeros only. A tile of $16\times16$ independent entries is empty with probability $s^{256}$, which
# is never. Unstructured zeros must be collected first.
#
# ## 2:4
#
# Since Ampere, NVIDIA's matrix units can leave out two of every four consecutive entries of *one*
# operand, if at least two are zero; they then do twice the arithmetic in the same time
# {cite:p}`mishra2021accelerating`. It was made for weights, which are pruned and packed beforehand.
#
# For activations it changes the limit in three ways.
#
# - **It uses half of the zeros at most.** However sparse the activations, the gain is a factor of two.
# - **It applies to one product of three.** The zeros are in the hidden activations, which are the
#   operand of the down projection. Gate and up projections produce them and are dense. In the forward
#   pass of a gated layer the limit is $3/(1 + 1 + \tfrac12) = 1.2$, in that of an ungated one
#   $2/(1+\tfrac12) = 1.33$.
# - **The zeros must fit.** A group of four with three or more active entries has some left over. For
#   independent entries the share of such groups is $4(1-s)^3 s + (1-s)^4$: under half a percent at
#   $s = 0.9$, but nearly a third at one half.
#
# Here {glue:text}`gpu-fit` of the groups fit as the model was trained, where independent zeros of the
# same share would fit in {glue:text}`gpu-fit-independent`: a token that opens many neurons fills many
# groups at once. Dealing the neurons out, so that every group has one of each quarter by activity,
# hardly helps ({glue:text}`gpu-fit-dealt`), and {glue:text}`gpu-beyond` of all entries are left over.
# To stay exact these must be multiplied too, in a second pass; at the dense rate, which is kind to it,
# that makes the ceiling {glue:text}`gpu-fours`×.

# %% tags=["remove-cell"]
by_order = fours.groupby("order")[["fit", "beyond"]].mean()
run.glue("gpu-fit", by_order["fit"]["as trained"], "{:.1%}")
run.glue("gpu-fit-dealt", by_order["fit"]["dealt out"], "{:.1%}")
full = 4 * (1 - single) ** 3 * single + (1 - single) ** 4
run.glue("gpu-fit-independent", 1 - full, "{:.1%}")
run.glue("gpu-beyond", by_order["beyond"]["dealt out"], "{:.1%}")

# %% [markdown]
# Packing costs time as well: the activations are new in every step, so finding and packing the pairs is
# part of it.
#
# Haziza et al. {cite:p}`haziza2025accelerating` do this for ReLU², with activations that are 84 to 98 %
# sparse, and report layers up to 1.3 times as fast, forwards and backwards, without a loss of accuracy.
# That is near the limit of an ungated layer. A later recipe {cite:p}`madhyastha2026beyond` adds 2:4 for
# the weights, so that every product of the layer becomes a sparse one, and a coarser pattern for the
# activations.
#
# The other way is to collect the zeros. Cetin et al. {cite:p}`cetin2026sparser` pack active entries tile
# by tile in a format that a matrix kernel can write in its epilogue, push sparsity beyond 99 % with an
# L1 penalty, and report about a fifth more speed for inference in batches and for training. That is the
# order of magnitude for large batches: at a sparsity at which one token alone would allow almost a
# factor of three, a batch gains a fifth.
#
# ## Screening on a GPU
#
# [Certified screening](33_certified_screening.ipynb) carries over, with less to win. Weights have two
# bytes there, not four, so an eight-bit copy of the gate costs half of it instead of a quarter, and the
# limit becomes
#
# $$\frac{3}{\tfrac12 + c(s, d) + 2(1-s)} .$$
#
# For $c$ the same formula holds, as the bound is dominated by the eight bits.
#
# ## How it was measured
#
# The model is the one in the [package](27_trained_model.ipynb). It read {glue:text}`gpu-texts` files of
# Python that it was not trained on, {glue:text}`gpu-tokens` tokens from the beginning of each, and its
# masks were kept: which outputs of ReLU were exactly zero. Each half of the files gave the order of
# neurons in which the other half is shown. Shares are means over {glue:text}`gpu-layers` layers of
# {glue:text}`gpu-width` neurons. Intervals are over files (batches of files where tokens are of as many
# texts); other models, and larger ones, are not in them.

# %% tags=["remove-cell"]
run.glue("gpu-texts", documents)
run.glue("gpu-tokens", tokens)
run.glue("gpu-layers", found.metrics["layers"])
run.glue("gpu-width", found.metrics["neurons"])

# %% [markdown]
# ## Summary
#
# A GPU that writes one word at a time is as starved for memory as a processor, so zeros are worth as much there:
# {glue:text}`gpu-neurons`× in this small model. They have to be skipped neuron by neuron, though. In blocks of 16 next to nothing
# is left ({glue:text}`gpu-blocks`×), and for many texts at once little ({glue:text}`gpu-batch`×). What a GPU's own circuits
# can do with zeros, two of every four, gives {glue:text}`gpu-fours`× however many there are. So a model that ReLU made sparse has
# its place where one text at a time is written.
#
# Three [exercises](60_exercises.ipynb) belong to this part of the book.
