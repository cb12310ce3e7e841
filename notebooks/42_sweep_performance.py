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
#     alone: true
#     inputs: ["results/42_sweep_performance/*.csv"]
# ---

# %% [markdown]
# # What a sweep costs
#
# Are a thousand points practical? Two things decide: how long planning, status and collection keep one
# waiting, and what the runner adds to the time papermill needs for a point anyway.

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
points: "Optional[int]" = None  # points to plan, show and collect [1, inf)
executed: "Optional[int]" = None  # points of a block, for either program [1, inf)
blocks: "Optional[int]" = None  # blocks, each with both programs [1, inf)

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"points": 20, "executed": 1, "blocks": 1},
    "book": {"points": 1000, "executed": 3, "blocks": 1},
    "full": {"points": 1000, "executed": 6, "blocks": 5},
}

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from stocha import figures
from stocha.claims.ledger import Tables
from stocha.study.session import open_run
from stocha.study.sweeps import cost

run = open_run("42_sweep_performance", globals())
figures.style()
commands = run.table("recorded_commands", Tables()("42_sweep_performance", "commands"))
overhead = run.table("recorded_overhead", Tables()("42_sweep_performance", "overhead"))
each = overhead.pivot(index="block", columns="program", values="seconds")
added = 100 * (each["stocha"] / each["papermill"] - 1)

# %% mystnb={"figure": {"name": "fig-sweep-cost", "caption": "Recorded: seconds of each command for a thousand points, its start included, and seconds a point by papermill alone and by the runner, one line a block of points that both executed in turn."}, "image": {"alt": "Two panels. Left, the repetitions of the commands plan, status and collect as dots over their seconds. Right, for each block a line from the seconds a point of bare papermill to those of the runner."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.6))
left.plot(commands["seconds"], commands["command"], "o", alpha=0.5)
left.set(xlabel="seconds", xlim=(0, None), title=f"{commands['points'].max():,} points")
right.plot(each.columns, each.to_numpy().T, "o-", color="#0072b2", linewidth=1)
_ = right.set(ylabel="seconds a point", ylim=(0, None), title="One point after another")
# %% tags=["remove-input"]
run.figure_data("recorded_commands", "recorded_overhead")

# %% tags=["remove-cell"]
for command, seconds in commands.groupby("command")["seconds"].median().items():
    run.glue(f"sweep-{command}-seconds", seconds, "{:.2f}")
run.glue("sweep-points", commands["points"].max(), "{:,}")
run.glue("sweep-overhead", added.median(), "{:+.1f} %")
run.glue("sweep-overhead-least", added.min(), "{:+.1f} %")
run.glue("sweep-overhead-most", added.max(), "{:+.1f} %")
run.glue("sweep-blocks", len(each))

# %% [markdown]
# **They are: for {glue:text}`sweep-points` points, plan takes {glue:text}`sweep-plan-seconds` s, status
# {glue:text}`sweep-status-seconds` s and collect {glue:text}`sweep-collect-seconds` s, and a point costs
# {glue:text}`sweep-overhead` over bare papermill**, in {glue:text}`sweep-blocks` blocks between
# {glue:text}`sweep-overhead-least` and {glue:text}`sweep-overhead-most`.
#
# The overhead holds what papermill does not do: a lock, checked parameters, provenance, hashes of every
# file and a write that a power cut cannot halve. What remains is the kernel's start and the notebook's
# own imports, which is why seeds that can share a kernel should.
#
# ## Measured here
#
# A check of the record, on the machine that made this page. The sweep is over the learning rate of
# [one configuration](14_toy_run.ipynb). One point is executed; its run folder is then copied for every
# other point, so that there are as many finished runs to look through and collect as the sweep has
# points. Each command is a fresh process, its start included.

# %% tags=["hide-input"]
run.badge()
live = run.table("commands", cost.commands(points))
live.groupby("command", sort=False)["seconds"].agg(["median", "min", "max"]).round(2)

# %% [markdown]
# The same points, executed in turn by `stocha sweep run` and by a loop that calls papermill's own
# function from one process: the leanest bare papermill there is, since its command line would load
# papermill anew for every point. Both programs execute one point after another; a block is one turn of
# each. Seconds a point, process start included and spread over a block's points:

# %% tags=["hide-input"]
live = run.table("overhead", cost.overhead(executed, blocks, run.progress))
live.pivot(index="block", columns="program", values="seconds").round(2)
