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
#     experiment: stocha.toy.uncertainty
#     inputs: ["results/18_uncertainty/*.csv"]
# ---

# %% [markdown]
# # Uncertainty from sampled activations
#
# A network trained with StochA draws at test time too, as dropout does for an approximate Bayesian
# answer. Is it worth it, and what does it cost?

# %% tags=["parameters", "hide-input"]
scale: str = "book"  # how much to run {smoke, book, full}
data: "Optional[list[str]]" = None  # scikit-learn's {toy, digits, cancer, wine}
splits: "Optional[int]" = None  # of each data set [2, inf)
members: int = 5  # networks of the ensemble [2, inf)
draws: int = 20  # at test time [5, inf)
width: int = 32  # of both hidden layers [1, inf)
epochs: "Optional[int]" = None  # passes over the training data [1, inf)
batch_size: int = 64  # samples a step [1, inf)
lr: float = 0.003  # Adam's learning rate (0, inf)
seed: int = 0  # of splits, networks and draws [0, 4294967295]
peers: "Optional[bool]" = None  # train stochact's networks too (pip install 'stocha[peers]')

# %% tags=["scales", "hide-input"]
scales = {
    "smoke": {"data": ["wine"], "splits": 2, "epochs": 3, "peers": False},
    "book": {"data": ["toy", "digits", "cancer", "wine"], "splits": 2, "epochs": 20,
        "peers": False},
    "full": {"data": ["toy", "digits", "cancer", "wine"], "splits": 20, "epochs": 40,
        "peers": True},
}  # fmt: skip

# %% tags=["hide-input"]
from stocha import figures
from stocha.study.session import open_run
from stocha.toy import uncertainty

run = open_run("18_uncertainty", globals())
figures.style()
run.badge()
found = run.result(uncertainty.run, uncertainty.Config(**run.parameters))
scores = found.tables["scores"]

# %% tags=["hide-input"]
scores.groupby(["data", "method"], sort=False)["nll"].mean().unstack("data").round(4)
