"""L1–L11: the paper's claims."""

from stocha.study.claims.ledger import Claim

_LATER = "Fixed with the chapter that will study it, before its runs are read."


def _claim(number: int, statement: str, reported: str = "not available to us") -> Claim:
    return Claim(f"L{number}", "paper", statement, _LATER, page=None, reported=reported)


CLAIMS = (
    _claim(1, "Training loss: StochA slightly below ReLU, SiLU lower still."),
    _claim(2, "Without fine-tuning, evaluating with ReLU costs a lot; after it, it is fine."),
    _claim(3, "The loss spikes at the switch to ReLU and recovers quickly."),
    _claim(4, "StochA with Swi+FT ends better than ReLU from scratch."),
    _claim(5, "Swi+FT alone ends worse than the two together; both worse than deterministic SiLU."),
    _claim(
        6,
        "With ReLU at inference, FFN sparsity can exceed 90 %.",
        "> 90 %; 84.6 % at p = 0.7, α = 0.05 (second-hand, one summary)",
    ),
    _claim(7, "90 % sparsity gives about 1.65× on CPU for the FFN.", "1.65× (second-hand)"),
    _claim(8, "StochA at test time without fine-tuning lies between ReLU and SiLU."),
    _claim(9, "Bernoulli SiLU (identity or zero) does not work well in practice."),
    _claim(10, "Downstream tasks: the new methods beat ReLU and trail SiLU."),
    _claim(
        11,
        "Test-time StochA gives several different answers to one prompt: more diversity, "
        "slightly lower quality than SiLU with temperature.",
    ),
)
