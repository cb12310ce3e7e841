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
#     inputs: ["results/lm_campaign*/*", "results/lm_lr/provenance.json", "sweeps/lm_campaign*.yml", "notebooks/21_lm_run.py"]
# ---

# %% [markdown]
# # Does it work?
#
# The paper's case {cite:p}`lomeli2025stochastic` in one sentence: train with SiLU, or with a draw of SiLU
# and ReLU, finish with ReLU, and keep most of what SiLU gained over ReLU (L1, L2, L4, L5), while
# StochA also works as it is, without the finish (L8). Here are the final losses of every arm of the
# [protocol](../lm_protocol.md), and of the controls.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Markdown, display

from stocha import figures
from stocha.base.paths import project_root
from stocha.claims import campaign
from stocha.claims.ledger import Verdict
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("24_lm_losses", globals())
figures.style()
pd.options.display.max_colwidth = None
sweeps = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]
points = run.table("points", campaign.recorded_or_empty("points"))
progress = run.table("progress", campaign.progress([p for s in sweeps for p in s.points], points))
done, wanted = progress["recorded"].sum(), progress[["recorded", "missing"]].sum().sum()
if missing := campaign.incomplete(campaign.SWEEPS, done, wanted):
    display(Markdown(missing))

# %% [markdown]
# ## What is recorded

# %% tags=["remove-cell"]
hours = campaign.hours(campaign.SWEEPS)
run.glue("lm-loss-runs", int(done))
run.glue("lm-loss-hours", hours / 2, "{:.1f}")
run.glue("lm-loss-rate-hours", campaign.hours(["lm_lr"]) / 2, "{:.1f}")
run.glue("lm-loss-tokens", sweeps[0].points[0]["tokens"], "{:,}")

# %% [markdown]
# {glue:text}`lm-loss-runs` runs of {glue:text}`lm-loss-tokens` tokens, which took {glue:text}`lm-loss-hours` hours of two cores,
# evaluation included; the [learning rates](22_lm_rate.ipynb) took {glue:text}`lm-loss-rate-hours` more.

# %% tags=["hide-input"]
progress.assign(arm=progress["arm"].map(campaign.label)).set_index("arm")

# %% [markdown]
# An arm in two sweeps counts each seed once. Arms with the same seed share initialisation and batches, so
# differences are taken seed by seed. All arms train at one learning rate; [*Which learning rate*](22_lm_rate.ipynb) shows
# what SiLU and ReLU would each prefer.
#
# ## Final losses

# %% tags=["hide-input"]
main = progress["arm"].str.fullmatch(r"(silu|relu|stocha\([\d.]+\))(\+ft\([\d.]+\))?")
arms, controls = list(progress.loc[main, "arm"]), list(progress.loc[~main, "arm"])
names = {arm: campaign.label(arm) for arm in progress["arm"]}
have = [arm for arm in progress["arm"] if arm in set(points["arm"])]
wide = campaign.by_seed(points, "loss") if len(points) else pd.DataFrame()


def ordered(wanted):
    """The rows of `points` of the wanted arms that are recorded, in the sweep's order."""
    kept = [arm for arm in have if arm in wanted]
    return points.set_index("arm").loc[kept].reset_index() if kept else points.iloc[:0]


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-losses", "caption": "Validation loss after training, each model with the activation it ended with. Dots are seeds; mark and bar their mean and 95 % t-interval."}, "image": {"alt": "Dot plot of the final validation loss of every arm, one line an arm, a dot for each seed with mean and interval."}}
figure = plt.figure(figsize=(figures.WIDTH, 5.2))
if ordered(arms).empty:
    figures.blank()
else:
    figures.estimates(ordered(arms), "loss", by="arm", names=names)
    plt.gca().set_xlabel("validation loss / nats a token")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# What a seed decides, initialisation and batches, the arms share. Each model compared with SiLU's of the same
# seed:

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-paired", "caption": "Validation loss less that of SiLU with the same seed. Dots are seeds; mark and bar the mean difference and its 95 % t-interval."}, "image": {"alt": "Dot plot of differences of the final validation loss from SiLU, one line an arm, with a line at zero."}}
figure = plt.figure(figsize=(figures.WIDTH, 5.2))
if "silu" in have and len(have) > 1:
    figures.paired_differences(ordered(arms), "loss", "silu", by="arm", pair="seed", names=names)
    plt.gca().set_xlabel("validation loss − SiLU's / nats")
    plt.gca().locator_params(axis="x", nbins=6)
