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
#     inputs: ["results/hf_relufication*/*.csv", "results/51_pretrained/*.csv"]
# ---

# %% [markdown]
# # Making it sparse
#
# **Of three ways to give a pretrained SiLU model ReLU, {glue:text}`sparse-best`; drawing activations meanwhile
# {glue:text}`sparse-draw`** ({numref}`fig-sparse-price`). After {glue:text}`sparse-tokens` tokens ReLU at once costs
# SmolLM2-135M {glue:text}`sparse-price`, on held-out docstrings, against the same model trained on with SiLU; the
# exchange alone had cost {glue:text}`sparse-before`.
#
# What counts as an answer was [written down](../hf_protocol.md) before the runs were read. Of the further
# ways that it plans (a teacher, more zeros), {glue:text}`sparse-untrained`.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from stocha import figures
from stocha.claims import relufication as r
from stocha.claims.ledger import Tables
from stocha.claims.open_questions import limit
from stocha.study.session import open_run

run = open_run("53_making_sparse", globals())
figures.style()
tables = Tables()
points, evaluation, zeros, cuts = (
    run.table(name, r.recorded(tables, name)) for name in ("points", "evaluation", "zeros", "cuts")
)
wide = r.losses(evaluation)
looks = figures.look(wide.columns)
START, END = 0, evaluation["tokens"].max()

# %% tags=["remove-cell"]
best = r.extreme(wide, -1)
price = {text: r.losses(evaluation, text) for text in ("heldout", "code", "validation")}
price = {text: r.compare(rows, r.AT_ONCE, r.CONTROL) for text, rows in price.items()}
before = r.compare(r.losses(evaluation, tokens=START), r.AT_ONCE, r.CONTROL)
run.glue("sparse-tokens", END, "{:,}")
run.glue("sparse-price", price["heldout"].text)
run.glue("sparse-code", price["code"].text)
run.glue("sparse-validation", price["validation"].text)
run.glue("sparse-before", before.text)
named = {None: "none is resolved to be best", r.AT_ONCE: "ReLU at once is best"}
run.glue("sparse-best", named.get(best, f"{r.label(str(best))} is best"))
untrained = "; ".join(way for way in r.FURTHER if way not in wide)
run.glue("sparse-untrained", f"not trained yet: {untrained}" if untrained else "all trained")
draws = {
    (-1, -1): "helps",
    (1, 1): "hinders",
    (1, -1): "softens a late switch, but loses to ReLU at once",
    (-1, 1): "beats ReLU at once, but hinders a late switch",
}
against = tuple(r.compare(wide, r.DRAWN, other).sign for other in (r.AT_ONCE, r.SWITCHED))
draw = draws.get(against, "is not resolved to help or to hinder")
run.glue("sparse-draw", draw)

# %% [markdown]
# ## Which way
#
# StochA lets the model meet zeros before it has only those. That pays if what it learns under the draws
# is worth more than the steps with ReLU that it gives up. A late switch also comes when the learning rate
# is already low: one cosine for all, whatever the way does.

# %% mystnb={"figure": {"name": "fig-sparse-price", "caption": "Loss on held-out docstrings at the end, less that of the model trained on with SiLU. A mark for each seed, with a 95 % interval over text."}, "image": {"alt": "For every way of training, two marks with bars: the difference in loss from the control, in nats a token; zero is the control."}} tags=["hide-input"]
ways = [way for way in looks if way != r.CONTROL]
found = {way: r.compare(wide, way, r.CONTROL) for way in ways}
ways = sorted((way for way in ways if found[way].seeds), key=lambda way: -found[way].mean)
rows = []
_, ax = plt.subplots(figsize=(figures.WIDTH, 0.8 + 0.4 * len(ways)))
for place, way in enumerate(ways):
    for shift, (seed, each) in zip((-0.12, 0.12), found[way].seeds.items(), strict=False):
        rows.append({"way": way, "seed": seed, **vars(each)})
        ax.plot([each.low, each.high], [place + shift] * 2, color=looks[way]["color"])
        ax.plot(each.mean, place + shift, "o", color=looks[way]["color"])
ax.axvline(0, color="#767676", linewidth=1)
ax.set_yticks(range(len(ways)), map(r.label, ways))
ax.set_ylim(-0.5, len(ways) - 0.5)
ax.set_xlabel("loss − control / nats a token")
run.table("price", pd.DataFrame(rows))
plt.show()

# %% tags=["remove-input"]
run.figure_data("price")

