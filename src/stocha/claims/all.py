"""Every claim of the ledger, in its order."""

import pandas as pd

from stocha.claims import answers, lm, open_questions, sparse, toy
from stocha.claims.ledger import claims_in, ledger

CLAIMS = claims_in(toy, lm, answers, sparse, open_questions)


def judged(*ids: str) -> pd.DataFrame:
    """The ledger's lines of some claims, by id."""
    return ledger(one for one in CLAIMS if one.id in ids).set_index("id")


def verdicts(*ids: str) -> str:
    """`T1 not resolved (first: replicated), T2 …`: what pages say of some claims."""
    return ", ".join(f"{id} {shown}" for id, shown in judged(*ids)["shown"].items())