else:
    figures.blank()
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")


# %% tags=["hide-input"]
def means(column, digits=4):
    """Mean over seeds of a column of `points`, by arm."""
    return points.groupby("arm")[column].mean().reindex(have).map(f"{{:.{digits}f}}".format)


columns = {"loss": "loss / nats", "bits_per_byte": "bits per byte", "heldout_loss": "held-out loss"}
columns |= {"train_loss": "training loss", "relu_loss": "loss with ReLU"}
table = pd.DataFrame({words: means(column) for column, words in columns.items()} if have else {})
if have:
    table.insert(0, "seeds", points.groupby("arm")["seed"].nunique().reindex(have))
run.table("means", table.rename_axis("arm").reset_index())
table.rename(index=names).rename_axis("arm") if have else Markdown("Not recorded yet.")

# %% tags=["hide-input"]
others = [arm for arm in have if arm != "silu"]
above = pd.DataFrame(
    [{"arm": names[arm], **campaign.paired(wide, arm, "silu").row()} for arm in others],
    columns=["arm", "mean", "95 % interval", "seeds"],
)
run.table("above_silu", above)
above.set_index("arm").rename(columns={"mean": "loss − SiLU's / nats"})

# %% [markdown]
# Training loss is the mean of the last 2 % of the steps, with whatever activation was in force; *held-out* is a
# package that no training text comes from. Where arms have different seeds recorded, compare the differences above, not
# these means.
#
# ## What a seed decides
#
# Arms with the same seed share initialisation and batches, and yet a seed can do more than an activation: half way
# through training the loss of some runs leaves the others'. The margin of the [next-line probe](26_lm_probes.ipynb) goes
# with it.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-seeds", "caption": "Left: training loss of the arms without a switch, one line a run, one colour a seed. Right: validation loss of every run against its margin on the next-line probe, colours the same, one shape a seed."}, "image": {"alt": "Two panels. Left, training loss against tokens, where some runs leave the others behind half way. Right, validation loss against the next-line margin: runs with a large margin have a lower loss."}}
curves, asked = campaign.recorded_or_empty("curve"), campaign.recorded_or_empty("probes")
figure, panels = plt.subplots(1, 2)
seeds = sorted(points["seed"].unique()) if have else []
shades = dict(zip(seeds, sns.color_palette("colorblind"), strict=False))
fields = ["arm", "seed", "tokens", "loss"]
drawn = curves.loc[~curves["dense"], fields] if len(curves) else pd.DataFrame(columns=fields)
drawn = run.table("seeds_curve", drawn[~drawn["arm"].str.contains("+", regex=False)])
margins = pd.DataFrame(columns=["arm", "seed", "margin", "loss"])
if len(asked):
    own = asked[(asked["form"] == "own") & (asked["probe"] == "next_line")]
    margins = own[["arm", "seed", "margin"]].merge(points[["arm", "seed", "loss"]])
run.table("seeds_margin", margins)
if have:
    for (_, seed), rows in drawn.groupby(["arm", "seed"]):
        later = rows[rows["tokens"] > rows["tokens"].max() / 4]
        panels[0].plot(later["tokens"] / 1e6, later["loss"], color=shades[seed], linewidth=0.8)
    for seed, rows in margins.groupby("seed"):
        look = {"color": shades[seed], "marker": "osD^v"[seed % 5], "label": f"seed {seed}"}
        panels[1].plot(rows["margin"], rows["loss"], linestyle="", ms=4, **look)
    panels[0].set(xlabel="tokens / millions", ylabel="training loss / nats")
    panels[1].set(xlabel="next-line margin / nats", ylabel="validation loss / nats")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
else:
    for panel in panels:
        figures.blank(ax=panel)
plt.show()

# %% tags=["remove-input"]
run.figure_data("seeds_curve", "seeds_margin")

