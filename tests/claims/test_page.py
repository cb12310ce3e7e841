"""What the chapter *Claims* draws and says of an estimate, and the front page of the study."""

import json
import math
import re
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stocha.base.paths import project_root, results_root
from stocha.base.statistics import LEVEL, Estimate
from stocha.claims import front
from stocha.claims.all import CLAIMS
from stocha.claims.ledger import (
    Assessment,
    Band,
    Claim,
    Part,
    Tables,
    Verdict,
    as_data,
    assess,
    of_parts,
)
from stocha.claims.page import MOST_RUNS, claim_tables, forest, glyph, numbers, runs_needed

ABOVE = Band(0, math.inf)


def part(mean: float, half: float, band: Band | None = ABOVE, **given) -> Part:
    given = {"name": "a less b", "unit": "nats", "n": 5} | given
    return Part(given.pop("name"), Estimate(mean, mean - half, mean + half), band, **given)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (part(0.2441, 0.058), "0.244 [0.186, 0.302] nats"),
        (part(-2.36, 0.78, unit="×"), "−2.36 [−3.14, −1.58] ×"),
        (part(605.4, 31.0), "605 [574, 636] nats"),
        (part(9.5e-32, 0), "9.5e−32 nats"),
        (part(3, 0, unit=""), "3"),
    ],
)
def test_an_estimate_is_written_as_precisely_as_it_is_known(shown, text):
    assert numbers(shown) == text


@given(st.floats(0.01, 10), st.floats(0.1, 10), st.integers(2, 50))
def test_so_many_runs_decide_and_no_fewer(mean, spread, n):
    def half(count: int) -> float:
        return float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * spread / math.sqrt(count)

    open_part = part(mean, half(n), n=n, least=2)
    needed = runs_needed(open_part)
    if half(n) < mean:
        assert needed is None
    elif needed is not None and needed <= MOST_RUNS:
        assert needed >= n
        assert half(needed) <= mean * (1 + 1e-9)
        assert half(needed - 1) > mean * (1 - 1e-9)
    else:
        assert half(MOST_RUNS - 5) > mean


def test_no_number_of_runs_decides_what_is_not_a_mean_over_runs():
    assert runs_needed(part(0.1, 1, n=20, interval="95 %, widened")) is None
    assert runs_needed(part(0.1, 1, n=0)) is None
    assert runs_needed(part(1, 0.1, n=2, least=3)) == 3


def test_a_glyph_puts_interval_and_band_on_one_scale():
    svg = ElementTree.fromstring(glyph(part(1, 0.5), [part(1, 0.5), part(-2, 1)]))
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == (
        "a less b: 1.00 [0.50, 1.50] nats, wanted above 0: replicated"
    )
    (band,) = svg.iter("rect")
    (dot,) = svg.iter("circle")
    left, right = (float(band.attrib[name]) for name in ("x", "width"))
    assert left < float(dot.attrib["cx"]) < left + right == float(svg.attrib["width"])


@pytest.mark.parametrize("ends", [(0.5, 0.5), (-math.inf, math.inf)])
@pytest.mark.parametrize("mean", [0.5, math.nan])
@pytest.mark.parametrize("band", [None, Band(0.4, 0.6), Band(-math.inf, 0.5)])
def test_a_glyph_of_any_numbers_is_one(mean, ends, band):
    svg = glyph(Part("x", Estimate(mean, *ends), band))
    assert "nan" not in re.sub(r'aria-label="[^"]*"', "", svg)
    ElementTree.fromstring(svg)


def test_each_claim_says_why_it_is_open_and_what_would_decide_it():
    found = of_parts(part(1, 0.1, name="x"), part(0.1, 0.2, name="y"), part(-1, 0.1, name="z"))
    table = claim_tables([(Claim("L1", "us", "A | B.", "Above zero.", "24_x"), found)])
    assert "| A \\| B. |" in table
    assert "| not decided | y: its interval holds 0<br>z: it is not above 0 |" in table
    assert re.search(r"\| what would \| about \d+ runs in place of 5", table)
    done = claim_tables([(Claim("L1", "us", "A."), of_parts(part(1, 0.1)))])
    assert "not decided" not in done


def test_estimates_of_several_data_sets_share_a_line():
    parts = [part(0.5, 0.1, name=f"data set {seed}: mean") for seed in (11, 12)]
    html = forest([(Claim("T1", "us", "A."), Assessment(Verdict.REPLICATED, "", "", tuple(parts)))])
    assert html.count("<div>") == 1
    assert html.count("<svg") == 2
    tiny = [part(p, 0, name=f"data set {seed}: p") for seed, p in ((11, 9e-32), (12, 4e-38))]
    html = forest([(Claim("T1", "us", "A."), Assessment(Verdict.REPLICATED, "", "", tuple(tiny)))])
    assert "<span>&lt; 0.0001" in html


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables()


def test_the_findings_have_words_for_what_is_recorded(tables):
    found = front.findings(tables)
    assert [each.claim.id for each in found] == list(front.WORDS)
    for each in found:
        words = front.WORDS[each.claim.id]
        assert each.part.verdict in words
        assert each.part in assess(each.claim, tables).parts


def test_a_verdict_without_words_is_told_by_claim_and_verdict(tables, monkeypatch):
    monkeypatch.setitem(front.WORDS, "L7", {})
    last = front.findings(tables)[-1]
    assert last.text == f"{last.claim.statement} {last.part.verdict.capitalize()}: 2.36."


def test_the_figures_draw_what_is_traded(tables):
    ends = front.trade(tables)
    assert ends["SiLU"].zeros == ends["SiLU"].above.mean == 0
    drawn = ElementTree.fromstring(front.loss_against_zeros(tables))
    space = "{http://www.w3.org/2000/svg}"
    dots = [float(dot.attrib["cx"]) for dot in drawn.iter(f"{space}circle")]
    labels = [text.text for text in drawn.iter(f"{space}text") if "class" not in text.attrib]
    assert labels == list(ends)
    zeros = np.array([end.zeros for end in ends.values()])
    between = (dots[1] - dots[0]) / zeros[1]
    assert dots == pytest.approx(dots[0] + between * zeros, abs=0.2)
    assert len(front.rate(tables)["method"].unique()) == len(front.SERIES)
    ElementTree.fromstring(front.speed_of_zeros(tables))


def test_the_ledger_as_data_keeps_its_schema_and_its_bytes(tables):
    data = as_data(CLAIMS, tables)
    schema = json.loads((project_root() / "book/static/claims.schema.json").read_text())
    jsonschema.validate(data, schema)
    assert json.dumps(data, allow_nan=False) == json.dumps(as_data(CLAIMS, Tables()))
    for told in data["claims"]:
        assert (told["verdict"] != "not yet studied") == bool(told["results"])
        assert all((results_root().parent / path).is_file() for path in told["results"])
        assert bool(told["results"]) == bool(told["runs"])
