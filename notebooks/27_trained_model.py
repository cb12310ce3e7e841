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
#     inputs: ["src/stocha/lm/tiny_relu/*"]
# ---

# %% [markdown]
# # The trained model
#
# One model of the campaign comes with the library: the ReLU arm, seed 0, in half precision. With
# it one can generate text and run a real sparse feed-forward layer without training anything. This
# page does both, and checks the sparse layer of [*The sparse FFN*](32_sparse_ffn.ipynb) on weights and
# inputs that training made, not a random generator.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
prompt: str = "import numpy as np\n\n\ndef mean("  # text to continue
new_tokens: "Optional[int]" = (
    None  # tokens to generate, prompt and they fit the context of 256 [2, 200]
)
temperature: float = 0.7  # of sampling; 0 takes the likeliest token [0, inf)
repeats: "Optional[int]" = None  # rounds in which every method is timed once [1, inf)
seed: int = 0  # of the sampling [0, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"new_tokens": 8, "repeats": 3},
    "book": {"new_tokens": 120, "repeats": 40},
    "full": {"new_tokens": 200, "repeats": 200},
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Code, display
from torch import nn

from stocha import figures
from stocha.lm import pretrained
from stocha.lm.generation import generate
from stocha.sparse.benchmark import interleave, ratios
from stocha.sparse.ffn import SparseFFN
from stocha.study.session import open_run

run = open_run("27_trained_model", globals())
torch.set_num_threads(1)
figures.style()
run.badge()

# %% [markdown]
# ## Text

# %%
model, tokenizer = pretrained.load()
ids = torch.tensor(tokenizer.encode(prompt).ids)

# %% tags=["checks"]
written = generate(model, ids, new_tokens, temperature=temperature, seed=seed)[0]
display(Code(tokenizer.decode([*ids, *written]), language="python"))

# %% tags=["remove-cell"]
about = pretrained.about()
parameters = sum(weight.numel() for weight in model.parameters())
run.glue("lm-kept-parameters", parameters, "{:,}")
run.glue("lm-kept-tokens", about["training"]["tokens"], "{:,}")
run.glue("lm-kept-loss", about["train_loss"], "{:.2f}")
run.glue("lm-kept-corpus", about["corpus"])

# %% [markdown]
# {glue:text}`lm-kept-parameters` parameters after {glue:text}`lm-kept-tokens` tokens of Python write what
# looks like Python from afar. Training ended at {glue:text}`lm-kept-loss` nats a token, on the corpus
# {glue:text}`lm-kept-corpus`. `pretrained.load("silu")` puts another activation on the same weights. The checkpoint of a
# finished run takes the model's place with `python -m stocha.lm.pretrained CHECKPOINT CORPUS`; both are under
# `~/.cache/stocha`, or where `STOCHA_CACHE` says.
#
# ## The same text, skipping neurons
#
# Every feed-forward layer is replaced by a `SparseFFN` with copies of the model's matrices. While it
# generates, one token at a time, the layer notes which share of its neurons it skipped.


# %%
class Skipping(nn.Module):
    """A decoder's feed-forward layer through `SparseFFN`; keeps its inputs and skipped shares."""

    def __init__(self, layer, method):
        super().__init__()
        self.activation = layer.activation
        gate, up = layer.gate_up.weight.detach().chunk(2)
        down = layer.down.weight.detach()
        self.sparse = SparseFFN.from_linear(gate, up, down, method=method, threads=1)
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
again = generate(sparse, ids, new_tokens, temperature=temperature, seed=seed)[0]
same = int((again == written).sum())
layers = pd.DataFrame(
    {
        "layer": [
            place + 1 for place, block in enumerate(sparse.layers) for _ in block.ffn.skipped
        ],
        "skipped": [share for block in sparse.layers for share in block.ffn.skipped],
    }
)
run.table("skipped", layers)
run.metric(same_tokens=same, tokens=new_tokens, skipped=layers["skipped"].mean())
run.glue("lm-kept-same", f"{same} of {new_tokens}")
run.glue("lm-kept-skipped", layers["skipped"].mean(), "{:.3f}")

