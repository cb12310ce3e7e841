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
#     inputs: ["results/32_sparse_ffn/*.csv", "results/51_pretrained/*.csv", "results/lm_headline/*.csv"]
# ---

# %% [markdown]
# # Exercises
#
# **Predict, then run.** Each of these fifteen exercises takes a minute of thought and seconds of computing. Write your guess
# down before you open the solution: it is the code that answers, run when this page was built. Then change a number in it
# and guess again. The downloaded notebook of this page, or JupyterLab in `notebooks/`, is the place for that.
#
# Three belong to each part of the book.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: every solution takes seconds {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["remove-cell"]
import inspect
import textwrap
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from stocha import activations
from stocha.arms import Arm
from stocha.base import identity
from stocha.base.parameters import at_scale
from stocha.base.streams import generator
from stocha.claims.ledger import Tables
from stocha.lm import experiment as lm
from stocha.lm import pretrained
from stocha.sparse import traffic
from stocha.study.session import open_run
from stocha.toy import experiment as toy

run = open_run("60_exercises", globals())
read = Tables()
row = partial(pd.DataFrame, index=[""])
ten_epochs = partial(at_scale, toy.Config, "smoke", epochs=10)

# %% [markdown]
# ## A toy network
#
# **1 · A coin on shifted inputs.** Of standard normal inputs StochA with a fair coin makes a quarter exactly zero ([The
# activations](10_activations.ipynb)). Let the inputs have mean −1, and let the coin say SiLU one time in four. Which share
# is zero now? With which $p$ would it be a quarter again?

# %% tags=["solution"]
# 84 % of these inputs are negative, and three coins in four say ReLU: 0.84 · (1 − p).
x = torch.randn(100_000, generator=generator(0, "data")) - 1
zeros = activations.stocha(x, 0.25, generator=generator(0, "activation")) == 0
row({"negative": (x < 0).double().mean().item(), "zero": zeros.double().mean().item()})

# %% [markdown]
# **2 · The same network, asked three ways.** Networks are trained with StochA. For validation they may go on drawing, use the mean
# of the draws, or use ReLU. Which way has how many zeros? Which has the lowest loss?

# %% tags=["solution"]
# Training is the same. A fair coin keeps half of ReLU's zeros; a mean is hardly ever zero.
ways = ("sample", "expectation", "relu")
pd.DataFrame({way: toy.run(ten_epochs(test=way, runs=5)).metrics for way in ways}).T

# %% [markdown]
# **3 · Decay that kills.** ReLU networks with layers of two units and a weight decay of 0.1, inside Adam (`adam`) and beside it
# (`adamw`). Which share of ten networks gives every sample the same answer after ten epochs?

# %% tags=["solution"]
# Inside Adam the decay is divided by the gradient's size: where that is small the weights vanish.
dies = partial(ten_epochs, activation="relu", width=2, weight_decay=0.1, runs=10)
row({way: toy.run(dies(optimizer=way)).tables["final"].dead.mean() for way in ("adam", "adamw")})

# %% [markdown]
# ## The language model
#
# **4 · What is left after the switch.** The activation is switched for the last tenth of the steps. Which share of the summed
# learning rate do these receive, if the rate follows a cosine? And with `wsd`, where the rate stays at its peak and falls
# in the last fifth of the steps? ([The switch](23_lm_switch.ipynb))

# %% tags=["solution"]
# A cosine is nearly at its end by then. `wsd` is half way down a line.
switched = partial(lm.Config, schedule="swi_ft", alpha=0.1)
row({shape: switched(lr_schedule=shape).plan["lr_share_after"] for shape in ("cosine", "wsd")})

# %% [markdown]
# **5 · Zeros that two tokens share.** In the ReLU models most neurons are zero at a token. Which share is zero
# at both of two neighbouring tokens, if zeros fall independently? Will the models have more or fewer? And at eight tokens?
# ([Where the zeros are](25_lm_zeros.ipynb))

# %% tags=["solution"]
# Independent zeros leave s² and s⁸. Some neurons are zero more often, and leave more.
rows = read("lm_headline", "union_sparsity").query("arm == 'relu' and form == 'relu'")
shared = rows[rows["among"] == "consecutive tokens"].groupby("tokens")["sparsity"].mean()
pd.DataFrame({"counted": shared, "if independent": shared[1] ** shared.index}).round(3)

# %% [markdown]
# **6 · Another activation on the same weights.** The shipped model ended its training with ReLU. Order its losses on a Python file
# with ReLU, SiLU, GELU and squared ReLU. ([The trained model](27_trained_model.ipynb))

# %% tags=["solution"]
# GELU is nearer to ReLU than SiLU is. Squared ReLU keeps the zeros and nothing else.
ids = torch.tensor(pretrained.load()[1].encode(inspect.getsource(textwrap)).ids[:256])
models = {name: pretrained.load(name)[0] for name in ("relu", "gelu", "silu", "relu2")}
with torch.no_grad():
    logits = {name: model(ids[None, :-1])[0] for name, model in models.items()}
row({name: cross_entropy(rows, ids[1:]).item() for name, rows in logits.items()})

# %% [markdown]
# ## Sparse inference
#
# **7 · Twice as fast.** From which share of zero neurons on can a gated layer be twice as fast: if all of the gate is read, if it is
# screened in eight bits, and if an oracle names the active neurons? ([The sparse FFN](32_sparse_ffn.ipynb))

