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
# ---

# %% [markdown]
# # One run, live
#
# One language model, trained with one activation schedule and one seed: an *arm* of the campaign.
# The campaign is this notebook, many times, at its full scale; here it runs with a smaller model,
# so that the page is made in about a minute.
#
# A run is a pure function of the parameters below. The batch of step t depends on the seed and t
# alone, the activation noise on the seed, the step, the layer and the sequence. So a run that is
# interrupted continues to the same bits, and a run that switches to ReLU late starts from the
# checkpoint of the run that did not.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
activation: str = "silu"  # before any switch {relu, silu, gelu, relu2, stocha, bernoulli_silu}
schedule: str = "swi_ft"  # which activation when {constant, swi_ft, anneal}
after: str = "relu"  # swi_ft: the activation after the switch {relu, silu}
alpha: float = 0.1  # swi_ft: share of the steps after the switch (0, 1)
p: float = 0.5  # StochA: probability of SiLU [0, 1]
positive: str = "mixed"  # StochA: reading of x >= 0 {identity, silu, mixed}
granularity: str = "element"  # StochA: what one draw covers {element, token, layer}
draw: str = "sample"  # StochA, trained and evaluated: drawn, or its mean {sample, expectation}
threads: int = 1  # numeric threads; another number changes the last bits [1, inf)
seed: int = 0  # of initialisation, data order and activation noise [0, inf)
lr: float = 0.002  # peak learning rate of AdamW (0, inf)
lr_schedule: str = "cosine"  # after the warm-up {cosine, wsd}
warmup: int = None  # steps of warm-up [0, inf)
tokens: int = None  # to train on [1, inf)
batch: int = None  # sequences a step [1, inf)
context: int = None  # tokens a sequence [2, inf)
width: int = None  # of the residual stream [2, inf)
layers: int = None  # blocks [1, inf)
ffn: int = None  # neurons of a block's feed-forward [1, inf)
heads: int = 2  # query heads [1, inf)
kv_heads: int = 1  # key-value heads they share [1, inf)
vocabulary: int = None  # tokens of the BPE [257, 65536]
corpus_bytes: int = None  # of Python files, the held-out package apart [1, inf)
windows: int = None  # contexts evaluated of each split [1, inf)
questions: int = None  # of each probe [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {
        "warmup": 5,
        "tokens": 20480,
        "batch": 8,
        "context": 64,
        "width": 32,
        "layers": 2,
        "ffn": 64,
        "vocabulary": 512,
        "corpus_bytes": 600000,
        "windows": 8,
        "questions": 8,
    },
    "book": {
        "warmup": 30,
        "tokens": 1228800,
        "batch": 16,
        "context": 128,
        "width": 64,
        "layers": 2,
        "ffn": 256,
        "vocabulary": 1024,
        "corpus_bytes": 5000000,
        "windows": 64,
        "questions": 100,
    },
    "full": {
        "warmup": 50,
        "tokens": 6000000,
        "batch": 16,
        "context": 256,
        "width": 128,
        "layers": 4,
        "ffn": 512,
        "vocabulary": 2048,
        "corpus_bytes": 24000000,
        "windows": 128,
        "questions": 200,
    },
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from stocha import arms, figures
from stocha.activations import make
from stocha.lm import checkpoint, corpus, evaluation, probes, training
from stocha.lm import schedule as rates
from stocha.lm.config import ModelConfig, TrainConfig
from stocha.lm.tokenizer import byte_lengths
from stocha.lm.tokens import tokenise
from stocha.study.session import open_run

run = open_run("21_lm_run", globals())
torch.set_num_threads(threads)
training.keep_heap()
figures.style()
run.badge()

# %% tags=["checks", "hide-input"]
arm = arms.planned(activation, schedule, after, alpha, p, positive, granularity, draw)
shape = ModelConfig(
    vocabulary=vocabulary,
    width=width,
    layers=layers,
    heads=heads,
    kv_heads=kv_heads,
    ffn=ffn,
    context=context,
)
settings = TrainConfig(
    tokens=tokens, batch=batch, lr=lr, schedule=lr_schedule, warmup=warmup, seed=seed
)
total = settings.steps(context)
if schedule == "swi_ft" and not 0 < arms.switch_step(alpha, total) < total:
    raise ValueError(f"alpha={alpha:g}: none of {total} steps is left on one side of the switch")

# %% [markdown]
# ## The text
#
# The Python files of pinned packages, split by file; networkx is held out whole. The tokenizer is
# trained on the training split only. Two machines whose corpus has the same hash train on the same
# tokens.

# %% tags=["checks"]
source = corpus.PythonPackages(
    max_bytes=corpus_bytes,
    max_held_out=min(corpus_bytes, 1_500_000),
    validation=max(0.02, min(0.2, 200_000 / corpus_bytes)),
)
text = tokenise(
    source,
    vocabulary,
    checkpoint.folder(),
    progress=lambda done, documents: run.progress(done, documents, "documents"),
)
if scale == "full" and (notice := text.comparable(corpus.RECORDED)):
    display(Markdown(f"**{notice}**"))
