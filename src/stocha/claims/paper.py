"""L1–L6, L8–L11: the paper's claims. Those of the language model are assessed in `lm_paper`."""

from stocha.claims import lm_paper
from stocha.claims.ledger import Assess, Claim

SWITCH, LOSSES, ZEROS, PROBES = "23_lm_switch", "24_lm_losses", "25_lm_zeros", "26_lm_probes"
_LATER = "Fixed with the chapter that will study it, before its runs are read."


def _claim(
    number: int,
    statement: str,
    criterion: str = _LATER,
    page: str | None = None,
    assess: Assess | None = None,
    reported: str = "not available to us",
) -> Claim:
    return Claim(f"L{number}", "paper", statement, criterion, page, assess, reported)


L1 = _claim(
    1,
    "Training loss: StochA slightly below ReLU, SiLU lower still.",
    "Mean training loss of the last 2 % of steps: ReLU − StochA > 0 and StochA − SiLU > 0, for "
    "the StochA with the lowest validation loss.",
    LOSSES,
    lm_paper.l1_training_loss_between,
)
L2 = _claim(
    2,
    "Without fine-tuning, evaluating with ReLU costs a lot; after it, it is fine.",
    "SiLU run with ReLU − SiLU > 0; and Swi+FT(0.1) is closer to SiLU than to the untuned model.",
    LOSSES,
    lm_paper.l2_fine_tuning_needed,
)
L3 = _claim(
    3,
    "The loss spikes at the switch to ReLU and recovers quickly.",
    "Swi+FT(0.1): loss at the switch exceeds the loss before it; and a quarter of the steps "
    "after the switch later at least nine tenths of that rise is gone (between two evaluated "
    "steps, linear in the logarithm of the step).",
    SWITCH,
    lm_paper.l3_spike_and_recovery,
)
L4 = _claim(
    4,
    "StochA with Swi+FT ends better than ReLU from scratch.",
    "ReLU − (StochA + Swi+FT(0.1)) > 0, validation loss; p as the protocol chooses it.",
    LOSSES,
    lm_paper.l4_together_beat_relu,
)
L5 = _claim(
    5,
    "Swi+FT alone ends worse than the two together; both worse than deterministic SiLU.",
    "Swi+FT(0.1) − (StochA + Swi+FT(0.1)) > 0, and both − SiLU > 0, validation loss; p as the "
    "protocol chooses it.",
    LOSSES,
    lm_paper.l5_order_of_the_recipes,
)
L6 = _claim(
    6,
    "With ReLU at inference, FFN sparsity can exceed 90 %.",
    "Mean sparsity of a model that ends with ReLU exceeds 0.9, for the arm where it is "
    "highest; dead neurons are reported apart.",
    ZEROS,
    lm_paper.l6_sparsity_above_90_percent,
    "> 90 %; 84.6 % at p = 0.7, α = 0.05 (second-hand, one summary)",
)
L8 = _claim(
    8,
    "StochA at test time without fine-tuning lies between ReLU and SiLU.",
    "StochA, sampled at test time without fine-tuning: ReLU − StochA > 0 and StochA − SiLU > "
    "0, validation loss; p as the protocol chooses it.",
    LOSSES,
    lm_paper.l8_sampled_between,
)
L9 = _claim(
    9,
    "Bernoulli SiLU (identity or zero) does not work well in practice.",
    "Bernoulli SiLU − ReLU > 0, validation loss.",
    LOSSES,
    lm_paper.l9_bernoulli_worse,
)
L10 = _claim(
    10,
    "Downstream tasks: the new methods beat ReLU and trail SiLU.",
    "Probe margins: StochA + Swi+FT(0.1) − ReLU > 0 and SiLU − (StochA + Swi+FT(0.1)) > 0 in "
    "at least two of three probes, none significantly the other way.",
    PROBES,
    lm_paper.l10_downstream_between,
)
L11 = _claim(
    11,
    "Test-time StochA gives several different answers to one prompt: more diversity, "
    "slightly lower quality than SiLU with temperature.",
)
