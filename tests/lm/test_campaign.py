"""Arms and their names; what is recorded of a sweep and what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from stocha.arms import PARAMETERS
from stocha.base.errors import UserError
from stocha.base.paths import project_root
from stocha.base.statistics import estimate
from stocha.claims.ledger import Tables
from stocha.claims.lm import SIZES
from stocha.lm import campaign
from stocha.lm.experiment import Config
from stocha.study.sweeps.specification import read_sweep

ARM = {name: Config.__dataclass_fields__[name].default for name in PARAMETERS}
SWEEPS = [read_sweep(project_root() / "sweeps" / f"{name}.yml") for name in campaign.SWEEPS]


def test_the_plan_names_the_arms_that_the_tables_have():
    planned = {run_config(point).name for sweep in SWEEPS for point in sweep.points}
    table = campaign.recorded(Tables(), "points")
    assert set(table["arm"]) <= planned
    assert {campaign.label(arm) for arm in planned} >= {
        "ReLU²",
        "StochA(0.7) + Swi+FT(0.1)",
        "expected StochA(0.7) + Swi+FT(0.1)",
        "ReLU → SiLU(0.1)",
        "anneal SiLU → ReLU",
    }


def test_its_page_states_the_size_of_the_first_campaign():
    text = (project_root() / "notebooks" / "28_lm_first_campaign.py").read_text()
    first = read_sweep(project_root() / "sweeps" / f"{campaign.FIRST[0]}.yml")
    (full,) = {(p["tokens"], p["batch"], p["context"], p["lr"]) for p in first.points}
    tokens, batch, context, rate = full
    assert f"| {tokens:,} ({tokens // (batch * context):,} steps), " in text
    assert f"peak [{rate:g}]" in text
    assert f"| {batch * context:,} tokens |" in text


def test_the_protocol_states_the_size_of_the_pilot_and_of_the_campaign():
    text = (project_root() / "book" / "lm_protocol.md").read_text()
    (config,) = {
        replace(run_config(point), **ARM, seed=0)
        for name in ("lm_pilot", "lm_headline", "lm_arms")
        for point in read_sweep(project_root() / "sweeps" / f"{name}.yml").points
    }
    assert f"| {config.shape.parameters:,} |" in text
    assert f"| {config.tokens:,} ({config.steps:,} steps), " in text
    assert f"peak {config.lr:g}, after {config.warmup} steps" in text
    assert f"| {config.width}, {config.layers}, {config.ffn} |" in text
    assert f"| {config.vocabulary:,}, " in text


def test_the_sizes_of_the_trend_are_those_of_its_sweeps():
    for size, sweeps in SIZES.items():
        for name in sweeps:
            points = read_sweep(project_root() / "sweeps" / f"{name}.yml").points
            assert {run_config(point).shape.parameters for point in points} == {size}


def test_the_pilots_runs_are_the_campaigns_first():
    sweeps = {
        name: {run_config(p) for p in read_sweep(project_root() / "sweeps" / f"{name}.yml").points}
        for name in ("lm_pilot", "lm_headline")
    }
    assert sweeps["lm_pilot"] <= sweeps["lm_headline"]


@pytest.mark.parametrize(("spread", "half"), [(0.015, 0.01), (0.03, 0.01), (0.15, 0.02)])
def test_seeds_are_enough_and_one_fewer_is_not(spread, half):
    enough = campaign.seeds_for(spread, half)

    def reached(seeds):
        # a sample of the given spread: its interval is as wide as the plan says
        values = np.resize([-1.0, 1.0], seeds) if seeds % 2 == 0 else np.linspace(-1, 1, seeds)
        found = estimate(values * spread / values.std(ddof=1))
        return (found.high - found.low) / 2

    assert reached(enough) <= half < reached(enough - 1)


@pytest.mark.parametrize(("spread", "half"), [(0.0, 0.01), (0.1, 0.0), (float("nan"), 0.01)])
def test_a_plan_without_a_spread_is_refused(spread, half):
    with pytest.raises(ValueError, match="spread="):
        campaign.seeds_for(spread, half)


def run_config(point):
    return Config(**{name: value for name, value in point.items() if name != "scale"})


def test_runs_on_two_corpora_are_not_compared(tmp_path):
    for number, sweep in enumerate(campaign.SWEEPS):
        (tmp_path / sweep).mkdir()
        rows = f"run_id,arm,seed,corpus\n{number},silu,{number},text-{number}\n"
        (tmp_path / sweep / "points.csv").write_text(rows)
    with pytest.raises(UserError, match=r"corpora text-0, text-1 are not comparable"):
        campaign.recorded(Tables(tmp_path), "points")
