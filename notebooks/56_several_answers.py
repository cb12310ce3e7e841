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
#     inputs: ["results/hf_answers/*.csv", "src/stocha/lm/tiny_relu/*"]
# ---

# %% [markdown]
# # Several answers
#
# **Drawn activations do give several answers, but temperature sampling gives as many with more right ones.** SmolLM2 as
# it is, with StochA and always the likeliest token, gives {glue:text}`several-distinct` distinct answers of eight; its share of
# right ones, less that of temperature sampling at as many distinct answers, is {glue:text}`several-gap` ({numref}`fig-several`).
# By likelihood under the model itself, which favours answers that it expects, StochA is ahead, by {glue:text}`several-likelihood`.
# Claim L11 is **{glue:text}`several-verdict`** ({glue:text}`several-parts`).
#
# The model tuned to ReLU on docstrings has lost the task: with ReLU {glue:text}`several-right-tuned` of its answers are right, where the
# untouched model's likeliest ones are {glue:text}`several-right-silu`. There a draw helps for another reason: StochA(0.7) brings back
# SiLU for most of the negative inputs, and with it {glue:text}`several-right-drawn`.
#
# What counts as an answer was [written down](../answers_protocol.md) before the runs were read: there are
# {glue:text}`several-prompts` prompts, {glue:text}`several-checked` of which can be right or wrong, and two
# models, SmolLM2 untouched with SiLU, and tuned with StochA(0.7) and then ReLU.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much the small model writes {smoke, book, full}
prompt: str = "def mean(values):\n    "  # that the small model continues
p: float = 0.5  # its probability of SiLU (0, 1)
new_tokens: "Optional[int]" = None  # it writes [1, 200]

# %% tags=["scales", "hide-input"]
scales = {"smoke": {"new_tokens": 8}, "book": {"new_tokens": 24}, "full": {"new_tokens": 24}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

from stocha import figures
from stocha.activations import make
from stocha.claims import answers as a
from stocha.claims.ledger import Tables
from stocha.lm import pretrained
from stocha.lm.generation import generate
from stocha.study.session import open_run

run = open_run("56_several_answers", globals())
figures.style()
tables = Tables()
points = a.recorded(tables)
found, seen = a.l11_several_answers.assess(tables), a.Compared(points)
means = a.by_setting(points)
MODELS = {False: "untouched", True: "tuned"}
KINDS = {
    "temperature": ("temperature", "silu", "o-"),
    "top_p": ("top-p, temperature 1", "gelu", "s-"),
    "stocha": ("StochA, likeliest token", "stocha", "D-"),
    "grains": ("StochA(0.9), other draws", "learnable_stoch", "^"),
    "both": ("StochA(0.95) and temperature", "gumbel_stoch", "v"),
}
BESIDE = {"temperature": ("temperature", (3, 4)), "stocha": ("p", (-10, -10))}


def curves(x, y, labels, beside=BESIDE):
    """Draw `y` over `x`, columns of `means`, a panel a model; settings `beside` with their value."""
    of = points.drop_duplicates("setting").set_index("setting")
    _, axes = plt.subplots(1, 2, sharex=True, sharey=True, figsize=(figures.WIDTH, 3.9))
    for (tuned, model), ax in zip(MODELS.items(), axes, strict=True):
        for kind, (label, colour, shape) in KINDS.items():
            some = means.loc[a.settings(points, kind, tuned)]
            look = {"color": figures.COLOURS[colour], "markersize": 4, "linewidth": 1.5}
            ax.plot(some[x], some[y], shape, label=label, **look)
            value, place = beside.get(kind, ("", (0, 0)))
            for setting, row in some.iterrows() if value else ():
                at, text = (row[x], row[y]), f"{of.loc[setting, value]:g}"
                small = {"textcoords": "offset points", "fontsize": 7, "color": look["color"]}
                ax.annotate(text, at, place, **small)
        ax.set(title=model, xlabel=labels[0])
    axes[0].set_ylabel(labels[1])
    figures.legend_below(axes[0].figure)
    plt.show()


# %% tags=["remove-cell"]
several, gap, *_ = found.parts
run.glue("several-distinct", several.found.text(".2f"))
run.glue("several-gap", a.shown(gap.found))
run.glue("several-verdict", str(found.verdict))
asked = ("several", "lower", "slightly lower")
judged = (f"{word}: {part.verdict}" for word, part in zip(asked, found.parts[:3], strict=True))
run.glue("several-parts", "; ".join(judged))
likelier = seen.gap(seen.compared("stocha"), False, "likelihood")
run.glue("several-likelihood", a.shown(likelier) + " nats a token")
run.glue("several-beside", found.beside)
run.glue("several-prompts", points["prompt"].nunique())
run.glue("several-checked", points.loc[points["task"].isin(a.CHECKED), "prompt"].nunique())
for key, setting in {
    "silu": "SiLU, temperature 0",
    "tuned": "tuned, ReLU, temperature 0",
    "drawn": "tuned, StochA(0.7)",
}.items():
    run.glue(f"several-right-{key}", means.loc[setting, "right"], "{:.0%}")
run.table("settings", means.reset_index())

# %% mystnb={"figure": {"name": "fig-several", "caption": "Share of right answers over the number of distinct answers of eight; every point is a setting, its label a temperature or a p. The line of temperature is the curve that gaps are measured from."}, "image": {"alt": "Two panels, untouched and tuned: accuracy against distinct answers. A line for temperature sampling; StochA, top-p and both together are marked beside it."}} tags=["hide-input"]
curves("distinct", "right", ("distinct answers of 8", "right answers"))

# %% tags=["remove-input"]
run.figure_data("settings")

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "part": part.name,
        "asked": str(part.band),
        "found": part.found.text(".2f" if part.unit == "of 8" else "+.3f"),
        "verdict": part.verdict.value,
    }
    for part in found.parts
).set_index("part").rename_axis(None)

