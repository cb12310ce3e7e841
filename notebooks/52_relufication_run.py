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
#     experiment: stocha.hf.relufication
#     template: true
# ---

# %% [markdown]
# # One arm of the relufication
#
# SmolLM2-135M, fine-tuned by one arm and one seed: the unit of the sweep
# `sweeps/hf_relufication.yml`. It needs the extra `hf` and `stocha model fetch smollm2`; below the
# full scale it trains a small model that was never trained before, to show that it runs.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
arm: str = "stocha(0.7)+ft(0.3)"  # which activation when
seed: int = 0  # of data order and draws [0, inf)
model: "Optional[str]" = None  # where training starts {smollm2, random}
tokens: "Optional[int]" = None  # to train on [1, inf)
batch: int = 4  # windows a step [1, inf)
context: "Optional[int]" = None  # tokens a window [2, inf)
lr: "Optional[float]" = None  # peak learning rate of AdamW (0, inf)
precision: str = "bfloat16"  # of the matrix products {float32, bfloat16}
threads: int = 1  # numeric threads; they change the last bits [1, 1024]
distil: float = 0.0  # share of the divergence from the first model [0, 1]
local: float = 0.0  # share of the steps that teach layer by layer, first [0, 1]
sparsity: float = 0.0  # zeros that an L1 term aims at; 0: no such term [0, 1)
cuts: list[float] = [0.7, 0.8, 0.9]  # shares of zeros to cut the finished model's layers to (0, 1)  # fmt: skip
points: "Optional[int]" = None  # evaluations after the first [1, inf)
windows: "Optional[int]" = None  # evaluated of each text [1, inf)
corpus_bytes: "Optional[int]" = None  # of Python files whose docstrings are read [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"model": "random", "tokens": 1024, "context": 64, "lr": 0.0003,
        "points": 2, "windows": 2, "corpus_bytes": 500000},
    "book": {"model": "random", "tokens": 40960, "context": 256, "lr": 0.003,
        "points": 4, "windows": 4, "corpus_bytes": 2000000},
    "full": {"model": "smollm2", "tokens": 307200, "context": 256, "lr": 0.0003,
        "points": 10, "windows": 24, "corpus_bytes": 24000000},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha.hf import relufication
from stocha.study.session import open_run

run = open_run("52_relufication_run", globals())
found = run.result(relufication.run, relufication.Config(**run.parameters))

# %% mystnb={"image": {"alt": "Training loss of each step, and the loss on held-out docstrings with the last activation in force, over tokens."}}
training, evaluation = found.tables["training"], found.tables["evaluation"]
plt.plot(training["tokens"], training["loss"], linewidth=1, label="training")
for text, rows in evaluation.groupby("text"):
    means = rows.groupby("tokens")["loss"].mean()
    plt.plot(means.index, means, marker="o", label=text)
plt.gca().set(xlabel="tokens", ylabel="loss / nats a token")
plt.legend()
plt.show()

# %%
found.tables["summary"]
