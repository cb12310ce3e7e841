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
#     inputs: ["results/lm_campaign*/*.csv", "sweeps/lm_campaign*.yml", "notebooks/21_lm_run.py"]
# ---

# %% [markdown]
# # The switch
#
# Swi+FT(α) trains with one activation and flips to ReLU for the last share α of the steps: no new
# warm-up, no reset of the optimizer. Claim L3 says that the loss spikes at the flip and recovers
# quickly {cite:p}`lomeli2025stochastic`. Around the switch every run of the campaign was evaluated
# on a part of the validation windows: before it, at it, and after 1, 2, 4, … further steps.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from stocha import figures
from stocha.arms import switch_step
from stocha.base.paths import project_root
from stocha.claims import campaign
from stocha.claims.lm_paper import recovery
from stocha.lm import schedule as rates
from stocha.lm.config import TrainConfig
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("23_lm_switch", globals())
figures.style()
pd.options.display.max_colwidth = None
sweeps = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]
points = campaign.recorded_or_empty("points")
progress = campaign.progress([p for s in sweeps for p in s.points], points)
switching = progress[progress["arm"].str.contains(r"\+")]
done, wanted = switching["recorded"].sum(), switching[["recorded", "missing"]].sum().sum()
if missing := campaign.incomplete(campaign.SWEEPS, done, wanted):
    display(Markdown(missing))

# %% [markdown]
# ## How much training is left
#
# The learning rate follows one cosine over the whole run, down to a hundredth of its peak. A late
# switch therefore has few steps, and they are small: the last column is what they receive of the learning
# rate summed over all steps.

# %% tags=["hide-input"]
full = sweeps[0].points[0]
settings = TrainConfig(**{name: full[name] for name in ("tokens", "batch", "lr", "warmup")})
total = settings.steps(full["context"])
rows = []
for alpha in sorted({point["alpha"] for point in sweeps[0].points}):
    switch = switch_step(alpha, total)
    rows.append(
        {
            "α": alpha,
            "switch at step": switch,
            "steps after": total - switch,
            "tokens after": (total - switch) * full["batch"] * full["context"],
            "rate at the switch / peak": f"{rates.multiplier(switch, total, settings):.2%}",
            "share of the summed rate": f"{rates.share_after(switch, total, settings):.2%}",
        }
    )
left = run.table("left", pd.DataFrame(rows))
run.glue("lm-switch-total", total, "{:,}")
left.set_index("α")

# %% [markdown]
# Of {glue:text}`lm-switch-total` steps in all.
#
# ## Spike and recovery

# %% tags=["hide-input"]
losses = campaign.recorded_or_empty("switch_loss")
places = {-1: 0, 0: 1} | {2**k: k + 2 for k in range(20)}
ticks = {0: "before", 1: "0"} | {place: str(after) for after, place in places.items() if after > 0}
if len(losses):
    before = losses[losses["after"] == -1].set_index(["arm", "seed"])["loss"]
    reference = before.reindex(pd.MultiIndex.from_frame(losses[["arm", "seed"]])).to_numpy()
    losses = losses.assign(rise=losses["loss"] - reference, place=losses["after"].map(places))
run.table("switch_loss", losses)


def along(frame, column, arms, ax, legend=None, hue="arm", names=None):
    """Draw `column` over the steps after the switch for `arms`, each seed thin."""
    rows = frame[frame["arm"].isin(arms)]
    if rows.empty:
        return figures.blank(ax=ax)
    names = names or {arm: campaign.label(arm) for arm in arms}
    drawn = {"hue": hue, "run": "seed", "kind": "t", "names": names, "legend": legend, "ax": ax}
    figures.runs_over_epochs(rows, column, x="place", **drawn)
    shown = sorted(rows["place"].unique())
    ax.set_xticks(shown, [ticks[place] for place in shown])
    ax.set_xlabel("steps after the switch")
    return ax


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-spike", "caption": "Validation loss around the switch to ReLU, less the loss just before it with the activation before it. At 0 the weights are the same and the activation is ReLU. Seeds thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Two panels of the change of the validation loss over steps after the switch, from before the switch through 0, 1, 2, 4 and so on. Left: SiLU switched to ReLU at three shares of the run. Right: StochA of several p switched at one tenth."}}
groups = {
    "from SiLU": [f"silu+ft({alpha:g})" for alpha in left["α"]],
    "from StochA, α = 0.1": [f"stocha({p:g})+ft(0.1)" for p in campaign.PROBABILITIES],
}
figure, panels = plt.subplots(1, 2, sharey=True)
for panel, (title, arms) in zip(panels, groups.items(), strict=True):
    along(losses, "rise", arms, panel, "legend")
    panel.set_title(title)
    panel.set_ylabel("change of the loss / nats" if panel is panels[0] else "")