# %% tags=["remove-cell"]
rank = margins["margin"].corr(margins["loss"], method="spearman") if len(margins) > 2 else None
run.glue("lm-loss-margin-rank", "—" if rank is None else f"{rank:.2f}")
alike = asked[(asked["form"] == "own") & (asked["probe"] == "copy")] if len(asked) else asked
copied = f"{alike['accuracy'].min():.2f} to {alike['accuracy'].max():.2f}" if len(alike) else "—"
run.glue("lm-loss-copied", copied)
full = wide.dropna(axis=0) if have else wide
several = full.shape[0] > 1 and full.shape[1] > 1
run.glue("lm-loss-arms-shared", full.shape[1] if several else 0)
run.glue("lm-loss-seeds-shared", full.shape[0] if several else 0)
run.glue("lm-loss-of-seeds", f"{full.std(axis=0).mean():.3f}" if several else "—")
run.glue("lm-loss-of-arms", f"{full.std(axis=1).mean():.3f}" if several else "—")

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
# Where a claim leaves StochA's p open, the protocol takes the best of three.

# %% tags=["hide-input"]
plain, tuned = (
    campaign.best_stocha(points, ending) if have else None for ending in ("", "+ft(0.1)")
)
plain, tuned = (0.5 if p is None else p for p in (plain, tuned))
together, alone = f"stocha({tuned:g})+ft(0.1)", "silu+ft(0.1)"
pairs = [
    ("L1", "train_loss", "relu", f"stocha({plain:g})"),
    ("L1", "train_loss", f"stocha({plain:g})", "silu"),
    ("L4", "loss", "relu", together),
    ("L5", "loss", alone, together),
    ("L5", "loss", alone, "silu"),
    ("L5", "loss", together, "silu"),
    ("L9", "loss", "bernoulli_silu", "relu"),
]


def difference(column, first, second):
    """The paired difference of a column of `points`, over the seeds recorded."""
    return campaign.paired(campaign.by_seed(points, column) if have else wide, first, second)


rows = []
for claim, column, *pair in pairs:
    found = difference(column, *pair)
    of = column.replace("_", " ")
    rows.append({"claim": claim, "difference / nats": found.name, "of": of, **found.row()})
differences = run.table("differences", pd.DataFrame(rows))
differences.set_index("claim")

# %% [markdown]
# ## What ReLU costs an untuned model
#
# Every model was evaluated with four activations, whatever it was trained with (L2, L8): StochA sampled and in
# expectation, SiLU, ReLU.

# %% tags=["hide-input"]
scores = run.table("evaluation", campaign.recorded_or_empty("evaluation"))
forms = {
    "sampled": "StochA\nsampled",
    "expected": "StochA\nexpected",
    "silu": "SiLU",
    "relu": "ReLU",
}
heat = pd.DataFrame()
if len(scores):
    heat = (
        scores[scores["split"] == "validation"]
        .pivot_table(index="arm", columns="form", values="loss")
        .reindex(index=have, columns=list(forms))
    )

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-forms", "caption": "Validation loss of every model under four activations, mean over seeds; the colour is the loss above the row's lowest, on a scale that the largest tenth exceeds."}, "image": {"alt": "Heat table of validation losses: one row an arm, one column an activation used for evaluation."}}
figure = plt.figure(figsize=(figures.WIDTH, 0.6 + 0.28 * max(len(heat), 4)))
if heat.empty:
    figures.blank()
else:
    above = heat.sub(heat.min(axis=1), axis=0)
    sns.heatmap(
        above.rename(index=names, columns=forms),
        annot=heat,
        fmt=".3f",
        cmap="Blues",
        vmin=0,
        vmax=max(float(above.stack().quantile(0.9)), 1e-3),
        cbar_kws={"label": "above the row's lowest / nats"},
        annot_kws={"size": 8},
    )
    plt.gca().set(xlabel="", ylabel="")
    plt.gca().grid(visible=False)
plt.show()

# %% tags=["remove-input"]
run.figure_data("evaluation")

# %% tags=["hide-input"]
if have:
    silu = points[points["arm"] == "silu"].set_index("seed")
    untuned = campaign.over_seeds(silu["relu_loss"] - silu["loss"])
else:
    untuned = campaign.over_seeds(pd.Series(dtype=float))
sampled = f"stocha({plain:g})"
run.glue("lm-loss-untuned", untuned.value())
run.glue("lm-loss-tuned", difference("loss", alone, "silu").value())
run.glue("lm-loss-sampled-name", campaign.label(sampled))
run.glue("lm-loss-sampled-relu", difference("loss", "relu", sampled).value())
run.glue("lm-loss-sampled-silu", difference("loss", sampled, "silu").value())

