# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A point that says when it has been computed

# %% tags=["parameters"]
scale: str = "book"  # how much to run {smoke, book}
p: float = 0.5  # a probability [0, 1]

# %% tags=["scales"]
scales = {"smoke": {}, "book": {}}

# %%
import os
import time
from pathlib import Path

import pandas as pd

from stocha.study.session import open_run

run = open_run("50_point", globals())

# %%
trace = Path(os.environ["TRACE"])
while trace.with_name("hold").exists():
    time.sleep(0.05)
assert p != 0.75, "this point fails"
run.table("final", pd.DataFrame({"step": [1, 2, 3], "loss": [p, p / 3, p / 7]}))
run.metric(best=p / 7)
with open(trace, "a") as file:
    file.write(f"{p}\n")
