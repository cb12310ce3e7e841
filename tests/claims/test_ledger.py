import hashlib
import math
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.errors import UserError
from stocha.base.recorded import write_provenance
from stocha.base.statistics import Estimate, estimate
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import (
    Assessment,
    Band,
    Claim,
    Part,
    Tables,
    Verdict,
    assess,
    both,
    claim,
    claims_in,
    ledger,
    of_parts,
    within,
)

numbers = st.floats(-1e3, 1e3)


@given(numbers, st.floats(0, 10), numbers, st.floats(0, 10))
def test_inside_outside_and_on_the_edge(mean, half, low, width):
    found = Estimate(mean, mean - half, mean + half)
    verdict = within(found, low, low + width)
    inside = [low <= end <= low + width for end in (found.low, found.high)]
    if all(inside):
        assert verdict is Verdict.REPLICATED
    elif any(inside):
        assert verdict is Verdict.NOT_RESOLVED
    else:
        apart = found.high < low or found.low > low + width
        assert verdict is (Verdict.CONTRADICTED if apart else Verdict.NOT_RESOLVED)


def test_one_run_and_a_missing_value_resolve_nothing():
    assert within(estimate([0.5]), 0, 1) is Verdict.NOT_RESOLVED
    assert within(estimate([0.5, math.nan]), 0, 1) is Verdict.NOT_RESOLVED


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Verdict.REPLICATED, Verdict.REPLICATED, Verdict.REPLICATED),
        (Verdict.REPLICATED, Verdict.CONTRADICTED, Verdict.PARTLY),
        (Verdict.NOT_RESOLVED, Verdict.REPLICATED, Verdict.PARTLY),
        (Verdict.NOT_RESOLVED, Verdict.CONTRADICTED, Verdict.NOT_RESOLVED),
        (Verdict.CONTRADICTED, Verdict.CONTRADICTED, Verdict.CONTRADICTED),
    ],
)
def test_a_claim_of_two_halves(first, second, expected):
    assert both(first, second) is expected
    assert both(second, first) is expected


@pytest.mark.parametrize(
    ("band", "text"),
    [
        (Band(0.4, 0.6), "0.40–0.60"),
        (Band(-0.05, 0.05), "±0.05"),
        (Band(-math.inf, 0.5), "below 0.5"),
        (Band(0.6, math.inf), "above 0.6"),
    ],
)
def test_a_criterion_says_the_band_that_decides(band, text):
    assert str(band) == text


@pytest.fixture
def ours(tmp_path):
    folder = tmp_path / "11_ours"
    folder.mkdir()
    (folder / "numbers.csv").write_text("run,value\n0,0.50\n1,0.52\n2,0.48\n")
    return folder


@claim("T2", "Half.", "In a band.", source="us", page="11_ours")
def half(tables):
    found = estimate(tables("11_ours", "numbers")["value"])
    return Assessment(within(found, 0.4, 0.6), found.text())


def test_a_claim_is_its_words_and_its_function(ours):
    row = ledger([half], Tables(ours.parent)).iloc[0]
    assert (row["id"], row["claim"], row["criterion"]) == ("T2", "Half.", "In a band.")
    assert row["verdict"] == "replicated"
    assert row["estimate"] == "0.500 [0.450, 0.550]"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_text("run,other\n0,1\n"),
        lambda path: path.write_text("run,value\n0,x\n1,y\n"),
        lambda path: path.write_text("run,value\n"),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text("<<<<<<< ours\nrun,value\n=======\n0,1,2\n"),
    ],
)
def test_a_damaged_table_is_named(ours, damage):
    damage(ours / "numbers.csv")
    with pytest.raises(UserError, match=r"11_ours/numbers\.csv: ") as caught:
        ledger([half], Tables(ours.parent))
    assert "\n" not in str(caught.value)


def test_a_digit_that_changed_since_it_was_recorded_gives_no_verdict(ours):
    table = ours / "numbers.csv"
    about = {"files": {table.name: hashlib.sha256(table.read_bytes()).hexdigest()}}
    write_provenance(ours, about)
    assert ledger([half], Tables(ours.parent))["verdict"].tolist() == ["replicated"]
    table.write_text(table.read_text().replace("0.48", "0.68"))
    with pytest.raises(UserError, match=r"11_ours/numbers\.csv: "):
        ledger([half], Tables(ours.parent))


def test_what_nothing_is_recorded_of_is_not_yet_studied(tmp_path):
    table = ledger([half, Claim("Q4", "us", "And?")], Tables(tmp_path))
    assert set(table["verdict"]) == {Verdict.NOT_STUDIED.value}


def test_claims_stand_in_the_ledgers_order_once_each():
    module = ModuleType("some")
    module.b, module.a, module.c = half, Claim("Q10", "us", "?"), Claim("Q9", "us", "?")
    assert [each.id for each in claims_in(module)] == ["T2", "Q9", "Q10"]
    with pytest.raises(AssertionError, match="an id stands twice"):
        claims_in(module, module)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda each: each.id)
def test_an_assessment_gives_its_estimates_as_numbers(claim):
    found = assess(claim, Tables())
    verdicts = {part.verdict for part in found.parts}
    assert bool(verdicts) is (found.verdict is not Verdict.NOT_STUDIED)
    if found.verdict is Verdict.REPLICATED:
        assert verdicts == {Verdict.REPLICATED}
    elif len(verdicts) == 1:
        assert found.verdict in verdicts | {Verdict.PARTLY}
    elif verdicts:  # data sets that disagree resolve nothing
        assert found.verdict in verdicts | {Verdict.PARTLY, Verdict.NOT_RESOLVED}


def test_an_estimate_over_too_few_runs_decides_nothing():
    few = Part("x", Estimate(0.5, 0.45, 0.55), Band(0.4, 0.6), n=2, least=3)
    assert few.verdict is Verdict.NOT_RESOLVED
    assert replace(few, n=3).verdict is Verdict.REPLICATED
    assert replace(few, n=3, band=None).verdict is Verdict.ANSWERED
    assessment = of_parts(replace(few, n=3), replace(few, name="y"))
    assert assessment.verdict is Verdict.PARTLY
    assert assessment.estimate == "x 0.500 [0.450, 0.550]; y 0.500 [0.450, 0.550]"
