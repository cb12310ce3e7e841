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
#     inputs: ["results/lm_headline/*.csv", "results/lm_arms*/*.csv", "sweeps/lm_headline.yml"]
# ---

# %% [markdown]
# # The switch
#
# The loss spikes at the switch to ReLU and recovers quickly, says claim L3
# {cite:p}`lomeli2025stochastic`.
#
# **It spikes, and recovers in part.** From SiLU at α = 0.1 the spike, in nats, is {glue:text}`lm-switch-spike`
# ({numref}`fig-lm-spike`). A quarter of the fine-tuning later {glue:text}`lm-switch-recovered` of it is gone, where L3 asks for
# nine tenths. From StochA(0.7), whose negative side is often zero already, the spike is {glue:text}`lm-switch-together`.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads recorded runs {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd

from stocha import figures
from stocha.base.paths import project_root
from stocha.claims.ledger import Tables
from stocha.claims.lm import l3_spike_and_recovery
from stocha.lm import campaign
from stocha.lm.experiment import Config
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("23_lm_switch", globals())
figures.style()
pd.options.display.max_colwidth = None
points, losses, layers = (
    campaign.recorded(Tables(), name, campaign.SWEEPS[:1])  # the headline's arms
    for name in ("points", "switch_loss", "switch_layers")
)
steps = [-1, 0, *(2**k for k in range(20))]
ticks = ["before", *map(str, steps[1:])]
for table in (losses, layers):
    table["place"] = table["after"].map(steps.index)
before = losses[losses["after"] == -1].set_index(["arm", "seed"])["loss"]
losses["rise"] = losses["loss"] - losses.set_index(["arm", "seed"]).index.map(before)
run.table("switch_loss", losses)
run.table("switch_layers", layers)


def along(rows, column, ax, hue="arm", names=None):
    """Draw `column` over the steps after the switch, each seed thin."""
    look = {"hue": hue, "run": "seed", "kind": "t", "names": names, "legend": None}
    figures.runs_over_epochs(rows, column, x="place", ax=ax, **look)
    shown = sorted(rows["place"].unique())
    ax.set_xticks(shown, [ticks[place] for place in shown])
    ax.set_xlabel("steps after the switch")


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-spike", "caption": "Validation loss around the switch to ReLU, less the loss just before it with the activation before it. At 0 the weights are the same and the activation is ReLU. Seeds thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Two panels of the change of the validation loss over steps after the switch, from before the switch through 0, 1, 2, 4 and so on. Left: SiLU switched to ReLU. Right: StochA switched to ReLU."}}
groups = {
    "from SiLU": losses["arm"].str.match(r"silu\+ft"),
    "from StochA": losses["arm"].str.match(r"stocha\([\d.]+\)\+ft"),
}
figure, panels = plt.subplots(1, 2, sharey=True)
for panel, (title, chosen) in zip(panels, groups.items(), strict=True):
    along(losses[chosen].sort_values("arm", kind="stable"), "rise", panel)
    panel.set(title=title, ylabel="change of the loss / nats")
