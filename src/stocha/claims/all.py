"""Every claim of the ledger, in its order."""

from stocha.claims import open_questions, paper, toy

CLAIMS = (*toy.CLAIMS, *paper.CLAIMS, *open_questions.CLAIMS)
