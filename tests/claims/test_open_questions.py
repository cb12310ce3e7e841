"""Q4's verdict on tables made so that it is known."""

import numpy as np
import pandas as pd
import pytest

from stocha.base.statistics import estimate
from stocha.claims.ledger import Tables, Verdict
from stocha.claims.open_questions import UNCERTAINTY, over_splits, q4_uncertainty


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