panels[1].set_ylabel("")
figures.legend_below(figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("switch_loss")

# %% tags=["remove-cell"]
spikes = campaign.spikes(losses, points)
run.table("spikes", spikes.reset_index())
run.glue("lm-switch-spike", spikes.loc["Swi+FT(0.1)", "spike / nats"])
run.glue("lm-switch-recovered", spikes.loc["Swi+FT(0.1)", "recovered"])
run.glue("lm-switch-together", spikes.loc["StochA(0.7) + Swi+FT(0.1)", "spike / nats"])
run.glue("lm-switch-dead", layers["dead"].max(), "{:.1%}")
run.glue("lm-switch-verdict", str(l3_spike_and_recovery.assess(Tables()).verdict))

# %% [markdown]
# ## How much training is left
#
# Swi+FT(α) trains with one activation and flips to ReLU for the last share α of the steps: no new
# warm-up, no reset of the optimizer. The learning rate follows one cosine over the whole run, down to a hundredth of
# its peak. A late switch therefore has few steps, and they are small: the last column is what they receive of the learning
# rate summed over all steps.

# %% tags=["hide-input"]
first = read_sweep(project_root() / "sweeps" / "lm_headline.yml").points[0]
first = {name: first[name] for name in ("tokens", "batch", "context", "lr", "warmup")}
left = pd.DataFrame(
    {"α": alpha, **Config(schedule="swi_ft", alpha=alpha, **first).plan}
    for alpha in (0.05, 0.1, 0.2)
)
run.table("left", left)
run.glue("lm-switch-total", left["steps"][0], "{:,}")
words = {"switch_step": "switch at step", "steps_after": "steps after"}
words |= {"tokens_after": "tokens after", "lr_at_switch": "rate at the switch / peak"}
left = left.rename(columns=words | {"lr_share_after": "share of the summed rate"})
shown = left.drop(columns="steps").set_index("α")
shown.style.set_uuid("lm-left").format("{:.2%}", subset=list(shown)[-2:])

# %% [markdown]
# Of {glue:text}`lm-switch-total` steps in all.
#
# ## Spike and recovery
#
# Around the switch every run was evaluated on a part of the validation windows: before it, at it, and after 1, 2, 4, … further
# steps. The table has the height of the spike, and what is gone of it a quarter of the fine-tuning later, as means over seeds
# with 95 % t-intervals. *Recovered* is the ratio of the means. It can exceed 100 %, because the model also goes on learning,
# and says nothing where the spike is small or negative.

# %% tags=["hide-input"]
spikes

# %% [markdown]
# L3 is *{glue:text}`lm-switch-verdict`* by the [protocol](../lm_protocol.md); its estimates are in [*Claims*](01_claims.ipynb).
#
# ## Inside the layers
#
# {numref}`fig-lm-switch-layers` has the norm of each layer's gradient (before clipping, on the step's own batch) and the share of
# exact zeros. *Dead* in the table below are neurons that are zero at every token evaluated:
# {glue:text}`lm-switch-dead` of them at most, in any layer of any run.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-lm-switch-layers", "caption": "Gradient norm and share of exact zeros of every layer after the switch at α = 0.1, from SiLU (top) and from StochA(0.7) (bottom). Seeds thin, mean thick, 95 % t-interval shaded."}, "image": {"alt": "Four panels over steps after the switch: gradient norm and share of zeros by layer, for a model switched from SiLU and one switched from StochA."}}
shown = {"grad_norm": "gradient norm", "sparsity": "share of zeros"}
numbers = {layer: f"layer {layer + 1}" for layer in layers["layer"].unique()}
figure, panels = plt.subplots(2, 2, sharex=True, sharey="col", figsize=(figures.WIDTH, 5.5))
for row, arm in zip(panels, ("silu+ft(0.1)", "stocha(0.7)+ft(0.1)"), strict=True):
    for panel, (column, words) in zip(row, shown.items(), strict=True):
        along(layers[layers["arm"] == arm], column, panel, hue="layer", names=numbers)
        panel.set_ylabel(words)
    row[0].set_title(campaign.label(arm))
plt.setp(panels[0], xlabel="")
figures.legend_below(figure)
plt.show()

# %% tags=["remove-input"]
run.figure_data("switch_layers")

# %% tags=["hide-input"]
last = layers.groupby("run_id")["after"].transform("max") == layers["after"]
ends = layers[layers["after"].isin([0, 1]) | last]
ends = ends.assign(arm=ends["arm"].map(campaign.label), step=ends["after"].astype(str))
ends.loc[ends["after"] > 1, "step"] = "last"
columns = ["sparsity", "dead"]
ends.pivot_table(index="arm", columns="step", values=columns, sort=False).round(3)

# %% [markdown]
# Means over layers and seeds at the switch, one step later, and at the last evaluated step. At 0 nothing has been updated yet:
# the zeros are the model's negative pre-activations, seen through ReLU.
#
# ## Summary
#
# Exchanging the activation of a nearly finished SiLU model for ReLU hurts at once (in nats {glue:text}`lm-switch-spike`). Most of
# the damage heals in the short training that follows, though not as fast as the criterion asks. A model that was trained with
# StochA hardly notices the exchange ({glue:text}`lm-switch-together`): it has met zeros all along. After the switch at most
# {glue:text}`lm-switch-dead` of a layer's neurons are zero at every token.