# %% tags=["solution"]
# 3/(1 + 2(1 − s)) is 2 at s = ¾. The oracle reads 1 − s of everything, so half will do.
shares = np.linspace(0, 0.99, 100).round(2)
ways = ("sparse", "screened", "oracle")
limits = {way: [traffic.limit(way, 2048, 8192, s) for s in shares] for way in ways}
row({way: shares[np.argmax(np.array(rows) >= 2)] for way, rows in limits.items()})

# %% [markdown]
# **8 · Leave out the proof.** Round the weights of 8,192 neurons to eight bits and call a neuron inactive where the rounded
# product is not positive. How many active neurons are lost? How many, if the bound of [Certified
# screening](33_certified_screening.ipynb) is added first? What does the bound cost?

# %% tags=["solution"]
# Near zero the rounding decides. With the bound it never does, and some stay undecided.
rng = np.random.default_rng(0)
w, x = rng.standard_normal((8192, 256)), rng.standard_normal(256)
step = np.abs(w).max(axis=1, keepdims=True) / 127
rough = step * np.round(w / step)
bound = np.linalg.norm(w - rough, axis=1) * np.linalg.norm(x)
called = pd.DataFrame({"rounded": rough @ x <= 0, "with the bound": rough @ x + bound <= 0})
pd.DataFrame({"lost": called[w @ x > 0].sum(), "undecided": (~called[w @ x <= 0]).sum()})

# %% [markdown]
# **9 · A batch.** Nine neurons in ten are inactive for an input. Which share must be read for eight inputs at once, if they have
# nothing in common? The recorded layer's inputs share a direction: will it need more or less?

# %% tags=["solution"]
# 1 − 0.9⁸ without anything in common. Inputs that are alike need the same neurons.
read_for = read("32_sparse_ffn", "batches").set_index("batch")["active for any"]
pd.DataFrame({"recorded": read_for, "nothing in common": 1 - 0.9**read_for.index}).round(3)

# %% [markdown]
# ## A pretrained model
#
# **10 · Half way.** With SiLU SmolLM2 has its lowest loss, with ReLU its highest. StochA with a fair coin is half of each. Is its loss
# half way too? ([A pretrained model](51_pretrained.ipynb))

# %% tags=["solution"]
# No: half of the zeros do less than half of the harm.
loss = read("51_pretrained", "losses").groupby("activation")["loss"].mean()
row({"half way": loss[["relu", "silu"]].mean(), "StochA(0.5)": loss["stocha(0.5)"]})

# %% [markdown]
# **11 · Zeros that differ by layer.** Which share of zeros would allow the paper's 1.65×? With ReLU put in, SmolLM2's layers have
# different shares. What can all of them together gain: the mean of the layers' limits, or the limit of the mean share?

# %% tags=["solution"]
# Times add up, and a layer's time is a straight line in its zeros: it is the limit of the mean.
limit = partial(traffic.limit, "sparse", 576, 1536)
zeros = read("51_pretrained", "zeros").query("activation == 'relu'")
zeros = zeros.groupby("layer")["zeros"].mean()
found = {"limit of the mean": limit(zeros.mean()), "mean of limits": zeros.map(limit).mean()}
row({"share for 1.65×": 1.5 - 1.5 / 1.65} | found)

# %% [markdown]
# **12 · Read an arm's name.** `stocha(0.7)+ft(0.3)` is trained for 300 steps, counted from 0. Which step is the first with ReLU?
# Which is it with `+ft(0.05)`?

# %% tags=["solution"]
# The last three tenths are 90 steps, 210 to 299.
arm = Arm.parse("stocha(0.7)+ft(0.3)")
row({step: arm.phase_at(step, 300).activation for step in (0, 209, 210, 299)})

# %% [markdown]
# ## Using it
#
# **13 · A mistake.** A configuration is asked for with `p=1.25`. What happens, and before or after the training?

# %% tags=["solution"]
# One line says what is allowed; nothing has run. On the command line it comes with exit code 2.
try:
    at_scale(toy.Config, "smoke", p=1.25)
except ValueError as error:
    print(error)

# %% [markdown]
# **14 · What renames a result.** A result is found again by a hash of the code that made it ([Method](../method.md)).
# Which of these edits loses it: a comment, another layout, a docstring, another coefficient?

# %% tags=["solution"]
# Only what can change a number. The tree of the code is hashed, without docstrings.
edits = {
    "comment": "def f(x):\n    return 2 * x  # twice\n",
    "layout": "def f(x): return (2*x)\n",
    "docstring": 'def f(x):\n    """Twice."""\n    return 2 * x\n',
    "coefficient": "def f(x):\n    return 3 * x\n",
}
before = identity.normalised("def f(x):\n    return 2 * x\n")
row({edit: identity.normalised(code) != before for edit, code in edits.items()})

# %% [markdown]
# **15 · Two executions.** The toy network is trained twice, with $p =$ ¼ and ¾ and the same seeds. Which columns of its final table are
# equal? (`stocha diff` shows it for [any two executions](../reexecute.md).)

# %% tags=["solution"]
# Seeds, initial weights and batches are the same, so only what names a network can be
# equal, and `alpha`, which is empty: these networks have no gates.
one, other = (toy.run(at_scale(toy.Config, "smoke", p=p)).tables["final"] for p in (0.25, 0.75))
row({name: one[name].equals(other[name]) for name in one})
