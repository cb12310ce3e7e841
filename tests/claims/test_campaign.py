"""Arms and their names; what is recorded of a sweep and what is missing."""

import pandas as pd
import pytest

from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.claims import campaign
from stocha.study.sweeps.specification import read_sweep

SWEEPS = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]


def test_the_plan_names_the_arms_that_the_tables_have():
    table = campaign.recorded(campaign.Tables(), "points")
    planned = {campaign.arm_of(point) for sweep in SWEEPS for point in sweep.points}
    assert set(table["arm"]) == planned
    assert {campaign.label(arm) for arm in planned} >= {
        "ReLU²",
        "StochA(0.5) + Swi+FT(0.1)",
        "expected StochA(0.5) + Swi+FT(0.1)",
        "ReLU → SiLU(0.1)",
        "anneal SiLU → ReLU",
    }


def test_progress_counts_what_is_missing_of_both_sweeps():
    nothing = pd.DataFrame(columns=["run_id", "arm", "seed"])
    table = campaign.progress(
        [point for sweep in SWEEPS for point in sweep.points], nothing
    ).set_index("arm")
    assert len(table) == 21
    assert table["recorded"].sum() == 0
    assert table.loc["silu", "missing seeds"] == "0, 1, 2, 3, 4"
    assert table.loc["gelu", "missing"] == 3
    some = pd.DataFrame({"arm": ["silu", "silu", "gelu", "other"], "seed": [0, 3, 1, 0]})
    table = campaign.progress(
        [point for sweep in SWEEPS for point in sweep.points], some
    ).set_index("arm")
    assert table.loc["silu", ["recorded", "missing seeds"]].tolist() == [2, "1, 2, 4"]
    assert table.loc["gelu", "missing seeds"] == "0, 2"
    assert table["recorded"].sum() == 3


def test_an_empty_record_has_the_columns_that_identify_a_run(tmp_path):
    rows = campaign.recorded_or_empty("points", campaign.Tables(tmp_path))
    assert rows.empty
    assert list(rows.columns) == ["run_id", "arm", "seed"]


def test_hours_are_those_of_the_provenance_of_what_is_recorded(tmp_path):
    for sweep, seconds in zip(campaign.SWEEPS, (5400.0, 1800.0), strict=True):
        (tmp_path / sweep).mkdir()
        (tmp_path / sweep / "provenance.json").write_text(f'{{"seconds": {seconds}}}')
    assert campaign.hours([*campaign.SWEEPS, "none"], campaign.Tables(tmp_path)) == 2.0


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
        campaign.recorded(campaign.Tables(tmp_path), "points")


def test_an_incomplete_record_names_the_commands_that_complete_it():
    assert campaign.incomplete(["lm_lr"], 20, 20) == ""
    text = campaign.incomplete(["lm_lr"], 3, 20)
    assert "3 of 20 runs" in text
    commands = (f"stocha sweep {rest}" for rest in ("run sweeps/lm_lr.yml --jobs 2", "collect "))
    assert "\n".join(commands) in text
