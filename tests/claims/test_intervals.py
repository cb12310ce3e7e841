import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stocha.claims.intervals import Estimate, both, estimate
from stocha.claims.ledger import Verdict

numbers = st.floats(-1e3, 1e3)


@given(st.lists(numbers, min_size=2, max_size=20))
def test_the_interval_is_scipys_students_t(values):
    found = estimate(values)
    spread = stats.sem(values)
    if spread == 0:
        assert found.low == found.high == found.mean
    else:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), spread)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


def test_one_run_resolves_nothing():
    found = estimate([0.5])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.within(0, 1) is Verdict.NOT_RESOLVED


@given(numbers, st.floats(0, 10), numbers, st.floats(0, 10))
def test_inside_outside_and_on_the_edge(mean, half, low, width):
    found = Estimate(mean, mean - half, mean + half)
    verdict = found.within(low, low + width)
    inside = [low <= end <= low + width for end in (found.low, found.high)]
    if all(inside):
        assert verdict is Verdict.REPLICATED
    elif any(inside):
        assert verdict is Verdict.NOT_RESOLVED
    else:
        apart = found.high < low or found.low > low + width
        assert verdict is (Verdict.CONTRADICTED if apart else Verdict.NOT_RESOLVED)


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
