"""Q1 to Q4: verdicts on tables made so that they are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stocha.base.statistics import estimate
from stocha.claims.ledger import Tables, Verdict
from stocha.claims.open_questions import (
    CONSTANTS,
    GPU,
    GRADUAL,
    UNCERTAINTY,
    at_once,
    final_losses,
    over_splits,
    q1_gradual_against_flip,
    q2_how_often,
    q3_input_dependent,
    q4_uncertainty,
    q6_gpu,
)

NETWORKS = 40


def toy_losses(root, **levels):
    """A hundredth of scatter, another for each arm and network, around the levels of all arms."""
    arms = [*CONSTANTS, "flip 0.1", "anneal linear", "anneal cosine", "layer", "token"]
    arms += [*(f"every {k}" for k in (1, 2, 4, 8, 16, 32)), "learnable_stoch", "gumbel_stoch"]
    scatter = np.random.default_rng(3).normal(0, 0.01, (len(arms), NETWORKS))
    rows = [
        {"arm": arm, "run": run, **dict.fromkeys(("val_loss_relu", "val_loss_own"), loss)}
        for arm, noise in zip(arms, scatter, strict=True)
        for run, loss in enumerate(noise - noise.mean() + levels.get(arm.replace(" ", "_"), 0.3))
    ]
    (root / GRADUAL).mkdir()
    pd.DataFrame(rows).to_csv(root / GRADUAL / "final.csv", index=False)
    return Tables(root)


def test_a_question_of_many_differences_has_wider_intervals() -> None:
    values = list(np.random.default_rng(1).normal(0.2, 1, 30))
    assert at_once(values, 1) == estimate(values)
    wider = stats.t.interval(1 - 0.05 / 8, 29, np.mean(values), stats.sem(values))
    assert (at_once(values, 8).low, at_once(values, 8).high) == pytest.approx(wider)


def test_q1_is_partly_answered_where_one_difference_is_too_rough(tmp_path) -> None:
    tables = toy_losses(tmp_path, stocha=0.2, anneal_cosine=0.4)
    final = tables(GRADUAL, "final")
    rough = final.arm == "anneal linear"
    final.loc[rough, "val_loss_relu"] += np.where(final[rough].run % 4 < 2, 0.05, -0.05)
    final.to_csv(tmp_path / GRADUAL / "final.csv", index=False)
    found = q1_gradual_against_flip.assess(Tables(tmp_path))
    assert found.verdict is Verdict.PARTLY
    assert [part.verdict is Verdict.ANSWERED for part in found.parts] == [False, True, True, True]
    assert found.parts[0].interval == "98.75 %"


def test_q2_is_answered_by_differences_that_are_negligible(tmp_path) -> None:
    found = q2_how_often.assess(toy_losses(tmp_path, every_1=0.5))
    assert found.verdict is Verdict.ANSWERED
    assert found.estimate.startswith("1 of 8 resolved, from ")
    assert "to every step +0.2000 [" in found.estimate


def test_q3_counts_the_networks_that_would_resolve_it(tmp_path) -> None:
    tables = toy_losses(tmp_path, **{"p_0.25": 0.2}, learnable_stoch=0.2, gumbel_stoch=0.25)
    final = tables(GRADUAL, "final")
    rough = final.arm == "learnable_stoch"
    final.loc[rough, "val_loss_own"] += np.where(final[rough].run % 4 < 2, 0.11, -0.09)
    final.to_csv(tmp_path / GRADUAL / "final.csv", index=False)
    found = q3_input_dependent.assess(Tables(tmp_path))
    assert found.verdict is Verdict.PARTLY
    mean, half = found.parts[0].found.mean, found.parts[0].found.high - found.parts[0].found.mean
    needed = int(np.ceil(NETWORKS * (half / mean) ** 2))
    assert f"({needed:,} networks would resolve it)" in found.estimate


def test_the_best_constant_is_chosen_by_the_networks_that_it_is_not_judged_on(tmp_path) -> None:
    tables = toy_losses(tmp_path)
    final = tables(GRADUAL, "final")
    final["val_loss_own"] += np.where((final.arm == "relu") & (final.run % 2 == 0), -0.2, 0)
    wide = final_losses(final, "val_loss_own")
    assert (wide["best"] == wide["relu"])[wide.index % 2 == 1].all()
    assert not (wide["best"] == wide["relu"])[wide.index % 2 == 0].any()


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, Verdict.ANSWERED), (0.0, Verdict.NOT_RESOLVED)]
)
def test_q4_is_answered_where_the_interval_excludes_zero(tmp_path, gain, verdict) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (20, 2))
    rows = [
        {"data": data, "split": s, "method": method, "nll": 0.3 + mean + scale * noise[s, d]}
        for s in range(20)
        for d, data in enumerate(("a", "b"))
        for method, mean, scale in (("dropout", 0, 0), ("stocha", -gain, 1), ("single", 0.2, 0))
    ]
    for peer in ("temperature", "ensemble"):
        rows += [row | {"method": peer} for row in rows if row["method"] == "single"]
    (tmp_path / UNCERTAINTY).mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / UNCERTAINTY / "scores.csv", index=False)
    found = q4_uncertainty.assess(Tables(tmp_path))
    assert found.verdict is verdict
    assert found.parts[0].found.mean == pytest.approx(-gain, abs=0.01)
    assert "one network −0" in found.beside


def test_overlapping_splits_widen_the_interval() -> None:
    values = pd.Series(np.random.default_rng(1).normal(size=20))
    plain, wide = estimate(values), over_splits(values)
    # variance s²(1/n + 1/3) in place of s²/n
    ratio = (wide.high - wide.mean) / (plain.high - plain.mean)
    assert ratio == pytest.approx(np.sqrt((1 / 20 + 1 / 3) * 20))


@pytest.mark.parametrize(
    ("spread", "verdict"), [(0.01, Verdict.ANSWERED), (0.3, Verdict.NOT_RESOLVED)]
)
def test_q6_is_answered_where_every_ceiling_is_known(tmp_path, spread, verdict) -> None:
    noise = spread * np.random.default_rng(0).uniform(-1, 1, 40)
    texts = pd.DataFrame({"text": range(40), "skipped": 0.5 + noise})
    tables = {
        "blocks": pd.concat(
            [
                texts.assign(order="as trained", block=1),
                texts.assign(order="by activity", block=16, skipped=texts["skipped"] / 5),
            ]
        ),
        "batches": texts.assign(kind="of as many texts", tokens=16),
        "fours": texts.assign(order="dealt out", beyond=0.5),
    }
    (tmp_path / GPU).mkdir()
    for name, table in tables.items():
        table.to_csv(tmp_path / GPU / f"{name}.csv", index=False)
    found = q6_gpu.assess(Tables(tmp_path))
    assert found.verdict is verdict
    if verdict is Verdict.ANSWERED:
        expected = [3 / 2, 3 / 2.8, 3 / 2, 1]
        assert [part.found.mean for part in found.parts] == pytest.approx(expected, abs=0.01)
