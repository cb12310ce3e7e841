import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocha.base.statistics import Estimate, estimate
from stocha.claims.ledger import Verdict, both, within

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
