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
#     inputs: ["results/lm_campaign*/*", "results/lm_lr/provenance.json", "sweeps/lm_campaign.yml"]
# ---

# %% [markdown]
# # Does it work?
#
# The paper's case {cite:p}`lomeli2025stochastic` in one sentence: train with SiLU, or with a draw of SiLU
# and ReLU, finish with ReLU, and keep most of what SiLU gained over ReLU (L1, L2, L4, L5), while
# StochA also works as it is, without the finish (L8).

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from stocha import figures
from stocha.base.files import read_json
from stocha.claims.ledger import Tables
from stocha.lm import campaign
from stocha.study.session import open_run

run = open_run("24_lm_losses", globals())
figures.style()
pd.options.display.max_colwidth = None
tables = Tables()
points, curves, asked, scores = (
    campaign.recorded(tables, name) for name in ("points", "curve", "probes", "evaluation")
)
names, silu = campaign.labels(points), points[points["arm"] == "silu"].set_index("seed")
points["above_silu"] = points["loss"] - points["seed"].map(silu["loss"])
run.table("points", points)
main = points["arm"].str.fullmatch(r"(silu|relu|stocha\([\d.]+\))(\+ft\([\d.]+\))?")
chosen = [campaign.best_stocha(points, ending)[0] for ending in ("", "+ft(0.1)")]
plain, together, alone = *chosen, "silu+ft(0.1)"


def difference(column, first, second):
    """The paired difference of a column of `points`, over the seeds recorded."""
    return campaign.paired(campaign.by_seed(points, column), first, second)


def from_silu(rows, height):
    """Every arm's loss less that of SiLU with the same seed."""
    plt.figure(figsize=(figures.WIDTH, height))
    axes = figures.paired_differences(rows, "loss", "silu", by="arm", pair="seed")
    axes.set_xlabel("validation loss − SiLU's / nats")
    axes.locator_params(axis="x", nbins=6)
    plt.show()


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-pareto", "caption": "Validation loss less SiLU's of the same seed against the mean share of exact zeros, each model with its own activation. Small marks are seeds, large ones means. Better is down and to the right."}, "image": {"alt": "Scatter of validation loss less that of SiLU against sparsity, one colour and marker an arm, small marks for seeds and large for means."}}
figure = plt.figure(figsize=(figures.WIDTH, 5))
axes, looks = plt.gca(), figures.look(names)
for arm, rows in points.dropna(subset=["above_silu"]).groupby("arm", sort=False):
    look = {"marker": looks[arm]["marker"], "color": looks[arm]["color"], "linestyle": ""}
    axes.plot(rows["sparsity"], rows["above_silu"], ms=3, alpha=0.5, **look)
    axes.plot(*rows[["sparsity", "above_silu"]].mean(), ms=8, label=names[arm], **look)
axes.set(xlabel="share of exact zeros", ylabel="validation loss − SiLU's / nats")
figure.legend(loc="outside lower center", ncols=3, fontsize=8)
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% tags=["remove-cell"]
hours = {
    name: read_json(tables.root / name / "provenance.json")["seconds"] / 7200
    for name in (*campaign.SWEEPS, "lm_lr")
}
run.glue("lm-loss-hours", sum(hours[name] for name in campaign.SWEEPS), "{:.1f}")
run.glue("lm-loss-rate-hours", hours["lm_lr"], "{:.1f}")
run.glue("lm-loss-runs", len(points))
run.glue("lm-loss-tuned", difference("loss", alone, "silu").value())
run.glue("lm-loss-untuned", campaign.over_seeds(silu["relu_loss"] - silu["loss"]).value())
run.glue("lm-loss-together-name", names[together])
run.glue("lm-loss-together", difference("loss", "relu", together).value())
run.glue("lm-loss-sampled-name", names[plain])
run.glue("lm-loss-sampled-relu", difference("loss", "relu", plain).value())
run.glue("lm-loss-sampled-silu", difference("loss", plain, "silu").value())

# %% [markdown]
# **The finish works; whether StochA helps, this campaign cannot say.** In nats: SiLU run with ReLU, without any training
# for it, minus SiLU is {glue:text}`lm-loss-untuned`; Swi+FT(0.1) minus SiLU is {glue:text}`lm-loss-tuned`. ReLU minus
# {glue:text}`lm-loss-together-name` is {glue:text}`lm-loss-together`: seeds differ by more than that. What was wrong,
# and what the next campaign does about it, stands in [*The first campaign*](../lm_first_campaign.md).
#
# ## What is recorded
#
# {glue:text}`lm-loss-runs` runs, which took {glue:text}`lm-loss-hours` hours of two cores,
# evaluation included; the [learning rates](22_lm_rate.ipynb) took {glue:text}`lm-loss-rate-hours` more. An arm in two sweeps
# counts each seed once. Arms with the same seed share initialisation and batches, so
# differences are taken seed by seed. All arms train at one learning rate; [*Which learning rate*](22_lm_rate.ipynb) shows
# what SiLU and ReLU would each prefer.
#
# ## Final losses