# %% tags=["hide-input"]
shown = points.groupby("way")[["heldout", "code", "validation", "zeros"]].mean()
words = {
    "heldout": "held-out docstrings",
    "code": "its code",
    "validation": "docstrings as in training",
}
shown = shown.loc[[r.CONTROL, *ways[::-1]]].rename(index=r.label, columns=words)
shown.rename_axis("nats a token; share").style.format(precision=3)

# %% tags=["hide-input"]
pairs = [
    ("Which way?", r.AT_ONCE, r.SWITCHED),
    ("Which way?", r.AT_ONCE, r.DRAWN),
    ("Which way?", r.SWITCHED, r.DRAWN),
    ("Does a teacher help?", r.TAUGHT, r.AT_ONCE),
    ("Does a teacher help?", r.DRAWN_TAUGHT, r.DRAWN),
    ("Layers first?", r.LAYERS_FIRST, r.TAUGHT),
]
answers = []
for question, first, second in pairs:
    difference = r.compare(wide, first, second)
    resolved = {1: "above", -1: "below"}.get(difference.sign, "no")
    answers.append(
        {
            "question": question,
            "difference": difference.name,
            "mean (by seed)": difference.text,
            "resolved": resolved if difference.seeds else "not trained yet",
        }
    )
answers = run.table("answers", pd.DataFrame(answers))
answers.style.hide(axis="index")

# %% [markdown]
# *Resolved* needs both seeds: each one's interval, over six stretches of text, excludes zero on the same
# side, and the mean is a hundredth of a nat at least. Two seeds are few: what they agree on may still be
# another with a third.
#
# In source code, which is out of domain, the price of ReLU at once is {glue:text}`sparse-code`; on
# docstrings of the packages that were trained on, {glue:text}`sparse-validation`.
#
# ## How many tokens
#
# The gap is what ReLU at once loses to the control after as many tokens.

# %% mystnb={"figure": {"name": "fig-sparse-gap", "caption": "Gap to the model trained on with SiLU, over tokens, by seed, evaluated with the activation that the way ends with. Dashed: the fit to ReLU at once, where it holds."}, "image": {"alt": "Loss less that of the control against tokens, both on logarithmic axes, falling for every way of training; a dashed curve continues ReLU at once."}} tags=["hide-input"]
ax = plt.gca()
gaps = pd.concat([r.gap(evaluation, way).assign(way=way) for way in ways])
run.table("gaps", gaps)
for (way, seed), rows in gaps[gaps["tokens"] > 0].groupby(["way", "seed"], sort=False):
    shown = looks[way] | {"label": r.label(way) if seed == 0 else None}
    ax.plot(rows["tokens"], rows["gap"], **shown, linewidth=1, markersize=3)
at_once = gaps[gaps["way"] == r.AT_ONCE]
closed = run.table("closed", r.closing(at_once))
if (closed["known"] == "fitted").any():
    beyond = np.geomspace(END / 10, r.FARTHEST * END)
    for _, rows in at_once[at_once["tokens"] > 0].groupby("seed"):
        fit = r.fitted(rows["tokens"].to_numpy(), rows["gap"].to_numpy())
        ax.plot(beyond, fit(beyond), "--", color="#1a1a1a", linewidth=0.9)
