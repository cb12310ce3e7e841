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
# ---

# %% [markdown]
# # The trained model
#
# One model of the campaign comes with the library, so that one can generate text and run real sparse layers without
# training anything: StochA(0.7) + Swi+FT(0.1), seed 0, in half precision, which ended as a ReLU model. Does a layer that skips
# the neurons a token does not need write the same text, and is it faster at this size?
#
# **{glue:text}`lm-kept-same` tokens are those of the dense model. On average a share of {glue:text}`lm-kept-skipped` of the neurons
# was skipped ({numref}`fig-lm-kept-skipped`), and that is {glue:text}`lm-kept-sparse` times as fast as the fastest dense way.** All
# of it is measured in this build.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
prompt: str = "import numpy as np\n\n\ndef mean("  # text to continue
new_tokens: "Optional[int]" = None  # to generate, within the context of 256 [2, 200]
temperature: float = 0.7  # of sampling; 0 takes the likeliest token [0, inf)
repeats: "Optional[int]" = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # of the sampling [0, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"new_tokens": 8, "repeats": 3}, "book": {"new_tokens": 120, "repeats": 40},
    "full": {"new_tokens": 200, "repeats": 200},
}  # fmt: skip

# %% tags=["hide-input"]
import itertools

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Code, display

from stocha import figures
from stocha.base.timing import ratios, time_rounds
from stocha.lm import pretrained
from stocha.lm.generation import generate
from stocha.sparse.ffn import SparseFFN
from stocha.study.session import open_run

run = open_run("27_trained_model", globals())
torch.set_num_threads(1)
figures.style()

model, tokenizer = pretrained.load()
ids = torch.tensor(tokenizer.encode(prompt).ids)
options = {"temperature": temperature, "seed": seed}

# %% tags=["checks", "remove-cell"]
written = generate(model, ids, new_tokens, **options)[0]


# %% [markdown]
# Every feed-forward layer of a second copy is replaced by a `SparseFFN` with the same matrices. While it generates,
# one token at a time, the layer notes which share of its neurons it skipped.


# %%
class Skipping(torch.nn.Module):
    """A feed-forward layer through `SparseFFN`; keeps inputs and skipped shares."""

    def __init__(self, layer, method):
        super().__init__()
        self.activation = layer.activation
        matrices = *layer.gate_up.weight.detach().chunk(2), layer.down.weight.detach()
        self.sparse = SparseFFN(*matrices, method=method, threads=1)
        self.inputs, self.skipped = [], []

    def forward(self, x, noise=None):
        y = self.sparse(x.detach())
        if x.shape[1] == 1:  # the prompt is read at once, the rest token by token
            self.inputs.append(x.detach().reshape(-1).clone())
            self.skipped.append(self.sparse.inactive)
        return y


sparse, _ = pretrained.load()
for block in sparse.layers:
    block.ffn = Skipping(block.ffn, "sparse")
again = generate(sparse, ids, new_tokens, **options)[0]

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-kept-skipped", "caption": "Share of neurons that a token did not need, by layer, while the text below was written: every token a dot, with median and quartiles."}, "image": {"alt": "Strip and box plot of the share of skipped neurons over generated tokens, one column for each of the layers of the model."}}
shares = {place + 1: block.ffn.skipped for place, block in enumerate(sparse.layers)}
skipped = run.table("skipped", pd.DataFrame(shares).melt(var_name="layer", value_name="skipped"))
axes = sns.stripplot(skipped, x="layer", y="skipped", color="C0", size=2.5, alpha=0.5)
sns.boxplot(skipped, x="layer", y="skipped", width=0.35, fill=False, color="C1", fliersize=0)
axes.set(xlabel="layer", ylabel="share of neurons skipped", ylim=(0, 1))
plt.show()
# %% tags=["remove-input"]
run.figure_data("skipped")
run.badge()


