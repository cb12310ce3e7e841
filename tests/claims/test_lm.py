"""The language model's claims, on tables made so that the verdict is known."""

import math
import random
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from stocha.claims.all import CLAIMS
from stocha.claims.ledger import Assessment, Tables, Verdict, assess
from stocha.claims.lm import SIZES
from stocha.claims.open_questions import GRADUAL, q1_gradual_against_flip
from stocha.lm.campaign import SWEEPS

CAMPAIGN, MORE = SWEEPS
BY_ID = {claim.id: claim for claim in CLAIMS}
BOTH, ALONE = "stocha(0.7)+ft(0.1)", "silu+ft(0.1)"
LATE = "stocha(0.7)+ft(0.05)"
SEEDS = (0, 1, 2)


def jitter(arm: str, seed: int) -> float:
    """Less than 0.001, another for each arm and seed."""
    return random.Random(f"{arm} {seed}").uniform(0, 1e-3)


def write(root: Path, name: str, rows: list[dict[str, object]], sweep: str = CAMPAIGN) -> None:
    folder = root / sweep
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def per_run(
    levels: Mapping[str, float], column: str, seeds: tuple[int, ...] = SEEDS
) -> list[dict[str, object]]:
    return [
        {"run_id": f"{arm}-{seed}", "arm": arm, "seed": seed, column: level + jitter(arm, seed)}
        for (arm, level), seed in product(levels.items(), seeds)
    ]


def write_losses(
    root: Path, levels: Mapping[str, float], seeds: tuple[int, ...] = SEEDS, sweep: str = CAMPAIGN
) -> None:
    write(root, "points", per_run(levels, "loss", seeds), sweep)


def found(root: Path, claim: str) -> Assessment:
    return assess(BY_ID[claim], Tables(root))


@pytest.mark.parametrize("claim", ["L1", "L2", "L3", "L4", "L5", "L6", "L8", "L9", "L10"])
def test_without_tables_or_without_its_arms_a_claim_is_not_yet_studied(tmp_path, claim):
    assert found(tmp_path, claim) == Assessment(Verdict.NOT_STUDIED, "—")
    columns = ("loss", "relu_loss", "train_loss", "sparsity", "dead", "steps_after", "after")
    columns += ("choices", "questions", "accuracy", "margin_sem")
    decoy: list[dict[str, object]] = [
        {"run_id": "x", "arm": "gelu", "seed": seed, **dict.fromkeys(columns, 1.0)}
        for seed in SEEDS
    ]
    for name in ("points", "evaluation", "probes", "switch_loss"):
        forms = [row | {"form": "own", "split": "validation", "probe": "copy"} for row in decoy]
        write(tmp_path, name, [row | {"margin": 1.0} for row in forms])
    assert found(tmp_path, claim) == Assessment(Verdict.NOT_STUDIED, "—")


@pytest.mark.parametrize(
    ("seeds", "verdict", "shown"),
    [
        ((0,), Verdict.NOT_RESOLVED, "1 seed"),
        ((0, 1), Verdict.NOT_RESOLVED, "2 seeds"),
        ((0, 1, 2), Verdict.REPLICATED, "3 seeds"),
    ],
)
def test_a_verdict_needs_three_seeds(tmp_path, seeds, verdict, shown):
    write_losses(tmp_path, {"relu": 2.1, BOTH: 2.0, LATE: 2.0}, seeds)
    assessment = found(tmp_path, "L4")
    assert assessment.verdict is verdict
    assert assessment.estimate.endswith(shown)
    assert ("[" in assessment.estimate) == (len(seeds) > 1)


def test_further_seeds_lie_in_a_second_sweep_and_no_run_counts_twice(tmp_path):
    levels = {"relu": 2.1, BOTH: 2.0, LATE: 2.0}
    write_losses(tmp_path, levels, (0, 1, 2))
    write_losses(tmp_path, {"relu": 9.0, BOTH: 9.9, LATE: 9.9}, (2, 3), MORE)
    assert found(tmp_path, "L4").estimate.endswith("4 seeds")
    write_losses(tmp_path, levels, (2, 3), MORE)
    before = found(tmp_path, "L4")
    assert before.verdict is Verdict.REPLICATED
    write_losses(tmp_path, {"relu": 9.0, BOTH: 9.9, LATE: 9.9}, (2,), MORE)
    assert found(tmp_path, "L4").estimate.endswith("3 seeds")
    assert found(tmp_path, "L4").verdict is Verdict.REPLICATED