plt.show()

# %% tags=["remove-input"]
run.figure_data("switch_loss")

# %% [markdown]
# Height of the spike, and what is gone of it a quarter of the fine-tuning later; means over seeds with 95 %
# t-intervals where there are several seeds. *Recovered* is the ratio of the means, and can exceed 100 %: the
# model also goes on learning. Where the spike is small or negative, the ratio says nothing.

# %% tags=["hide-input"]
rows = []
for arm in switching["arm"]:
    if losses.empty or arm not in set(losses["arm"]):
        continue
    found = recovery(losses, points, arm)
    rise = campaign.over_seeds(found["rise"])
    gone, height = found["gone"].mean(), found["rise"].mean()
    rows.append(
        {
            "arm": campaign.label(arm),
            "spike / nats": rise.value(),
            "recovered": f"{gone / height:.0%}" if height > 0 else "—",
        }
    )
spikes = run.table("spikes", pd.DataFrame(rows, columns=["arm", "spike / nats", "recovered"]))
by_arm = spikes.set_index("arm")
for alpha in left["α"]:
    name = campaign.label(f"silu+ft({alpha:g})")
    run.glue(f"lm-switch-spike-{alpha:g}", by_arm["spike / nats"].get(name, "—"))
    run.glue(f"lm-switch-recovered-{alpha:g}", by_arm["recovered"].get(name, "—"))
by_arm

# %% [markdown]
# From SiLU at α = 0.1 the spike, in nats, is {glue:text}`lm-switch-spike-0.1`; recovered a quarter of the
# fine-tuning later: {glue:text}`lm-switch-recovered-0.1`. The verdict on L3, by the criterion of the
# [protocol](../lm_protocol.md), is in the [ledger](01_claims.ipynb).
#
# ## Inside the layers
#
# The gradient that ReLU sees first, and what it does with its zeros: the norm of each layer's gradient (before
# clipping, on the step's own batch), the share of exact zeros, and the share of neurons that are zero at every token
# evaluated.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-switch-layers", "caption": "Gradient norm, share of exact zeros and dead neurons of every layer after the switch at α = 0.1, from SiLU (top) and from StochA(0.5) (bottom). Seeds thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Six panels over steps after the switch: gradient norm, sparsity and dead neurons by layer, for a model switched from SiLU and one switched from StochA."}}
layers = campaign.recorded_or_empty("switch_layers")
if len(layers):
    layers = layers.assign(place=layers["after"].map(places))
run.table("switch_layers", layers)
shown = {"grad_norm": "gradient norm", "sparsity": "share of zeros", "dead": "dead neurons"}
figure, panels = plt.subplots(2, 3, sharex=True, sharey="col", figsize=(figures.WIDTH, 5))
for row, arm in zip(panels, ("silu+ft(0.1)", "stocha(0.5)+ft(0.1)"), strict=True):
    for panel, (column, words) in zip(row, shown.items(), strict=True):
        numbers = {k: f"layer {k + 1}" for k in range(32)}
        first = "legend" if panel is panels[0, 0] else None
        along(layers, column, [arm], panel, first, "layer", numbers)
        panel.set_ylabel(words)
    row[0].set_title(campaign.label(arm))
for panel in panels[0]:
    panel.set_xlabel("")
plt.show()

# %% tags=["remove-input"]
run.figure_data("switch_layers")

# %% tags=["hide-input"]
first_last = pd.DataFrame()
if len(layers):
    ends = layers[
        layers["after"].isin([0, 1])
        | layers.groupby("run_id")["after"].transform("max").eq(layers["after"])
    ]
    first_last = (
        ends.assign(
            arm=ends["arm"].map(campaign.label),
            step=np.where(ends["after"] > 1, "last", ends["after"].astype(str)),
        )
        .pivot_table(index="arm", columns="step", values=["sparsity", "dead"], sort=False)
        .round(3)
    )
first_last if len(first_last) else Markdown("Not recorded yet.")

# %% [markdown]
# Means over layers and seeds at the switch, one step later, and at the last evaluated step. At 0 the zeros are those that
# the model's negative pre-activations become under ReLU, before any update.