# %% tags=["remove-cell"]
def feed_forward(block, dtype):
    """The layer as PyTorch runs it on one input, in a precision."""
    gate_up, down = (part.weight.detach().to(dtype) for part in (block.ffn.gate_up, block.ffn.down))

    def forward(x):
        gate, up = (gate_up @ x.to(dtype)).chunk(2)
        return down @ (torch.relu(gate) * up)

    return forward


def passes(layers):
    """Endlessly: what all layers make of their inputs of a token, one token after the other."""
    inputs = [block.ffn.inputs for block in sparse.layers]
    for token in itertools.cycle(range(len(inputs[0]))):
        yield [layer(xs[token]) for layer, xs in zip(layers, inputs, strict=True)]


def first(layers):
    return torch.cat([torch.stack(made) for made in itertools.islice(passes(layers), 8)]).double()


ways = {"PyTorch": [feed_forward(block, torch.float32) for block in model.layers]}
for method in ("dense", "sparse", "screened"):
    ways[method] = [Skipping(block.ffn, method).sparse for block in model.layers]
truth = first([feed_forward(block, torch.float64) for block in model.layers])
worst = max(float((first(made) - truth).abs().max() / truth.abs().max()) for made in ways.values())
if worst > 1e-5:
    raise AssertionError(f"a method differs from float64 by {worst:.1e}")
times = time_rounds(
    {name: passes(layers).__next__ for name, layers in ways.items()}, repeats, warm=3
)
speed = run.table("speed", ratios(times, "PyTorch", "dense")).set_index("way")
same, config, about = int((again == written).sum()), model.config, pretrained.about()
said = {
    "same": f"{same} of {new_tokens}", "skipped": f"{skipped['skipped'].mean():.3f}",
    "parameters": f"{config.parameters:,}", "tokens": f"{about['training']['tokens']:,}",
    "loss": f"{about['train_loss']:.2f}", "corpus": about["corpus"], "worst": f"{worst:.0e}",
    "sparse": f"{speed.ratio['sparse']:.2f}", "screened": f"{speed.ratio['screened']:.2f}",
    "bytes": f"{3 * config.width * config.ffn * 4 / 1024:.0f}",
}  # fmt: skip
for name, value in said.items():
    run.glue(f"lm-kept-{name}", value)

# %% [markdown]
# ## Text

# %%
display(Code(tokenizer.decode([*ids, *written]), language="python"))

# %% [markdown]
# From afar this looks like Python. The model has {glue:text}`lm-kept-parameters` parameters and read {glue:text}`lm-kept-tokens`
# tokens of Python and English docstrings. Training ended at {glue:text}`lm-kept-loss` nats a token, on the corpus
# {glue:text}`lm-kept-corpus`. `pretrained.load("silu")` puts another activation on the same weights. To ship the model of another
# finished run, call `python -m stocha.lm.pretrained CHECKPOINT CORPUS`; both are under `~/.cache/stocha`, or where `STOCHA_CACHE`
# says.
#
# ## Is it faster?
#
# One pass through all feed-forward layers for each token above, the methods in turn. First each is
# checked against float64. PyTorch computes both matrices of a layer and the product of each with one input, as in
# the dense model. The ratio is the time of the faster dense method over a method's own, median and quartiles over
# rounds.

# %% tags=["hide-input"]
speed.assign(microseconds=1e3 * speed.pop("milliseconds")).drop(columns="peer").round(2)

# %% [markdown]
# The largest difference from float64 was {glue:text}`lm-kept-worst` of the largest output. The three matrices of a
# layer are {glue:text}`lm-kept-bytes` KiB, and all layers together fit the cache. So there is no traffic to main memory to
# save, and each call costs some microseconds before it computes anything. Screening the gate in eight bits first reaches
# {glue:text}`lm-kept-screened`×.
#
# ## Summary
#
# Skipping the neurons that are zero changes nothing in the text: {glue:text}`lm-kept-same` tokens are the same. In a model that
# fits the processor's cache it is no way to be fast. What it gains where weights come from memory is in
# [*The sparse FFN*](32_sparse_ffn.ipynb).