# %% [markdown]
# {glue:text}`lm-kept-same` tokens are the ones of the dense model; on average a share of
# {glue:text}`lm-kept-skipped` of the neurons was skipped.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-kept-skipped", "caption": "Share of neurons that a token did not need, by layer, while the text above was written: every token a dot, with median and quartiles."}, "image": {"alt": "Strip and box plot of the share of skipped neurons over generated tokens, one column for each of the layers of the model."}}
axes = sns.stripplot(layers, x="layer", y="skipped", color="C0", size=2.5, alpha=0.5)
sns.boxplot(layers, x="layer", y="skipped", width=0.35, fill=False, color="C1", fliersize=0)
axes.set(xlabel="layer", ylabel="share of neurons skipped", ylim=(0, 1))
plt.show()

# %% tags=["remove-input"]
run.figure_data("skipped")

# %% [markdown]
# ## Is it faster?
#
# One pass through all feed-forward layers for each token above, the methods in turn. First each is
# checked against float64. PyTorch computes both matrices of a layer and the product of each with one input, as in
# the dense model.

# %% tags=["hide-input"]
dense = model.layers
tokens = len(sparse.layers[0].ffn.inputs)
inputs = [torch.stack(block.ffn.inputs) for block in sparse.layers]
methods = {
    name: [Skipping(block.ffn, name).sparse for block in dense]
    for name in ("dense", "sparse", "screened")
}


@torch.no_grad()
def torch_ffn(block, x):
    """The layer as PyTorch runs it on one input."""
    gate, up = (block.ffn.gate_up.weight @ x).chunk(2)
    return block.ffn.down.weight @ (torch.relu(gate) * up)


def truth(block, x):
    """The layer in float64."""
    gate, up = (block.ffn.gate_up.weight.detach().double() @ x.double()).chunk(2)
    return block.ffn.down.weight.detach().double() @ (torch.relu(gate) * up)


def through(layer_calls):
    """Call layer l on its input of a token, for every layer; the token rotates."""

    def call(number, turn):
        for forward, xs in zip(layer_calls, inputs, strict=True):
            forward(xs[number % tokens])

    return call


calls = {"PyTorch": [lambda x, block=block: torch_ffn(block, x) for block in dense]} | methods
worst = max(
    float((forward(x).double() - truth(block, x)).abs().max() / truth(block, x).abs().max())
    for forwards in calls.values()
    for forward, block, xs in zip(forwards, dense, inputs, strict=True)
    for x in xs[:8]
)
if worst > 1e-5:
    raise AssertionError(f"a method differs from float64 by {worst:.1e}")
timed = interleave({name: through(forwards) for name, forwards in calls.items()}, repeats=repeats)
table = ratios(timed, ["PyTorch", "dense"]).set_index("method").loc[list(calls)]
table["microseconds"] = 1e3 * table.pop("milliseconds")
run.table("speed", table.reset_index())
run.glue("lm-kept-worst", worst, "{:.0e}")
run.glue("lm-kept-sparse", table.loc["sparse", "ratio_median"], "{:.2f}")
run.glue("lm-kept-screened", table.loc["screened", "ratio_median"], "{:.2f}")
weights = 3 * model.config.width * model.config.ffn * 4
run.glue("lm-kept-bytes", weights / 1024, "{:.0f}")
table.round(2)

# %% [markdown]
# Time of the faster dense method over a method's own, median and quartiles over rounds; the largest
# difference from float64 was {glue:text}`lm-kept-worst` of the largest output. The three matrices of a layer are
# {glue:text}`lm-kept-bytes` KiB, and all layers together fit the cache, so there is no traffic to main memory to save, and
# each call costs some microseconds before it computes anything. Sparse reaches {glue:text}`lm-kept-sparse`× and screened
# {glue:text}`lm-kept-screened`× here; what they reach where weights come from memory is in
# [*The sparse FFN*](32_sparse_ffn.ipynb).
