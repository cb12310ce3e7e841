"""L1–L11: the paper's claims."""

from stocha.study.claims.ledger import Assessment, Claim, Tables, Verdict

SPARSE_FFN = "32_sparse_ffn"
_WIDTH, _NEURONS, _REPORTED = 2048, 8192, 1.65
_LATER = "Fixed with the chapter that will study it, before its runs are read."


def _claim(number: int, statement: str, reported: str = "not available to us") -> Claim:
    return Claim(f"L{number}", "paper", statement, _LATER, page=None, reported=reported)


def l7_speed_at_90_percent(tables: Tables) -> Assessment:
    """L7: the sparse and the screened kernel against the fastest dense peer (chapter 32)."""
    speed = tables(SPARSE_FFN, "ffn_speed")
    speed = speed[
        (speed["d"] == _WIDTH)
        & (speed["h"] == _NEURONS)
        & (speed["threads"] == 1)
        & (speed["sparsity"] == 0.9)
    ].set_index("method")
    sparse, screened = speed.loc["numba sparse"], speed.loc["numba screened"]
    if sparse["ratio_q1"] >= _REPORTED:
        verdict = Verdict.REPLICATED
    elif sparse["ratio_q3"] < _REPORTED:
        verdict = Verdict.CONTRADICTED
    else:
        verdict = Verdict.NOT_RESOLVED
    text = (
        f"{sparse['ratio_median']:.2f}× [quartiles {sparse['ratio_q1']:.2f}, "
        f"{sparse['ratio_q3']:.2f}]; with certified screening {screened['ratio_median']:.2f}×"
    )
    return Assessment(verdict, text)


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
    Claim(
        "L7",
        "paper",
        "90 % sparsity gives about 1.65× on CPU for the FFN.",
        f"The exact sparse kernel against the fastest dense peer of the same run, {_WIDTH} × "
        f"{_NEURONS} in fp32, one thread, cold caches: the lower quartile of the ratio reaches "
        f"{_REPORTED}; contradicted where the upper one does not.",
        SPARSE_FFN,
        l7_speed_at_90_percent,
        reported="1.65× (second-hand)",
    ),
    _claim(8, "StochA at test time without fine-tuning lies between ReLU and SiLU."),
    _claim(9, "Bernoulli SiLU (identity or zero) does not work well in practice."),
    _claim(10, "Downstream tasks: the new methods beat ReLU and trail SiLU."),
    _claim(
        11,
        "Test-time StochA gives several different answers to one prompt: more diversity, "
        "slightly lower quality than SiLU with temperature.",
    ),
)
