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
#     inputs: ["results/toy_bottleneck/points.csv", "sweeps/toy_bottleneck.yml"]
# ---

# %% [markdown]
# # The width of the bottleneck
#
# **At a width of 4 the activations' losses look alike; at any other they do not.** The toy post trains
# two widths, 4 and 16. The means of the five activations span {glue:text}`width-range-4` standard deviations between
# networks at width 4, {glue:text}`width-range-2` at 2 and {glue:text}`width-range-16` at 16
# ({numref}`fig-width-loss`). From 16 on the networks overfit, SiLU's most. ReLU's and StochA's zeros do not depend
# on the width: ReLU's living networks have {glue:text}`width-sparsity-relu-least` to
# {glue:text}`width-sparsity-relu-most` ({numref}`fig-width-sparsity`). The gates do depend on it:
# they leave the even mix at width 8 ({numref}`fig-width-alpha`).
#
# The network is that of the [reading found](19_which_setup.ipynb). The width of all four hidden layers goes from 2 to
# 32 for the five activations, as a [sweep](../sweeps.md) over [one configuration](14_toy_run.ipynb). To record it anew:
#
# ```sh
# stocha sweep run sweeps/toy_bottleneck.yml --jobs 2
# stocha sweep collect sweeps/toy_bottleneck.yml
# ```

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the page reads the recorded sweep {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["remove-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.study.session import open_run

run = open_run("15_width", globals())
figures.style()
points = run.table("points", Tables()("toy_bottleneck", "points"))
networks = points.groupby(["width", "activation"])["network"].nunique()
run.glue("width-points", points["run_id"].nunique())
run.glue("width-networks", int(networks.min()))

# %% [markdown]
# {glue:text}`width-points` executions, {glue:text}`width-networks` networks for each width and
# activation. Networks of the same number start from the same seed under every activation.

# %% mystnb={"figure": {"name": "fig-width-loss", "caption": "Validation loss after the last epoch over the width of the four hidden layers. Thin: one network; thick: mean with its 95 % interval."}, "image": {"alt": "Validation loss against width from 2 to 32 on a logarithmic axis, one colour an activation. Loss falls up to width 8 and rises beyond, most for SiLU, least for StochA; the lines meet at width 4."}} tags=["remove-input"]
drawn = {"x": "width", "run": "network", "log": True}
figures.sweep(points, "val_loss", **drawn).set_ylabel("validation loss / nats")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")
means = points.groupby(["width", "activation"])["val_loss"].mean().unstack()
spread = points.groupby(["width", "activation"])["val_loss"].std().unstack().mean(axis=1)
range_in_sd = (means.max(axis=1) - means.min(axis=1)) / spread
best = means.stack().idxmin()
run.glue("width-best", f"{figures.LABELS[best[1]]} at width {best[0]}")
run.glue("width-best-loss", means.stack().min(), "{:.3f}")
run.glue("width-range-{}", range_in_sd, "{:.1f}")

# %% [markdown]
# The lowest mean loss is {glue:text}`width-best-loss` nats ({glue:text}`width-best`). How alike the
# validation losses look (T1) depends on the width, and so does which is lowest: up to 4 those of
# SiLU and the gates, from 8 on that of StochA, whose noise the wider networks need ([the three
# questions](13_gradual_or_sudden.ipynb)).
#
# ## Networks that die
#
# A network is dead when it gives every validation sample the same class, or when a whole hidden
# layer stays below the threshold. Share of dead networks:

# %% tags=["hide-input"]
dead = points.groupby(["width", "activation"])["dead"].mean().unstack()
run.table("dead", dead.reset_index())
dead.rename(columns=figures.LABELS).round(2)

# %% [markdown]
# ## Sparsity
#
# T2, T3 and T4 say how many activations of the first layer are near zero. Dead networks are left out: their layers are
# silent whatever the activation.

# %% mystnb={"figure": {"name": "fig-width-sparsity", "caption": "Fraction of tiny activations in the first hidden layer after the last epoch, over the width; living networks."}, "image": {"alt": "Sparsity against width for five activations: ReLU highest, StochA about half of it, Gumbel lower, SiLU and the learnable mixture near zero."}}
living = points[~points["dead"]]
plt.ylim(-0.02, 0.8)
figures.sweep(living, "sparsity", **drawn).set_ylabel("share near zero, first layer")
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")
sparsity = living.groupby(["activation", "width"])["sparsity"].mean().unstack()
run.glue("width-sparsity-{}-least", sparsity.min(axis=1), "{:.3f}")
run.glue("width-sparsity-{}-most", sparsity.max(axis=1), "{:.3f}")

# %% [markdown]
# | claim | activation | lowest mean over widths | highest |
# |---|---|---|---|
# | T2 | ReLU | {glue:text}`width-sparsity-relu-least` | {glue:text}`width-sparsity-relu-most` |
# | T3 | StochA(0.5) | {glue:text}`width-sparsity-stocha-least` | {glue:text}`width-sparsity-stocha-most` |
# | T4 | learnable mixture | {glue:text}`width-sparsity-learnable_stoch-least` | {glue:text}`width-sparsity-learnable_stoch-most` |
#
# ## The gates
#
# Mean α, the weight (learnable mixture) or probability (Gumbel) of ReLU, over the layers after
# the last epoch. T6 says one half at width 4: here {glue:text}`width-alpha-learnable_stoch-4` and
# {glue:text}`width-alpha-gumbel_stoch-4`. T8 says a strong preference for ReLU at 16:
# {glue:text}`width-alpha-learnable_stoch-16` and {glue:text}`width-alpha-gumbel_stoch-16`.

# %% mystnb={"figure": {"name": "fig-width-alpha", "caption": "Mean gate value α over the layers after the last epoch, over the width; 1 is ReLU, 0 is SiLU."}, "image": {"alt": "Mean gate value against width for the learnable mixture and Gumbel StochA: near one half at widths 2 and 4, about 0.6 at 8, about 0.8 at 16 and 32."}} tags=["remove-input"]
gated = living.dropna(subset=["alpha"])
figures.sweep(gated, "alpha", **drawn).set_ylabel("mean α: 0 is SiLU, 1 is ReLU")
plt.axhline(0.5, color="0.6", linewidth=0.8)
plt.show()

# %% tags=["remove-input"]
run.figure_data("points")
run.glue("width-alpha-{}-{}", gated.groupby(["activation", "width"])["alpha"].mean(), "{:.2f}")

# %% [markdown]
# ## Summary
#
# What the toy post reports about zeros holds at every width from 2 to 32. What it reports about losses belongs to its
# width of 4, where they happen to be alike. In narrower networks SiLU and the gates are ahead; in wider ones, which
# overfit, StochA is. The gates move to ReLU as the network gets wider, from {glue:text}`width-alpha-learnable_stoch-4` at 4 to
# {glue:text}`width-alpha-learnable_stoch-16` at 16 for the learnable mixture.
