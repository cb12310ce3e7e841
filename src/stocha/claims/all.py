"""Every claim of the ledger, in its order."""

from stocha.claims import lm, open_questions, sparse, toy
from stocha.claims.ledger import claims_in

CLAIMS = claims_in(toy, lm, sparse, open_questions)
