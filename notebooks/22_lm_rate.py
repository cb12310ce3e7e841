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
#     inputs: ["results/lm_lr/*.csv", "sweeps/lm_lr.yml", "sweeps/lm_campaign.yml", "notebooks/21_lm_run.py"]
# ---

# %% [markdown]
# # Which learning rate
#
# The campaign compares activations at one peak learning rate. A rate that suits one of them and not
# the other can decide the comparison. So SiLU and ReLU are trained at the campaign's size, on a
# quarter of its tokens, at five rates (`sweeps/lm_lr.yml`). Everything else is as in [one
# run](21_lm_run.ipynb). The campaign's rate was fixed on the first seed; the second seed of this
# table came while the campaign ran, and did not change it.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads the recorded sweep {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

from stocha import figures
from stocha.base.paths import project_root, results_root
from stocha.claims.campaign import by_seed, incomplete, over_seeds
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("22_lm_rate", globals())
figures.style()
sweep = read_sweep(project_root() / "sweeps" / "lm_lr.yml")
rates = sorted({point["lr"] for point in sweep.points})
activations = list(dict.fromkeys(point["activation"] for point in sweep.points))
path = results_root() / sweep.name / "points.csv"
columns = ["run_id", "activation", "lr", "seed", "loss"]
points = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=columns)
run.table("points", points)
run.glue("lm-rate-tokens", sweep.points[0]["tokens"], "{:,}")
run.glue("lm-rate-seeds", len({point["seed"] for point in sweep.points}))
if missing := incomplete([sweep.name], len(points), len(sweep.points)):
    display(Markdown(missing))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-rate", "caption": "Validation loss after training at each peak learning rate. Thin: one seed; thick: mean, shaded a standard deviation either way. The dashed line is the rate of the campaign."}, "image": {"alt": "Validation loss in nats against the peak learning rate on a logarithmic axis, one colour for SiLU and one for ReLU, with a dashed line at the rate the campaign uses."}}
(used,) = {point["lr"] for point in read_sweep(project_root() / "sweeps/lm_campaign.yml").points}
if points.empty:
    figures.blank()
else:
    axes = figures.sweep(points, "loss", "lr", run="seed", kind="std", log=True)
    axes.axvline(used, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="peak learning rate", ylabel="validation loss / nats a token")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")

# %% [markdown]
# The campaign's rate is {glue:text}`lm-rate-used`, in every arm. How it stands to each activation's best of
# the recorded rates, by the mean over seeds; *interior* means that a lower and a higher rate were tried and were
# worse.

# %% tags=["hide-input"]
run.glue("lm-rate-used", used, "{:g}")
rows = []
for activation in activations:
    mine = points[points["activation"] == activation].dropna(subset=["loss"])
    row = dict.fromkeys(["best rate", "loss", "interior", "campaign's rate − best / nats"], "—")
    if len(mine):
        means = mine.groupby("lr")["loss"].mean()
        best = float(means.idxmin())
        inside = means.index.min() < best < means.index.max()
        cost = "0" if used == best else "—"
        if used in means.index and used != best:
            wide = by_seed(mine.assign(arm=mine["lr"]), "loss")
            cost = over_seeds(wide[used] - wide[best]).value()
        row = dict(zip(row, [f"{best:g}", f"{means[best]:.4f}", inside, cost], strict=True))
    rows.append({"activation": figures.LABELS[activation], **row})
    run.glue(f"lm-rate-best-{activation}", row["best rate"])
best_table = run.table("best", pd.DataFrame(rows))
best_table.set_index("activation")

# %% tags=["hide-input"]
losses = points.groupby(["lr", "activation"])["loss"].mean().unstack().reindex(rates)
losses.rename(columns=figures.LABELS).rename_axis("mean loss", axis=1).round(4)

# %% [markdown]
# {glue:text}`lm-rate-seeds` seeds a rate resolve large differences only: two neighbouring rates closer than their
# seeds are not told apart. The rate was chosen on {glue:text}`lm-rate-tokens` tokens a run, and a
# longer run may prefer a lower one. It was not tuned for StochA, nor for what comes after a switch: every arm
# runs at {glue:text}`lm-rate-used`, where at this length SiLU is best at {glue:text}`lm-rate-best-silu` and ReLU at
# {glue:text}`lm-rate-best-relu`. What an activation gives away by that is the last column of the first table, and is part of
# its differences from the others in the campaign.
