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
#     inputs: ["sweeps/*.yml", "results/*/points.csv"]
#     template: true
# ---

# %% [markdown]
# # A sweep
#
# The collected points of one sweep: a figure over the swept parameter, the means, and every run.

# %% tags=["parameters"]
scale: str = "book"  # no effect here: the points' scale is the sweep's {smoke, book, full}
sweep: str = "sweeps/toy_bottleneck.yml"  # the sweep, relative to the project
table: "Optional[str]" = None  # the collected table; None: results/SWEEP/points.csv
links: bool = False  # link every run to its executed notebook in the local run store

# %% tags=["scales"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["hide-input"]
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display

from stocha import figures
from stocha.base.paths import results_root
from stocha.study.session import open_run
from stocha.study.sweeps.specification import read_sweep

run = open_run("90_sweep", globals())
figures.style()
spec = read_sweep(sweep, outside=True)  # its notebook is not run here
page = spec.page
points = pd.read_csv(table or results_root() / spec.name / "points.csv")
points["row"] = points.groupby(list(spec.swept), dropna=False).cumcount()
points["sample"] = points.get("seed", points["row"]).astype(str) + "/" + points["row"].astype(str)
run.table("points", points)
count, swept = points["run_id"].nunique(), ", ".join(spec.swept)
display(Markdown(f"{count} runs of `{spec.notebook.source}`, swept: {swept}."))

# %% [markdown]
# Thin lines join the values of one seed; the thick line is their mean, the band its 95 %
# interval.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The collected value over the swept parameter."}, "image": {"alt": "The collected value of every run over the swept parameter, with means and intervals."}}
numeric = points.select_dtypes("number").columns
x = page.get("x", spec.swept[0])
y = page.get("y", [name for name in numeric if name not in (*spec.swept, "row")][-1])
log_x = bool(page.get("log_x", False))
figures.sweep(points, y, x, hue=page.get("hue", ""), run="sample", log=log_x)
plt.show()

# %% tags=["hide-input"]
run.figure_data("points")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Mean and standard deviation at every configuration", "code_prompt_hide": "Mean and standard deviation at every configuration"}
by_configuration = points.groupby([name for name in spec.swept if name != "seed"])[y]
run.table("summary", by_configuration.agg(["mean", "std", "count"]).reset_index())

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Every run", "code_prompt_hide": "Every run"}
pages = {made.id: page for made, page in zip(spec.runs, spec.pages, strict=True)}


def address(run_id: str) -> str:
    page = pages.get(run_id)
    if not (links and page and page.notebook.is_file()):
        return run_id
    place = Path("../..", page.group, page.id, page.notebook.name).as_posix()
    return f'<a href="{place}">{run_id}</a>'


runs = points.groupby("run_id", sort=False)[[*spec.swept, y]].first().reset_index()
runs["run_id"] = runs["run_id"].map(address)
runs.style.set_uuid("runs").format(precision=4).hide(axis="index")