@pytest.mark.parametrize(
    ("relu", "late", "expected"),
    [
        (2.1, 2.0, Verdict.REPLICATED),
        (2.1, 2.2, Verdict.PARTLY),
        (2.0, 2.0, Verdict.NOT_RESOLVED),
        (1.9, 2.0, Verdict.CONTRADICTED),
    ],
)
def test_l4_asks_for_both_shares_of_fine_tuning(tmp_path, relu, late, expected):
    write_losses(tmp_path, {"relu": relu, BOTH: 2.0, LATE: late})
    assert found(tmp_path, "L4").verdict is expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({ALONE: 2.2, BOTH: 2.1, "silu": 2.0}, Verdict.REPLICATED),
        ({ALONE: 2.1, BOTH: 2.2, "silu": 2.0}, Verdict.PARTLY),
        ({ALONE: 2.1, BOTH: 2.2, "silu": 2.3}, Verdict.CONTRADICTED),
        ({ALONE: 2.1, BOTH: 2.1, "silu": 2.2}, Verdict.NOT_RESOLVED),
    ],
)
def test_l5_orders_three_recipes(tmp_path, levels, expected):
    write_losses(tmp_path, levels)
    assert found(tmp_path, "L5").verdict is expected


@pytest.mark.parametrize(
    ("bernoulli", "expected"),
    [(2.2, Verdict.REPLICATED), (2.05, Verdict.PARTLY), (1.9, Verdict.CONTRADICTED)],
)
def test_l9_compares_bernoulli_with_both(tmp_path, bernoulli, expected):
    write_losses(tmp_path, {"relu": 2.1, "silu": 2.0, "bernoulli_silu": bernoulli})
    assert found(tmp_path, "L9").verdict is expected


@pytest.mark.parametrize(("relu", "expected"), [(2.2, Verdict.REPLICATED), (2.05, Verdict.PARTLY)])
def test_l1_reads_training_losses(tmp_path, relu, expected):
    training = {"relu": relu, "silu": 2.0, "stocha(0.7)": 2.1, "stocha(0.3)": 1.0}
    rows = per_run(training, "train_loss")
    write(tmp_path, "points", [row | {"loss": 9.0} for row in rows])
    assert found(tmp_path, "L1").verdict is expected


@pytest.mark.parametrize(
    ("untuned", "tuned", "expected"),
    [
        (3.0, 2.1, Verdict.REPLICATED),
        (3.0, 2.9, Verdict.PARTLY),
        (1.0, 1.1, Verdict.CONTRADICTED),
        # nearer to SiLU on its better side
        (3.0, 1.5, Verdict.REPLICATED),
    ],
)
def test_l2_asks_which_end_the_tuned_model_is_closer_to(tmp_path, untuned, tuned, expected):
    rows = per_run({"silu": 2.0, ALONE: tuned}, "loss")
    for row in rows:
        row["relu_loss"] = untuned if row["arm"] == "silu" else tuned
    write(tmp_path, "points", rows)
    assert found(tmp_path, "L2").verdict is expected


@pytest.mark.parametrize(
    ("at_switch", "recovered", "expected"),
    [
        (3.0, 2.05, Verdict.REPLICATED),
        (3.0, 2.2, Verdict.PARTLY),
        (1.5, 1.9, Verdict.CONTRADICTED),
    ],
)
def test_l3_reads_the_recovery_a_quarter_later(tmp_path, at_switch, recovered, expected):
    # 144 steps after the switch: a quarter is 36, between 32 and 64. The decoy arm never recovers.
    def loss(arm: str, after: int) -> float:
        if after < 0:
            return 2.0
        if after == 0 or arm != ALONE:
            return at_switch if arm == ALONE else 9.0
        return at_switch if after < 32 else recovered

    rows = [
        row | {"steps_after": 144, "loss": 2.0} for row in per_run({ALONE: 0, BOTH: 0}, "unused")
    ]
    write(tmp_path, "points", rows)
    write(
        tmp_path,
        "switch_loss",
        [
            row | {"after": after, "loss": loss(str(row["arm"]), after) + float(str(row["unused"]))}
            for row in rows
            for after in (-1, 0, 1, 2, 4, 8, 16, 32, 64, 128)
        ],
    )
    assert found(tmp_path, "L3").verdict is expected


def test_l3_is_linear_in_the_logarithm_of_the_step(tmp_path):
    # a quarter of 32 is 8, halfway between 4 and 16 in logarithms: half of 0.5 of the rise of 1
    rows = [row | {"steps_after": 32} for row in per_run({ALONE: 2.0}, "loss")]
    write(tmp_path, "points", rows)
    losses = {-1: 2.0, 0: 3.0, 1: 3.0, 4: 3.0, 16: 2.5}
    write(
        tmp_path,
        "switch_loss",
        [row | {"after": after, "loss": loss} for row in rows for after, loss in losses.items()],
    )
    assert found(tmp_path, "L3").estimate.endswith("(25% of it)")


def write_sizes(root: Path, levels: Mapping[str, float]) -> None:
    """Zeros of `BOTH` in each sweep, half of whose layer's neurons are dead."""
    for sweep, level in levels.items():
        rows = per_run({"relu": 0.5, BOTH: level, "relu2": 0.99}, "sparsity")
        write(root, "points", [row | {"dead": 0.25} for row in rows], sweep)
        live = [row | {"form": "own", "sparsity_live": row["sparsity"]} for row in rows]
        write(root, "sparsity", live, sweep)


