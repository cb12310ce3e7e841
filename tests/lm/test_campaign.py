"""Arms and their names; what is recorded of a sweep and what is missing."""

import pytest

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.claims.ledger import Tables
from stocha.lm import campaign
from stocha.study.sweeps.specification import read_sweep

SWEEPS = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]


def test_the_plan_names_the_arms_that_the_tables_have():
    table = campaign.recorded(Tables(), "points")
    planned = {campaign.arm_of(point) for sweep in SWEEPS for point in sweep.points}
    assert set(table["arm"]) == planned
    assert {campaign.label(arm) for arm in planned} >= {
        "ReLU²",
        "StochA(0.5) + Swi+FT(0.1)",
        "expected StochA(0.5) + Swi+FT(0.1)",
        "ReLU → SiLU(0.1)",
        "anneal SiLU → ReLU",
    }


def test_the_protocol_states_the_size_of_the_campaign():
    text = (project_root() / "book" / "lm_protocol.md").read_text()
    (full,) = {(p["tokens"], p["batch"], p["context"], p["lr"]) for p in SWEEPS[0].points}
    tokens, batch, context, rate = full
    assert f"| {tokens:,} ({tokens // (batch * context):,} steps), " in text
    assert f"peak [{rate:g}]" in text
    assert f"| {batch * context:,} tokens |" in text


def test_runs_on_two_corpora_are_not_compared(tmp_path):
    for number, sweep in enumerate(campaign.SWEEPS):
        (tmp_path / sweep).mkdir()
        rows = f"run_id,arm,seed,corpus\n{number},silu,{number},text-{number}\n"
        (tmp_path / sweep / "points.csv").write_text(rows)
    with pytest.raises(UserError, match=r"corpora text-0, text-1 are not comparable"):
        campaign.recorded(Tables(tmp_path), "points")