# %% [markdown]
# What a seed decides, initialisation and batches, the arms share. Each model compared with SiLU's of the same
# seed:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-paired", "caption": "Validation loss less that of SiLU with the same seed. Dots are seeds; mark and bar the mean difference and its 95 % t-interval."}, "image": {"alt": "Dot plot of differences of the final validation loss from SiLU, one line an arm, with a line at zero."}}
from_silu(points[main], 5.2)

# %% tags=["remove-input"]
run.figure_data("points")

# %% tags=["hide-input"]
columns = {"loss": "loss / nats", "bits_per_byte": "bits per byte", "heldout_loss": "held-out loss"}
columns |= {"train_loss": "training loss", "relu_loss": "loss with ReLU"}
by_arm = points.groupby("arm", sort=False)
means = by_arm[list(columns)].mean().rename(columns=columns)
means.insert(0, "seeds", by_arm["seed"].nunique())
others = [arm for arm in names if arm != "silu"]
above = pd.Series({arm: difference("loss", arm, "silu").value() for arm in others})
means.insert(1, "loss − SiLU's", above)
run.table("means", means.reset_index())
means.rename(index=names).round(4)

# %% [markdown]
# Training loss is the mean of the last 2 % of the steps, with whatever activation was in force; *held-out* is a
# package that no training text comes from. Where arms have different seeds recorded, compare the differences, not
# these means.
#
# ## What a seed decides
#
# Arms with the same seed share initialisation and batches, and yet a seed can do more than an activation: half way
# through training the loss of some runs leaves the others'. The margin of the [next-line probe](26_lm_probes.ipynb) goes
# with it.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-seeds", "caption": "Left: training loss of the arms without a switch, one line a run, one colour a seed. Right: validation loss of every run against its margin on the next-line probe, colours the same, one shape a seed."}, "image": {"alt": "Two panels. Left, training loss against tokens, where some runs leave the others behind half way. Right, validation loss against the next-line margin: runs with a large margin have a lower loss."}}
own = asked[asked["form"] == "own"].set_index("probe")
margins = own.loc["next_line", ["arm", "seed", "margin"]].merge(points[["arm", "seed", "loss"]])
drawn = curves[~curves["dense"] & ~curves["arm"].str.contains("+", regex=False)]
drawn = drawn[drawn["tokens"] > drawn["tokens"].max() / 4]
run.table("seeds_curve", drawn[["arm", "seed", "tokens", "loss"]])
run.table("seeds_margin", margins)
figure, panels = plt.subplots(1, 2)
shades = sns.color_palette("colorblind")
for (_, seed), rows in drawn.groupby(["arm", "seed"]):
    panels[0].plot(rows["tokens"] / 1e6, rows["loss"], color=shades[seed], linewidth=0.8)
for seed, rows in margins.groupby("seed"):
    look = {"color": shades[seed], "marker": "osD^v"[seed], "label": f"seed {seed}"}
    panels[1].plot(rows["margin"], rows["loss"], linestyle="", ms=4, **look)
panels[0].set(xlabel="tokens / millions", ylabel="training loss / nats")
panels[1].set(xlabel="next-line margin / nats", ylabel="validation loss / nats")
figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %% tags=["remove-input"]
run.figure_data("seeds_curve", "seeds_margin")

# %% tags=["remove-cell"]
rank = margins["margin"].corr(margins["loss"], method="spearman")
run.glue("lm-loss-margin-rank", rank, "{:.2f}")
low, high = own.loc["copy", "accuracy"].agg(["min", "max"])
run.glue("lm-loss-copied", f"{low:.2f} to {high:.2f}")
full = campaign.by_seed(points, "loss").dropna()
run.glue("lm-loss-arms-shared", full.shape[1])
run.glue("lm-loss-seeds-shared", full.shape[0])
run.glue("lm-loss-of-seeds", full.std(axis=0).mean(), "{:.3f}")
run.glue("lm-loss-of-arms", full.std(axis=1).mean(), "{:.3f}")