# %% [markdown]
# A part says what its interval says alone; L11 needs all of them. Beside them, and deciding nothing:
# {glue:text}`several-beside` is what one gives or gains who tunes the model and draws, instead of taking it as it
# is and sampling.
#
# ## Coarser draws, and a draw beside a temperature
#
# A *gap* is a setting's share of right answers less that of temperature sampling, from the same weights, at as
# many distinct answers. Right of zero a setting is worth having. Settings with more distinct answers than
# temperature reaches have no gap.

# %% mystnb={"figure": {"name": "fig-several-gaps", "caption": "Gap of every setting from temperature sampling, with 95 % intervals over prompts."}, "image": {"alt": "Rows of settings, each with a dot and a bar: the gap in accuracy. A vertical line marks zero."}} tags=["hide-input"]
gaps = {
    f"{KINDS[kind][1]} {s}": vars(seen.gap([s], tuned))
    for tuned in MODELS
    for kind in list(KINDS)[1:]
    for s in seen.compared(kind, tuned)
}
gaps = pd.DataFrame.from_dict(gaps, orient="index", columns=["mean", "low", "high"])
names = {level: level.split(" ", 1)[1] for level in gaps.index}
run.table("gaps", gaps.rename(index=names).rename_axis("setting").reset_index())
plt.figure(figsize=(figures.WIDTH, 1 + 0.24 * len(gaps)))
figures.intervals(gaps, names=names).set_xlabel("gap in right answers")
plt.show()

# %% tags=["remove-input"]
run.figure_data("gaps")

# %% [markdown]
# Does a coarser draw do better than one for every neuron and token, at the same p? And is StochA worth adding to
# a temperature?

# %% tags=["hide-input"]
FINE = "StochA(0.9)"
compared = {
    f"{s} − {FINE}": seen.gap([s], False, than=FINE)
    for s in seen.compared("grains")
    if FINE in seen.compared("stocha")
}
for kind in ("both", "top_p"):
    compared |= {f"{s} − temperature": seen.gap([s], False) for s in seen.compared(kind)}
answer = {
    name: "better" if each.low > 0 else "worse" if each.high < 0 else "not resolved"
    for name, each in compared.items()
}
pd.DataFrame({"gap": {n: a.shown(e) for n, e in compared.items()}, "it is": answer})