# %% [markdown]
# In nats: SiLU run with ReLU, without any training for it, minus SiLU is {glue:text}`lm-loss-untuned`; Swi+FT(0.1) minus
# SiLU is {glue:text}`lm-loss-tuned`. {glue:text}`lm-loss-sampled-name`, sampled at test time as in training, between its
# neighbours: ReLU minus StochA {glue:text}`lm-loss-sampled-relu`; StochA minus SiLU {glue:text}`lm-loss-sampled-silu`.
#
# ## Loss against sparsity
#
# The trade that the method is for. The zeros are [a later page's subject](25_lm_zeros.ipynb); here their mean share, with
# the model's own activation. The loss is again compared with SiLU's of the same seed, because arms have different
# seeds recorded.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-pareto", "caption": "Validation loss less SiLU's of the same seed against the mean share of exact zeros, each model with its own activation. Small marks are seeds, large ones means. Better is down and to the right."}, "image": {"alt": "Scatter of validation loss less that of SiLU against sparsity, one colour and marker an arm, small marks for seeds and large for means."}}
figure = plt.figure(figsize=(figures.WIDTH, 5))
trade = pd.DataFrame(columns=["arm", "seed", "sparsity", "above_silu"])
if have:
    above = points["loss"] - points["seed"].map(silu["loss"])
    trade = points.assign(above_silu=above)[list(trade)].dropna()
run.table("trade", trade)
if trade.empty:
    figures.blank()
else:
    axes = plt.gca()
    looks = figures.look(have)
    for arm in have:
        rows, look = trade[trade["arm"] == arm], looks[arm]
        drawn = {"marker": look["marker"], "color": look["color"], "linestyle": ""}
        axes.plot(rows["sparsity"], rows["above_silu"], ms=3, alpha=0.5, **drawn)
        centre = rows[["sparsity", "above_silu"]].mean()
        axes.plot(*centre, ms=8, label=names[arm], **drawn)
    axes.set(xlabel="share of exact zeros", ylabel="validation loss − SiLU's / nats")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
plt.show()

# %% tags=["remove-input"]
run.figure_data("trade")

# %% [markdown]
# ## Controls
#
# No claim of the paper. Expected StochA trains with the mean of the draw, a function with a small negative
# slope and no noise: if it ends where StochA does, the noise was not needed. ReLU → SiLU switches the
# other way. The annealed run goes from SiLU to ReLU over the whole training. GELU and ReLU² say how special
# the two are. A difference is *answered* where its interval, over at least three seeds, excludes zero.

# %% tags=["hide-input"]
questions = {
    "noise, or slope?": [("expected(0.5)+ft(0.1)", "stocha(0.5)+ft(0.1)")],
    "a late switch the other way": [("relu+silu(0.1)", "relu")],
    "gradually or at once?": [("anneal", "silu+ft(0.1)")],
    "other smooth, other sparse": [("gelu", "silu"), ("relu2", "relu")],
}
rows = []
for question, asked in questions.items():
    for pair in asked:
        found = difference("loss", *pair)
        answered = found.positive in (Verdict.REPLICATED, Verdict.CONTRADICTED)
        row = {"question": question, "difference / nats": found.name, **found.row()}
        rows.append(row | {"reading": "answered" if answered else "not resolved"})
answers = run.table("controls", pd.DataFrame(rows))
answers.set_index("question")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-controls", "caption": "Controls: validation loss less that of SiLU with the same seed; ReLU and two arms of the method for comparison. Dots are seeds; mark and bar the mean difference and its 95 % t-interval."}, "image": {"alt": "Dot plot of differences of the final validation loss from SiLU for the controls, with ReLU and two Swi+FT arms for comparison."}}
figure = plt.figure(figsize=(figures.WIDTH, 4))
compared = ordered(["silu", "relu", alone, "stocha(0.5)+ft(0.1)", *controls])
if "silu" in have and len(have) > 1:
    figures.paired_differences(compared, "loss", "silu", by="arm", pair="seed", names=names)
    plt.gca().set_xlabel("validation loss − SiLU's / nats")
    plt.gca().locator_params(axis="x", nbins=6)
else:
    figures.blank()
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# Verdicts on L1, L2, L4, L5, L8 and L9, by the criteria of the [protocol](../lm_protocol.md), are in the
# [ledger](01_claims.ipynb).
