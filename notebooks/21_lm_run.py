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
#     experiment: stocha.lm.experiment
# ---

# %% [markdown]
# # One run, live
#
# This page trains one small language model with one activation schedule, an *arm*, and one seed, and shows all that is
# measured of it. The campaign is this notebook, many times, at its full scale. Here the model is smaller, so that the page is
# made in about a minute; its numbers show that the program works, and decide nothing.
#
# The parameters below determine a run completely. The batch of step t depends on the seed and t
# alone, the activation noise on the seed, the step, the layer and the sequence. So a run that is
# interrupted continues to the same bits, and a run that switches to ReLU late starts from the
# checkpoint of the run that did not.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
activation: str = "silu"  # before any switch {relu, silu, gelu, relu2, gelu2, clipped_relu2, leaky_relu2, drelu, rrelu, stocha, bernoulli_silu, dropout, learnable_stoch, gumbel_stoch, xielu, polynorm, ash}
schedule: str = "swi_ft"  # which activation when {constant, swi_ft, anneal}
after: str = "relu"  # swi_ft: the activation after the switch {relu, silu}
alpha: float = 0.1  # swi_ft: share of the steps after the switch (0, 1)
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "identity"  # StochA: reading of x >= 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
draw: str = "sample"  # StochA, trained and evaluated: drawn, or its mean {sample, expectation}
threads: int = 1  # numeric threads; another number changes the last bits [1, 1024]
device: str = "cpu"  # auto: CUDA where there is one {auto, cpu, cuda}
seed: int = 0  # of initialisation, data order and activation noise [0, inf)
lr: float = 0.002  # peak learning rate of AdamW (0, inf)
lr_schedule: str = "cosine"  # after the warm-up {cosine, wsd}
warmup: "Optional[int]" = None  # steps of warm-up [0, inf)
tokens: "Optional[int]" = None  # to train on [1, inf)
batch: "Optional[int]" = None  # sequences a step [1, inf)
context: "Optional[int]" = None  # tokens a sequence [16, inf)
width: "Optional[int]" = None  # of the residual stream [2, inf)
layers: "Optional[int]" = None  # blocks [1, inf)
ffn: "Optional[int]" = None  # neurons of a block's feed-forward [1, inf)
heads: int = 2  # query heads [1, inf)
kv_heads: int = 1  # key-value heads they share [1, inf)
vocabulary: "Optional[int]" = None  # tokens of the BPE [257, 65536]
shifted_keys: bool = False  # half of each key is the previous position's
text: str = "python"  # Python files alone, or with prose {python, mixed}
corpus_bytes: "Optional[int]" = None  # of text, what is held out apart [1, inf)
windows: "Optional[int]" = None  # contexts evaluated of each split [1, inf)
questions: "Optional[int]" = None  # of each probe [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"warmup": 5, "tokens": 20480, "batch": 8, "context": 64, "width": 32,
        "layers": 2, "ffn": 64, "vocabulary": 512, "corpus_bytes": 600000,
        "windows": 8, "questions": 8},
    "book": {"warmup": 30, "tokens": 1228800, "batch": 16, "context": 128, "width": 64,
        "layers": 2, "ffn": 256, "vocabulary": 1024, "corpus_bytes": 5000000,
        "windows": 64, "questions": 100},
    "full": {"warmup": 50, "tokens": 6000000, "batch": 16, "context": 256,
        "width": 128, "layers": 4, "ffn": 512, "vocabulary": 2048,
        "corpus_bytes": 24000000, "windows": 128, "questions": 200},
}  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.lm import experiment
from stocha.study.session import open_run

run = open_run("21_lm_run", globals())
figures.style()
run.badge()

# %% tags=["checks"]
config = experiment.Config(**run.parameters)
found = run.result(experiment.run, config)

