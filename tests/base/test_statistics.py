import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stocha.base.statistics import Estimate, estimate

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


def test_one_run_says_nothing_of_the_others():
    found = estimate([0.5])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_no_value_is_refused_and_a_missing_one_is_seen():
    with pytest.raises(ValueError, match=r"values=\[\]: allowed"):
        estimate([])
    found = estimate([1.0, math.nan])
    assert all(map(math.isnan, (found.mean, found.low, found.high)))


def test_a_minus_is_a_minus():
    assert Estimate(-0.5, -1, 0.25).text("+.2f") == "−0.50 [−1.00, +0.25]"