if missing := {"train", "validation", "heldout"} - set(text.splits):
    raise ValueError(f"corpus_bytes={corpus_bytes}: no text is left for {', '.join(missing)}")
held = {
    split: evaluation.windows(text.splits[split], context, windows)
    for split in ("validation", "heldout")
}
asked = probes.items(text.splits["heldout"], text.tokenizer, questions, min(160, context))
run.glue("lm-run-train-tokens", text.manifest["tokens"]["train"], "{:,}")
run.glue("lm-run-corpus", text.hash)
pd.Series(text.manifest["tokens"], name="tokens").to_frame()

# %% [markdown]
# The training split has {glue:text}`lm-run-train-tokens` tokens; the corpus is
# {glue:text}`lm-run-corpus`.
#
# ## Which activation when


# %%
def record(table, frame):
    """Save a table of this run, with the name of its arm."""
    return run.table(table, pd.DataFrame(frame).assign(arm=arm.name))


switch = arms.switch_step(alpha, total) if schedule == "swi_ft" else total
share = rates.share_after(switch, total, settings) if switch < total else 0.0
run.glue("lm-run-arm", arm.name)
run.metric(
    steps=total,
    parameters=shape.parameters,
    switch_step=switch,
    steps_after=total - switch,
    tokens_after=(total - switch) * batch * context,
    lr_at_switch=rates.multiplier(min(switch, total - 1), total, settings),
    lr_share_after=share,
    corpus=text.hash,
)
run.glue("lm-run-steps", total, "{:,}")
run.glue("lm-run-parameters", shape.parameters, "{:,}")
run.glue("lm-run-after", total - switch, "{:,}")
run.glue("lm-run-share", 100 * share, "{:.2f} %")

# %% [markdown]
# {glue:text}`lm-run-steps` steps of a model with {glue:text}`lm-run-parameters` parameters;
# {glue:text}`lm-run-after` of them after the switch, which receive {glue:text}`lm-run-share` of the
# summed learning rate: the cosine is not restarted, and is nearly at its end.
#
# ## Training
#
# Beginnings that runs share are trained once. Around the switch the model is also evaluated: its
# loss on a part of the validation set, the gradient norm of every layer, the share of exact zeros
# after the activation and of neurons that are zero at every token.

