"""Q1–Q6: the questions that the two posts leave open."""

from stocha.study.claims.intervals import Estimate, estimate
from stocha.study.claims.ledger import Assessment, Claim, Tables, Verdict

GRADUAL = "13_gradual_or_sudden"
_SOURCE = "the two posts"


def _difference(tables: Tables, arm: str, reference: str) -> Estimate:
    """Final validation loss of `arm` minus `reference`, both under ReLU, paired over runs."""
    final = tables(GRADUAL, "final")
    wide = final.pivot(index="run", columns="arm", values="val_loss_relu")
    return estimate(wide[arm] - wide[reference])


def _answer(differences: dict[str, Estimate]) -> Assessment:
    """Answered where at least one paired interval excludes zero."""
    resolved = any(found.low > 0 or found.high < 0 for found in differences.values())
    text = "; ".join(f"{name} {found.text('+.4f')}" for name, found in differences.items())
    return Assessment(Verdict.ANSWERED if resolved else Verdict.NOT_RESOLVED, text)


CLAIMS = (
    Claim("Q1", _SOURCE, "Gradual change from one activation to the other, not a flip?", "", None),
    Claim("Q2", _SOURCE, "How often should one switch?", "", None),
    Claim("Q3", _SOURCE, "Switch parameters that depend on the input?", "", None),
    Claim("Q4", _SOURCE, "Uncertainty from sampled activations?", "", None),
    Claim(
        "Q5",
        _SOURCE,
        "How do GELU, ReLU², xIELU, RReLU, ASH, dropout, LayerDrop compare?",
        "",
        None,
    ),
    Claim("Q6", _SOURCE, "What can a GPU do with such sparsity?", "", None),
)