# %% tags=["hide-input"]
told, share = found.metrics, 100 * found.metrics["lr_share_after"]
run.glue("lm-run-arm", config.name)
run.glue("lm-run-corpus", told["corpus"])
run.glue("lm-run-train-tokens", found.tables["splits"]["tokens"][0], "{:,}")
run.glue("lm-run-steps", told["steps"], "{:,}")
run.glue("lm-run-parameters", told["parameters"], "{:,}")
run.glue("lm-run-after", told["steps_after"], "{:,}")
run.glue("lm-run-share", share, "{:.2f} %")

# %% [markdown]
# ## The text
#
# The Python files of pinned packages, split by file. One package, networkx, is held out whole. The tokenizer is
# trained on the training split only, which has {glue:text}`lm-run-train-tokens` tokens. Only runs on one corpus are compared: one
# with the same hash, here {glue:text}`lm-run-corpus`, has the same tokens on every machine.

# %%
found.tables["splits"]

# %% [markdown]
# ## Training
#
# The arm is {glue:text}`lm-run-arm`: {glue:text}`lm-run-steps` steps of a model with
# {glue:text}`lm-run-parameters` parameters. {glue:text}`lm-run-after` of them come after the switch and
# receive {glue:text}`lm-run-share` of the summed learning rate, because the cosine is not restarted
# and is nearly at its end.
#
# Around the switch the model is also evaluated: its
# loss on a part of the validation set, the gradient norm of every layer, the share of exact zeros
# after the activation, and of neurons that are zero at every token.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-run", "caption": "Training loss in nats a token; the dashed line is the switch."}, "image": {"alt": "Training loss over steps of one language-model run, with a dashed line where the activation is switched."}}
curve = found.tables["curve"].query("not dense").assign(activation=activation)
axes = figures.runs_over_epochs(curve, "loss", x="step", legend=None)
if config.switch < config.steps:
    axes.axvline(config.switch, color="grey", linestyle="--", linewidth=1)
axes.set_ylabel("training loss (nats)")
plt.show()

# %% tags=["hide-input"]
run.figure_data("curve")

# %%
found.tables.get("switch_loss", "no switch")

# %% [markdown]
# The row −1 is the loss just before the switch. In row 0 the weights are the same and the activation is the new one, so the
# difference is the height of the spike. The other rows are the recovery.
#
# ## Four ways to run the same weights
#
# Every model is evaluated with four activations, on the fixed validation windows and on the held-out package: *sampled*
# StochA, its mean (*expected*), SiLU and ReLU. *Own* is the activation that training ended with. Losses in nats a token:

# %%
scores = found.tables["evaluation"]
scores.pivot(index="form", columns="split", values="loss").round(4)

# %% [markdown]
# ## Where the zeros are
#
# The share of activation outputs that are exactly zero, by layer, under the model's own activation
# and under ReLU, with its quantiles over tokens. *Dead* neurons are zero at every token; the last column is the share of zeros
# among the others.

# %% tags=["hide-output"] mystnb={"code_prompt_show": "By layer", "code_prompt_hide": "By layer"}
found.tables["sparsity"].round(3)

# %% [markdown]
# SiLU has no exact zeros. What would it cost to make some? Outputs below a threshold are set to
# zero, and the loss is measured. For a model that ends with ReLU the table starts at its zeros.

# %%
found.tables["threshold"].round(4)

# %% [markdown]
# ## Probes
#
# Small tasks on held-out text, scored by log-likelihood: is the true answer likelier than the others? Which tasks they are
# says [*Downstream*](26_lm_probes.ipynb).

# %%
found.tables["probes"].round(3)

# %% tags=["hide-output"] mystnb={"code_prompt_show": "The run in one row", "code_prompt_hide": "The run in one row"}
found.tables["summary"]

# %% [markdown]
# ## Summary
#
# A run ends as one row of numbers: its losses, its zeros, and what the switch did to them. The chapters that follow compare such
# rows, of larger models, between activations and over seeds. One row by itself says nothing about an activation.