# %%
near = evaluation.windows(text.splits["validation"], context, max(2, windows // 4))
trunk = activation in ("silu", "relu", "stocha")
marks = [arms.switch_step(part, total) for part in (0.2, 0.1, 0.05)] if trunk else []


def watch(model, step):
    """Evaluate the model a few steps after the switch."""
    rows = [{"after": step - switch, "loss": evaluation.score(model, near, sizes)["loss"]}]
    if step == switch:
        before = arm.activation_at(step - 1, total)
        loss = evaluation.score(model, near, sizes, before)["loss"]
        rows.insert(0, {"after": -1, "loss": loss})
    found = evaluation.sparsity(evaluation.zeros(model, near))
    for row, norms in zip(found, evaluation.gradient_norms(model), strict=True):
        row |= norms
    return rows + [{"after": step - switch, **row} for row in found]


sizes = byte_lengths(text.tokenizer)
offsets = [0, *(2**k for k in range(20))]
trainer = training.Run(
    shape,
    settings,
    arm,
    text,
    checkpoint.Store(checkpoint.folder() / "lm"),
    boundaries=sorted({*(mark for mark in marks if mark <= switch), switch}),
    watch=watch,
    watch_steps=frozenset(switch + k for k in offsets if switch + k < total),
    progress=lambda done, steps: run.progress(done, steps, "steps"),
)
trainer.train()
model, log = trainer.model, trainer.record
final = arm.activation_at(total - 1, total)
seconds = log.seconds
run.metric(train_seconds=seconds, tokens_per_second=total * batch * context / seconds)

# %% tags=["hide-input"]
curve = pd.DataFrame({"step": np.arange(total), "loss": log.loss, "grad_norm": log.grad_norm})
curve["lr"] = [lr * rates.multiplier(t, total, settings) for t in range(total)]
close = (curve["step"] - switch).abs() <= 32 if switch < total else curve["step"] < 0
bins = curve["step"] // max(1, total // 200)
thin = curve.groupby(bins).mean().assign(dense=False)
dense = curve[close].assign(dense=True)
curves = pd.concat([thin, dense]).sort_values(["dense", "step"])
curves["tokens"] = (curves["step"] * batch * context).astype(int)
record("curve", curves)
None

# %% mystnb={"figure": {"name": "fig-lm-run", "caption": "Training loss in nats a token; the dashed line is the switch."}, "image": {"alt": "Training loss over steps of one language-model run, with a dashed line where the activation is switched."}}
axes = figures.runs_over_epochs(
    curves.query("not dense").assign(activation=activation), "loss", x="step", legend=None
)
if switch < total:
    axes.axvline(switch, color="grey", linestyle="--", linewidth=1)
axes.set_ylabel("training loss (nats)")
plt.show()

# %%
run.figure_data("curve")

# %% tags=["hide-input"]
watched = pd.DataFrame(log.watched)
if len(watched):
    by_layer = watched["layer"].notna() if "layer" in watched else np.zeros(len(watched), bool)
    record("switch_loss", watched.loc[~by_layer, ["step", "after", "loss"]])
    columns = ["step", "after", "layer", "grad_norm", "sparsity", "q05", "q50", "q95", "dead"]
    record("switch_layers", watched.loc[by_layer, columns].astype({"layer": int}))
watched.loc[~by_layer, ["after", "loss"]] if len(watched) else "no switch"

# %% [markdown]
# The row −1 is the loss with the activation before the switch, 0 with the one after it and the same
# weights: the height of the spike. The others are the recovery.
#
# ## Four ways to run the same weights
#
# Every model is evaluated on the fixed validation windows and on the held-out package with sampled
# StochA, its expectation, SiLU and ReLU. *Own* is the activation that training ended with.

# %%
rows = []
forms = {"own": final} | evaluation.choices(p, positive, granularity)
for split, ids in held.items():
    for form, used in forms.items():
        rows.append({"split": split, "form": form, **evaluation.score(model, ids, sizes, used)})
scores = record("evaluation", rows)
own = scores.query("form == 'own'").set_index("split")
run.metric(
    val_loss=own.loc["validation", "loss"],
    heldout_loss=own.loc["heldout", "loss"],
    train_loss=float(np.mean(log.loss[-max(1, total // 50) :])),
)
scores.pivot(index="form", columns="split", values="loss").round(4)

# %% [markdown]
# ## Where the zeros are
#
# The share of activation outputs that are exactly zero, per layer, under the model's own activation
# and under ReLU; its quantiles over tokens; and the neurons that are zero at every token, apart
# from which a layer's sparsity is shown once more. The second table asks how many neurons stay zero
# over several consecutive tokens.

# %%
sample = held["validation"][: max(2, windows // 2)]
parts, unions = [], []
for form, used in {"own": final, "relu": make("relu")}.items():
    zero = evaluation.zeros(model, sample, used)
    parts.append(pd.DataFrame(evaluation.sparsity(zero)).assign(form=form))
    for among, stride in {"consecutive tokens": 1, "windows": context}.items():
        spans = [k for k in (1, 2, 4, 8, 16, 32) if k <= len(sample)]
        union = evaluation.union_sparsity(zero, spans, stride)
        unions.append(pd.DataFrame(union).assign(form=form, among=among))
zeros = record("sparsity", pd.concat(parts))
record("union_sparsity", pd.concat(unions))
run.metric(
    sparsity=zeros.query("form == 'own'")["sparsity"].mean(),
    sparsity_relu=zeros.query("form == 'relu'")["sparsity"].mean(),
    dead=zeros.query("form == 'own'")["dead"].mean(),
)
zeros.round(3)

# %% [markdown]
# SiLU has no exact zeros. What it would cost to make some: outputs below a threshold are set to
# zero, and the loss is measured. For a model that ends with ReLU the curve starts at its zeros.

# %%
few = held["validation"][: max(2, windows // 8)]
cut = evaluation.threshold_curve(model, few, final, [0.0, *np.geomspace(0.003, 0.3, 9)])
record("threshold", cut)
for cost in (0.01, 0.03, 0.1):
    run.metric(**{f"sparsity_at_{cost}": evaluation.sparsity_at_cost(cut, cost)})
pd.DataFrame(cut).round(4)

# %% [markdown]
# ## Probes
#
# Three small tasks, scored by log-likelihood: the true next line of held-out code against three
# others, a real line against itself with two tokens exchanged, and the next token of a random
# sequence that was seen once before.

# %%
answers = pd.DataFrame(
    {"form": form, **probes.score(model, probe, used)}
    for probe in asked
    for form, used in {"own": final, "relu": make("relu")}.items()
)
record("probes", answers)
for row in answers.query("form == 'own'").itertuples():
    run.metric(**{f"{row.probe}_accuracy": row.accuracy, f"{row.probe}_margin": row.margin})
answers.round(3)

# %% [markdown]
# One row of the campaign's table:

# %%
summary = pd.DataFrame(
    [
        {
            "loss": own.loc["validation", "loss"],
            "bits_per_byte": own.loc["validation", "bits_per_byte"],
            "heldout_loss": own.loc["heldout", "loss"],
            "relu_loss": scores.query("split == 'validation' and form == 'relu'")["loss"].item(),
            "sparsity": zeros.query("form == 'own'")["sparsity"].mean(),
            "steps_after": total - switch,
            "lr_share_after": share,
            "corpus": text.hash,
        }
    ]
)
record("summary", summary)
summary
