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
#     inputs: ["results/*/*.csv"]
# ---

# %% [markdown]
# # Claims
#
# Of {glue:text}`claims-total` claims and open questions {glue:text}`claims-replicated` are
# replicated, {glue:text}`claims-partly` partly, {glue:text}`claims-contradicted` contradicted,
# {glue:text}`claims-answered` answered, {glue:text}`claims-not_resolved` not resolved at this scale,
# {glue:text}`claims-not_studied` not yet studied.
#
# They are those of the paper {cite:p}`lomeli2025stochastic` and of the toy post
# {cite:p}`kosti2025fun`, and the questions that the toy post and the review
# {cite:p}`gonzo2025stochastic` leave open; [Sources](/book/sources.md) says who claims what. An
# estimate and its verdict are computed, when this page is built, by one function a claim from the
# tables in `results/`; the criterion was written down before those tables were read. Intervals are
# 95 % Student-t intervals over independent runs. T1 to T8 have two verdicts: the *first* is of the
# reading of the post that was fixed before any data, the one shown is of the reading that a
# [search](19_which_setup.ipynb) found by these claims, on networks that the search did not use.

# %% tags=["parameters", "remove-cell"]
scale: str = "book"  # no effect here: the ledger reads recorded tables {smoke, book, full}

# %% tags=["scales", "remove-cell"]
scales = {"smoke": {}, "book": {}, "full": {}}

# %% tags=["remove-cell"]
from IPython.display import HTML, Markdown, display

from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Tables, Verdict, assess, estimates, ledger
from stocha.claims.page import claim_tables, forest
from stocha.study.session import open_run

run = open_run("01_claims", globals())
table = run.table("ledger", ledger(CLAIMS))
run.table("estimates", estimates(CLAIMS))
judged = [(each, assess(each, Tables())) for each in CLAIMS]


def one_by_one(kind):
    """A small table each claim of one kind."""
    display(Markdown(claim_tables(pair for pair in judged if pair[0].id[0] == kind)))


# %% [markdown]
# ## All of them in one look
#
# Grey is where the criterion wants the estimate; where several data sets were drawn, each has its
# line. ● **replicated**: the interval lies inside. ○ **not resolved**: it crosses an edge, or data sets
# disagree. ✕ **contradicted**: it lies outside. ◐ **partly**: of a claim in two parts, one is replicated.
# ◆ **answered**: for an open question, an interval that excludes zero.

# %% tags=["remove-input"]
display(HTML(forest(judged)))

# %% tags=["remove-cell"]
for verdict in Verdict:
    run.glue(f"claims-{verdict.name.lower()}", int((table["verdict"] == verdict).sum()))
run.glue("claims-total", len(table))

# %% tags=["remove-input"]
run.figure_data("ledger", "estimates")

# %% [markdown]
# The same as data, for who collects reproductions: <a href="../../claims.json">claims.json</a>.
#
# ## One by one
#
# A value marked second-hand comes from a summary of the paper; its own tables were not available to
# us. *What would* says how many runs would decide what is open.
#
# ### The toy post

# %% tags=["remove-input"]
one_by_one("T")

# %% [markdown]
# ### The paper

# %% tags=["remove-input"]
one_by_one("L")

# %% [markdown]
# ### Open questions

# %% tags=["remove-input"]
one_by_one("Q")