ax.set(xlabel="tokens", ylabel="gap / nats a token", xscale="log", yscale="log")
ax.set_xticks(ticks := [END / 10, END / 3, END], map("{:,.0f}".format, ticks))
ax.set_yticks(ticks := [0.25, 0.5, 1, 2, 4], map("{:g}".format, ticks))
ax.minorticks_off()
figures.legend_below(ax.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("gaps", "closed")

# %% tags=["remove-cell"]
for share in (0.9, 0.95, 0.99):
    run.glue(f"sparse-close-{100 * share:.0f}", r.asked(closed, share))

# %% [markdown]
# - 90 % of the gap before training: {glue:text}`sparse-close-90`
# - 95 %: {glue:text}`sparse-close-95`
# - 99 %: {glue:text}`sparse-close-99`
#
# Where the curve gets there, the number is read off it; beyond, a power law with a floor is fitted, and
# refused by the protocol's rules. The learning rate falls to nothing over these tokens, so a run of
# another length has another curve.
#
# ## Where the zeros are

# %% mystnb={"figure": {"name": "fig-sparse-zeros", "caption": "Share of exact zeros in every layer at the end, a mean over seeds. Grey: ReLU before training."}, "image": {"alt": "Share of zeros in percent by layer, a line for each way that ends with ReLU, and a grey one for ReLU before training."}} tags=["hide-input"]
by_layer = zeros.groupby(["tokens", "way", "layer"])["zeros"].mean().unstack()
ax = plt.gca()
untrained = 100 * by_layer.loc[(START, r.AT_ONCE)]
ax.plot(untrained.index, untrained, color="#767676", label="ReLU, before training")
for way in ways:
    level = 100 * by_layer.loc[(END, way)]
    shown = looks[way] | {"label": r.label(way)}
    ax.plot(level.index, level, **shown, linewidth=1, markersize=3)
ax.set(xlabel="layer", ylabel="zeros / %", ylim=(0, 100))
figures.legend_below(ax.figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("zeros")

# %% tags=["remove-cell"]
own = zeros[zeros["way"] == r.AT_ONCE].pivot_table(index="seed", columns="tokens", values="zeros")
change = own[END] - own[START]
agreed = len(change) > 1 and (change > 0).nunique() == 1
kept = "keeps" if not agreed or abs(change.mean()) < r.SMALLEST else "changes"
trained = by_layer.loc[(END, r.AT_ONCE)]
run.glue("sparse-kept", kept)
run.glue("sparse-zeros-before", 100 * own[START].mean(), "{:.1f} %")
run.glue("sparse-zeros", 100 * own[END].mean(), "{:.1f} %")
for name, layer in (("fewest", trained.idxmin()), ("most", trained.idxmax())):
    run.glue(f"sparse-{name}", f"layer {layer}, {100 * trained[layer]:.0f} %")

# %% [markdown]
# Training **{glue:text}`sparse-kept`** the share of zeros of ReLU at once: {glue:text}`sparse-zeros-before`
# before, {glue:text}`sparse-zeros` after. Fewest has {glue:text}`sparse-fewest`, most
# {glue:text}`sparse-most`.
#
# ## What more zeros cost
#
# Zeros can be cut out of the finished model: in every layer the smallest activations, by a threshold of
# its own. This is ReLU at once, cut after training.

# %% tags=["hide-input"]
plain = cuts[cuts["way"] == r.AT_ONCE].groupby("cut")[["zeros", "loss"]].mean()
plain["price / nats"] = plain["loss"] - points.loc[points["way"] == r.AT_ONCE, "heldout"].mean()
plain.round(3)

# %% [markdown]
# Or they can be asked for while the model trains, by an L1 term. Is that worth it, against a cut to as
# many?

# %% tags=["hide-input"]
asked = run.table("aims", r.aims(points, cuts))
shown = asked.groupby("aim").agg(
    **{
        "zeros / %": ("zeros", lambda share: 100 * share.mean()),
        "reached": ("reached", "all"),
        "price / nats": ("price", "mean"),
        "cut − asked for / nats": ("gain", "mean"),
        "worth its training": (
            "gain",
            lambda gain: len(gain) > 1 and (gain > 0).all() and gain.mean() >= r.SMALLEST,
        ),
    }
)
shown = shown.reindex(pd.Index(r.AIMS, name="aim")).reset_index()
shown.style.hide(axis="index").format(precision=3, na_rep="not trained yet")

# %% [markdown]
# ## Two claims on real weights

# %% tags=["remove-cell"]
above, below = r.sampled_between(tables("51_pretrained", "losses"))
agree = "hold" if (above.sign, below.sign) == (1, 1) else "do not both hold"
run.glue("sparse-l8", agree)
run.glue("sparse-l8-above", above.text)
run.glue("sparse-l8-below", below.text)
run.glue("sparse-limit", limit(own[END].mean()), "{:.2f}")

# %% [markdown]
# **L8**, without any training: ReLU − StochA(0.7) {glue:text}`sparse-l8-above` and StochA(0.7) − SiLU
# {glue:text}`sparse-l8-below`. Its two halves {glue:text}`sparse-l8` here; the small model's verdict is in
# the [ledger](01_claims.ipynb).
#
# **L7** is about 90 % zeros. At the {glue:text}`sparse-zeros` that ReLU at once has, a layer that skips
# rows can be {glue:text}`sparse-limit` times as fast at most. How much of it there is to be had, on real
# layers and end to end, is for the race to say.
#
# ## Summary
#
# Putting ReLU in and training on is what it takes: that brings the price down from {glue:text}`sparse-before` to
# {glue:text}`sparse-price`. Of three ways at equal tokens, {glue:text}`sparse-best`. Drawing activations meanwhile
# {glue:text}`sparse-draw`. {glue:text}`sparse-zeros` of the activations are zero in the end. Of the further ways that
# were planned, {glue:text}`sparse-untrained`.