# %% [markdown]
# Over {glue:text}`lm-loss-arms-shared` arms and the {glue:text}`lm-loss-seeds-shared` seeds that all of them have, the standard
# deviation of the loss is {glue:text}`lm-loss-of-seeds` nats between seeds of one arm and {glue:text}`lm-loss-of-arms` between arms
# of one seed. Pairing removes a seed's part only where both runs of a pair leave the others, or neither does.
#
# Over all runs the rank correlation of validation loss and next-line margin is {glue:text}`lm-loss-margin-rank`. That the
# better runs have learned to use names and lines that stand further back would explain it, but this is a guess: the
# study's own probe of copying, a random sequence met a second time, is answered rightly in {glue:text}`lm-loss-copied` of the
# questions, where chance is 0.25.
#
# ## The claims' own differences
#
# Where a claim leaves StochA's p open, the first campaign's protocol takes the best of three.

# %% tags=["hide-input"]
pairs = [
    ("L1", "train_loss", "relu", plain),
    ("L1", "train_loss", plain, "silu"),
    ("L4", "loss", "relu", together),
    ("L5", "loss", alone, together),
    ("L5", "loss", alone, "silu"),
    ("L5", "loss", together, "silu"),
    ("L9", "loss", "bernoulli_silu", "relu"),
]
run.table("differences", campaign.differences(points, pairs)).set_index("claim")

# %% [markdown]
# ## What ReLU costs an untuned model
#
# Every model was evaluated with four activations, whatever it was trained with (L2, L8): StochA sampled and in
# expectation, SiLU, ReLU.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-forms", "caption": "Validation loss of every model under four activations, mean over seeds; the colour is the loss above the row's lowest, on a scale that the largest tenth exceeds."}, "image": {"alt": "Heat table of validation losses: one row an arm, one column an activation used for evaluation."}}
run.table("evaluation", scores)
forms = {"sampled": "StochA\nsampled", "expected": "StochA\nexpected"} | figures.LABELS
heat = scores.query("split == 'validation' and form != 'own'").pivot_table(
    index="arm", columns="form", values="loss", sort=False
)
heat = heat.rename(index=names, columns=forms)
above = heat.sub(heat.min(axis=1), axis=0)
plt.figure(figsize=(figures.WIDTH, 0.6 + 0.28 * len(heat)))
shade = {"cmap": "Blues", "vmin": 0, "vmax": above.stack().quantile(0.9)}
bar = {"label": "above the row's lowest / nats"}
axes = sns.heatmap(above, annot=heat, fmt=".3f", cbar_kws=bar, annot_kws={"size": 8}, **shade)
axes.set(xlabel="", ylabel="")
axes.grid(visible=False)
plt.show()

# %% tags=["remove-input"]
run.figure_data("evaluation")

# %% [markdown]
# {glue:text}`lm-loss-sampled-name`, sampled at test time as in training, between its
# neighbours: ReLU minus StochA {glue:text}`lm-loss-sampled-relu`; StochA minus SiLU {glue:text}`lm-loss-sampled-silu`.
#
# ## Controls
#
# No claim of the paper. Expected StochA trains with the mean of the draw, a function with a small negative
# slope and no noise: if it ends where StochA does, the noise was not needed. ReLU → SiLU switches the
# other way. The annealed run goes from SiLU to ReLU over the whole training. GELU and ReLU² say how special
# the two are. A difference is *answered* where its interval, over at least three seeds, excludes zero.

# %% tags=["hide-input"]
questions = [
    ("noise, or slope?", "loss", "expected(0.5)+ft(0.1)", "stocha(0.5)+ft(0.1)"),
    ("a late switch the other way", "loss", "relu+silu(0.1)", "relu"),
    ("gradually or at once?", "loss", "anneal", alone),
    ("other smooth", "loss", "gelu", "silu"),
    ("other sparse", "loss", "relu2", "relu"),
]
answers = campaign.differences(points, questions, "question")
run.table("controls", answers).set_index("question").drop(columns="of")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-controls", "caption": "Controls: validation loss less that of SiLU with the same seed; ReLU and two arms of the method for comparison. Dots are seeds; mark and bar the mean difference and its 95 % t-interval."}, "image": {"alt": "Dot plot of differences of the final validation loss from SiLU for the controls, with ReLU and two Swi+FT arms for comparison."}}
compared = points["arm"].isin(["silu", "relu", alone, "stocha(0.5)+ft(0.1)"])
from_silu(points[compared | ~main], 4)

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# Verdicts on L1, L2, L4, L5, L8 and L9, by the criteria of the [first campaign](../lm_first_campaign.md), are in the
# [ledger](01_claims.ipynb).