# %% [markdown]
# ## Other measures of quality
#
# Several tries are worth what the best or the most frequent of them is worth: pass@8 and majority. Likelihood,
# nats a token under the untouched model, favours what that model would say itself: a low temperature. All
# are compared at as many distinct answers, and decide nothing.

# %% tags=["hide-input"]
names = ("right answers", "pass@8", "majority", "likelihood / nats")
pd.DataFrame(
    {
        f"StochA, {model}": [
            a.shown(seen.gap(seen.compared("stocha", tuned), tuned, measure))
            for measure in a.QUALITY
        ]
        for tuned, model in MODELS.items()
    },
    index=names,
)

# %% tags=["hide-input", "hide-output"]
means.rename_axis(None).round(2)

# %% [markdown]
# ## Sentences
#
# Where nothing is right or wrong, answers can still be likely and different. Self-BLEU is how much of an answer
# the seven others have: 1 where all are the same. The columns `open_…` above are of these prompts.

# %% mystnb={"figure": {"name": "fig-several-open", "caption": "The 24 open prompts: likelihood of the answers under the untouched model, over how alike they are."}, "image": {"alt": "Two panels: likelihood in nats a token over self-BLEU, for temperature sampling, top-p and StochA."}} tags=["hide-input"]
curves("open_self_bleu", "open_likelihood", ("self-BLEU", "likelihood / nats a token"), {})

# %% [markdown]
# ## Where answers part
#
# With the likeliest token always, two answers are the same until the draws move another token to the top. Is that
# where the model is unsure anyway? *Sure* is the untouched model's largest probability: the mean over all tokens,
# and at the token where two answers part.

# %% tags=["hide-input"]
some = [s for kind in ("stocha", "temperature") for s in a.settings(points, kind)]
some += a.settings(points, "stocha", True)
columns = {"prefix": "tokens shared", "sure": "sure", "sure_at_parting": "where they part"}
parted = points.groupby("setting")[list(columns)].mean().loc[some].rename(columns=columns)
parted["difference"] = [a.shown(a.parting(points[points["setting"] == s])) for s in some]
parted.rename_axis(None).style.format("{:.2f}", subset=list(columns.values()), na_rep="—")

# %% [markdown]
# ## Read some
#
# The first prompt of each kind, four answers each.

# %% tags=["hide-input"]
told = a.recorded(tables, "examples").fillna({"text": ""})
kept = ("SiLU, temperature 0.6", "SiLU, temperature 1", FINE, "StochA(0.7)", "tuned, StochA(0.3)")
told = told[(told["answer"] < 4) & told["setting"].isin(kept)]
told = told[told["prompt"] == told.groupby("task")["prompt"].transform("min")]
told.pivot(index=["task", "setting"], columns="answer", values="text").rename_axis(columns=None)

# %% [markdown]
# ## Live: a small model
#
# The small model of *The trained model* ended with ReLU. Here it takes the likeliest token always, and only its
# activations draw; the same prompt, and texts that part.

# %%
model, tokenizer = pretrained.load("relu")
ids = torch.tensor(tokenizer.encode(prompt).ids)
drawing = {"activation": make("stocha", p=p), "temperature": 0}
written = generate(model, ids, new_tokens, samples=4, **drawing)
alike = (written == written[0]).cummin(1).values.sum(1)

# %% tags=["hide-input"]
texts = [tokenizer.decode(each) for each in written.tolist()]
pd.DataFrame({"tokens as the first": alike.tolist(), "text": texts})

# %% [markdown]
# ## Summary
#
# A draw in the activations gives different answers without drawing a token. On the model as it is, drawing tokens gives
# more right answers at the same number of different ones, and the more the activations draw, the more so. Neither
# coarser draws nor a draw beside a temperature bring anything that these prompts could show. Leaving positive inputs as
# they are, as the paper does, costs most on weights that know SiLU. One model of 135 million weights and short answers;
# whether it differs for a model that was trained with StochA from the start is open.
#
# ## To make the tables
#
# About 45 minutes of one core, after `sweeps/hf_relufication.yml`, whose finished model the group *tuned* takes.
#
# ```sh
# stocha sweep run sweeps/hf_answers.yml -j 2 -t 1
# stocha sweep collect sweeps/hf_answers.yml
# ```

# %% tags=["remove-input"]
run.badge()
