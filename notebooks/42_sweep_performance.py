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
# ---

# %% [markdown]
# # What a sweep costs
#
# Two questions decide whether a thousand points are practical: how long planning, status and
# collection keep one waiting, and what the runner adds to the time papermill needs for a point
# anyway.

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book, full}
points: int = None  # points to plan, show and collect [1, inf)
executed: int = None  # points executed in a block, by either program [1, inf)
blocks: int = None  # blocks, each with both programs [1, inf)

# %% tags=["scales"]
scales = {
    "smoke": {"points": 20, "executed": 1, "blocks": 1},
    "book": {"points": 1000, "executed": 3, "blocks": 1},
    "full": {"points": 1000, "executed": 6, "blocks": 5},
}

# %% tags=["hide-input"]
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import pandas as pd

from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("42_sweep_performance", globals())
place = Path(tempfile.mkdtemp(prefix="stocha-sweep-"))
program = Path(sys.executable).with_name("stocha")
environment = {**os.environ, "STOCHA_RUNS": str(place / "runs")}
environment.pop("STOCHA_RUN_FOLDER", None)
os.environ["STOCHA_RUNS"] = environment["STOCHA_RUNS"]


def seconds(*command: object) -> float:
    started = time.perf_counter()
    subprocess.run([*map(str, command)], check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


# %% [markdown]
# ## The commands
#
# A sweep over the learning rate of [one configuration](14_toy_run.ipynb). One point is executed;
# its run folder is then copied for every other point, so that there are as many finished runs to
# look through and collect as the sweep has points. Each command is a fresh process, its start
# included.

# %%
sweep = place / "thousand.yml"
rates = [round(1e-4 * (1 + step), 6) for step in range(points)]
sweep.write_text(
    "notebook: notebooks/14_toy_run.py\n"
    f"fixed: {{scale: smoke}}\ngrid: {{lr: {rates}}}\ncollect: {{table: final}}\n"
)
first, *others = read_sweep(sweep).runs
seconds(program, "run", "notebooks/14_toy_run.py", "-p", "scale=smoke", "-p", f"lr={rates[0]}")
for other in others:
    shutil.copytree(first.folder, other.folder)

table = place / "collected.csv"
commands = {"plan": [], "status": [], "collect": ["--output", table]}
rows = [
    {
        "command": command,
        "points": points,
        "seconds": seconds(program, "sweep", command, sweep, *more),
    }
    for _ in range(5)
    for command, more in commands.items()
]
assert pd.read_csv(table)["run_id"].nunique() == points
timed = run.table("commands", pd.DataFrame(rows))
timed.groupby("command", sort=False)["seconds"].agg(["median", "min", "max"])

# %% tags=["remove-cell"]
for command, group in timed.groupby("command"):
    run.glue(f"sweep-{command}-seconds", group["seconds"].median(), "{:.2f}")
run.glue("sweep-points", points, "{:,}")

# %% [markdown]
# Medians for {glue:text}`sweep-points` points: plan {glue:text}`sweep-plan-seconds` s, status
# {glue:text}`sweep-status-seconds` s, collect {glue:text}`sweep-collect-seconds` s.
#
# ## The overhead of a point
#
# The same points, executed in turn by `stocha sweep run` and by a loop that calls papermill's own
# function from one process: the leanest bare papermill there is, since its command line would
# load papermill anew for every point. Both programs execute one point after another; a block is
# one turn of each.

# %%
BARE = """
import sys, papermill
for number, rate in enumerate(sys.argv[2:]):
    papermill.execute_notebook(
        sys.argv[1], f"{sys.argv[1]}.{number}.ipynb", kernel_name="python3", progress_bar=False,
        parameters={"scale": "smoke", "epochs": 2, "lr": float(rate)}, cwd=".",
    )
"""
source = place / "point.ipynb"
jupytext.write(jupytext.read("notebooks/14_toy_run.py"), source)
rows = []
for block in range(blocks):
    chosen = [f"{0.5 + 0.001 * (block * executed + number):.4f}" for number in range(executed)]
    own = place / f"block{block}.yml"
    own.write_text(
        "notebook: notebooks/14_toy_run.py\n"
        f"fixed: {{scale: smoke}}\ngrid: {{lr: [{', '.join(chosen)}]}}\ncollect: {{table: final}}\n"
    )
    calls = {
        "papermill": lambda: seconds(sys.executable, "-c", BARE, source, *chosen),
        "stocha": lambda: seconds(program, "sweep", "run", own, "--jobs", 1),
    }
    # Whoever goes first in a block goes second in the next.
    for name in sorted(calls, reverse=bool(block % 2)):
        rows.append({"block": block, "program": name, "seconds": calls[name]() / executed})
    run.progress(block + 1, blocks, "blocks")
overhead = run.table("overhead", pd.DataFrame(rows))
wide = overhead.pivot(index="block", columns="program", values="seconds")
wide["ratio"] = wide["stocha"] / wide["papermill"]
wide

# %% tags=["remove-cell"]
run.glue("sweep-overhead", 100 * (wide["ratio"].median() - 1), "{:+.1f} %")
run.glue("sweep-overhead-least", 100 * (wide["ratio"].min() - 1), "{:+.1f} %")
run.glue("sweep-overhead-most", 100 * (wide["ratio"].max() - 1), "{:+.1f} %")
shutil.rmtree(place)

# %% [markdown]
# Seconds a point, process start included and spread over a block's points. The median overhead is
# {glue:text}`sweep-overhead`, from {glue:text}`sweep-overhead-least` to
# {glue:text}`sweep-overhead-most`. It holds what papermill does not do: a lock, checked
# parameters, provenance, hashes of every file and a write that a power cut cannot halve. What
# remains is the kernel's start and the notebook's own imports, which is why seeds that can share
# a kernel should.
