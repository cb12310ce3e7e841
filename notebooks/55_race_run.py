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
#     experiment: stocha.hf.race
#     template: true
#     alone: true
# ---

# %% [markdown]
# # One race
#
# One model, one precision, one number of threads: the unit of the sweeps `sweeps/hf_race.yml` and
# `sweeps/hf_race_made.yml`. It needs the extra `hf`; peers that are not installed are named and left
# out. Below the full scale the weights are few and nothing is to be learned from the times.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
weights: str = "made"  # made: Llama's shape, random; smollm2: ReLU put in and not trained; relufied: trained {made, smollm2, relufied}
arm: str = "relu"  # whose finished relufication is taken
zeros: float = 0.9  # share of zeros that made weights are given [0, 1)
width: "Optional[int]" = None  # of made weights [32, inf)
neurons: "Optional[int]" = None  # of their layers [32, inf)
layers: "Optional[int]" = None  # of them [1, inf)
heads: "Optional[int]" = None  # that divide the width [1, inf)
kv_heads: "Optional[int]" = None  # that divide the heads [1, inf)
vocabulary: "Optional[int]" = None  # of made weights [32, inf)
precision: str = "float32"  # of the weights {float32, bfloat16, int8}
threads: int = 1  # of every way [1, 1024]
prompts: "Optional[int]" = None  # that rounds take in turn [1, inf)
prompt: "Optional[int]" = None  # tokens of each [1, inf)
tokens: "Optional[int]" = None  # decoded after it [1, inf)
rounds: "Optional[int]" = None  # in which every way decodes once [1, inf)
seed: int = 0  # of made weights and prompts [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"width": 64, "neurons": 160, "layers": 2, "heads": 2, "kv_heads": 1,
        "vocabulary": 320, "prompts": 1, "prompt": 20, "tokens": 4, "rounds": 2},
    "book": {"width": 64, "neurons": 160, "layers": 2, "heads": 2, "kv_heads": 1,
        "vocabulary": 320, "prompts": 1, "prompt": 20, "tokens": 8, "rounds": 3},
    "full": {"width": 2048, "neurons": 8192, "layers": 16, "heads": 32, "kv_heads": 8,
        "vocabulary": 128256, "prompts": 3, "prompt": 32, "tokens": 16, "rounds": 9},
}  # fmt: skip

# %% tags=["hide-input"]
from stocha.hf import race
from stocha.study.session import open_run

run = open_run("55_race_run", globals())
found = run.result(race.run, race.Config(**run.parameters))
found.tables["speed"]

# %%
found.tables["ways"]
