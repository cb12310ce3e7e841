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
#     experiment: stocha.hf.answers
#     template: true
# ---

# %% [markdown]
# # One group of several answers
#
# SmolLM2-135M answers each prompt several times, in one group of settings: the unit of the sweep
# `sweeps/hf_answers.yml`. It needs the extra `hf` and `stocha model fetch smollm2`; below the full
# scale a small model answers that was never trained, to show that it runs.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
group: str = "stocha"  # of settings {temperature, top_p, stocha, grains, both, tuned}
model: "Optional[str]" = None  # whose weights they are {smollm2, random}
answers: "Optional[int]" = None  # to each prompt [2, inf)
per_task: "Optional[int]" = None  # prompts at most [1, inf)
batch: int = 6  # prompts at a time [1, inf)
precision: str = "bfloat16"  # of weights and states {float32, bfloat16}
seed: int = 0  # of all draws [0, inf)
threads: int = 1  # numeric threads; they change the last bits [1, 1024]

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"model": "random", "answers": 3, "per_task": 2},
    "book": {"model": "random", "answers": 4, "per_task": 4},
    "full": {"model": "smollm2", "answers": 8, "per_task": 72},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha.hf import answers as several
from stocha.study.session import open_run

run = open_run("57_answers_run", globals())
found = run.result(several.run, several.Config(**run.parameters))

# %% mystnb={"image": {"alt": "Share of right answers over the number of distinct answers, a point for every setting of the group."}} tags=["hide-input"]
settings = ["p", "temperature", "top_p", "grain", "positive"]
means = found.tables["prompts"].groupby(settings)[["distinct", "right"]].mean()
plt.scatter(means["distinct"], means["right"])
plt.gca().set(xlabel="distinct answers", ylabel="right answers")
plt.show()

# %%
means
