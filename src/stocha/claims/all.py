"""Every claim of the ledger, in its order."""

from stocha.claims import open_questions, paper, sparse, toy
from stocha.claims.ledger import claims_in

CLAIMS = claims_in(toy, paper, sparse, open_questions)