@pytest.mark.parametrize(
    ("level", "expected"), [(0.95, Verdict.REPLICATED), (0.85, Verdict.NOT_RESOLVED)]
)
def test_l6_takes_the_sparsest_arm_and_size_that_end_with_relu(tmp_path, level, expected):
    write_sizes(tmp_path, {"lm_arms_small": 0.7, "lm_headline": level})
    assessment = found(tmp_path, "L6")
    assert assessment.verdict is expected
    assert "StochA(0.7) + Swi+FT(0.1) of 311,872 parameters" in assessment.estimate
    assert "dead neurons 0.250" in assessment.estimate


def test_l6_shows_the_trend_over_sizes(tmp_path):
    write_sizes(tmp_path, {"lm_arms_small": 0.6, "lm_arms_large": 0.7})
    rise = 0.1 / math.log10(max(SIZES) / min(SIZES))
    beside = found(tmp_path, "L6").beside
    assert f"StochA(0.7) + Swi+FT(0.1), for ten times the parameters +{rise:.3f} [" in beside


@pytest.mark.parametrize(
    ("sampled", "expected"), [(2.1, Verdict.REPLICATED), (2.3, Verdict.PARTLY)]
)
def test_l8_samples_the_untuned_model(tmp_path, sampled, expected):
    levels = {"relu": 2.2, "silu": 2.0, "stocha(0.7)": sampled, BOTH: 1.0}
    write_losses(tmp_path, levels)

    def loss(arm: str, split: str, form: str) -> float:
        wanted = "sampled" if arm == "stocha(0.7)" else "own"
        return levels[arm] if (split, form) == ("validation", wanted) else 7.0

    write(
        tmp_path,
        "evaluation",
        [
            {
                "arm": arm,
                "seed": seed,
                "split": split,
                "form": form,
                "loss": loss(arm, split, form) + jitter(arm, seed),
            }
            for arm, seed, split, form in product(
                levels, SEEDS, ("validation", "heldout"), ("own", "sampled", "relu")
            )
        ],
    )
    assert found(tmp_path, "L8").verdict is expected


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        (1.0, Verdict.REPLICATED),
        (3.0, Verdict.PARTLY),
        (-1.0, Verdict.PARTLY),
        (0.0, Verdict.PARTLY),
    ],
)
def test_l10_takes_one_number_a_run_of_the_probes_that_discriminate(tmp_path, together, expected):
    margins = {"relu": 0.0, BOTH: together, "silu": 2.0}
    accuracies = {"next_line": 0.6, "corrupted_1": 0.99, "copy": 0.27}
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "probe": probe,
            "form": form,
            "choices": 4,
            "questions": 100,
            "accuracy": accuracy,
            "margin_sem": 0.2,
            # of the probes that saturate, and of other forms, the margins say the contrary
            "margin": margins[arm] * (1 if (probe, form) == ("next_line", "own") else -9)
            + jitter(arm, seed),
        }
        for arm, seed, (probe, accuracy), form in product(
            margins, SEEDS, accuracies.items(), ("own", "relu")
        )
    ]
    write(tmp_path, "probes", rows)
    assessment = found(tmp_path, "L10")
    assert assessment.verdict is expected
    assert assessment.beside == "saturated: copy, corrupted_1"
    # in units of SiLU's standard deviation over questions, 0.2·√100 = 2 nats
    name, number = assessment.estimate.split(" [")[0].rsplit(" ", 1)
    assert name == "(StochA(0.7) + Swi+FT(0.1)) − ReLU"
    assert float(number.replace("−", "-")) == pytest.approx(together / 2, abs=1e-3)


def test_q1_shows_the_language_model_and_is_decided_by_the_toy_network(tmp_path):
    arms = {"flip 0.1": 0.5, "stocha": 0.3, "anneal linear": 0.4, "anneal cosine": 0.4}
    folder = tmp_path / GRADUAL
    folder.mkdir()
    toy = [
        {"arm": arm, "run": run, "val_loss_relu": level + jitter(arm, run)}
        for (arm, level), run in product(arms.items(), SEEDS)
    ]
    pd.DataFrame(toy).to_csv(folder / "final.csv", index=False)
    alone = q1_gradual_against_flip.assess(Tables(tmp_path))
    write(tmp_path, "points", per_run({"anneal": 2.5, ALONE: 2.0}, "relu_loss"))
    beside = q1_gradual_against_flip.assess(Tables(tmp_path))
    assert alone.verdict is beside.verdict is Verdict.ANSWERED
    assert beside.estimate == alone.estimate
    assert re.search(r"anneal SiLU → ReLU − Swi\+FT\(0.1\) \+0\.(50|49)", beside.beside)
